"""The program of the release before, out of the fixture ``tests/fixtures/release-before``.

A pair that it deployed has its set in userdata alone, and no watcher. The fixture holds what a deployment needs, so
that no test needs the history of the repository: `python -m tests.release_before COMMIT` makes it anew.
"""

from __future__ import annotations

import argparse
import io
import lzma
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from lab.system.cache import CHECKOUT

PROGRAM = Path(__file__).parent / "fixtures" / "release-before" / "program.tar.xz"
COMMIT = "d2f6ef1"
PARTS = ("__main__.py", "Pulumi.yaml", "cloudinit", "lbstack")
# What a deployment does not import.
LEFT_OUT = ("commands", "offline", "review", "scaffold", "teardown", "cli.py", "__main__.py")


def unpacked(place: Path) -> Path:
    """Put the program into a directory that does not exist yet.

    Args:
        place: The directory; it is returned.
    """
    place.mkdir()
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(PROGRAM.read_bytes()))) as archive:
        archive.extractall(place, filter="data")
    (place / ".venv").symlink_to(CHECKOUT / ".venv")  # an installed language host takes it from here
    return place


def make(commit: str) -> None:
    """Keep the program of a commit as the fixture."""
    without = [f":(exclude)lbstack/{name}" for name in LEFT_OUT]
    command = ["git", "archive", "--format=tar", commit, "--", *PARTS, *without]
    text = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True).stdout
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    PROGRAM.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.release_before", description=__doc__)
    parser.add_argument("commit", nargs="?", default=COMMIT, help="the commit of the release (default: %(default)s)")
    make(parser.parse_args(arguments).commit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
