"""Find the program `uv`, or install it into the cache. Standard library only."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.system.cache import cache_directory, only_one
from lab.system.debian import NotPossible, log

UV_VERSION = "0.13.9"
# From the package index's own page of this file; pip refuses anything else.
UV_SHA256 = "d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19"
UV_MINIMUM = (0, 13)  # the first line that writes and checks this lock file's revision


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
        log(f"Installing uv {UV_VERSION} from the Python package index into {cached.parent}")
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
