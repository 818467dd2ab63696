"""Traffic is recorded as it was, and the report states what the project claims or must not claim."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.servers.farm import ensure_certificates
from lab.system.waiting import until
from lab.traffic.attempts import Attempt, Session, from_document, outcome_of, to_line
from lab.traffic.report import Report
from lab.traffic.sender import Target
from lab.traffic.traffic import Plan, Traffic
from tests.unit.lab.servers.servers import HOST, LIMIT_S, NAME, Running, backend


def attempt(at: float, outcome: str = "ok", **changes: object) -> Attempt:
    values = {
        "at": at, "service": "horizon", "target": "192.168.6.123:443", "source": "192.168.6.50", "connect_s": 0.001,
        "total_s": 0.01, "outcome": outcome, "stage": "request" if outcome == "ok" else "connect",
        "status": 200 if outcome == "ok" else 0, "server": "horizon-01" if outcome == "ok" else "",
    }  # fmt: skip
    return Attempt(**values | changes)  # type: ignore[arg-type]


def session(outcome: str = "alive", **changes: object) -> Session:
    values = {
        "service": "horizon", "target": "192.168.6.123:443", "source": "192.168.6.50", "active": True, "opened": 1.0,
        "server": "horizon-01", "last_answer": 5.0, "ended": 5.25, "outcome": outcome,
    }  # fmt: skip
    return Session(**values | changes)  # type: ignore[arg-type]


def report(*entries: Attempt, sessions: tuple[Session, ...] = ()) -> Report:
    return Report(entries, sessions, complete=True)


def test_an_outage_reaches_from_the_first_failure_to_the_next_success() -> None:
    seen = report(
        attempt(1.0),
        attempt(1.02, "refused"),
        attempt(1.04, "timeout"),
        attempt(1.07),
        attempt(2, "reset"),
        attempt(2.5),
    )
    first, second = seen.outages()
    assert (round(first.seconds, 6), len(first.failed)) == (0.05, 2)
    assert seen.longest_outage_s() == 0.5
    assert str(first) == "horizon: 50 ms (1 refused, 1 timeout)"
    assert second.start == 2


def test_without_a_failure_there_is_no_outage_however_slow_an_answer() -> None:
    seen = report(attempt(1, total_s=1.02), attempt(3))
    assert seen.outages() == []
    assert seen.longest_outage_s() == 0
    slowest = seen.slowest()
    assert slowest is not None
    assert slowest.total_s == 1.02


def test_an_outage_that_does_not_end_is_as_long_as_its_last_failure() -> None:
    (outage,) = report(attempt(1), attempt(2, "timeout", total_s=3.0)).outages()
    assert (outage.seconds, outage.end) == (3.0, None)
    assert "not over" in str(outage)


def test_one_services_success_does_not_end_the_outage_of_another() -> None:
    seen = report(
        attempt(1, "refused"), attempt(1.1, service="appvol"), attempt(1.2, "refused"), attempt(1.3), attempt(1.4)
    )
    assert [outage.service for outage in seen.outages()] == ["horizon"]
    assert round(seen.longest_outage_s("horizon"), 6) == 0.3
    assert seen.longest_outage_s("appvol") == 0


def test_the_promise_is_broken_by_a_refused_or_late_connection_and_not_by_a_cut_session() -> None:
    seen = report(attempt(1, "refused"), attempt(2, "timeout"), attempt(3, "reset", stage="request"), attempt(4))
    assert [each.at for each in seen.refused_or_timed_out()] == [1, 2]
    assert [each.at for each in seen.failures()] == [1, 2, 3]
    assert [each.at for each in seen.failures("request")] == [3]


def test_a_client_that_changes_its_server_is_named_with_the_way_it_took() -> None:
    seen = report(
        attempt(1),
        attempt(1.5, source="192.168.6.51", server="horizon-02"),
        attempt(2, server="horizon-02"),
        attempt(2.5, "refused"),
        attempt(3, server="horizon-02"),
        attempt(4),
        attempt(5, source="192.168.6.51", server="horizon-02"),
    )
    assert seen.moved_clients("horizon") == {"192.168.6.50": ["horizon-01", "horizon-02", "horizon-01"]}
    assert seen.by_server() == {"horizon-01": 2, "horizon-02": 4}


def test_lost_sessions_report_how_soon_they_knew() -> None:
    seen = report(sessions=(session(), session("reset")))
    (lost,) = seen.lost_sessions()
    assert str(lost) == "active session horizon from 192.168.6.50 to horizon-01: reset 0.250 s after the last answer"


def test_sessions_that_end_together_are_one_cut_with_time_and_way_and_those_that_never_stood_are_none() -> None:
    sessions = [session("closed", ended=9.0, service="appvol"), session("reset", ended=5.0), session()]
    sessions += [session("reset", ended=5.4, service="appvol"), session("timeout", server="")]
    seen = report(sessions=tuple(sessions))
    assert len(seen.established()) == 4
    assert [(cut.at, str(cut)) for cut in seen.cuts()] == [
        (5.0, "2 established sessions end (1 of appvol, 1 of horizon): reset"),
        (9.0, "1 established sessions end (1 of appvol): closed"),
    ]


def test_a_time_is_cut_out_by_the_beginnings_of_attempts() -> None:
    assert [each.at for each in report(attempt(1), attempt(2), attempt(3)).between(2, 3).attempts] == [2]


def test_the_summary_names_failures_up_to_a_limit() -> None:
    lines = report(*(attempt(1 + number / 100, "refused") for number in range(12)), attempt(2)).lines()
    assert lines[0] == "13 attempts, 12 failed"
    assert sum("failed horizon" in line for line in lines) == 10
    assert any("... and 2 more" in line for line in lines)


def test_a_summary_without_the_last_line_reports_it(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text(to_line(attempt(2)) + to_line(attempt(1)) + to_line(session()) + to_line(attempt(3))[:30])
    seen = Report.load(file)
    assert [each.at for each in seen.attempts] == [1, 2]
    assert seen.sessions == (session(),)
    assert not seen.complete
    assert "(not at its end)" in seen.lines()[0]
    assert seen.as_dict()["complete"] is False


def test_a_missing_file_is_an_error_for_people(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no traffic was recorded"):
        Report.load(tmp_path / "none.jsonl")


def test_a_line_of_another_kind_is_no_record() -> None:
    assert from_document({"kind": "end", "at": 1.0}) is None


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ConnectionRefusedError(), "refused"),
        (TimeoutError(), "timeout"),
        (OSError(errno.ETIMEDOUT, ""), "timeout"),
        (ConnectionResetError(), "reset"),
        (BrokenPipeError(), "reset"),
        (OSError(errno.EHOSTUNREACH, ""), "unreachable"),
        (ssl.SSLError(), "tls"),
        (ssl.SSLEOFError(), "closed"),
        (asyncio.IncompleteReadError(b"", 1), "closed"),
        (EOFError(), "closed"),
        (ValueError("no HTTP"), "error: no HTTP"),
    ],
)
def test_each_failure_has_its_word(error: Exception, word: str) -> None:
    assert outcome_of(error) == word


# --- the sender, on loopback ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("backends")
    ensure_certificates(directory, [backend()])
    return directory


@pytest.fixture
def running(certificates: Path) -> Iterator[Running]:
    made = Running("horizon", "/favicon.ico", certificates)
    made.call(made.server.start)
    try:
        yield made
    finally:
        made.close()


def plan(port: int, certificates: Path, *, hostname: str = NAME, **changes: object) -> Plan:
    values = {
        "namespace": None, "targets": (Target("horizon", HOST, port, hostname),), "clients": (HOST, "127.0.0.2"),
        "ca_file": certificates / "ca.pem", "seconds": LIMIT_S,
    }  # fmt: skip
    return Plan(**values | changes)  # type: ignore[arg-type]


def seen_so_far(traffic: Traffic, enough: Callable[[Report], bool]) -> Report:
    def check() -> Report | None:
        found = traffic.report()
        return found if enough(found) else None

    return until(check, LIMIT_S, "enough traffic")


def test_requests_are_answered_by_a_named_server_for_each_client(
    running: Running, certificates: Path, tmp_path: Path
) -> None:
    with Traffic(plan(running.port, certificates), tmp_path / "t.jsonl") as traffic:
        seen_so_far(traffic, lambda seen: len(seen.attempts) >= 20)
    seen = traffic.report()
    assert seen.complete
    assert seen.failures() == []
    assert set(seen.servers_of_clients("horizon")) == {HOST, "127.0.0.2"}
    assert seen.by_server().total() == len(seen.attempts)
    assert running.server.as_dict()["probes"] == {}


def test_requests_begin_on_the_clock_whether_or_not_they_are_answered(certificates: Path, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as silent:
        quiet = plan(silent.getsockname()[1], certificates, rate=50.0, limit_s=0.4)
        with Traffic(quiet, tmp_path / "t.jsonl") as traffic:
            seen_so_far(traffic, lambda seen: len(seen.attempts) >= 5)
        seen = traffic.report()
    assert {(each.outcome, each.stage) for each in seen.attempts} == {("timeout", "tls")}
    # Each takes 0.4 s; if one waited for the other, they would begin that far apart.
    assert seen.attempts[4].at - seen.attempts[0].at < 0.4
    assert seen.complete


def test_a_server_that_dies_shows_as_refused_and_its_sessions_as_lost(
    running: Running, certificates: Path, tmp_path: Path
) -> None:
    traffic = Traffic(plan(running.port, certificates, sessions=2, idle_sessions=1), tmp_path / "t.jsonl")
    traffic.start()
    seen_so_far(traffic, lambda seen: len(seen.attempts) >= 3)
    killed = time.monotonic()
    running.call(running.server.kill)
    seen_so_far(traffic, lambda seen: bool(seen.failures("connect")))
    running.call(running.server.start)
    seen_so_far(traffic, lambda seen: bool(seen.outages()) and seen.outages()[-1].end is not None)
    seen = traffic.stop()
    assert {each.outcome for each in seen.failures("connect")} == {"refused"}
    assert seen.outages()[-1].start >= killed - 1
    assert len(seen.lost_sessions()) == 3
    assert all(lost.ended - killed < 5 and lost.server == "horizon-01" for lost in seen.lost_sessions())


def test_sessions_that_live_to_the_end_are_asked_once_more(
    running: Running, certificates: Path, tmp_path: Path
) -> None:
    sessions = plan(running.port, certificates, rate=0, sessions=1, idle_sessions=2)
    with Traffic(sessions, tmp_path / "t.jsonl") as traffic:
        assert running.server.as_dict()["connections"] == 3
    seen = traffic.report()
    assert [(each.active, each.outcome) for each in sorted(seen.sessions, key=lambda each: each.active)] == [
        (False, "alive"),
        (False, "alive"),
        (True, "alive"),
    ]
    assert seen.attempts == ()


def test_a_server_that_cannot_be_trusted_is_no_answer(running: Running, certificates: Path, tmp_path: Path) -> None:
    wrong = plan(running.port, certificates, hostname="other.lab.example", sessions=1)
    with Traffic(wrong, tmp_path / "t.jsonl") as traffic:
        seen_so_far(traffic, lambda seen: bool(seen.attempts))
    seen = traffic.report()
    assert {(each.outcome, each.stage) for each in seen.attempts} == {("tls", "tls")}
    assert [each.outcome for each in seen.sessions] == ["tls"]


def test_an_error_status_is_a_failure_with_its_server(running: Running, certificates: Path, tmp_path: Path) -> None:
    target = Target("horizon", HOST, running.port, NAME, "/nowhere")
    with Traffic(plan(running.port, certificates, targets=(target,)), tmp_path / "t.jsonl") as traffic:
        seen = seen_so_far(traffic, lambda seen: bool(seen.attempts))
    assert (seen.attempts[0].outcome, seen.attempts[0].status, seen.attempts[0].server) == ("http", 404, "horizon-01")


def test_a_probe_only_connects(certificates: Path, tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as pool:

        def first_bytes() -> bytes:
            connection, _ = listening.accept()
            with connection:
                try:
                    return connection.recv(1)
                except ConnectionResetError:
                    return b""

        received = pool.submit(first_bytes)
        probe = plan(listening.getsockname()[1], certificates, connect_only=True, hostname="", rate=20.0)
        with Traffic(probe, tmp_path / "t.jsonl") as traffic:
            seen = seen_so_far(traffic, lambda seen: len(seen.attempts) >= 3)
        assert received.result(LIMIT_S) == b""
    assert {(each.outcome, each.stage) for each in seen.attempts} == {("ok", "connect")}


def test_it_ends_by_itself_when_its_time_is_up(running: Running, certificates: Path, tmp_path: Path) -> None:
    traffic = Traffic(plan(running.port, certificates, seconds=0.5), tmp_path / "t.jsonl")
    traffic.start()
    assert traffic.wait().complete


def test_what_keeps_it_from_starting_is_reported(tmp_path: Path, certificates: Path) -> None:
    nowhere = plan(1, certificates, namespace="lbs-no-such-lab")
    with pytest.raises(LabError, match="lbs-no-such-lab cannot be entered"):
        Traffic(nowhere, tmp_path / "t.jsonl").start()
