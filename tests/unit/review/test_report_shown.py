"""How a report is shown: no value breaks out of it, and it fits into a comment whatever is in it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lbstack.review.markdown import LIMIT, block, markdown_of, span
from lbstack.review.report import Action, Change, Drift, Failure, FileDiff, NodeImpact, Outcome, Report, failed
from lbstack.review.text import text_of, visible

EVIL = "`` ` ```\n```` @octocat <img src=x onerror=alert(1)> | [link](http://x) </details> \x1b[31m \u202e #1 ~~x~~"
FENCE = re.compile("^(`{3,})")
# What GitHub makes a link of in a comment, whatever Markdown escapes.
LINKS = (
    "https://evil.example/x",
    "ftp://evil.example",
    "www.evil.example",
    "a@evil.example",
    "#17",
    "GH-3",
    "gh-3",
    "someone/repo#17",
    "someone/repo@deadbee",
    "deadbeef" * 5,
)
LINKED = re.compile(r"://|www\.|#\d|gh-\d|@\w|(?<![0-9a-f])[0-9a-f]{7,40}(?![0-9a-f])", re.IGNORECASE)


def report(text: str, *, lines: int = 3, items: int = 1) -> Report:
    diff = FileDiff(text, (text,), "changed", tuple(f"+{text}" for _ in range(lines)), lines, 0, text)
    return Report(
        stack=text,
        verdict=text,
        outcome=Outcome.CHANGES_AND_DRIFT,
        drift=tuple(Drift(text, text, text, text, (diff,)) for _ in range(items)),
        noise=(text,),
        files=(diff,) * items,
        services=(text,) * items,
        changes=(Change(text, text),) * items,
        nodes=(NodeImpact(1, text, Action.REBOOT, text, text, text),),
        holder=text,
        warnings=(text,) * items,
    )


def applied(text: str) -> Report:
    """The same of a deployment that failed before it came to the second node."""
    found = report(text)
    left = NodeImpact(0, text, Action.NONE, text, "", text)
    return replace(found, drift=(), applied=True, failure=Failure(text, text, text), nodes=(*found.nodes, left))


def outside_of_code(markdown: str) -> str:
    """What GitHub would read as Markdown: code blocks and code spans taken out."""
    kept, fence = [], ""
    for line in markdown.splitlines():
        found = FENCE.match(line)
        if fence:
            if line.rstrip() == fence:
                fence = ""
            continue
        if found:
            fence = found[1]
            continue
        kept.append(line)
    assert not fence, "a code block is not closed"
    return re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "", "\n".join(kept))


@settings(max_examples=100, deadline=None)
@example("```")
@example("~~~")
@given(st.one_of(st.text(max_size=60), st.text(alphabet="`|<>@\n*_[]()#\\~ a", max_size=40)))
def test_no_value_is_read_as_markdown_or_html(value: str) -> None:
    for found in (report(value), applied(value)):
        rest = outside_of_code(markdown_of(found))
        ours = re.sub(r"</?(?:details(?: open)?|summary|code)>", "", rest)
        assert not re.search(r"(?<!\\)<[a-zA-Z/!]", ours)
        assert not re.search(r"@(?!\u200b)\w", re.sub(r"<code>.*?</code>", "", rest))


def test_the_worst_that_one_thought_of_stays_inside() -> None:
    rest = outside_of_code(markdown_of(report(EVIL)))
    for sign in ("<img", "@octocat", "\x1b", "\u202e", "</details> "):
        assert sign not in re.sub(r"<code>.*?</code>", "", rest.replace("\\<", ""))
    assert rest.count("<details") == rest.count("</details>")
    for line in text_of(report(EVIL)).splitlines():
        assert line == visible(line)


@pytest.mark.parametrize("value", LINKS)
def test_no_value_becomes_a_link_a_mention_or_an_issue(value: str) -> None:
    hostile = report(f"before {value} after")
    hostile = replace(hostile, drift=(*hostile.drift, Drift("x", value, value, value, (), value, value)))
    for found in (hostile, applied(value), failed("lab", Failure("engine", f"{value}\n{value}", value))):
        rest = re.sub(r"<code>.*?</code>", "", outside_of_code(markdown_of(found)))
        assert not LINKED.search(rest), rest


def test_a_drifted_value_is_code_and_the_words_around_it_are_not() -> None:
    item = Drift(
        "PhotonLB-02", "annotation", "annotation: GH-3 `x` in vCenter; deployed: a.", "do", (), "GH-3 `x`", "a"
    )
    shown = markdown_of(replace(report("lab"), drift=(item,)))
    assert "- **`PhotonLB-02`** annotation: `` GH-3 `x` `` in vCenter; deployed: `a`." in shown


@pytest.mark.parametrize("text", ["`", "``", "a`b", "`a", "a``b`c", " ", ""])
def test_a_code_span_holds_its_text_whatever_backticks_are_in_it(text: str) -> None:
    shown = span(text)
    fence = re.match("`+", shown)
    assert fence
    assert shown.endswith(fence[0])
    inner = shown[len(fence[0]) : -len(fence[0])]
    assert fence[0] not in re.findall("`+", inner)


def test_a_code_block_is_fenced_longer_than_anything_in_it() -> None:
    assert block(["```", "`````x"])[0] == "``````"


def test_long_lists_do_not_take_the_room_of_the_one_diff() -> None:
    sentences = tuple(
        f"server Horizon_Connection_Server_{number} is added to {'horizon' * 20}" for number in range(500)
    )
    shown = markdown_of(replace(report("lab", lines=60), drift=(), services=sentences))
    assert shown.count("\n+lab") == 60
    assert "Shortened to fit" in shown


@pytest.mark.parametrize(("lines", "items"), [(10, 1), (5000, 1), (30, 50), (1000, 50)])
def test_every_size_of_report_fits_into_a_comment(lines: int, items: int) -> None:
    found = report("some configuration line of a usual length, with words", lines=lines, items=items)
    shown = markdown_of(found)
    assert len(shown) <= LIMIT
    shortened = "Shortened to fit into a comment" in shown
    assert shortened == (lines * items > 100)
    for heading in ("### Drift", "### Changes", "### Disruption", "### Warnings"):
        assert shown.count(heading) == 1
    assert shown.index("### Drift") < shown.index("### Changes") < shown.index("### Disruption")


def test_texts_of_any_length_fit_too() -> None:
    assert len(markdown_of(report("x" * 5000, lines=20, items=20))) <= LIMIT


def test_changes_are_shortened_before_drift_is() -> None:
    long = report("a line", lines=3000)
    shown = markdown_of(
        replace(long, drift=(replace(long.drift[0], files=(replace(long.files[0], lines=("+d",) * 150),)),))
    )
    assert shown.count("\n+d") == 150


def test_a_failure_is_a_report_with_the_message_and_the_remedy() -> None:
    found = failed("lab", Failure("engine", "it broke\n```\n<b>second</b>", "repair it"))
    assert found.verdict == "Unknown: it broke"
    shown = markdown_of(found)
    assert "repair it" in shown
    assert "<b>" not in outside_of_code(shown)
    assert text_of(found).splitlines()[0] == "lab: Unknown: it broke"
