"""What befalls a standby while it takes in a set: in the end one whole set serves, never a mixture, and it says which.

Each test tries a few points of time in `make test`, and many in `make soak`. Where exactly a run is cut short is the
business of the unit and native tiers, which kill the applier before every single call; here the rest of a node is real.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from lab.acts import faults
from lab.acts.stage import Stage
from lab.guests.machine import Machine
from lab.system.waiting import until
from lbstack.render import keys
from tests.campaign import SEED, size
from tests.deploy.engine import Result
from tests.deploy.harness import Config
from tests.rehearsal import forged
from tests.rehearsal.conftest import Rehearsal
from tests.rehearsal.forged import Forged, forge, send

APPLY_S = 1.5  # what the applier takes here, about; the points of time are in it, and a little after it
AGAIN_S = 90.0  # until the watcher hands a set over a second time: 18 s, on a busy machine
WATCH, LIVE = "lbstack-watch.service", "lbstack-live.service"
RPCTOOL, RPCTOOL_KEPT = "/usr/bin/vmware-rpctool", "/usr/bin/vmware-rpctool.kept"
STORE = "/var/lib/lbstack"
POWER_FAILURES, KILLS, CHANGES = size(100), size(200), size(1000)
TIMEOUTS = ("7h", "8h")


@pytest.fixture
def node(pair: Rehearsal) -> Iterator[str]:
    """The standby; afterwards it is asked for what the pair serves again, and has it."""
    node = pair.standby
    served = pair.scene.health(node).config_hash
    before = {key: text for key, text in pair.lab.guestinfo(node).items() if keys.is_of_set(key)}
    yield node
    send(pair, node, before)
    forged.wait_until_taken(pair, node, served)


@pytest.fixture
def two(pair: Rehearsal, node: str) -> tuple[Forged, Forged]:
    """Two sets for the standby, each of which can be told from the other by its files."""
    first, second = (forge(pair, node, mark, forged.comment(mark)) for mark in ("first", "second"))
    return first, second


def points(number: int, end_s: float) -> list[float]:
    """Points of time, spread over a time and a little beside each part's middle; the same in every run."""
    choice = random.Random(SEED)
    return [(index + choice.random()) * end_s / number for index in range(number)]


def begin(pair: Rehearsal, node: str, wanted: Forged, after_s: float) -> Machine:
    """Have a node begin to take a set, at a moment that is known; returns so many seconds after it."""
    guest = pair.scene.guest(node)
    guest.run("systemctl", "stop", WATCH)
    send(pair, node, wanted.keys)
    until(lambda: guest.run("vmware-rpctool", f"info-get {keys.HASH}").stdout.strip() == wanted.hash, 10, "the keys")
    began = time.monotonic()
    guest.run("systemctl", "start", "--no-block", LIVE, WATCH)
    until(lambda: time.monotonic() - began >= after_s, after_s + 1, "the point of time", every_s=0.005)
    return guest


def end_with(pair: Rehearsal, node: str, wanted: Forged, limit_s: float = forged.TAKEN_S) -> None:
    """The node ends with the wanted set, whole."""
    until(partial(forged.taken, pair, node, wanted.hash), limit_s, f"{node} to take {wanted.hash[:12]}")
    assert forged.whole(pair, node, {wanted.hash: wanted}) == wanted.hash
    guest = pair.scene.guest(node)
    until(lambda: states(guest) == ["inactive", "active"], limit_s, "the applier to end well, and the watcher to look")


def states(guest: Machine) -> list[str]:
    """The states of the applier's unit and the watcher's."""
    return guest.run("systemctl", "is-active", LIVE, WATCH).stdout.split()


def test_a_node_that_loses_its_power_while_it_takes_a_set_has_that_set_after_its_next_boot(
    pair: Rehearsal, node: str, two: tuple[Forged, Forged]
) -> None:
    for wanted, after_s in zip(itertools.cycle(two), points(POWER_FAILURES, APPLY_S)):
        guest = begin(pair, node, wanted, after_s)
        guest.freeze()
        guest.power_off()
        verdict = faults.heal(pair.scene, print)
        assert verdict.passed, (after_s, verdict.lines())
        end_with(pair, node, wanted)


def test_an_applier_that_is_killed_goes_on_at_once_and_ends_with_the_set(
    pair: Rehearsal, node: str, two: tuple[Forged, Forged]
) -> None:
    killed = 0
    for wanted, after_s in zip(itertools.cycle(two), points(KILLS, APPLY_S)):
        guest = begin(pair, node, wanted, after_s)
        killed += guest.run("systemctl", "kill", "--signal=KILL", LIVE).returncode == 0
        end_with(pair, node, wanted)
    assert killed


def test_a_watcher_that_is_killed_is_back_at_once_and_notices(
    pair: Rehearsal, node: str, two: tuple[Forged, Forged]
) -> None:
    guest = pair.scene.guest(node)
    for wanted in two:
        guest.run("systemctl", "kill", "--signal=KILL", WATCH)
        send(pair, node, wanted.keys)
        end_with(pair, node, wanted)


