"""Show what this machine can and cannot do for the lab, each with a remedy. Changes nothing.

Each check is independent and reports one thing.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum, unique
from pathlib import Path

import psutil

from lab.home import stackfile
from lab.home.state import FREE_MIB, Paths, read_record
from lab.system import processes
from lab.system.cache import PYTHON_MINIMUM, cache_directory, distribution
from lab.system.debian import PACKAGES, search_path
from lab.toolchain import tools
from lab.vcenter import server
from lbstack.problems import LbstackError

MEMORY_GIB = 3  # the linker of the Pulumi command is the largest process of a cold `make lab`: 2.2 GiB
BUILD_GIB = 8  # Go's module and build caches while the tools are built
COMMAND_TIMEOUT_S = 10.0
GIB = 1 << 30


@unique
class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    LIMITED = "limited"  # `make lab` works; something else does not
    MISSING = "missing"  # `make lab` does not work


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Args:
        name: What was looked at.
        verdict: How it ended.
        found: What there is.
        remedy: What to do; empty where nothing has to be done.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(paths: Paths) -> list[Finding]:
    """Run every check.

    Args:
        paths: The lab whose disk, port and processes are looked at.
    """
    checks: tuple[Callable[[Paths], Iterator[Finding]], ...] = (
        _platform,
        _rights,
        _python,
        _memory,
        _disk,
        _packages,
        _tools,
        _port,
        _rehearsal,
    )
    return [finding for check in checks for finding in check(paths)]


def _platform(_: Paths) -> Iterator[Finding]:
    machine = f"{platform.system()} {platform.machine()}, {distribution() or 'unknown distribution'}"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        yield Finding("platform", Verdict.MISSING, machine, "use Linux on x86-64; Debian 12 is what this is made for")
    elif distribution() != "debian 12":
        yield Finding("platform", Verdict.LIMITED, machine, "made and tested on Debian 12; others are only tried")
    else:
        yield Finding("platform", Verdict.OK, machine)


def _rights(_: Paths) -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("root", Verdict.OK, "yes")
    else:
        remedy = "the deployment works without; apt, the native tests and the rehearsal need root"
        yield Finding("root", Verdict.LIMITED, "no", remedy)


def _python(_: Paths) -> Iterator[Finding]:
    enough = tuple(map(int, platform.python_version_tuple()[:2])) >= PYTHON_MINIMUM
    remedy = "" if enough else f"Python {'.'.join(map(str, PYTHON_MINIMUM))} or newer, first on PATH"
    yield Finding("python", Verdict.OK if enough else Verdict.MISSING, platform.python_version(), remedy)


def _memory(_: Paths) -> Iterator[Finding]:
    free = psutil.virtual_memory().available / (1 << 30)
    found = f"{free:.1f} GiB free, {os.cpu_count()} CPUs"
    if free >= MEMORY_GIB or not toolchain_missing():
        yield Finding("memory", Verdict.OK, found)
    else:
        yield Finding(
            "memory", Verdict.MISSING, found, f"building the tools takes {MEMORY_GIB} GiB; end other programs"
        )


def _disk(paths: Paths) -> Iterator[Finding]:
    cache_gib = BUILD_GIB if toolchain_missing() else FREE_MIB / 1024
    for name, place, needed in (("cache", cache_directory(), cache_gib), ("state", paths.root, FREE_MIB / 1024)):
        existing = next(parent for parent in (place, *place.parents) if parent.exists())
        free = shutil.disk_usage(existing).free / GIB
        enough, writable = free >= needed, os.access(existing, os.W_OK)
        remedy = ""
        if not writable:
            remedy = f"{existing} cannot be written; set XDG_CACHE_HOME or --state to another place"
        elif not enough:
            remedy = f"{needed:.1f} GiB are needed there; make room, or set XDG_CACHE_HOME or --state to another place"
        verdict = Verdict.OK if enough and writable else Verdict.MISSING
        yield Finding(f"disk ({name})", verdict, f"{free:.1f} GiB free at {place}", remedy)


def _packages(_: Paths) -> Iterator[Finding]:
    for package in PACKAGES:
        if package.installed:
            yield Finding(package.name, Verdict.OK, package.reason)
        else:
            for_lab = package.essential and "lab" in package.purposes
            verdict = Verdict.MISSING if for_lab else Verdict.LIMITED
            target = "make lab" if for_lab else "make test"
            remedy = f"`{target}` as root installs it, or: apt-get install {package.name}"
            yield Finding(package.name, verdict, f"not installed ({package.reason})", remedy)


def toolchain_missing() -> bool:
    """Whether some program of the toolchain has to be built first."""
    return any(tool.state == tools.TO_BUILD for tool in tools.describe_tools())


def _tools(_: Paths) -> Iterator[Finding]:
    for tool in tools.describe_tools():
        if tool.state == tools.TO_BUILD:
            remedy = "`make lab` builds it; all of them take 12 minutes on 2 cores, once"
            yield Finding(tool.name, Verdict.LIMITED, f"{tool.version}, not built yet", remedy)
        else:
            yield Finding(tool.name, Verdict.OK, f"{tool.version}, {tool.state} at {tool.where}")


def _port(paths: Paths) -> Iterator[Finding]:
    try:
        record = read_record(paths)
    except LbstackError as error:
        yield Finding("state", Verdict.MISSING, str(error))
        return
    port = record.port if record and record.port else stackfile.wanted_port()
    owner = processes.owner_of_port(port)
    if not owner or server.PROGRAM in owner:
        yield Finding("vCenter's port", Verdict.OK, f"{port} {'is free' if not owner else f'belongs to {owner}'}")
    else:
        remedy = "`make lab` takes another one by itself; --port chooses it"
        yield Finding("vCenter's port", Verdict.LIMITED, f"{port} is taken by {owner}", remedy)


def _rehearsal(_: Paths) -> Iterator[Finding]:
    """What booted guests will need: namespaces, an overlay, a container manager, cgroups."""
    root = "run as root, on a machine or in a container that may make namespaces"
    works = _succeeds(["unshare", "--net", "true"])
    yield _limited("network namespaces", root, works=works)
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("lower", "upper", "work", "merged"):
            (Path(scratch) / name).mkdir()
        options = f"lowerdir={scratch}/lower,upperdir={scratch}/upper,workdir={scratch}/work"
        mount = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", options, f"{scratch}/merged"]
        # A directory that is an overlay itself cannot carry another one's upper layer; a tmpfs always can.
        works = _succeeds(mount)
    yield _limited("overlay mounts", f"{root}; TMPDIR must not be on an overlay itself", works=works)
    works = shutil.which("systemd-nspawn", path=search_path()) is not None
    yield _limited("systemd-nspawn", "apt-get install systemd-container", works=works)
    works = any(mount.fstype == "cgroup2" for mount in psutil.disk_partitions(all=True))
    yield _limited("cgroup v2", "mount cgroup2 (a host that boots systemd has it)", works=works)


def _limited(name: str, remedy: str, *, works: bool) -> Finding:
    found = "yes" if works else "no (needed by the rehearsal with booted guests)"
    return Finding(name, Verdict.OK if works else Verdict.LIMITED, found, "" if works else remedy)


def _succeeds(command: list[str]) -> bool:
    try:
        result = subprocess.run(command, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0
