"""Install what `make` needs on a machine, then run the command: the first program of every make target.

It runs on the system's own python3 with the standard library alone. It installs Debian packages (with apt, as root,
after printing which and why), a pinned uv (into the cache directory, never into the system) and the locked Python
packages (into ``.venv`` of the checkout). It does not build the Pulumi engine or the simulated vCenter:
``lab.toolchain`` does. Where nothing is missing it costs a fraction of a second.

    python3 -m lab.bootstrap PURPOSE -- COMMAND...

PURPOSE is one of ``PURPOSES``; COMMAND runs in the project's virtual environment, with its exit code.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from lab.system.cache import CHECKOUT, PYTHON_MINIMUM, cache_directory, distribution
from lab.system.debian import PURPOSES, NotPossible, install_packages, log
from lab.system.uv import find_uv

FREE_MIB = 1024  # the virtual environment takes 600 MiB, uv's cache shares its files


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
        log(f"note: made and tested on Debian 12; this is {found or 'an unknown distribution'}. Trying.")


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


def sync(uv: str) -> None:
    """Bring ``.venv`` to exactly the locked packages.

    Raises:
        NotPossible: uv failed; its own message has been printed.
    """
    if not (CHECKOUT / ".venv" / "pyvenv.cfg").exists():
        log("Installing the locked Python packages into .venv (about 200 MB, once)")
    # Its errors are printed all the same; quiet leaves out a list of 60 packages. Every run of the engine starts an
    # interpreter that imports a thousand modules: without their bytecode a preview takes a second longer.
    command = [uv, "sync", "--locked", "--all-extras", "--compile-bytecode", "--quiet"]
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0:
        raise NotPossible(
            "The locked Python packages could not be installed; uv printed the reason above. A lock file that is older "
            "than pyproject.toml is renewed by `uv lock`; for the network and the disk, run the same target again."
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
        NotPossible: Something is not available here.
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
        log(f"usage: python3 -m lab.bootstrap {{{'|'.join(PURPOSES)}}} -- COMMAND...")
        return 2
    try:
        uv = prepare(arguments[0])
    except NotPossible as error:
        log(str(error))
        return 2
    except OSError as error:
        log(f"{error.strerror}: {error.filename or cache_directory()}. Check the disk (`df -h`) and the rights there.")
        return 2
    except KeyboardInterrupt:
        log("interrupted; run the same target again to go on")
        return 130
    become(uv, arguments[2:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
