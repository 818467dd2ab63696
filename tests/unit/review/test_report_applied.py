"""Reports of deployments: what was done, on which node, and after what a failed one ended."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from lbstack.engine.events import Event
from lbstack.nodes.health import Answer
from lbstack.review.applied import build
from lbstack.review.markdown import markdown_of
from lbstack.review.report import Action, Failure, Outcome, Report
from lbstack.review.text import text_of
from tests.unit.review.runs import MASTER, STANDBY, case, extra_config, recorded, run, urn
from tests.unit.review.test_report_build import HASH, with_line

FAILURE = Failure("engine", f"the datastore is full, and {HASH}\nupdating", "Make room.")
FIRST, SECOND = urn("pair-node2"), urn("pair-node1")


def events(broken: str = "", missing: str = "") -> list[Event]:
    """The events of a deployment of a changed set: what fails does not finish, what is missing was never begun."""
    kept: list[Event] = []
    for event in recorded("set-plan"):
        kind = next(iter(event))
        about = event[kind].get("metadata", {}).get("urn")
        if about == broken and kind == "resOutputsEvent":
            kept.append({"resOpFailedEvent": {"metadata": event[kind]["metadata"], "status": 2}})
        elif about != missing or not about:
            kept.append(event)
    return kept


def applied(log: list[Event], failure: Failure | None = None, **options: Any) -> Report:
    usual = extra_config()
    new = extra_config(pair=with_line("hard-stop-after 10h", "hard-stop-after 9h"))
    return build("lab", run(log, usual, new), failure, **options)


def test_what_was_done_is_reported_once_and_in_its_order() -> None:
    report = applied(events())
    assert (report.verdict, report.outcome) == ("Applied: 1 file on 2 nodes changed (reboot).", Outcome.APPLIED)
    (file,) = report.files
    assert file.nodes == (MASTER, STANDBY)
    assert [(node.order, node.node, node.action) for node in report.nodes] == [
        (1, STANDBY, Action.REBOOT),
        (2, MASTER, Action.REBOOT),
    ]
    for shown in (text_of(report), markdown_of(report)):
        assert shown.count("hard-stop-after 9h") == 1
        assert "Drift" not in shown


def test_nothing_to_do_is_reported_too() -> None:
    usual = extra_config()
    report = build("lab", run(recorded("unchanged-plan"), usual, usual))
    assert (report.verdict, report.outcome) == ("Nothing was to be done.", Outcome.NOTHING)
    assert report.nodes == ()


def test_a_node_on_which_it_failed_is_not_reported_as_done() -> None:
    report = applied(events(broken=SECOND), FAILURE)
    assert report.outcome is Outcome.FAILED
    assert report.verdict.startswith("Failed, after 1 file on 1 node changed (reboot): the datastore is full")
    (file,) = report.files
    assert file.nodes == (STANDBY,)
    assert [(node.order, node.node) for node in report.nodes] == [(1, STANDBY), (2, MASTER)]
    assert report.nodes[1].reason.startswith("it failed there")
    for shown in (text_of(report), markdown_of(report), json.dumps(report.as_data())):
        assert "Make room" in shown
        assert HASH not in shown


def test_a_node_that_the_run_did_not_come_to_is_reported_as_left_alone() -> None:
    answers = {
        STANDBY: Answer(error="no answer from http://192.168.6.121:8405/health"),
        MASTER: Answer("a" * 64, "master"),
    }
    report = applied(events(missing=SECOND), FAILURE, answers=answers)
    left = report.nodes[-1]
    assert (left.order, left.node, left.action) == (0, MASTER, Action.NONE)
    assert "left as it was" in text_of(report)
    assert f"- **`{MASTER}`** left as it was" in markdown_of(report)
    assert "serves set aaaaaaaaaaaa as VRRP master" in text_of(report)
    assert "no answer" in markdown_of(report)


def test_a_node_with_which_nothing_was_to_be_done_is_not_reported_as_left_alone() -> None:
    usual = extra_config()
    report = build("lab", run(recorded("unchanged-plan"), usual, usual), FAILURE)
    assert report.nodes == ()
    assert report.outcome is Outcome.FAILED


def test_a_step_that_was_begun_and_not_ended_is_reported_as_that() -> None:
    log = [
        event
        for event in events()
        if event.get("resOutputsEvent", {}).get("metadata", {}).get("urn") != SECOND or "resOutputsEvent" not in event
    ]
    report = applied(log, FAILURE)
    assert [(node.order, node.node) for node in report.nodes] == [(1, STANDBY), (2, MASTER)]
    assert report.nodes[1].reason.startswith("it was begun and not ended")
    assert report.verdict.startswith("Failed, after 1 file on 1 node changed")


def test_a_run_that_failed_before_it_did_anything_reports_it() -> None:
    usual = extra_config()
    prelude = [event for event in recorded("unchanged-plan") if "preludeEvent" in event]
    report = build("lab", run(prelude, usual, usual), FAILURE)
    assert report.verdict.startswith("Failed, and nothing was changed: the datastore is full")
    assert [node.order for node in report.nodes] == [0, 0]


def test_a_changed_password_is_reported_by_its_digest() -> None:
    _, secrets = case()
    hashes = dict(secrets.stats_hashes) | {"admin": HASH}
    new = extra_config(dataclasses.replace(secrets, stats_hashes=hashes))
    report = build("lab", run(events(), extra_config(), new))
    lines = [line for file in report.files for line in file.lines if line[0] in "+-"]
    assert len(lines) == 2
    assert all("<redacted:" in line for line in lines)
