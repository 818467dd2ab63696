"""Control groups: the processes of a guest, found and ended as a whole."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import psutil

from lab.errors import LabError
from lab.system.waiting import until

END_S = 10.0  # a killed control group is empty within milliseconds
PROCESSES = "cgroup.procs"  # cgroups(7): the file of a control group that lists its processes
SUPERVISORS = Path("/run/systemd/nspawn")  # where a supervisor has a directory for each machine


def control_groups() -> Path:
    """Where the second version of control groups is mounted.

    Raises:
        LabError: This machine has none.
    """
    for mount in psutil.disk_partitions(all=True):
        if mount.fstype == "cgroup2":
            return Path(mount.mountpoint)
    raise LabError(
        "There are no control groups of version 2 here; guests need them. Mount them, or use another machine."
    )


def populated(group: Path) -> bool:
    """Whether any process lives in a control group or below it; the kernel keeps the answer ready (cgroups(7))."""
    try:
        return "populated 1" in (group / "cgroup.events").read_text(encoding="ascii")
    except OSError:  # there is no such group, or it goes at this moment
        return False


def members(group: Path) -> list[int]:
    """The processes of a control group and of all below it.

    A guest that boots or ends makes and removes groups all the time: those that go while they are walked are left out
    (os.walk does that by itself, Path.rglob would raise).
    """
    found: list[int] = []
    for directory, _, files in os.walk(group):
        if PROCESSES in files:
            with suppress(OSError):
                found += [int(pid) for pid in Path(directory, PROCESSES).read_text(encoding="ascii").split()]
    return found


def end_group(group: Path) -> None:
    """Kill everything in a control group and remove it."""
    (group / "cgroup.kill").write_text("1", encoding="ascii")
    until(lambda: not populated(group), END_S, f"the processes of {group.name} to end")
    remove_group(group)
    forget(group.name)


def forget(name: str) -> None:
    """Remove what a killed supervisor could not: its directories for a machine. Their mounts went with it."""
    for place in SUPERVISORS.glob(f"*/{name}"):
        shutil.rmtree(place, ignore_errors=True)


def remove_group(group: Path) -> None:
    """Remove an empty control group, the innermost first, also the copy of it that its supervisor made elsewhere."""
    for root in hierarchies():
        for directory, _, _ in os.walk(root / group.name, topdown=False):
            with suppress(FileNotFoundError):
                Path(directory).rmdir()


def hierarchies() -> list[Path]:
    """Where control groups are mounted, of both versions: a host may have a hierarchy of systemd's own as well."""
    mounts = psutil.disk_partitions(all=True)
    return [Path(mount.mountpoint) for mount in mounts if mount.fstype in ("cgroup", "cgroup2")]
