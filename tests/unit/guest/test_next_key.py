"""Another signing key without a new node: the old one brings the next, and a confirmed set of the next ends the old."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.guest.crashes import KILLED
from tests.unit.guest.host import Host
from tests.unit.guest.keys import give, keys_of
from tests.unit.guest.sets import Parts, public

CFG, KEY = "/etc/haproxy/haproxy.cfg", "/etc/lbstack/stack.pub"
OLD, NEXT = "stack", "next"


def offer(host: Host, mark: str, signer: str = OLD, bad: str = "", next_key: str = "") -> Parts:
    """Put a set into keys of its own, signed by a key."""
    parts = host.make(mark, append={CFG: bad} if bad else None, next_key=next_key)
    values = keys_of(parts)
    parts.sign(signer)
    give(host, values | {"signature": parts.signature.decode()})
    return parts


def first_step(host: Host, mark: str = "both", bad: str = "") -> Parts:
    """Offer the set that brings the next key."""
    return offer(host, mark, bad=bad, next_key=public(NEXT).decode())


@pytest.fixture
def told(node: Host) -> Host:
    """A node that has confirmed the set with the next key."""
    first_step(node)
    assert node.run("live") == 0, node.output
    return node


def test_both_steps_end_with_the_next_key_alone(told: Host) -> None:
    assert told.read(KEY) == public(OLD).decode()
    new = offer(told, "after", NEXT)
    assert told.run("live") == 0, told.output
    assert told.has(new)
    assert told.read(KEY) == public(NEXT).decode()
    old = offer(told, "stolen", OLD)
    assert told.run("live") == 1
    assert old.hash[:12] in told.read("/run/lbstack/state.map")
    assert "the set's signature does not fit /etc/lbstack/stack.pub" in told.error()
    assert told.has(new)
    offer(told, "later", NEXT)
    assert told.boot() == 0, told.output


def test_until_the_second_step_both_keys_are_taken_and_the_first_may_take_the_next_back(told: Host) -> None:
    offer(told, "still", OLD, next_key=public(NEXT).decode())
    assert told.run("live") == 0, told.output
    offer(told, "given up", OLD)
    assert told.run("live") == 0, told.output
    offer(told, "too late", NEXT)
    assert told.run("live") == 1
    assert told.read(KEY) == public(OLD).decode()


def test_a_node_that_was_off_during_the_first_step_says_what_to_do(node: Host, served: Parts) -> None:
    offer(node, "after", NEXT)
    assert node.run("live") == 1
    assert "no confirmed set brought another key (docs/runbooks/signing-key.md)" in node.error()
    assert "docs/runbooks/signing-key.md" in node.read("/run/lbstack/state.map")
    assert node.has(served)
    first_step(node)  # the way out: the first step once more
    assert node.run("live") == 0, node.output
    offer(node, "after", NEXT)
    assert node.run("live") == 0, node.output


def test_a_set_that_falls_back_brings_no_key(node: Host, served: Parts) -> None:
    first_step(node, bad="# crash-on-start\n")
    assert node.run("live") == 1
    assert node.status()["phase"] == "fell-back"
    offer(node, "after", NEXT)
    assert node.run("live") == 1
    assert "signature does not fit" in node.error()
    assert node.has(served)


def test_a_set_of_the_next_key_that_falls_back_ends_no_key(told: Host) -> None:
    offer(told, "bad", NEXT, bad="# crash-on-start\n")
    assert told.run("live") == 1
    assert told.status()["phase"] == "fell-back"
    assert told.read(KEY) == public(OLD).decode()
    assert told.journal()["key"] == ""
    new = offer(told, "still", OLD)
    assert told.run("live") == 0, told.output
    assert told.has(new)


def test_the_key_changes_over_reboots_too(node: Host) -> None:
    first_step(node)
    assert node.boot() == 0, node.output
    new = offer(node, "after", NEXT)
    assert node.boot() == 0, node.output
    assert node.has(new)
    assert node.read(KEY) == public(NEXT).decode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no key\n", "the next key is no public key in PEM form"),
        (public(NEXT).decode() + "more\n", "the next key is no public key in PEM form"),
        (public(NEXT).decode() * 2, "the next key is no public key in PEM form"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "the next signing key is unusable"),
    ],
)
def test_what_is_no_key_is_refused_before_anything_is_touched(node: Host, served: Parts, text: str, said: str) -> None:
    offer(node, "b", next_key=text)
    assert node.run("live") == 1
    assert said in node.error()
    assert node.status()["phase"] == "refused"
    assert node.has(served)
    assert node.ran("systemctl reload") == []


def test_an_unprivileged_hand_at_the_key_in_a_set_that_was_not_signed_changes_nothing(node: Host) -> None:
    offer(node, "b", "stranger", next_key=public("stranger").decode())
    assert node.run("live") == 1
    offer(node, "c", "stranger")
    assert node.run("live") == 1
    assert "signature does not fit" in node.error()


@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
@pytest.mark.parametrize("step", ["first", "second"])
def test_a_step_that_was_cut_short_at_any_write_is_done_by_the_next_run(
    node: Host, tmp_path: Path, step: str, *, power: bool
) -> None:
    signer = OLD if step == "first" else NEXT
    if step == "second":
        first_step(node)
        assert node.run("live") == 0, node.output
    new = first_step(node) if step == "first" else offer(node, "after", NEXT)
    whole = node.clone(tmp_path / "whole")
    assert whole.run("live") == 0
    for at in range(whole.calls * 2 // 3, whole.calls, 9):  # what comes before is like that of any other set
        copy = node.clone(tmp_path / "killed")
        assert copy.run("live", kill_at=at, power=power) in (KILLED, 0)
        assert (copy.boot() if power else copy.run("live")) == 0, (at, copy.output)
        assert copy.has(new), at
        assert copy.read(KEY) == public(signer).decode(), at
        offer(copy, "next one", NEXT)
        assert copy.run("live") == 0, (at, copy.output)
        shutil.rmtree(copy.base)
