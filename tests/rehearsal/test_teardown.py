"""A lab with guests that is taken down, or was killed in the middle of a boot, leaves nothing on the machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.guests import groups as groups_module
from lab.guests import roster
from lab.network import netns
from lab.network.network import Network, lab_id
from lab.system.processes import everything, inspect
from lab.system.waiting import until
from lab.vcenter.machines import virtual_machines
from tests.deploy import harness
from tests.deploy.harness import Harness
from tests.tiers import require

BOOT_S = 120.0
TEMPORARY = "tmp"
SHARED = (Path("/run/netns"), Path("/etc/netns"), Path("/dev/shm"))
# What other labs and other runs of the tests make there meanwhile: things of labs, browsers, guests of memory. Locks
# are named by what they lock, and the lab's guests take none.
OTHERS = re.compile(r"[/ ]lbs[0-9a-f]{6}-|/\.?(org\.chromium|com\.google)|/lbstack-guest-|/nspawn/locks/")
# What a lab tries this machine with (switch.preflight, machines.trial), named by the number of the process that tries.
TRIAL = re.compile(r"/lbs-(?:try|trial-)(\d+)$")


@dataclass
class Watched:
    """A lab, and what was on the machine before it.

    Args:
        lab: It does not exist yet.
        home: A directory of its own: the lab's, and that for temporary files, are in it.
        before: Every entry of the places where a lab could leave something.
    """

    lab: Harness
    home: Path
    before: frozenset[str]

    def remains(self) -> list[str]:
        """Everything of the lab that can be found on the machine now, in words."""
        root = str(self.lab.paths.root)
        network = Network(lab_id(self.lab.paths.root), None)
        found = [f"namespace {name}" for name in netns.names(network.prefix) + netns.names(network.prefix, netns.ETC)]
        for hierarchy in groups_module.hierarchies():
            found += [f"control group {group}" for group in hierarchy.glob(f"{network.prefix}*")]
        for process in everything():
            if any(root in part or network.prefix in part for part in process.command) and process.pid != os.getpid():
                found.append(f"process {process.pid} {' '.join(process.command)[:120]}")
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if root in line or network.prefix in line]
        found += [f"file {file}" for file in self.home.rglob("*") if file != self.home / TEMPORARY]
        suspects = {entry for entry in places() - self.before if network.prefix in entry or not of_another_run(entry)}
        # A second look: what others make and remove in an instant is not theirs to leave, and not the lab's either.
        return found + sorted(suspects & places() if suspects else ())


def of_another_run(entry: str) -> bool:
    """Whether an entry that has come is certainly another lab's, another run's or a browser's."""
    trial = TRIAL.search(entry)
    if trial:
        return int(trial[1]) != os.getpid() and inspect(int(trial[1])) is not None
    return bool(OTHERS.search(entry))


