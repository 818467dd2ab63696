"""A verdict stands on what was recorded: without clients, or without a watch, nothing passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.acts import faults, roll, seen
from lab.acts.evidence import Evidence, vouches
from lab.acts.scene import Scene
from lab.acts.stage import SESSIONS, Stage, Verdict
from lab.home import stackfile
from lab.network.frames import Arp, Event
from lab.network.record import Record
from lab.network.topology import Topology
from lab.traffic import traffic
from lab.traffic.attempts import ALIVE
from lab.traffic.report import Report
from lbstack.config.choices import Mode
from tests.unit.lab.network.test_record import advert
from tests.unit.lab.traffic.test_traffic import attempt, session

NODES = ("PhotonLB-01", "PhotonLB-02")
MASTER, STANDBY = NODES
RATE = 50.0
BEGINS_AT, LASTS_S = 1000.0, 10.0
WRONG_RATE = 2 * RATE
ATTEMPTS = "the clients asked all the time"
WATCH = "the network was captured all the time"


@dataclass
class World:
    """What the fakes record and answer, and the only clock that they have; each test spoils one thing."""

    now: float = BEGINS_AT
    sends: bool = True
    complete: bool = True
    share: float = 1.0
    began_watching: float = 0.0
    advertises: bool = True
    sees_questions: bool = True
    touched: list[str] = field(default_factory=lambda: [STANDBY, MASTER])
    questions: list[float] = field(default_factory=list)
    cut: int = 0
    stood: int = SESSIONS
    rebooted: list[str] = field(default_factory=list)
    master: str = MASTER
    changed: str = "/etc/haproxy/haproxy.cfg"

    def moment(self) -> seen.Moment:
        """The pair, whose files and boots change while `pulumi up` runs."""
        over = self.now > BEGINS_AT
        nodes = {
            node: seen.Seen("uuid", (), f"{over and node in self.rebooted}", True, f"{over}", {self.changed: f"{over}"})
            for node in NODES
        }
        return seen.Moment(self.master if over else MASTER, nodes)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def strftime(self, _form: str) -> str:
        return "120000"

    def report(self, began: float, ended: float) -> Report:
        number = int(RATE * (ended - began) * self.share) if self.sends else 0
        attempts = tuple(attempt(began + each / RATE) for each in range(number))
        sessions = tuple(session("reset" if each < self.cut else ALIVE) for each in range(self.stood))
        return Report(attempts, sessions, self.complete)

    def record(self) -> Record:
        events: list[Event] = []
        if self.advertises:
            events += [advert(at, "n1") for at in range(int(BEGINS_AT) - 60, int(self.now) + 1)]
        if self.sees_questions:
            events += [Arp(at, "cl", "request", "02:00", "192.168.6.50", "192.168.6.123") for at in self.questions]
        return Record(self.began_watching, tuple(sorted(events, key=lambda event: event.at)))


class FakeScene:
    """A pair that is whole whatever happens."""

    def __init__(self, world: World, root: Path) -> None:
        self.world = world
        self.paths = SimpleNamespace(root=root)
        self.nodes = list(NODES)
        self.config = dict(stackfile.read(stackfile.SOURCE)["config"])
        self.network = SimpleNamespace(topology=Topology.of(self.config), namespace=lambda name: name)

    def holders(self) -> dict[str, list[str]]:
        self.world.questions.append(self.world.now)
        return {}

    def wire(self) -> Record:
        return self.world.record()

    def named(self, word: str) -> str:
        return {"master": MASTER, "standby": STANDBY}.get(word, word)

    def master(self) -> str:
        return MASTER

    def holders_text(self) -> str:
        return "everything is where it was"

    def whole(self) -> str:
        return ""

    def require_whole(self) -> None:
        return

    def unserved(self) -> list[str]:
        return []


class FakeTraffic:
    """A sender that records what the world answers."""

    world: World

    def __init__(self, plan: traffic.Plan, file: Path) -> None:
        self.plan, self.file, self.began = plan, file, 0.0

    def start(self) -> None:
        self.began = self.world.now

    def stop(self) -> Report:
        return self.world.report(self.began, self.world.now)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for module in ("acts.faults", "acts.stage", "acts.roll", "system.waiting"):
        monkeypatch.setattr(f"lab.{module}.time", made)
    monkeypatch.setattr(FakeTraffic, "world", made, raising=False)
    monkeypatch.setattr("lab.acts.stage.Traffic", FakeTraffic)
    lasting = faults.Act("nothing", "nothing happens to {node}", lambda _scene, _node: made.sleep(LASTS_S), rests)
    monkeypatch.setattr(faults, "ACTS", {lasting.name: lasting, "split": replace(lasting, name="split", splits=True)})
    monkeypatch.setattr(faults, "_heal_node", lambda _scene, node: iter([f"{node}: undone"]))
    return made


def rests(_scene: Scene, _node: str) -> str:
    return ""


def failed(world: World, tmp_path: Path, act: str = "nothing", **options: Any) -> Verdict:
    """The verdict of an act that does nothing."""
    return faults.fail(cast(Scene, FakeScene(world, tmp_path)), act, "master", print, **options)


@pytest.fixture
def rolled(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verdict]:
    """The verdict of a `pulumi up` that does nothing but touch nodes."""

    class Workspace:
        def quietly(self, _arguments: list[str]) -> None:
            return

        def run(self, _arguments: list[str], _show: object) -> int:
            world.sleep(LASTS_S)
            return 0

    def touched(_scene: Scene, _after: int) -> list[tuple[float, str, str]]:
        return [(world.now, "reconfigure", node) for node in world.touched]

    monkeypatch.setattr(seen, "look", lambda _scene: world.moment())
    monkeypatch.setattr(roll, "workspace_of", lambda _scene: Workspace())
    monkeypatch.setattr(roll, "_touched", touched)
    monkeypatch.setattr("lab.vcenter.control.control", lambda *_arguments: [])

    def run(**options: Any) -> Verdict:
        return roll.roll(cast(Scene, FakeScene(world, tmp_path)), print, print, **options)

    return run


def untrue(verdict: Verdict) -> list[str]:
    return [sentence for sentence, true in verdict.checks if not true]


SPOILT: dict[str, tuple[dict[str, object], str]] = {
    "no attempt": ({"sends": False}, ATTEMPTS),
    "a dead sender": ({"complete": False}, ATTEMPTS),
    "too few attempts": ({"share": 0.7}, ATTEMPTS),
    "an empty record": ({"advertises": False, "sees_questions": False}, WATCH),
    "no advert": ({"advertises": False}, WATCH),
    "a watch that died on the way": ({"sees_questions": False}, WATCH),
    "a watch that began too late": ({"began_watching": float("inf")}, WATCH),
}


@pytest.mark.parametrize("spoilt", SPOILT)
def test_neither_an_act_nor_a_roll_passes_on_nothing(
    world: World, tmp_path: Path, rolled: Callable[..., Verdict], spoilt: str
) -> None:
    changes, reported = SPOILT[spoilt]
    for name, value in changes.items():
        setattr(world, name, value)
    for verdict in (failed(world, tmp_path), rolled()):
        assert not verdict.passed
        (only,) = untrue(verdict)
        assert only.startswith(reported)


def test_an_act_and_a_roll_that_were_recorded_pass(
    world: World, tmp_path: Path, rolled: Callable[..., Verdict]
) -> None:
    assert untrue(failed(world, tmp_path)) == []
    assert untrue(rolled()) == []


def test_a_roll_at_another_rate_than_was_promised_fails(rolled: Callable[..., Verdict]) -> None:
    (only,) = untrue(rolled(rate=WRONG_RATE))
    assert f"at {WRONG_RATE:g} in a second" in only


@pytest.mark.parametrize(
    ("touched", "touches", "passes"),
    [
        ([STANDBY, MASTER], True, True),
        ([MASTER, STANDBY], True, False),
        ([], True, False),
        ([], False, True),
        ([STANDBY], False, False),
    ],
)
def test_a_roll_that_touches_no_node_passes_only_where_that_is_asked_for(
    world: World, rolled: Callable[..., Verdict], touched: list[str], *, touches: bool, passes: bool
) -> None:
    world.touched = touched
    assert rolled(touches=touches).passed is passes


SESSION_FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "a session is cut": ({"cut": 1}, f"no established session of {SESSIONS} was cut: 1 were"),
    "a session never stood": ({"stood": SESSIONS - 1}, f"{SESSIONS} sessions stood before: {SESSIONS - 1}"),
    "a node boots": ({"rebooted": [STANDBY]}, f"no node has booted meanwhile: {STANDBY}"),
    "the master moves": ({"master": STANDBY}, f"the master stayed: {MASTER}, it moved to {STANDBY}"),
}


@pytest.mark.parametrize("fault", SESSION_FAULTS)
def test_a_live_roll_in_which_a_session_is_cut_or_a_node_boots_or_the_master_moves_fails(
    world: World, rolled: Callable[..., Verdict], fault: str
) -> None:
    changes, reported = SESSION_FAULTS[fault]
    for name, value in changes.items():
        setattr(world, name, value)
    assert untrue(rolled()) == [reported]


def test_a_roll_may_cut_what_the_table_of_changes_says(world: World, rolled: Callable[..., Verdict]) -> None:
    """A hand-over moves the master and cuts sessions, and boots nobody."""
    world.cut, world.master = SESSIONS, STANDBY
    world.changed = "/etc/systemd/system/haproxy.service.d/lbstack.conf"
    assert untrue(rolled()) == []
    world.now, world.rebooted = BEGINS_AT, [STANDBY]
    assert untrue(rolled()) == [f"no node has booted meanwhile: {STANDBY}"]


def test_a_roll_by_reboot_passes_only_where_a_node_boots(
    world: World, rolled: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roll, "mode_of", lambda _scene: Mode.REBOOT)
    world.cut, world.master = SESSIONS, STANDBY
    (only,) = untrue(rolled())
    assert only == "the change asks for a reboot: none booted meanwhile"
    world.now, world.rebooted = BEGINS_AT, [STANDBY, MASTER]
    assert untrue(rolled()) == []


def test_a_stage_that_an_error_ended_reports_the_error(world: World, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="the lab fell over"),
        Stage(cast(Scene, FakeScene(world, tmp_path)), "an error", print),
    ):
        raise RuntimeError("the lab fell over")
    assert world.questions == []


def test_a_reunion_that_the_wire_does_not_show_fails(world: World, tmp_path: Path) -> None:
    """Whoever is silent is no master, so an absence of adverts would pass for an absence of two masters."""
    honest = world.record
    world.record = lambda: replace(honest(), events=tuple(  # type: ignore[method-assign]
        event for event in honest().events if isinstance(event, Arp) or event.at <= BEGINS_AT
    ))  # fmt: skip
    assert untrue(failed(world, tmp_path, "split", seconds=LASTS_S)) == ["the pair settled within 60 s"]


def test_two_masters_that_meet_again_are_judged_from_the_mending_plus_one_advert(world: World, tmp_path: Path) -> None:
    """Both go on although the pair looks whole; whoever looked only after that had been found would see nothing."""
    honest = world.record

    def both_until(end: float) -> Callable[[], Record]:
        def record() -> Record:
            seen = honest()
            twice = [replace(each, port="n2", priority=246) for each in seen.adverts if BEGINS_AT <= each.at <= end]
            return replace(seen, events=tuple(sorted((*seen.events, *twice), key=lambda event: event.at)))

        return record

    undone = BEGINS_AT + LASTS_S
    world.record = both_until(undone + 0.9)  # type: ignore[method-assign]
    assert untrue(failed(world, tmp_path, "split", seconds=LASTS_S)) == []
    world.now, world.questions = BEGINS_AT, []
    world.record = both_until(undone + 2.0)  # type: ignore[method-assign]
    (only,) = untrue(failed(world, tmp_path, "split", seconds=LASTS_S))
    assert only.startswith("the capture shows no two masters since the network was whole again; n1/")


def test_evidence_shows_in_words_what_is_missing() -> None:
    nothing = Evidence(Report((), (), complete=False), Record(1.0, ()), 0.0, 10.0, 10.0, RATE)
    sentence, true = nothing.traffic()
    assert not true
    assert sentence == f"{ATTEMPTS}: 0 requests in 10.0 s, of 500 at 50 in a second; the sender died on the way"
    sentence, true = nothing.watch(1.0)
    assert not true
    reasons = "it began too late; it saw no advert; it did not see what a client asked at the end"
    assert sentence == f"{WATCH}: {reasons}"


def test_four_fifths_of_the_promised_attempts_are_enough() -> None:
    entries = tuple(attempt(each / 10) for each in range(40))
    assert vouches(Report(entries, (), complete=True), rate=10, seconds=5)
    assert not vouches(Report(entries[1:], (), complete=True), rate=10, seconds=5)
