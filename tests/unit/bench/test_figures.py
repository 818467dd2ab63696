"""How figures are taken and shown; what they say is nobody's test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import __main__ as command
from bench.figures import Figure, Kind, Progress, Series, by_turns
from bench.plot import svg
from bench.rendering import sizes
from lbstack.facts.releases import RELEASES
from lbstack.render.pack import GUESTINFO_LIMIT

FAST, SLOW = Series("a fast thing", (1.0, 3.0, 2.0)), Series("a slow & <odd> thing", (4.0, 4.0, 10.0))


def test_jobs_are_timed_by_turns_after_one_run_that_does_not_count() -> None:
    ran: list[str] = []
    found = by_turns({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 3, lambda _: None)
    assert ran == ["a", "b"] * 4
    assert [len(series.values) for series in found.values()] == [3, 3]


def test_a_figure_with_a_baseline_is_a_ratio_of_medians_and_one_without_an_amount() -> None:
    assert Figure("ratio", SLOW, FAST, 1.6).value == pytest.approx(2.0)
    assert Figure("amount", FAST, None, 0.5).value == pytest.approx(2.0)


def test_a_difference_is_in_seconds_and_an_amount_may_have_something_beside_it() -> None:
    more = Figure("more", SLOW, FAST, 1.0, Kind.DIFFERENCE)
    assert more.value == pytest.approx(2.0)
    assert more.unit == "s"
    beside = Figure("beside", SLOW, FAST, 5.0, Kind.AMOUNT)
    assert beside.value == pytest.approx(4.0)
    assert beside.unit == "s"
    text = command.table([more, beside], [])
    assert "more: 2.00 s, OVER 1 s" in text
    assert "beside: 4.00 s, within 5 s" in text


def test_the_table_says_whether_the_bar_is_kept() -> None:
    text = command.table([Figure("over it", SLOW, FAST, 1.6), Figure("under it", FAST, None, 2.5)], [])
    assert "over it: 2.00 x, OVER 1.6 x" in text
    assert "under it: 2.00 s, within 2.5 s" in text


def test_the_picture_is_xml_with_a_row_for_each_series() -> None:
    picture = ET.fromstring(svg([Figure("ratio", SLOW, FAST, 1.6)]))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert FAST.name in texts
    assert SLOW.name in texts


def test_the_picture_has_a_part_for_each_unit_and_a_shared_baseline_once() -> None:
    planned = Series("planned", (40.0,), "ms")
    figures = [Figure(name, Series(name, (400.0,), "ms"), planned, 500, Kind.AMOUNT) for name in ("one", "two")]
    picture = ET.fromstring(svg([Figure("ratio", SLOW, FAST, 1.6), *figures]))
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if text and text.endswith("least to most")] == [
        "Seconds: median, least to most",
        "Milliseconds: median, least to most",
    ]
    assert texts.count("planned") == 1


def test_the_table_and_the_data_name_what_was_measured_with_its_unit_and_how_often() -> None:
    figure = Figure("memory", Series("a lab", (1.25, 1.5), "GiB"), None, 2.0, Kind.AMOUNT)
    text = command.table([figure], [])
    assert re.search(r"^a lab +1\.38 +1\.25 +1\.50 GiB +2$", text, re.MULTILINE)
    assert "memory: 1.38 GiB, within 2 GiB" in text
    assert figure.as_dict()["unit"] == "GiB"


def test_one_part_alone_is_measured_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def part(name: str) -> Callable[[int, Progress], list[Figure]]:
        def measure(runs: int, _progress: Progress) -> list[Figure]:
            measured.append(f"{name} {runs}")
            return [Figure(name, Series(name, (1.0,)), None, 2.0)]

        return measure

    monkeypatch.setattr(command, "PARTS", {name: part(name) for name in command.PARTS})
    assert command.main(["--only", "rehearsal", "--runs", "2", "--json", "--out", str(tmp_path)]) == 0
    assert measured == ["rehearsal 2"]
    assert [figure["name"] for figure in json.loads(capsys.readouterr().out)["figures"]] == ["rehearsal"]
    assert (tmp_path / "results.svg").exists()
    assert command.main(["--runs", "1", "--out", str(tmp_path)]) == 0
    assert measured[1:] == ["previews 1", "rendering 1", "rehearsal 1"]


def test_the_lab_stack_fits_into_guestinfo_on_every_release() -> None:
    found = sizes()
    assert [size.release for size in found] == list(RELEASES)
    assert all(0 < size.encoded <= GUESTINFO_LIMIT for size in found)


@pytest.mark.parametrize("runs", ["0", "51", "many"])
def test_a_senseless_number_of_runs_is_refused(runs: str) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["--runs", runs])
    assert refused.value.code == 2
