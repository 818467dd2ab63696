"""How systemd-nspawn is started for a guest: its options, its mounts, its control group, its environment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.system.debian import search_path

SUPERVISOR = "systemd-nspawn"
OPTIONS = (
    "--register=no",
    "--keep-unit",
    # Without these networkd and the packet filter do nothing.
    "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
    # The machine's own name servers are out of a guest's reach, and asking them costs ten seconds a boot.
    "--resolv-conf=off",
)


def inside(group: Path, lower: Sequence[Path], own: Path) -> list[str]:
    """The beginning of a command that runs in a control group, with a root mounted over an image."""
    mounts = ("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", START, "sh")
    return [*mounts, str(group), ":".join(map(str, lower)), str(own)]


def environment_of_nspawn() -> dict[str, str]:
    """The environment of a guest's supervisor."""
    return {
        "PATH": search_path(),
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # sysctls, which the applier writes
        "SYSTEMD_NSPAWN_LOCK": "0",  # a root has one user, and a killed supervisor would leave its lock's file forever
    }


PARTS = ("upper", "work", "root")  # of a root: START mounts them
START = """
set -eu
group=$1 lower=$2 own=$3
shift 3
echo $$ > "$group/cgroup.procs"
mount -t overlay -o "lowerdir=$lower,upperdir=$own/upper,workdir=$own/work" overlay "$own/root"
exec "$@"
"""
