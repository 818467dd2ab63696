"""What the programs of a guest may do with their limits on this machine, and how many files they may open."""

from __future__ import annotations

import resource
from pathlib import Path

CAP_SYS_RESOURCE = 24  # linux/capability.h
OPEN_FILES = 1_048_576  # what systemd gives its services at most on a machine of its own
FILES_PER_CONNECTION = 2  # HAProxy: the client's socket and the server's
SPARE_FILES = 200  # its listeners, checks, the master's own


def may_raise_limits() -> bool:
    """Whether root may raise limits here, and so in a guest; in many containers it may not."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    return bool(effective >> CAP_SYS_RESOURCE & 1)


def open_files() -> int:
    """How many files a program in a guest can have open at most: with the right to raise limits ``OPEN_FILES``."""
    if may_raise_limits():
        return OPEN_FILES
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def connections() -> int:
    """How many connections HAProxy can promise with so many files; asked for more, it refuses to start."""
    return (open_files() - SPARE_FILES) // FILES_PER_CONNECTION
