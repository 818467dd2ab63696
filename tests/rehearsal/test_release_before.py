"""A pair that the release before deployed: moved to this release by one roll, and taken back by the release before.

Its nodes have no watcher, and read no keys but userdata: changed live they would see nothing of it. These tests follow
one another: each goes on where the one before it left the pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from lab.acts import roll
from lab.acts.stage import Verdict
from lab.engine.workspace import NO_QUESTIONS
from lab.system.cache import CHECKOUT
from lab.vcenter import machines
from lbstack.deploy.manner import booted_from_parts
from lbstack.render.keys import is_of_set
from tests import release_before
from tests.rehearsal.conftest import Rehearsal, deployed

WHOLE_S = 180.0


@dataclass(frozen=True)
class Moved:
    """The pair once it was moved.

    Args:
        pair: The pair.
        order: Its nodes as they were: the standby, the master.
        verdict: How the roll went.
        boots: How often each node had booted before it.
        said: What the preview before it said.
    """

    pair: Rehearsal
    order: tuple[str, str]
    verdict: Verdict
    boots: Mapping[str, int]
    said: str


def boots_of(pair: Rehearsal) -> dict[str, int]:
    """How often each node has booted."""
    return {vm.name: vm.boots for vm in machines.virtual_machines(pair.lab.paths) if vm.name in pair.scene.nodes}


def announced(pair: Rehearsal) -> set[bool]:
    """Whether the nodes announce that they take in a set while they run."""
    return {answer.can_live for answer in pair.scene.healths().values()}


def served(pair: Rehearsal) -> set[str]:
    """The sets that the nodes serve."""
    return {answer.config_hash for answer in pair.scene.healths().values()}


@pytest.fixture(scope="module")
def moved() -> Iterator[Moved]:
    """A pair that the release before deployed, then rolled by this one under traffic, its stack file as it was."""
    with deployed(program=release_before.unpacked) as pair, pytest.MonkeyPatch.context() as patch:
        pair.deployed.ok()
        assert announced(pair) == {False}
        patch.setenv(NO_QUESTIONS, "1")
        patch.setattr(pair.lab, "program", CHECKOUT)
        before, order = boots_of(pair), (pair.standby, pair.master)
        said = pair.lab.preview().ok().text
        verdict = roll.roll(pair.scene, print, print, edit=lambda: None)
        yield Moved(pair, order, verdict, before, said)


def test_one_roll_with_reboots_moves_it_the_standby_first_and_no_client_notices(moved: Moved) -> None:
    pair, (standby, master) = moved.pair, moved.order
    assert moved.verdict.passed, "\n".join(moved.verdict.lines())
    for node in pair.scene.nodes:
        assert f"{node} is changed with a reboot: it has not announced" in moved.said
    events = [event for _, event in sorted(moved.verdict.timeline) if event.startswith("vCenter: reconfigure")]
    assert events == [f"vCenter: reconfigure {standby}", f"vCenter: reconfigure {master}"]
    assert boots_of(pair) == {node: number + 1 for node, number in moved.boots.items()}
    assert served(pair) == {pair.lab.outputs()["config_hash"]}
    assert announced(pair) == {True}
    for node in pair.scene.nodes:
        held = pair.lab.guestinfo(node)
        assert not booted_from_parts(held)
        assert any(map(is_of_set, held))
        assert pair.scene.guest(node).run("systemctl", "is-active", "lbstack-watch").stdout.strip() == "active"


def test_the_run_after_it_shows_no_change(moved: Moved) -> None:
    moved.pair.lab.preview("--expect-no-changes").ok()


def test_the_next_change_is_live_and_leaves_the_larger_form_behind(moved: Moved) -> None:
    pair = moved.pair
    before, master = boots_of(pair), pair.master
    verdict = roll.roll(pair.scene, print, print)
    assert verdict.passed, "\n".join(verdict.lines())
    assert boots_of(pair) == before
    assert pair.master == master
    assert served(pair) == {pair.lab.outputs()["config_hash"]}
    assert all(booted_from_parts(pair.lab.guestinfo(node)) for node in pair.scene.nodes)
    pair.lab.preview("--expect-no-changes").ok()


def test_the_release_before_takes_it_back_with_the_set_that_it_asks_for(
    moved: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `up` takes the keys away that it does not know; a node that went on reading them would serve another set."""
    pair = moved.pair
    before = boots_of(pair)
    with monkeypatch.context() as patch:
        patch.setattr(pair.lab, "program", release_before.unpacked(pair.lab.paths.root / "release-before"))
        pair.lab.up().ok()
        pair.scene.wait_until_whole(WHOLE_S)
        wanted = pair.lab.outputs()["config_hash"]
        assert boots_of(pair) == {node: number + 1 for node, number in before.items()}
        assert served(pair) == {wanted}
        assert announced(pair) == {False}
        for node in pair.scene.nodes:
            assert not any(map(is_of_set, pair.lab.guestinfo(node)))
            guest = pair.scene.guest(node)
            assert guest.run("systemctl", "is-active", "lbstack-watch").stdout.strip() == "inactive"
        pair.lab.preview("--expect-no-changes").ok()
    text = pair.lab.preview().ok().text
    assert all(f"{node} is changed with a reboot" in text for node in pair.scene.nodes)
