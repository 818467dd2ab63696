"""Try whether this computer can boot guests, before anything is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab.errors import LabError
from lab.guests.container import OPTIONS, PARTS, SUPERVISOR, environment_of_nspawn, inside
from lab.guests.groups import control_groups, end_group
from lab.system.debian import search_path

TRIAL_S = 30.0  # it takes a fifth of a second on a machine that has nothing else to do
NEEDED = ("systemd-nspawn", "setsid", "unshare", "nsenter", "mount", "ip")


def preflight() -> Iterator[str]:
    """What this machine lacks for guests, in words, each with what to do."""
    if os.geteuid() != 0:
        yield "Guests are started as root: run as root."
    missing = [tool for tool in NEEDED if shutil.which(tool, path=search_path()) is None]
    if missing:
        yield f"{', '.join(missing)} not found. On Debian: `apt-get install systemd-container iproute2`."
    try:
        control_groups()
    except LabError as error:
        yield str(error)


def trial(lower: Sequence[Path], place: Path) -> str:
    """Start a program over an image as guests are started: the same mounts, control group and container.

    Args:
        lower: The directories of a guest's root, uppermost first.
        place: An existing directory on the file system that will carry the guests' roots.

    Returns:
        What this machine refuses, in words with a remedy; empty where it refuses nothing.

    Raises:
        LabError: There are no control groups of version 2.
        OSError: Nothing can be written at ``place``.
    """
    group = control_groups() / f"lbs-trial-{os.getpid()}"
    with tempfile.TemporaryDirectory(dir=place, prefix=".trial-") as scratch:
        own = Path(scratch)
        for part in PARTS:
            (own / part).mkdir()
        group.mkdir(exist_ok=True)
        try:
            result = subprocess.run(
                [
                    *inside(group, lower, own),
                    *(SUPERVISOR, "--quiet", f"--directory={own / 'root'}", f"--machine={group.name}"),
                    *(*OPTIONS, "--private-network", "true"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TRIAL_S,
                check=False,
                env=environment_of_nspawn(),
            )
            complaint = (result.stderr or result.stdout).strip() if result.returncode != 0 else ""
            failed = result.returncode != 0
        except subprocess.TimeoutExpired:
            failed, complaint = True, f"it did not end within {TRIAL_S:g} s"
        finally:
            end_group(group)
    if not failed:
        return ""
    reported = "; ".join(line.strip() for line in complaint.splitlines()) or "it ended without notice"
    return (
        f"A container over the guests' image does not start here: {reported.rstrip('.')}. Use a machine where "
        "root may mount overlays and start systemd-nspawn (a container itself has to be privileged)."
    )