CHANNELS = {
    "fails": 'echo "RPCI: failed" >&2; exit 1',
    "is slower than the period": f'/usr/bin/sleep 2.2; exec {RPCTOOL_KEPT} "$@"',
    "never answers": "exec /usr/bin/sleep 600",
    "cuts what is long": f'{RPCTOOL_KEPT} "$@" | head -c 20000',  # the programs' part has more
    "cuts everything": f'{RPCTOOL_KEPT} "$@" | head -c 30',
}
SLOW = "is slower than the period"
TOLD = {  # what the applier says of it, where the watcher saw a hash and started it
    "cuts what is long": "guestinfo.lbstack.",
}
LOOKS_S = 6.0  # three looks of the watcher


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_bad_channel_to_the_hypervisor_changes_nothing_and_the_set_is_taken_when_it_is_well(
    pair: Rehearsal, node: str, two: tuple[Forged, Forged], channel: str
) -> None:
    guest = pair.scene.guest(node)
    served, before = pair.scene.health(node).config_hash, forged.traces(pair, node)
    wanted = two[0]
    guest.run("mv", RPCTOOL, RPCTOOL_KEPT)
    script = f"#!/bin/sh\n{CHANNELS[channel]}\n"
    guest.run("sh", "-c", 'printf %s "$1" >"$0" && chmod 755 "$0"', RPCTOOL, script)
    try:
        send(pair, node, wanted.keys)
        if channel in TOLD:
            why = until(partial(forged.refusal, pair, node, wanted.hash), AGAIN_S, "the refusal")
            assert TOLD[channel] in why
        if channel != SLOW:
            began = time.monotonic()
            until(lambda: time.monotonic() - began > LOOKS_S, LOOKS_S + 1, "the watcher to look")
            assert pair.scene.health(node).config_hash == served
            assert forged.traces(pair, node) == before
        else:
            end_with(pair, node, wanted, AGAIN_S)
    finally:
        guest.run("mv", RPCTOOL_KEPT, RPCTOOL)
    end_with(pair, node, wanted, AGAIN_S)


def test_a_full_disk_refuses_the_set_until_there_is_room(
    pair: Rehearsal, node: str, two: tuple[Forged, Forged]
) -> None:
    """Where the sets are kept, so before anything is touched; for a disk that is full later see the unit tier."""
    guest = pair.scene.guest(node)
    served, before = pair.scene.health(node).config_hash, forged.traces(pair, node)
    with small_store(guest):
        send(pair, node, two[0].keys)
        why = until(partial(forged.refusal, pair, node, two[0].hash), forged.TAKEN_S, "the refusal")
        assert "No space left on device" in why
        assert pair.scene.health(node).config_hash == served
        assert forged.traces(pair, node) == before
        guest.run("rm", f"{STORE}/filling")
        end_with(pair, node, two[0], AGAIN_S)


class small_store:  # noqa: N801 - a context manager
    """Has the applier's store on a small disk of its own, which is full, for the length of a block."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest

    def __enter__(self) -> None:
        self._run(
            f"cp -a {STORE} /run/kept && mount -t tmpfs -o size=4m,mode=700 store {STORE} && cp -a /run/kept/. {STORE} "
            f"&& rm -r /run/kept; dd if=/dev/zero of={STORE}/filling bs=4k 2>/dev/null; test -s {STORE}/journal.json"
        )

    def __exit__(self, *_: object) -> None:
        self._run(f"cp -a {STORE} /run/kept && umount {STORE} && rm -r {STORE} && cp -a /run/kept {STORE}")
        self._run("rm -r /run/kept")

    def _run(self, command: str) -> None:
        result = self.guest.run("sh", "-c", command)
        assert result.returncode == 0, result.stderr


def test_guestinfo_that_changes_there_and_back_many_times_ends_with_the_last_set_whole(
    pair: Rehearsal, node: str, two: tuple[Forged, Forged]
) -> None:
    """Twenty changes within some ten seconds: the applier is at one set while others come and go."""
    served = pair.scene.health(node).config_hash
    seen: set[str] = set()
    with Stage(pair.scene, "guestinfo changes there and back", print) as stage:
        for number in range(CHANGES):
            send(pair, node, two[number % 2].keys)
            seen.add(pair.scene.health(node).config_hash)
        end_with(pair, node, two[(CHANGES - 1) % 2], AGAIN_S)
    assert seen <= {served, *(each.hash for each in two)}  # it served all the time, and nothing else
    stage.check_clients()
    assert stage.verdict.passed, "\n".join(stage.verdict.lines())
    assert stage.evidence.report.failures() == []
    assert stage.evidence.record.two_masters() == []


def test_two_runs_of_pulumi_up_within_a_second_end_with_one_set_on_both_nodes(pair: Rehearsal) -> None:
    """The engine lets one of them in; the other is refused by its lock, or comes after it and finds nothing to do."""

    def change(config: Config) -> None:
        timeouts = config["lbstack:services"]["horizon"].setdefault("timeouts", {})
        timeouts["tunnel"] = TIMEOUTS[timeouts.get("tunnel") == TIMEOUTS[0]]

    pair.lab.edit(change)
    with ThreadPoolExecutor(2) as pool:
        results: Sequence[Result] = list(pool.map(lambda _: pair.lab.up(), range(2)))
    assert 0 in [result.code for result in results], [result.text for result in results]
    refused = [result.text for result in results if result.code]
    assert all("the stack is currently locked by 1 lock(s)" in text for text in refused), refused
    wanted = pair.rendered.config_hash
    assert {answer.config_hash for answer in pair.scene.healths().values()} == {wanted}
    assert pair.lab.preview("--expect-no-changes").code == 0
