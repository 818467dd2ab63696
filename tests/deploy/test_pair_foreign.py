"""What backup, monitoring and inventory products do to the VMs is left alone: by a preview, a roll and a refresh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from pyVmomi import vim

from lab.vcenter import control, role
from lbstack.facts.names import marker
from tests.deploy.harness import Config, Harness, find
from tests.deploy.review import MASTER, STACK, STANDBY, drift, lbstack, report

CATEGORY, TAG, ATTRIBUTE = "backup", "gold", "last-backup"
NOTE = "\nBackup job: nightly"
SET_FIELD = "Global.SetCustomField"
OTHER_DATASTORE = "LocalDS_1"
NODES = (MASTER, STANDBY)


@dataclass(frozen=True)
class Marks:
    """What stands on one VM, read with govc."""

    tags: tuple[str, ...]
    attributes: str
    note: str
    datastore: str


def marks(lab: Harness, name: str) -> Marks:
    """Read from vCenter, by another client than Pulumi."""
    path = f"/DC0/vm/lbstack-lab/{name}"
    attached = lab.govc("tags.attached.ls", "-json", "-r", path) or []
    with lab.vcenter() as service:
        vm = service.RetrieveContent().searchIndex.FindByInventoryPath(path)
        values = ",".join(sorted(value.value for value in vm.customValue))
        files = vm.config.files.vmPathName
        return Marks(tuple(sorted(attached)), values, vm.config.annotation, files.partition("]")[0].strip("["))


@pytest.fixture(scope="module")
def stamped(tier_lab: Harness) -> Iterator[tuple[Harness, dict[str, Marks]]]:
    """A deployed pair on which other products have left everything that they leave."""
    lab = tier_lab
    lab.converge()
    # The lab's provider, of 2022, sends attributes that do not change along with every change; the official one looks
    # first whether they change (HasChange), and the role of README may not set any.
    control.control(lab.paths, "POST", "/role", {"privileges": [*role.privileges(), SET_FIELD]})
    with lab.vcenter() as service:
        manager = service.RetrieveContent().customFieldsManager
        key = manager.AddCustomFieldDef(ATTRIBUTE, vim.VirtualMachine).key
        for name in NODES:
            manager.SetField(find(service, vim.VirtualMachine, name), key, "2026-11-27")
    lab.govc("tags.category.create", CATEGORY)
    lab.govc("tags.create", "-c", CATEGORY, TAG)
    note = marker("lbstack", STACK) + NOTE
    for name in NODES:
        path = f"/DC0/vm/lbstack-lab/{name}"
        lab.govc("tags.attach", "-c", CATEGORY, TAG, path)
        lab.govc("vm.migrate", "-ds", OTHER_DATASTORE, path)
        lab.reconfigure(name, annotation=note)
    yield lab, {name: marks(lab, name) for name in NODES}
    for name in NODES:
        lab.delete(name)
    lab.govc("tags.rm", "-f", "-c", CATEGORY, TAG)
    lab.govc("tags.category.rm", "-f", CATEGORY)
    with lab.vcenter() as service:
        service.RetrieveContent().customFieldsManager.RemoveCustomFieldDef(key)
    control.control(lab.paths, "POST", "/role", {"privileges": list(role.privileges())})
    lab.converge()


def test_the_marks_are_those_of_this_test(stamped: tuple[Harness, dict[str, Marks]]) -> None:
    for seen in stamped[1].values():
        assert len(seen.tags) == 2
        assert (seen.attributes, seen.datastore) == ("2026-11-27", OTHER_DATASTORE)
        assert seen.note.endswith(NOTE)


def test_a_preview_finds_no_change_and_no_drift_and_names_them_in_a_footnote(
    stamped: tuple[Harness, dict[str, Marks]],
) -> None:
    lab, before = stamped
    lab.preview("--expect-no-changes").ok()
    lab.drift().ok()
    shown = lbstack(lab, "preview", STACK, "--fail-on-drift", "--fail-on-change").ok().out
    assert shown.startswith("lab: No change, no drift.")
    phrases = "1 tag, 1 custom attribute, text in the notes, a move to another datastore"
    assert f"(by others, and left alone: {MASTER}: {phrases}; {STANDBY}: {phrases})" in shown
    assert {name: marks(lab, name) for name in NODES} == before


def test_a_roll_leaves_them_in_place(stamped: tuple[Harness, dict[str, Marks]]) -> None:
    lab, before = stamped

    def change(config: Config) -> None:
        config["lbstack:services"]["horizon"]["timeouts"] = {"connect": "7s"}

    with lab.edited(change):
        planned = report(lab)
        assert [item["text"] for item in planned["changes"]] == []
        lab.up().ok()
        assert {name: marks(lab, name) for name in NODES} == before
        # The change has read them into the state: still nothing is to be done.
        lab.preview("--expect-no-changes").ok()
        lab.up("--refresh").ok()
        assert {name: marks(lab, name) for name in NODES} == before
    lab.up("--refresh", "--run-program").ok()
    assert {name: marks(lab, name) for name in NODES} == before


def test_a_tag_of_the_stack_that_somebody_took_off_is_drift_and_comes_back_beside_the_others(
    stamped: tuple[Harness, dict[str, Marks]],
) -> None:
    lab, before = stamped
    lab.govc("tags.detach", "-c", "lbstack-lab", "load-balancer", f"/DC0/vm/lbstack-lab/{MASTER}")
    found = drift(report(lab))
    assert set(found) == {(MASTER, "tags")}
    assert "load-balancer was deployed as a tag" in found[MASTER, "tags"]["text"]
    assert "puts it back" in found[MASTER, "tags"]["remedy"]
    lab.up("--refresh").ok()
    assert marks(lab, MASTER) == before[MASTER]


def test_another_tag_of_the_stack_comes_without_taking_the_others_off(
    stamped: tuple[Harness, dict[str, Marks]],
) -> None:
    lab, before = stamped

    def change(config: Config) -> None:
        config["lbstack:placement"]["tags"]["names"].append("horizon")

    with lab.edited(change):
        texts = [item["text"] for item in report(lab)["changes"] if item["where"] == MASTER]
        assert texts == ["tags: horizon attached"]
        mark = lab.last_task()
        lab.up().ok()
        assert len(marks(lab, MASTER).tags) == len(before[MASTER].tags) + 1
        assert {entry["operation"] for entry in lab.tasks(mark)} <= {"reconfigure"}  # no reboot
    # Tags of a category that others made can be used: they are looked up, and the stack's own category goes.
    existing = {"category": CATEGORY, "names": [TAG], "create": "none"}
    with lab.edited(lambda config: config["lbstack:placement"].update(tags=existing)):
        changes = {item["where"]: item["text"] for item in report(lab)["changes"]}
    assert changes[MASTER] == "tags: horizon, load-balancer taken off"
    wrong = {"category": CATEGORY, "names": ["silver"], "create": "none"}
    with lab.edited(lambda config: config["lbstack:placement"].update(tags=wrong)):
        assert "placement.tags.names[0]: there is no tag 'silver' in category 'backup'" in lab.preview().refused().text
    lab.up().ok()
    assert marks(lab, MASTER) == before[MASTER]


def test_a_marker_that_somebody_replaced_is_drift_and_written_again(
    stamped: tuple[Harness, dict[str, Marks]],
) -> None:
    lab, before = stamped
    lab.reconfigure(STANDBY, annotation="mine now")
    found = drift(report(lab))
    assert set(found) == {(STANDBY, "annotation")}
    assert "puts it back" in found[STANDBY, "annotation"]["remedy"]
    lab.up("--refresh").ok()
    assert marks(lab, STANDBY).note == marker("lbstack", STACK)
    lab.reconfigure(STANDBY, annotation=before[STANDBY].note)
