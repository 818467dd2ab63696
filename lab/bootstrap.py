"""Put on a machine what `make` needs there, then run the command: the first program of every make target.

It runs on the system's own python3 with nothing but the standard library, because nothing else is there yet. It
installs Debian packages (through apt, as root, after saying which and why), a pinned uv (into the cache directory,
never into the system) and the locked Python packages (into ``.venv`` of the checkout). It does not build the Pulumi
engine or the simulated vCenter: ``lab.toolchain`` does. Where nothing is missing it costs a fraction of a second.

    python3 -m lab.bootstrap PURPOSE -- COMMAND...

PURPOSE is one of ``PURPOSES``; COMMAND runs in the project's virtual environment, with its exit code.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lab.debian import PURPOSES, NotPossible, install_packages, say

CHECKOUT = Path(__file__).resolve().parent.parent

PYTHON_MINIMUM = (3, 11)  # `requires-python` of pyproject.toml
UV_VERSION = "0.13.9"
# From the package index's own page of this file; pip refuses anything else.
UV_SHA256 = "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"
UV_MINIMUM = (0, 13)  # the first line that writes and checks this lock file's revision
FREE_MIB = 1024  # the virtual environment takes 600 MiB, uv's cache shares its files


def cache_directory() -> Path:
    """Where tools are kept between runs and checkouts, below ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lbstack"


def distribution() -> str:
    """This machine's distribution as ``debian 12``; empty where it has no /etc/os-release."""
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return ""
    values = dict(re.findall(r'^(ID|VERSION_ID)="?([^"\n]*)"?$', text, re.MULTILINE))
    return f"{values.get('ID', '')} {values.get('VERSION_ID', '')}".strip()


def check_platform() -> None:
    """Refuse what cannot work; mention what was not tried.

    Raises:
        NotPossible: Not Linux on x86-64.
    """
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise NotPossible(
            f"This project's lab runs on Linux x86-64 (made and tested on Debian 12); this is {system} {machine}. "
            "Use a Debian 12 machine, virtual or real: 2 cores, 4 GiB of memory, 15 GiB of disk will do."
        )
    found = distribution()
    if found != "debian 12":
        say(f"note: made and tested on Debian 12; this is {found or 'an unknown distribution'}. Trying.")


def check_disk() -> None:
    """Stop before a half-made environment where there is no room for one.

    Raises:
        NotPossible: Less than ``FREE_MIB`` is free and there is no environment yet.
    """
    if (CHECKOUT / ".venv" / "pyvenv.cfg").exists():
        return
    free = shutil.disk_usage(CHECKOUT).free >> 20
    if free < FREE_MIB:
        raise NotPossible(
            f"{CHECKOUT} has {free} MiB free; the virtual environment needs {FREE_MIB} MiB. Make room and run it again."
        )


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Let a second run wait for the first at the same piece of work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def version_of(uv: str) -> tuple[int, ...]:
    """The version of a uv program; empty where it does not run."""
    try:
        result = subprocess.run([uv, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return ()
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", result.stdout)
    return tuple(int(part) for part in found.groups()) if found else ()


def find_uv() -> str:
    """A uv that understands the lock file: the machine's own, else one installed into the cache.

    Raises:
        NotPossible: It is missing and cannot be installed.
    """
    own = shutil.which("uv")
    if own and version_of(own) >= UV_MINIMUM:
        return own
    cached = cache_directory() / f"uv-{UV_VERSION}" / "uv"
    with only_one(cache_directory() / "uv.lock"):
        if version_of(str(cached)) >= UV_MINIMUM:
            return str(cached)
        say(f"Installing uv {UV_VERSION} from the Python package index into {cached.parent}")
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as scratch:
            fresh = install_uv(Path(scratch))
            fresh.replace(cached)
    return str(cached)


def install_uv(scratch: Path) -> Path:
    """Install the pinned uv into a throw-away environment and return the program, which needs nothing else of it."""
    requirement = scratch / "requirements.txt"
    requirement.write_text(f"uv=={UV_VERSION} --hash=sha256:{UV_SHA256}\n", encoding="utf-8")
    environment = scratch / "venv"
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [str(environment / "bin/python"), *pip, "--require-hashes", "-r", str(requirement)],
    ):
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            raise NotPossible(
                f"uv {UV_VERSION} could not be installed:\n{result.stdout.strip()}\n"
                "Check the network and pip's settings (`pip config list`), or install uv yourself "
                f"({'.'.join(map(str, UV_MINIMUM))} or newer) so that it is found on PATH."
            )
    return environment / "bin" / "uv"


def sync(uv: str) -> None:
    """Bring ``.venv`` to exactly the locked packages.

    Raises:
        NotPossible: uv failed; its own message has been printed.
    """
    if not (CHECKOUT / ".venv" / "pyvenv.cfg").exists():
        say("Installing the locked Python packages into .venv (about 200 MB, once)")
    # Its errors are printed all the same; quiet leaves out a list of 60 packages. Every run of the engine starts an
    # interpreter that imports a thousand modules: without their bytecode a preview takes a second longer.
    command = [uv, "sync", "--locked", "--all-extras", "--compile-bytecode", "--quiet"]
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0:
        raise NotPossible(
            "The locked Python packages could not be installed; uv says above why. A lock file that does not fit "
            "pyproject.toml is renewed by `uv lock`; for the network and the disk, run the same target again."
        )


def check_python() -> None:
    """Refuse a python3 that is too old for the project.

    Raises:
        NotPossible: Older than ``PYTHON_MINIMUM``.
    """
    if sys.version_info[:2] < PYTHON_MINIMUM:
        raise NotPossible(
            f"python3 is {platform.python_version()}; this project needs {'.'.join(map(str, PYTHON_MINIMUM))} or newer "
            "(Debian 12 has 3.11, Ubuntu 24.04 has 3.12). Put a newer python3 first on PATH."
        )


def prepare(purpose: str) -> str:
    """Do all that is missing for a purpose.

    Returns:
        The path of uv.

    Raises:
        NotPossible: Something cannot be had here.
    """
    check_platform()
    check_python()
    install_packages(purpose)
    check_disk()
    uv = find_uv()
    sync(uv)
    return uv


def become(uv: str, command: Sequence[str]) -> NoReturn:
    """Replace this process by the command, so that signals and exit code are its own."""
    os.chdir(CHECKOUT)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # the project's own modules too are compiled once, not every time
    os.execv(uv, [uv, "run", "--no-sync", *command])  # noqa: S606 - no shell is wanted


def main(arguments: Sequence[str]) -> int:
    """Prepare for a purpose and become the command.

    Returns:
        An exit code; there is none where the command took over.
    """
    if len(arguments) < len(("purpose", "--", "command")) or arguments[0] not in PURPOSES or arguments[1] != "--":
        say(f"usage: python3 -m lab.bootstrap {{{'|'.join(PURPOSES)}}} -- COMMAND...")
        return 2
    try:
        uv = prepare(arguments[0])
    except NotPossible as error:
        say(str(error))
        return 2
    except OSError as error:
        say(f"{error.strerror}: {error.filename or cache_directory()}. Check the disk (`df -h`) and the rights there.")
        return 2
    except KeyboardInterrupt:
        say("interrupted; run the same target again to go on")
        return 130
    become(uv, arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