def places() -> frozenset[str]:
    """Every entry of what a lab shares with all others on this machine."""
    links = json.loads(netns.ip("-j", "link", "show"))
    entries = [entry for place in SHARED if place.exists() for entry in place.iterdir()]
    entries += groups_module.SUPERVISORS.glob("*/*")
    return frozenset([*map(str, entries), *(f"link {link['ifname']}" for link in links)])


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A lab with guests that does not exist yet, next to the tier's own.

    Its temporary files, and those of everything that it starts, have a directory of their own: what is left there is
    the lab's, whoever else works on this machine.
    """
    harness.require_tools()
    require("root")
    with tempfile.TemporaryDirectory(prefix="lbs-") as directory:
        home = Path(directory)
        (home / TEMPORARY).mkdir()
        monkeypatch.setenv("TMPDIR", str(home / TEMPORARY))
        monkeypatch.setattr(tempfile, "tempdir", None)  # Python remembers what it was
        made = Harness(home / "lab", guests=True)
        try:
            yield Watched(made, home, places())
        finally:
            made.remove()


@pytest.fixture
def lab(watched: Watched) -> Harness:
    """The lab that is watched."""
    return watched.lab


def test_a_lab_is_there_and_then_it_is_not(watched: Watched) -> None:
    lab = watched.lab
    lab.prepare()
    assert watched.remains()  # else the next lines would show nothing
    lab.cli("down").ok()
    assert watched.remains() == []
    lab.cli("down").ok()


def test_whatever_a_lab_could_leave_would_be_found(watched: Watched) -> None:
    prefix = Network(lab_id(watched.lab.paths.root), None).prefix
    left = [watched.home / TEMPORARY / "x", *(place / f"{prefix}x" for place in SHARED)]
    left.append(groups_module.SUPERVISORS / "propagate" / f"{prefix}n1")
    bridge = f"{prefix}left"
    netns.ip("link", "add", bridge, "type", "bridge")
    try:
        for place in left:
            place.mkdir(parents=True)
        found = watched.remains()
    finally:
        netns.ip("link", "delete", bridge)
        for place in left:
            place.rmdir()
    assert f"link {bridge}" in found
    assert [place for place in left if not any(str(place) in line or place.name in line for line in found)] == []
    assert watched.remains() == []


def test_what_another_run_makes_meanwhile_is_not_taken_for_the_labs() -> None:
    other = Network("0123ab", None).prefix
    with subprocess.Popen(["sleep", "infinity"]) as process:  # another run that tries this machine
        made = [Path("/run/netns") / f"{other}desk", Path("/dev/shm/lbstack-guest-x")]
        made += [Path("/run/netns") / f"lbs-try{process.pid}"]
        made += [groups_module.SUPERVISORS / "propagate" / f"lbs-trial-{process.pid}"]
        theirs = [*map(str, made), f"link {other}left"]
        assert [entry for entry in theirs if not of_another_run(entry)] == []
        process.kill()
    assert not of_another_run(f"/run/netns/lbs-try{process.pid}")  # nobody will remove it any more
    assert not of_another_run(f"/run/netns/lbs-try{os.getpid()}")
    unknown = ("link lbsleft0", "link br0", "/dev/shm/lbstack-x", "/run/netns/n1", "/run/systemd/nspawn/propagate/n1")
    assert [entry for entry in unknown if of_another_run(entry)] == []


@pytest.mark.parametrize("after", ["the first guest runs", "both guests run"])
def test_a_lab_killed_in_the_middle_of_a_boot_is_taken_down_whole(watched: Watched, after: str) -> None:
    lab = watched.lab
    running = lab.start_cli("up")
    with running:
        guests = 2 if after == "both guests run" else 1
        until(lambda: len(groups(lab)) >= guests, BOOT_S, after)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    lab.cli("down").ok()
    assert watched.remains() == []


def groups(lab: Harness) -> list[Path]:
    """The control groups of a lab's guests."""
    prefix = Network(lab_id(lab.paths.root), None).prefix
    return list(groups_module.control_groups().glob(f"{prefix}*"))


def test_a_lab_killed_with_all_its_helpers_comes_up_again_and_destroy_takes_the_guests_with_their_vms(
    lab: Harness,
) -> None:
    running = lab.start_cli("up")
    with running:
        until(lambda: len(groups(lab)) >= 1, BOOT_S, "the first guest to run")
        for process in everything():
            if "-m" in process.command and any(str(lab.paths.root) in part for part in process.command):
                os.kill(process.pid, signal.SIGKILL)
        running.communicate()
    result = lab.cli("up").ok()
    assert "a request through it" in result.text
    assert "401 (it asks for a password)" in result.text
    assert len(groups(lab)) == len(virtual_machines(lab.paths)) == 2
    lab.destroy().ok()
    assert virtual_machines(lab.paths) == []
    until(lambda: groups(lab) == [], BOOT_S, "the guests to be gone")
    directory = roster.directory_of(lab.paths.root)
    until(lambda: list(directory.iterdir()) == [], BOOT_S, "their roots to be gone")
