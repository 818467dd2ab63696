"""The next `pulumi up` ends what another one left: killed while a node took its set in, or guestinfo edited by hand.

Nothing of it reboots a node, because the engine may send a set again that the node serves already.
"""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from lab.acts import roll
from lab.acts.stage import Stage
from lab.system.waiting import until
from lab.vcenter import machines
from lbstack.render.keys import HASH
from tests.rehearsal.conftest import Rehearsal

TAKEN_S = 30.0
WHOLE_S = 60.0
BEGUN_S = 120.0


def boots_of(pair: Rehearsal) -> dict[str, int]:
    """How often each node has booted."""
    return {vm.name: vm.boots for vm in machines.virtual_machines(pair.lab.paths) if vm.name in pair.scene.nodes}


def kill_as_it_changes(pair: Rehearsal, node: str) -> None:
    """Run `pulumi up` and kill it once vCenter has changed a node: the provider waits then, and the state lacks it."""
    workspace, last = pair.lab.workspace, pair.lab.last_task()
    process = subprocess.Popen(
        [*workspace.station, str(workspace.pulumi), "up", "--yes", "--skip-preview", "--non-interactive"],
        cwd=pair.lab.program,
        env=workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: ("reconfigure", node) in touched(pair, last) or None, BEGUN_S, f"vCenter to change {node}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def touched(pair: Rehearsal, after: int) -> list[tuple[str, str]]:
    """What vCenter did to the nodes since a task."""
    return [(task["operation"], task["vm"]) for task in pair.lab.tasks(after) if task["vm"] in pair.scene.nodes]


@pytest.mark.parametrize("at", ["standby", "master"])
def test_an_engine_that_was_killed_while_a_node_took_its_set_in_is_followed_by_one_that_cuts_nobody(
    pair: Rehearsal, at: str
) -> None:
    before, master, standby = boots_of(pair), pair.master, pair.standby
    first = pair.scene.health(master).config_hash
    roll.configure(pair.lab.workspace, [roll.usual_change(pair.scene.config)])
    with Stage(pair.scene, f"an engine killed at the {at}, and the next", print) as stage:
        kill_as_it_changes(pair, {"standby": standby, "master": master}[at])
        until(
            lambda: pair.scene.health(standby).config_hash != first or None, TAKEN_S, "the standby to take its set in"
        )
        assert at == "master" or pair.scene.health(master).config_hash == first
        pair.lab.pulumi("cancel", "--yes")
        last = pair.lab.last_task()
        pair.lab.up().ok()
        pair.scene.wait_until_whole(WHOLE_S)
    stage.check_clients()
    stage.check_watch()
    assert stage.verdict.passed, "\n".join(stage.verdict.lines())
    assert stage.evidence.report.refused_or_timed_out() == []
    wanted = pair.lab.outputs()["config_hash"]
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {wanted} != {first}
    assert boots_of(pair) == before
    assert pair.master == master
    assert {operation for operation, _ in touched(pair, last)} <= {"reconfigure"}
    pair.lab.preview("--expect-no-changes").ok()


def test_guestinfo_that_somebody_edited_is_refused_by_the_node_and_repaired_without_a_reboot(pair: Rehearsal) -> None:
    before, node = boots_of(pair), pair.standby
    served = pair.scene.health(node).config_hash
    with Stage(pair.scene, "guestinfo is edited by hand", print) as stage:
        pair.lab.reconfigure(node, extraConfig={HASH: "f" * 64})
        refused = until(
            lambda: pair.scene.health(node).refusal or None, TAKEN_S, "the node to refuse what nobody signed"
        )
        assert refused.startswith(f"refused {'f' * 12}")
        assert pair.scene.health(node).config_hash == served
        pair.lab.up("--refresh", "--run-program").ok()
        until(lambda: not pair.scene.health(node).refusal or None, TAKEN_S, "the node to be content again")
    assert stage.evidence.report.refused_or_timed_out() == []
    assert pair.lab.guestinfo(node)[HASH] == served
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {served}
    assert boots_of(pair) == before
