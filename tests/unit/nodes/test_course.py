"""The course of a roll on a false clock: what it asks before it begins, and what it makes of silence."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lbstack.nodes import gate, seen, waits
from lbstack.nodes.course import Course, Watch
from lbstack.nodes.health import Answer, Target
from lbstack.nodes.seen import Clock, Seen

WANTED, OLD = "a" * 64, "b" * 64
SILENT = Answer(error="no answer")
MASTER_OLD, BACKUP_OLD, MASTER_NEW = Answer(OLD, "master"), Answer(OLD, "backup"), Answer(WANTED, "master")
BACKUP_NEW = Answer(WANTED, "backup")
FAULT = Answer(OLD, "fault", "VRRP is fault")
NODES = (Target("lb1", "192.0.2.1"), Target("lb2", "192.0.2.2"))
LIMIT_S = 300.0

Answers = Callable[[float], tuple[Answer, Answer]]


class Trial:
    """A course over nodes whose answers depend on the time alone; a silent one takes no time."""

    def __init__(
        self, answers: Answers, live: tuple[str, ...] = (), absent: tuple[str, ...] = (), *, preemption: bool = False
    ) -> None:
        self.now = 0.0
        self.answers = answers
        self.lines: list[str] = []
        clock = Clock(lambda: self.now, self._sleep)
        self.early = Seen(clock)
        self.course = Course(
            NODES,
            WANTED,
            LIMIT_S,
            self._ask,
            clock,
            live=live,
            absent=absent,
            preemption=preemption,
            early=self.early,
        )

    def _ask(self, node: Target) -> Answer:
        return self.answers(self.now)[NODES.index(node)]

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def begin(self) -> tuple[int, int]:
        self.course.begin(self.lines.append)
        return self.course.order


def test_a_pair_whose_first_answers_are_lost_begins_with_its_standby() -> None:
    trial = Trial(lambda now: (SILENT, SILENT) if now < 12 else (BACKUP_OLD, MASTER_OLD))
    assert trial.begin() == (0, 1)
    assert trial.lines == ["no node answers; asking again for 15 s, since an answer may be lost"]


def test_a_new_pair_is_made_after_one_silence_and_the_second_node_does_not_wait_for_the_first() -> None:
    trial = Trial(lambda _now: (SILENT, SILENT))
    assert trial.begin() == (1, 0)
    assert trial.now == seen.SILENCE_S
    trial.course.open_first(trial.lines.append)
    trial.course.look()
    trial.course.open_second(trial.lines.append)
    assert trial.now == seen.SILENCE_S


def test_a_pair_that_is_made_by_this_run_waits_for_its_nodes_in_the_end_alone() -> None:
    trial = Trial(lambda now: (SILENT, SILENT) if now < 40 else (MASTER_NEW, Answer(WANTED, "backup")))
    trial.course.fresh = True
    assert trial.begin() == (1, 0)
    trial.course.open_first(trial.lines.append)
    trial.now = 10.0
    trial.course.open_second(trial.lines.append)
    assert (trial.now, trial.lines) == (10.0, [])
    trial.course.both_serve(trial.lines.append)
    assert trial.now == 40.0 + waits.STEADY_S


def test_where_somebody_answers_for_a_new_pair_the_usual_rules_hold() -> None:
    trial = Trial(lambda now: (MASTER_OLD, BACKUP_OLD) if now < 6 else (SILENT, SILENT))
    trial.course.fresh = True
    trial.begin()
    trial.course.open_first(trial.lines.append)
    with pytest.raises(gate.GateClosed):
        trial.course.open_second(trial.lines.append)


def test_of_a_pair_that_a_killed_run_has_half_made_the_node_that_is_not_there_is_made_first() -> None:
    # The other one boots through the whole silence and serves a moment later.
    trial = Trial(lambda now: (SILENT, SILENT if now < 20 else MASTER_NEW), absent=("lb1",))
    assert trial.begin() == (0, 1)
    trial.now = 25.0
    trial.course.open_first(trial.lines.append)
    assert trial.now == 25.0


def test_a_node_that_answers_is_there_wherever_vcenter_has_its_vm() -> None:
    trial = Trial(lambda _now: (MASTER_OLD, BACKUP_OLD), absent=("lb1",))
    assert trial.begin() == (1, 0)


def test_a_dead_node_is_repaired_without_waiting_for_its_silence_because_its_peer_serves() -> None:
    trial = Trial(lambda _now: (MASTER_OLD, SILENT))
    assert trial.begin() == (1, 0)
    trial.course.open_first(trial.lines.append)
    assert trial.now == waits.STEADY_S


def test_a_node_that_says_that_it_does_not_serve_needs_no_peer() -> None:
    trial = Trial(lambda _now: (SILENT, FAULT))
    assert trial.begin() == (1, 0)
    trial.course.open_first(trial.lines.append)
    assert trial.now == waits.STEADY_S


def test_the_second_node_stays_closed_while_both_are_silent_for_as_long_as_it_takes() -> None:
    trial = Trial(lambda now: (MASTER_OLD, BACKUP_OLD) if now < 6 else (SILENT, SILENT))
    trial.begin()
    trial.course.open_first(trial.lines.append)
    trial.now = 30.0
    with pytest.raises(gate.GateClosed) as refusal:
        trial.course.open_second(trial.lines.append)
    assert trial.now >= LIMIT_S
    text = str(refusal.value)
    assert text.startswith(f"lb1 was left untouched: its peer lb2 does not serve set {WANTED[:12]}")
    assert "lb1 does not answer either, which does not show that it does not serve." in text


def test_the_second_node_goes_on_when_the_silence_ends_and_the_first_serves_its_set() -> None:
    backup = Answer(WANTED, "backup")
    trial = Trial(
        lambda now: (MASTER_OLD, BACKUP_OLD) if now < 6 else (SILENT, SILENT) if now < 40 else (MASTER_OLD, backup)
    )
    trial.begin()
    trial.course.open_first(trial.lines.append)
    trial.now = 28.0
    trial.course.open_second(trial.lines.append)
    assert trial.now == 40.0 + waits.STEADY_S


def test_a_node_that_came_alive_while_vcenter_was_at_work_is_remembered() -> None:
    """Both had lost their power; the second came back by itself while the first was being made."""
    trial = Trial(lambda now: (MASTER_OLD, SILENT) if 20 < now < 25 else (SILENT, SILENT))
    trial.begin()
    trial.course.open_first(trial.lines.append)
    trial.now = 21.0
    trial.course.look()  # as the watch does
    trial.now = 60.0
    with pytest.raises(gate.GateClosed, match="lb1 was left untouched"):
        trial.course.open_second(trial.lines.append)


def test_a_silent_node_whose_peer_is_backup_was_alive() -> None:
    found = Seen()
    found.note(NODES, (SILENT, BACKUP_OLD))
    assert found.was_alive(NODES[0])
    assert not Seen().was_alive(NODES[0])


def test_a_hole_in_the_questions_is_no_silence_of_the_node() -> None:
    now = [0.0]
    found = Seen(Clock(lambda: now[0], lambda _s: None))
    found.note(NODES, (SILENT, SILENT))
    now[0] = 60.0
    found.note(NODES, (SILENT, SILENT))
    assert not found.taken_for_dead(NODES[0])
    for now[0] in (65.0, 70.0, 75.0):
        found.note(NODES, (SILENT, SILENT))
    assert found.taken_for_dead(NODES[0])


def test_the_watch_asks_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "ASK_INTERVAL_S", 0.0)
    asked: list[str] = []

    def ask(node: Target) -> Answer:
        asked.append(node.name)
        if len(asked) == 6:
            watch.stop()
        return MASTER_NEW

    watch = Watch(Course(NODES, WANTED, LIMIT_S, ask))
    watch.start()
    watch._thread.join(10)
    assert not watch._thread.is_alive()
    assert asked == ["lb1", "lb2"] * 3


BOTH = ("lb1", "lb2")


def test_nodes_that_were_never_away_have_to_be_steady_for_an_advert_only() -> None:
    trial = Trial(lambda now: (MASTER_OLD, Answer(WANTED, "backup") if now >= 3 else BACKUP_OLD), BOTH)
    trial.begin()
    trial.course.open_first(trial.lines.append)
    assert trial.now == waits.STEADY_LIVE_S
    trial.course.open_second(trial.lines.append)
    assert trial.now == 3 + waits.STEADY_LIVE_S


def test_what_was_asked_before_the_roll_and_while_vcenter_was_at_work_counts_as_steady() -> None:
    trial = Trial(lambda now: (MASTER_OLD, BACKUP_NEW if now >= 5 else BACKUP_OLD), BOTH)
    trial.early.note(NODES, trial.answers(0))  # what the nodes announced
    trial.now = waits.STEADY_LIVE_S
    trial.begin()
    trial.course.open_first(trial.lines.append)
    assert trial.now == waits.STEADY_LIVE_S
    for trial.now in (4.5, 5, 6, 7):
        trial.course.look()
    trial.course.open_second(trial.lines.append)
    assert trial.now == 7


def test_what_has_changed_since_then_does_not_count_as_steady() -> None:
    trial = Trial(lambda now: (MASTER_OLD, BACKUP_OLD if now > 1 else FAULT), BOTH)
    trial.early.note(NODES, trial.answers(0))
    trial.now = 2.0
    trial.begin()
    trial.course.open_first(trial.lines.append)
    assert trial.now == 2 + waits.STEADY_LIVE_S


def after_a_live_change(
    first: Answer, second: Answer, live: tuple[str, ...] = BOTH, *, preemption: bool = False
) -> Trial:
    """A run that has changed its first node, lb2, from backup; both answer from then on as given."""
    trial = Trial(lambda now: (second, first) if now > 10 else (MASTER_OLD, BACKUP_OLD), live, preemption=preemption)
    trial.begin()
    trial.course.open_first(trial.lines.append)
    trial.now = 11
    return trial


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (MASTER_NEW, BACKUP_OLD, "lb2 was VRRP backup and lb1 was VRRP master before this change"),
        (BACKUP_NEW, BACKUP_OLD, "lb1 was VRRP master before this change"),
    ],
)
def test_a_live_change_of_the_standby_that_moves_the_vips_leaves_the_master_untouched(
    first: Answer, second: Answer, words: str
) -> None:
    trial = after_a_live_change(first, second)
    with pytest.raises(gate.GateClosed) as closed:
        trial.course.open_second(trial.lines.append)
    assert trial.now <= 11 + waits.MOVED_S + waits.ASK_INTERVAL_S
    text = str(closed.value)
    assert "lb1 was left untouched" in text
    assert words in text
    assert "last seen of lb2" in text


def test_vrrp_may_be_another_one_for_a_moment() -> None:
    trial = Trial(
        lambda now: (MASTER_OLD, BACKUP_NEW) if now > 14 else (BACKUP_OLD, MASTER_NEW) if now > 10
        else (MASTER_OLD, BACKUP_OLD), BOTH,
    )  # fmt: skip
    trial.begin()
    trial.course.open_first(trial.lines.append)
    trial.now = 11
    trial.course.open_second(trial.lines.append)
    assert 14 < trial.now < 11 + waits.MOVED_S


def test_the_vips_may_move_where_the_stack_file_lets_them_or_a_node_is_rebooted() -> None:
    for live, preemption in ((BOTH, True), ((), False)):
        trial = after_a_live_change(MASTER_NEW, BACKUP_OLD, live, preemption=preemption)
        trial.course.open_second(trial.lines.append)
        assert trial.now <= 11 + waits.STEADY_S


def test_a_master_may_hand_its_vips_over_to_take_in_a_set() -> None:
    trial = after_a_live_change(BACKUP_NEW, MASTER_OLD)
    trial.course.open_second(trial.lines.append)
    trial.answers = lambda _now: (BACKUP_NEW, MASTER_NEW)
    trial.course.both_serve(trial.lines.append)


def test_a_node_that_is_still_taking_a_set_in_opens_no_gate() -> None:
    applying = Answer(WANTED, "backup", applied=f"applying {WANTED[:12]}")
    trial = Trial(lambda now: (MASTER_OLD, BACKUP_NEW if now >= 30 else applying if now >= 3 else BACKUP_OLD), BOTH)
    trial.begin()
    trial.course.open_first(trial.lines.append)
    trial.course.open_second(trial.lines.append)
    assert trial.now >= 30


def test_a_node_that_was_away_has_to_be_steady_for_longer_also_among_live_changes() -> None:
    trial = Trial(lambda now: (MASTER_OLD, Answer(WANTED, "backup") if now >= 3 else SILENT), BOTH)
    trial.course.look()
    trial.course.order = (1, 0)
    trial.course.open_second(trial.lines.append)
    assert trial.now == 3 + waits.STEADY_S


def test_a_node_that_sees_nothing_of_its_live_change_is_told_apart_and_the_way_out_is_named() -> None:
    trial = Trial(lambda _now: (MASTER_OLD, BACKUP_OLD), BOTH)
    trial.begin()
    with pytest.raises(gate.GateClosed) as closed:
        trial.course.open_second(trial.lines.append)
    assert trial.now == waits.UNSEEN_S
    text = str(closed.value)
    assert "lb1 was left untouched" in text
    assert "lb2 does not see its guestinfo change" in text
    assert "mode: reboot" in text


def test_a_node_that_is_rebooted_or_tells_of_the_set_is_not_taken_for_one_that_sees_nothing() -> None:
    telling = Answer(OLD, "backup", applied=f"applying {WANTED[:12]}")
    for answer, live in ((BACKUP_OLD, ()), (telling, BOTH)):
        trial = Trial(lambda _now, answer=answer: (MASTER_OLD, answer), live)  # type: ignore[misc]
        trial.begin()
        with pytest.raises(gate.GateClosed) as closed:
            trial.course.open_second(trial.lines.append)
        assert trial.now >= LIMIT_S
        assert "see its guestinfo" not in str(closed.value)


def test_a_node_that_refused_its_live_change_is_not_waited_for() -> None:
    refused = Answer(OLD, "backup", applied=f"refused {WANTED[:12]} line 7")
    trial = Trial(lambda _now: (MASTER_OLD, refused), BOTH)
    trial.begin()
    with pytest.raises(gate.GateClosed) as closed:
        trial.course.open_second(trial.lines.append)
    assert trial.now < waits.UNSEEN_S
    assert "has refused set" in str(closed.value)
