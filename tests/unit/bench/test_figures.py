"""How figures are taken and shown; what they say is nobody's test."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from bench import __main__ as command
from bench.figures import Figure, Kind, Series, by_turns
from bench.plot import svg
from bench.rendering import sizes
from lbstack.releases import RELEASES
from lbstack.userdata import GUESTINFO_LIMIT

FAST, SLOW = Series("a fast thing", (1.0, 3.0, 2.0)), Series("a slow & <odd> thing", (4.0, 4.0, 10.0))


def test_jobs_are_timed_by_turns_after_one_run_that_does_not_count() -> None:
    ran: list[str] = []
    found = by_turns({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 3, lambda _: None)
    assert ran == ["a", "b"] * 4
    assert [len(series.seconds) for series in found.values()] == [3, 3]


def test_a_figure_with_a_baseline_is_a_ratio_of_medians_and_one_without_a_duration() -> None:
    assert Figure("ratio", SLOW, FAST, 1.6).value == pytest.approx(2.0)
    assert Figure("duration", FAST, None, 0.5).value == pytest.approx(2.0)


def test_a_difference_is_in_seconds_and_a_duration_may_have_something_beside_it() -> None:
    more = Figure("more", SLOW, FAST, 1.0, Kind.DIFFERENCE)
    assert more.value == pytest.approx(2.0)
    assert more.unit == "s"
    beside = Figure("beside", SLOW, FAST, 5.0, Kind.DURATION)
    assert beside.value == pytest.approx(4.0)
    assert beside.unit == "s"
    text = command.table([more, beside], [])
    assert "more: 2.00 s, OVER 1.0 s" in text
    assert "beside: 4.00 s, within 5.0 s" in text


def test_the_table_says_whether_the_bar_is_kept() -> None:
    text = command.table([Figure("over it", SLOW, FAST, 1.6), Figure("under it", FAST, None, 2.5)], [])
    assert "over it: 2.00 x, OVER 1.6 x" in text
    assert "under it: 2.00 s, within 2.5 s" in text


def test_the_picture_is_xml_with_a_row_for_each_series() -> None:
    picture = ET.fromstring(svg([Figure("ratio", SLOW, FAST, 1.6)]))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert FAST.name in texts
    assert SLOW.name in texts


def test_the_lab_stack_fits_into_guestinfo_on_every_release() -> None:
    found = sizes()
    assert [size.release for size in found] == list(RELEASES)
    assert all(0 < size.encoded <= GUESTINFO_LIMIT for size in found)


@pytest.mark.parametrize("runs", ["0", "51", "many"])
def test_a_senseless_number_of_runs_is_refused(runs: str) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["--runs", runs])
    assert refused.value.code == 2
