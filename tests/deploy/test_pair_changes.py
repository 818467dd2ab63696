"""A running pair is changed one node at a time, standby first; vCenter's task log is the witness."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy.harness import Config, Harness

MASTER, STANDBY = "PhotonLB-01", "PhotonLB-02"
ITEM = "photon-2"


def longer_tunnels(config: Config) -> None:
    """A change of one line in haproxy.cfg."""
    config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}


def operations(lab: Harness, after: int) -> list[tuple[str, str]]:
    """What vCenter did since: (VM, operation), rule changes left out."""
    return [(task["vm"], task["operation"]) for task in lab.tasks(after) if task["vm"]]


@pytest.fixture(scope="module")
def changed(tier_lab: Harness) -> Iterator[Harness]:
    """The tier's lab, converged, then with a changed timeout in the stack file and not yet deployed."""
    tier_lab.converge()
    tier_lab.edit(longer_tunnels)
    yield tier_lab
    tier_lab.converge()


def test_a_preview_shows_the_changed_line_of_the_file_once_for_each_node(changed: Harness) -> None:
    text = changed.preview("--diff").ok().text
    lines = [line.strip() for line in text.splitlines()]
    old = [line for line in lines if line.startswith("-") and "timeout tunnel" in line]
    new = [line for line in lines if line.startswith("+") and "timeout tunnel" in line]
    assert len(old) == len(new) == 2, text
    assert all("3h" in line for line in new)
    assert "[secret]" in text  # guestinfo itself is never shown


def test_a_changed_timeout_updates_the_standby_and_then_the_master_in_place(changed: Harness) -> None:
    before, mark = changed.machines(), changed.last_task()
    changed.up().ok()
    done = operations(changed, mark)
    assert [vm for vm, operation in done if operation == "reconfigure"] == [STANDBY, MASTER]
    touched = [vm for vm, _ in done]
    assert touched == sorted(touched, key=[STANDBY, MASTER].index), "one node was touched before the other was done"
    assert {operation for _, operation in done}.isdisjoint({"create", "destroy"})
    after = changed.machines()
    assert {name: machine.uuid for name, machine in after.items()} == {
        name: machine.uuid for name, machine in before.items()
    }
    assert {machine.power for machine in after.values()} == {"on"}
    for node in (MASTER, STANDBY):
        assert any("timeout tunnel 3h" in content for content in changed.set_files(node).values())
    changed.preview("--expect-no-changes").ok()


def test_a_new_image_replaces_the_standby_and_then_the_master(pair: Harness) -> None:
    pair.add_item(ITEM)
    before, mark = pair.machines(), pair.last_task()
    pair.edit(lambda config: config["lbstack:image"].update(item=ITEM))
    pair.up().ok()
    done = [entry for entry in operations(pair, mark) if entry[1] in ("create", "destroy")]
    # Delete before create, since both would have the same address; and never both away at once.
    assert done == [(STANDBY, "destroy"), (STANDBY, "create"), (MASTER, "destroy"), (MASTER, "create")]
    after = pair.machines()
    assert set(after) == set(before)
    assert {machine.uuid for machine in after.values()}.isdisjoint(machine.uuid for machine in before.values())
    (rule,) = pair.rules()
    assert len(rule.vm) == 2
    pair.preview("--expect-no-changes").ok()


def test_a_protected_pair_is_not_replaced_and_the_message_names_the_remedy(pair: Harness) -> None:
    pair.add_item(ITEM)
    pair.edit(lambda config: config.update({"lbstack:protect": True}))
    pair.up().ok()
    before, mark = pair.machines(), pair.last_task()
    pair.edit(lambda config: config["lbstack:image"].update(item=ITEM))
    refused = pair.up().refused()
    assert "lbstack:protect" in refused.text
    assert operations(pair, mark) == []
    # The remedy, in the same change as the image.
    pair.edit(lambda config: config.update({"lbstack:protect": False}))
    pair.up().ok()
    assert {machine.uuid for machine in pair.machines().values()}.isdisjoint(
        machine.uuid for machine in before.values()
    )


def test_a_changed_address_replaces_the_node_because_only_a_first_boot_reads_it(pair: Harness) -> None:
    before = pair.machines()
    # The set owns the network there, and the metadata, which only a first boot reads, has none.
    pair.edit(lambda config: config["lbstack:image"].update(release="3.0-r3"))
    pair.up().ok()
    after = pair.machines()
    assert {machine.uuid for machine in after.values()}.isdisjoint(machine.uuid for machine in before.values())


def test_renamed_nodes_are_replaced_and_their_rule_with_them(pair: Harness) -> None:
    def rename(config: Config) -> None:
        for number, node in enumerate(config["lbstack:nodes"], start=1):
            node["name"] = f"edge-{number}"

    pair.edit(rename)
    pair.up().ok()
    assert sorted(pair.machines()) == ["edge-1", "edge-2"]
    assert [str(rule.name) for rule in pair.rules()] == ["lbstack edge-1 edge-2"]
    pair.preview("--expect-no-changes").ok()
