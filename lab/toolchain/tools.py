"""Provide the lab's programs: Pulumi with its Python host, the vSphere plugin, the simulated vCenter, govc.

An installed Pulumi or official vSphere plugin is used. Everything else is built once from the Go modules in
``lab/toolchain`` and ``lab/vcenter/simulator``, whose versions and checksums are committed.

    LBSTACK_TOOLS=auto        installed ones where they fit, else built ones (default)
    LBSTACK_TOOLS=build       always the built ones
    LBSTACK_TOOLS=installed   the installed Pulumi and plugin, or an error (vCenter and govc are always built)

Layout of the cache (``$XDG_CACHE_HOME/lbstack``, else ``~/.cache/lbstack``)::

    tools/<name>-<key>/<name>    a program; the key is a digest of go.mod, go.sum, sources, Go version and flags
    tools/bin-<key>/             what goes on PATH (hard links): Pulumi looks for its host in its own directory
    tools/lock                   held while something is built
    tools/.new-*                 a build under way; one without a holder of the lock is removed
    logs/build-<name>.log        the output of Go at the last build
    go-<version>/                the pinned Go, where the machine has none

A program appears under its name by one rename, so it is never incomplete.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.system.cache import cache_directory
from lab.toolchain.golang import Build, Go, Progress, ToolchainError, ensure_go, find_go
from lab.toolchain.installed import find_installed
from lab.toolchain.programs import (
    GOVC,
    HOST,
    KEY_LENGTH,
    PLUGIN,
    PLUGIN_VERSION,
    PROGRAMS,
    PULUMI,
    VCENTER,
    Program,
    program_named,
    tools_directory,
)

__all__ = ["CACHED", "INSTALLED", "TO_BUILD", "ToolState", "ToolchainError", "Tools", "describe_tools", "ensure_tools"]
__all__ += ["install_plugin"]

INSTALLED, CACHED, TO_BUILD = "installed", "cached", "to build"

FREE_GIB = 6  # Go's caches and the programs after a build of everything, rounded up
UNUSED_DAYS = 30
LOCK_POLL_S = 0.2
LOCK_REPORT_S = 15.0


@dataclass(frozen=True)
class Tools:
    """The programs of a lab.

    Args:
        pulumi: The Pulumi command.
        language_host: Its Python host; None where an installed Pulumi brings its own.
        plugin: The vSphere plugin's program, for ``install_plugin``.
        vcenter: The simulated vCenter.
        govc: The vSphere command line client.
    """

    pulumi: Path
    language_host: Path | None
    plugin: Path
    vcenter: Path
    govc: Path

    def path(self) -> str:
        """The directory to put before PATH so that these programs are found first.

        An installed Pulumi is on PATH already. The plugin stays off it: Pulumi warns of plugins that it finds there.
        """
        return str(self.govc.parent)


@dataclass(frozen=True)
class ToolState:
    """What there is of one program.

    Args:
        name: Its file name.
        version: Its version in words.
        state: ``INSTALLED``, ``CACHED`` or ``TO_BUILD``.
        where: The program; for one that has to be built, where it will be.
    """

    name: str
    version: str
    state: str
    where: Path


def describe_tools() -> list[ToolState]:
    """What ``ensure_tools`` would use and what it would build; changes nothing.

    Raises:
        ToolchainError: ``LBSTACK_TOOLS`` asks for what there is not.
    """
    installed, go = find_installed(), find_go()
    states = []
    for program in PROGRAMS:
        if program.name in installed:
            where, version = installed[program.name]
            states.append(ToolState(program.name, version, INSTALLED, where))
        elif program.name == HOST and PULUMI in installed:
            continue
        else:
            where = program.place(go) / program.name
            version = f"{PLUGIN_VERSION} on provider {program.version}" if program.name == PLUGIN else program.version
            states.append(ToolState(program.name, version, CACHED if where.exists() else TO_BUILD, where))
    return states


def ensure_tools(progress: Progress) -> Tools:
    """Every program of the lab, built where it is neither installed nor in the cache.

    Args:
        progress: Receives lines for people while something is built.

    Raises:
        ToolchainError: One is not available; the message names the reason, the place and the remedy.
    """
    try:
        while any(state.state == TO_BUILD for state in describe_tools()):  # again where a source was edited meanwhile
            _build_missing(progress)
        where = {state.name: state.where for state in describe_tools()}
        side_by_side = _assemble([path for name, path in where.items() if name not in (PLUGIN, VCENTER)])
    except OSError as error:
        raise ToolchainError(
            f"{error.strerror or error}",
            error.filename or cache_directory(),
            "Look at the disk (`df -h`) and the rights there; XDG_CACHE_HOME names another place for the cache.",
        ) from error
    if HOST in where:
        pulumi, host = side_by_side / PULUMI, side_by_side / HOST
    else:
        pulumi, host = where[PULUMI], None
    return Tools(pulumi, host, where[PLUGIN], where[VCENTER], side_by_side / GOVC)


def install_plugin(tools: Tools, pulumi_home: Path, progress: Progress) -> None:
    """Put the vSphere plugin into a ``PULUMI_HOME``, where the engine looks for it; nothing where it is already there.

    Args:
        tools: From ``ensure_tools``.
        pulumi_home: The directory that ``PULUMI_HOME`` names.
        progress: Receives a line when something is installed.

    Raises:
        ToolchainError: Pulumi refused.
    """
    status = tools.plugin.stat()
    wanted = f"{tools.plugin} {status.st_size} {status.st_mtime_ns}\n"
    marker = pulumi_home / "lbstack-plugin"
    program = pulumi_home / "plugins" / f"resource-vsphere-v{PLUGIN_VERSION}" / PLUGIN
    if program.exists() and marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return
    progress(f"Installing the vSphere plugin {PLUGIN_VERSION} into {pulumi_home}")
    pulumi_home.mkdir(parents=True, exist_ok=True)
    command = [str(tools.pulumi), "plugin", "install", "resource", "vsphere", PLUGIN_VERSION]
    command += ["--file", str(tools.plugin), "--reinstall", "--non-interactive"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
    result = subprocess.run(
        command,
        env=inherited | {"PULUMI_HOME": str(pulumi_home), "PULUMI_SKIP_UPDATE_CHECK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0 or not program.exists():
        raise ToolchainError(
            f"The vSphere plugin cannot be installed:\n{result.stdout.strip()}",
            pulumi_home,
            "Look at the disk (`df -h`) and the rights there.",
        )
    marker.write_text(wanted, encoding="utf-8")


def _build_missing(progress: Progress) -> None:
    """Build everything that is neither installed nor in the cache, alone."""
    directory = tools_directory()
    directory.mkdir(parents=True, exist_ok=True)
    with _only_builder(directory / "lock", progress):
        for left in directory.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a run that was killed: we hold the lock
        missing = [program_named(state.name) for state in describe_tools() if state.state == TO_BUILD]
        if not missing:
            return  # the run that we waited for has built them
        _check_disk(directory)
        minutes = sum(program.minutes for program in missing)
        progress(
            f"Building {len(missing)} programs from pinned Go modules into {directory}: about {minutes:.0f} minutes on "
            "2 cores with nothing downloaded yet, once. Interrupted, it goes on where it was."
        )
        go = ensure_go(progress)
        for number, program in enumerate(missing, start=1):
            progress(f"Building {program.title} {program.version} ({number} of {len(missing)})")
            started = time.monotonic()
            _build(program, go, progress)
            progress(f"  {program.title}: built in {time.monotonic() - started:.0f} s")
        _prune(directory)


def _build(program: Program, go: Go, progress: Progress) -> None:
    log = cache_directory() / "logs" / f"build-{program.name}.log"
    build = Build(program.title, program.directory, program.package, program.linker_flags(), log)
    place = program.place(go)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-", ignore_cleanup_errors=True) as scratch:
        made = Path(scratch) / place.name
        made.mkdir()
        build.run(go, made / program.name, Path(scratch), progress)
        neighbours = {made / script: program.directory / script for script in program.scripts}
        for module, path, name in program.extras:
            neighbours[made / name] = build.module_directory(go, module, Path(scratch)) / path
        for copy, source in neighbours.items():
            shutil.copyfile(source, copy)
            copy.chmod(0o755)
        made.rename(place)


def _assemble(programs: list[Path]) -> Path:
    """The directory that holds these programs next to each other; marks all of them as used."""
    built = [path.parent for path in programs if path.is_relative_to(tools_directory())]
    key = hashlib.sha256("\n".join(directory.name for directory in built).encode()).hexdigest()[:KEY_LENGTH]
    place = tools_directory() / f"bin-{key}"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".bin-", ignore_cleanup_errors=True) as scratch:
            made = Path(scratch) / place.name
            made.mkdir()
            for directory in built:
                for file in directory.iterdir():
                    (made / file.name).hardlink_to(file)
            try:
                made.rename(place)
            except OSError:
                if not place.exists():  # else another run was as quick, and has made the same
                    raise
    for directory in (*built, place):
        os.utime(directory)  # in use: not for _prune
    return place


def _check_disk(directory: Path) -> None:
    free = shutil.disk_usage(directory).free / (1 << 30)
    if free < FREE_GIB:
        raise ToolchainError(
            f"Building the lab's programs takes {FREE_GIB} GiB of disk, and {free:.1f} GiB are free",
            directory,
            "Make room, or name another place with XDG_CACHE_HOME.",
        )


@contextmanager
def _only_builder(path: Path, progress: Progress) -> Iterator[None]:
    """One build at a time; the kernel lets go of the lock when its holder ends, however it ends."""
    reported = -math.inf
    with path.open("a+", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() - reported >= LOCK_REPORT_S:
                    reported = time.monotonic()
                    lock.seek(0)
                    progress(
                        f"Another run (pid {lock.read().strip() or 'unknown'}) builds the programs; waiting for it"
                    )
                time.sleep(LOCK_POLL_S)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _prune(directory: Path) -> None:
    """Remove programs that no run has used for a month: those of sources that have changed since."""
    oldest = time.time() - UNUSED_DAYS * 86400
    for entry in directory.iterdir():
        if entry.is_dir() and entry.stat().st_mtime < oldest:
            shutil.rmtree(entry, ignore_errors=True)
