"""What somebody does to the pair behind Pulumi's back is seen by a refresh and repaired by `up --refresh`."""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable

import pytest

from tests.deploy.harness import Harness

NODE = "PhotonLB-01"


def other_guestinfo(lab: Harness) -> None:
    forged = base64.b64encode(b"#cloud-config\n{}\n").decode()
    lab.reconfigure(NODE, extraConfig={"guestinfo.userdata": forged})


def more_cpus(lab: Harness) -> None:
    lab.reconfigure(NODE, numCPUs=4)


def less_memory(lab: Harness) -> None:
    lab.reconfigure(NODE, memoryMB=1024)


def deleted(lab: Harness) -> None:
    lab.delete(NODE)


def rule_switched_off(lab: Harness) -> None:
    (rule,) = lab.rules()
    changed = copy.copy(rule)
    changed.enabled = False
    lab.reconfigure_rule("edit", changed)


def rule_made_a_preference(lab: Harness) -> None:
    (rule,) = lab.rules()
    changed = copy.copy(rule)
    changed.mandatory = False
    lab.reconfigure_rule("edit", changed)


def rule_removed(lab: Harness) -> None:
    (rule,) = lab.rules()
    lab.reconfigure_rule("remove", rule)


EDITS: list[tuple[Callable[[Harness], None], str]] = [
    (other_guestinfo, "guestinfo.userdata"),
    (more_cpus, "numCpus"),
    (less_memory, "memory"),
    (deleted, "pair-node1"),
    (rule_switched_off, "enabled"),
    (rule_made_a_preference, "mandatory"),
    (rule_removed, "pair-rule"),
]


@pytest.mark.parametrize(("edit", "named"), EDITS, ids=lambda value: getattr(value, "__name__", ""))
def test_an_edit_by_hand_is_seen_and_repaired(pair: Harness, edit: Callable[[Harness], None], named: str) -> None:
    before = pair.machines()
    edit(pair)
    seen = pair.drift("--diff").refused()
    assert named in seen.text
    pair.up("--refresh", "--run-program").ok()
    pair.drift().ok()
    pair.preview("--expect-no-changes").ok()
    after = pair.machines()
    assert set(after) == set(before)
    assert {machine.power for machine in after.values()} == {"on"}
    assert (after[NODE].uuid == before[NODE].uuid) is (edit is not deleted)
    (rule,) = pair.rules()
    assert (rule.enabled, rule.mandatory, len(rule.vm)) == (True, True, 2)
    assert "manifest.json" in str(pair.userdata(NODE)["write_files"])
