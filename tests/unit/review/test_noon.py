"""The line that says whether a merge is safe in working hours, and the section about files inside of the guests."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from lbstack.config.models import StackConfig
from lbstack.nodes.about import About, Edits, State
from lbstack.nodes.health import Answer
from lbstack.render.files import RenderedPair, render_pair
from lbstack.render.paths import HAPROXY_DROPIN
from lbstack.review.build import build
from lbstack.review.markdown import markdown_of
from lbstack.review.report import Outcome, Report
from lbstack.review.text import text_of
from tests.unit.review.runs import MASTER, STANDBY, case, extra_config, recorded, run

ANSWERS = {MASTER: Answer("0" * 64, "master"), STANDBY: Answer("0" * 64, "backup")}
WELL = About(State.APPLIED, "", "2.6.15", "2.2.7", 0, 8, Edits(0, kept=False, paths=()))
TOLD = {MASTER: WELL, STANDBY: WELL}
SAFE = "Safe at noon: no session is cut."
Change = Callable[[StackConfig], StackConfig]


def timeout(config: StackConfig) -> StackConfig:
    service = config.services["horizon"]
    longer = service.model_copy(update={"timeouts": service.timeouts.model_copy(update={"tunnel": "3h"})})
    return config.model_copy(update={"services": dict(config.services) | {"horizon": longer}})


def no_appvol(config: StackConfig) -> StackConfig:
    return config.model_copy(update={"services": {"horizon": config.services["horizon"]}})


def fewer_servers(config: StackConfig) -> StackConfig:
    service = config.services["horizon"]
    fewer = service.model_copy(update={"servers": service.servers[:1]})
    return config.model_copy(update={"services": dict(config.services) | {"horizon": fewer}})


def router_id(config: StackConfig) -> StackConfig:
    return config.model_copy(update={"vrrp": config.vrrp.model_copy(update={"router_id": 99})})


def more_connections(config: StackConfig) -> StackConfig:
    return config.model_copy(update={"haproxy": config.haproxy.model_copy(update={"maxconn": 9000})})


def pair_of(change: Change) -> RenderedPair:
    config, secrets = case()
    return render_pair(change(config), secrets)


def live(step: dict[str, Any]) -> None:
    step["new"]["inputs"]["extraConfigRebootRequired"] = False


def preview(
    change: Change,
    *,
    plan: str = "set-plan",
    edit: Callable[[dict[str, Any]], None] | None = live,
    answers: dict[str, Answer] | None = ANSWERS,
    told: dict[str, About] | None = TOLD,
) -> Report:
    usual, new = extra_config(), extra_config(pair=pair_of(change))
    look = run(recorded("unchanged-look"), usual, usual, usual)
    return build("lab", run(recorded(plan, edit), usual, new), look, answers, told=told)


@pytest.mark.parametrize(
    ("change", "cut", "text"),
    [
        (timeout, False, SAFE),
        (fewer_servers, False, SAFE),
        (no_appvol, True, "Not safe at noon: sessions through 192.168.6.124 are cut: it goes away."),
        (
            more_connections,
            True,
            f"Not safe at noon: sessions through {MASTER} are cut: hand-over, because of {HAPROXY_DROPIN}.",
        ),
        (router_id, True, "Not safe at noon: both nodes would hold the VIPs for a while, see the warnings."),
    ],
)
def test_a_live_change_is_safe_or_says_whose_sessions_are_cut_and_why(
    change: Change, *, cut: bool | None, text: str
) -> None:
    report = preview(change)
    assert report.noon is not None
    assert (report.noon.cut, report.noon.text) == (cut, text)
    assert text_of(report).splitlines()[1] == text
    sign = "🔴" if cut else "🟢"
    assert markdown_of(report).splitlines()[2].startswith(f"{sign} **{text[:20]}")
    assert json.loads(json.dumps(report.as_data()))["noon"] == {"cut": cut, "text": text}


def test_a_reboot_of_the_node_that_holds_the_vips_cuts_its_sessions() -> None:
    report = preview(timeout, edit=None)
    assert report.noon is not None
    assert report.noon.cut is True
    assert report.noon.text.startswith(f"Not safe at noon: sessions through {MASTER} are cut: reboot, because its set")


def test_where_nobody_knows_who_holds_the_vips_it_is_not_called_safe() -> None:
    for answers in (None, {node: Answer(error="no answer") for node in ANSWERS}):
        report = preview(timeout, edit=None, answers=answers)
        assert report.noon is not None
        assert report.noon.cut is None
        assert report.noon.text.startswith("Perhaps not safe at noon: sessions through the node that holds the VIPs")
        assert "🟡" in markdown_of(report)
        assert preview(timeout, answers=answers).noon == dataclasses.replace(report.noon, cut=False, text=SAFE)


def test_where_nothing_is_done_there_is_no_such_line() -> None:
    usual = extra_config()
    look = run(recorded("unchanged-look"), usual, usual, usual)
    report = build("lab", run(recorded("unchanged-plan"), usual, usual), look, ANSWERS, told=TOLD)
    assert report.noon is None
    assert report.outcome is Outcome.NOTHING
    assert "noon" not in text_of(report)
    assert f"- {MASTER}: as the set has them." in text_of(report)


def edited(*, kept: bool) -> Report:
    edits = dataclasses.replace(WELL, edits=Edits(7, kept=kept, paths=("/root/.ssh/authorized_keys",)))
    usual = extra_config()
    look = run(recorded("unchanged-look"), usual, usual, usual)
    told = TOLD | {STANDBY: edits}
    return build("lab", run(recorded("unchanged-plan"), usual, usual), look, ANSWERS, told=told)


def test_files_that_were_edited_on_a_node_are_drift_with_what_becomes_of_them() -> None:
    report = edited(kept=False)
    assert report.drifting
    assert report.outcome is Outcome.DRIFT
    assert report.verdict == f"Drift on {STANDBY}; no change in the stack file."
    assert f"  - {STANDBY}: 7 edited on the node: /root/.ssh/authorized_keys and 6 more." in text_of(report)
    for shown in (text_of(report), markdown_of(report)):
        assert "restores them at the next change or boot" in shown
    (guest,) = [each for each in report.as_data()["guests"] if each["node"] == STANDBY]  # type: ignore[attr-defined]
    assert (guest["number"], guest["kept"]) == (7, False)


def test_files_that_are_kept_on_purpose_are_shown_and_are_no_drift() -> None:
    report = edited(kept=True)
    assert not report.drifting
    assert report.outcome is Outcome.NOTHING
    assert "The node keeps them until a change of the stack file changes them" in text_of(report)


@pytest.mark.parametrize(
    ("answers", "told", "text"),
    [
        (None, None, "unknown: it was not asked."),
        ({}, {}, "unknown: it was not asked."),
        (
            ANSWERS,
            {node: About() for node in ANSWERS},
            "unknown: it does not tell, as nodes of an earlier release do not.",
        ),
        (
            {node: Answer(error="x") for node in ANSWERS},
            {node: About() for node in ANSWERS},
            "unknown: it does not answer.",
        ),
    ],
)
def test_silence_is_unknown_and_not_well(
    answers: dict[str, Answer] | None, told: dict[str, About] | None, text: str
) -> None:
    report = preview(timeout, answers=answers, told=told)
    assert [guest.number for guest in report.guests] == [None, None]
    assert text_of(report).count(text) == 2
    assert f"**`{MASTER}`** {text[:7]}" in markdown_of(report)


def test_different_versions_and_a_node_at_the_bound_are_warnings() -> None:
    odd = dataclasses.replace(WELL, haproxy="2.6.16", old_workers=8)
    report = preview(timeout, told=TOLD | {STANDBY: odd})
    assert f"The nodes have different versions of HAProxy: 2.6.15 on {MASTER} and 2.6.16 on {STANDBY}." in (
        report.warnings
    )
    assert any(text.startswith(f"{STANDBY} has 8 old workers of HAProxy") for text in report.warnings)
