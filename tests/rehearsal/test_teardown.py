"""A lab with guests that is taken down, or was killed in the middle of a boot, leaves nothing on the machine."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import agent, machines, netns
from lab.agent import virtual_machines
from lab.network import Network, lab_id
from lab.processes import everything
from lab.waiting import until
from tests.deploy import harness
from tests.deploy.harness import Harness
from tests.rehearsal.conftest import Rehearsal
from tests.tiers import require

BOOT_S = 120.0


@pytest.fixture
def lab() -> Iterator[Harness]:
    """A lab with guests that does not exist yet, beside the session's own."""
    harness.require_tools()
    require("root")
    with tempfile.TemporaryDirectory(prefix="lbs-") as directory:
        made = Harness(Path(directory) / "lab", guests=True)
        try:
            yield made
        finally:
            made.remove()


def remains(lab: Harness) -> list[str]:
    """Everything of a lab that can be found on the machine: namespaces, control groups, processes, mounts, files."""
    root = str(lab.paths.root)
    network = Network(lab_id(lab.paths.root), None)
    found = [f"namespace {name}" for name in netns.names(network.prefix) + netns.names(network.prefix, netns.ETC)]
    for hierarchy in machines.hierarchies():
        found += [f"control group {group}" for group in hierarchy.glob(f"{network.prefix}*")]
    for process in everything():
        if any(root in part or network.prefix in part for part in process.command) and process.pid != os.getpid():
            found.append(f"process {process.pid} {' '.join(process.command)[:120]}")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if root in line or network.prefix in line]
    return found + ([f"directory {root}"] if lab.paths.root.exists() else [])


def test_a_lab_is_there_and_then_it_is_not(lab: Harness) -> None:
    lab.prepare()
    assert remains(lab)  # else the next lines would show nothing
    lab.cli("down").ok()
    assert remains(lab) == []
    lab.cli("down").ok()


@pytest.mark.parametrize("after", ["the first guest runs", "both guests run"])
def test_a_lab_killed_in_the_middle_of_a_boot_is_taken_down_whole(lab: Harness, after: str) -> None:
    running = lab.start_cli("up")
    with running:
        guests = 2 if after == "both guests run" else 1
        until(lambda: len(groups(lab)) >= guests, BOOT_S, after)
        os.killpg(running.pid, signal.SIGKILL)
        running.communicate()
    lab.cli("down").ok()
    assert remains(lab) == []


def groups(lab: Harness) -> list[Path]:
    """The control groups of a lab's guests."""
    prefix = Network(lab_id(lab.paths.root), None).prefix
    return list(machines.control_groups().glob(f"{prefix}*"))


def test_a_lab_killed_with_all_its_helpers_comes_up_again(lab: Harness) -> None:
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


def test_destroy_takes_the_guests_with_their_vms(pair: Rehearsal) -> None:
    """Runs last of this file, and the session's lab is made anew by whoever needs it next."""
    pair.lab.destroy().ok()
    assert virtual_machines(pair.lab.paths) == []
    until(lambda: groups(pair.lab) == [], BOOT_S, "the guests to be gone")
    directory = agent.directory_of(pair.lab.paths.root)
    until(lambda: list(directory.iterdir()) == [], BOOT_S, "their roots to be gone")
    pair.lab.up().ok()
    pair.scene.wait_until_whole(BOOT_S)
