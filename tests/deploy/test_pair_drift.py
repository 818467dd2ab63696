"""What somebody does to the pair behind Pulumi's back is seen by a refresh and repaired by `up --refresh`."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable

import pytest

from lab.home.stackfile import USER
from tests.deploy.harness import Harness

NODE = "PhotonLB-01"


def edited(lab: Harness) -> None:
    forged = base64.b64encode(b"#cloud-config\n{}\n").decode()
    lab.reconfigure(NODE, numCPUs=4, memoryMB=1024, extraConfig={"guestinfo.userdata": forged})


def deleted(lab: Harness) -> None:
    lab.delete(NODE)


def rule_changed(lab: Harness) -> None:
    (rule,) = lab.rules()
    changed = copy.copy(rule)
    changed.enabled, changed.mandatory = False, True
    lab.reconfigure_rule("edit", changed)


def rule_removed(lab: Harness) -> None:
    (rule,) = lab.rules()
    lab.reconfigure_rule("remove", rule)


# What is done by hand → what a refresh has to name. Several edits of one VM are made at once, since the provider takes
# ten seconds for each repair of a VM.
EDITS: list[tuple[Callable[[Harness], None], tuple[str, ...]]] = [
    (edited, ("guestinfo.userdata", "numCpus", "memory")),
    (deleted, ("pair-node1",)),
    (rule_changed, ("enabled", "mandatory")),
    (rule_removed, ("pair-rule",)),
]


@pytest.mark.parametrize(("edit", "named"), EDITS, ids=[edit.__name__ for edit, _ in EDITS])
def test_an_edit_by_hand_is_seen_and_repaired(
    pair: Harness, edit: Callable[[Harness], None], named: tuple[str, ...]
) -> None:
    before = pair.machines()
    edit(pair)
    seen = pair.drift("--diff").refused()
    for name in named:
        assert name in seen.text
    # As the README describes it, without `--run-program`: the login has not changed. With it, `converge` repairs.
    pair.up("--refresh").ok()
    pair.drift().ok()
    pair.preview("--expect-no-changes").ok()
    after = pair.machines()
    assert set(after) == set(before)
    assert {machine.power for machine in after.values()} == {"on"}
    assert (after[NODE].uuid == before[NODE].uuid) is (edit is not deleted)
    (rule,) = pair.rules()
    assert (rule.enabled, rule.mandatory, len(rule.vm)) == (True, False, 2)
    assert pair.set_files(NODE)
    assert "bootstrap" in str(pair.userdata(NODE)["write_files"])


def test_a_refresh_logs_in_as_the_last_deployment_did_unless_it_runs_the_program(pair: Harness) -> None:
    with pair.edited(lambda config: config.update({USER: "nobody@vsphere.local"})):
        pair.drift().ok()
        refused = pair.drift("--run-program").refused()
    assert "Login failure" in refused.text
