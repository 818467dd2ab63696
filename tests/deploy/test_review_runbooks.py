"""Each command of the runbooks is run in the lab, in the order in which it stands there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.state import CHECKOUT
from tests.deploy.engine import Result, run
from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY, remove_machine

RUNBOOKS = CHECKOUT / "docs" / "runbooks"
BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NEW_IMAGE = "photon-new"
NEW_ROUTER_ID = 99

Deed = Callable[[Harness], None]


def blocks(name: str) -> list[str]:
    """The commands of a runbook, block by block."""
    found = BLOCK.findall((RUNBOOKS / f"{name}.md").read_text())
    assert found
    return [text for _, text in found]


def follow(lab: Harness, name: str, **variables: str) -> list[Result]:
    """Do what a runbook says; every command has to succeed."""
    environment = lab.workspace.environment(lab.record) | {"STACK": STACK} | variables
    return [
        run(["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", block], environment, cwd=lab.program).ok()
        for block in blocks(name)
    ]


def drift_by_hand(lab: Harness) -> None:
    lab.reconfigure(MASTER, numCPUs=4)


def longer_tunnels(lab: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}

    lab.edit(change)


def lose_standby(lab: Harness) -> None:
    remove_machine(lab, STANDBY)


def lose_both(lab: Harness) -> None:
    remove_machine(lab, MASTER)
    remove_machine(lab, STANDBY)


@pytest.mark.parametrize(
    ("name", "before", "said"),
    [
        ("review-and-drift", drift_by_hand, "CPUs: 4 in vCenter; deployed: 2."),
        ("rolling-change", longer_tunnels, "timeout tunnel 3h"),
        ("lost-node", lose_standby, f"{STANDBY}: It was deployed and is not in vCenter any more."),
        ("both-nodes-lost", lose_both, f"{MASTER}: It was deployed and is not in vCenter any more."),
    ],
)
def test_the_runbook_leads_from_what_happened_to_a_pair_with_nothing_left_to_do(
    pair: Harness, name: str, before: Deed, said: str
) -> None:
    before(pair)
    shown = "".join(result.text for result in follow(pair, name))
    assert said in shown
    assert {machine.power for machine in pair.machines().values()} == {"on"}
    assert set(pair.machines()) == {MASTER, STANDBY}
    pair.preview("--expect-no-changes").ok()
    pair.drift().ok()


def test_an_image_is_updated_although_the_stack_is_protected(pair: Harness) -> None:
    pair.edit(lambda config: config.update({"lbstack:protect": True}))
    pair.up().ok()
    before = {machine.uuid for machine in pair.machines().values()}

    def change(config: Config) -> None:
        config["lbstack:image"]["item"] = NEW_IMAGE
        config["lbstack:protect"] = False

    pair.edit(change)
    ova = next(Path.home().glob(".cache/lbstack/ova/**/*.ova"))
    shown = "".join(result.text for result in follow(pair, "image-update", OVA=str(ova)))
    assert "replace" in shown
    assert {machine.uuid for machine in pair.machines().values()}.isdisjoint(before)
    pair.edit(lambda config: config.update({"lbstack:protect": True}))
    mark = pair.last_task()
    pair.up().ok()
    assert pair.tasks(mark) == []
    pair.edit(lambda config: config.update({"lbstack:protect": False}))
    pair.up().ok()


def test_the_router_id_changes_while_only_one_node_is_on(pair: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:vrrp"]["routerId"] = NEW_ROUTER_ID
        config["lbstack:rollout"] = {"gate": False}

    pair.edit(change)
    mark = pair.last_task()
    shown = "".join(result.text for result in follow(pair, "vrid", STANDBY=STANDBY, MASTER_RESOURCE="pair-node1"))
    assert "The VRRP identity changes" in shown
    changed = [task["vm"] for task in pair.tasks(mark) if task["operation"] == "reconfigure"]
    assert changed == [MASTER, STANDBY]
    assert {machine.power for machine in pair.machines().values()} == {"on"}
    for node in (MASTER, STANDBY):
        files = {file["path"]: file["content"] for file in pair.userdata(node)["write_files"]}
        assert any(f"virtual_router_id {NEW_ROUTER_ID}" in content for content in files.values())


def test_a_lab_is_torn_down(pair: Harness) -> None:
    follow(pair, "teardown")
    assert pair.machines() == {}


def test_every_runbook_is_listed_and_every_one_is_followed_here() -> None:
    names = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    listed = set(re.findall(r"\(([a-z-]+)\.md\)", (RUNBOOKS / "README.md").read_text()))
    assert names == listed
    source = Path(__file__).read_text()
    assert all(f'"{name}"' in source for name in names)
