"""How figures are taken and shown; their values are not tested."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench import __main__ as command
from bench.figures import Figure, Kind, Progress, Series, by_turns

FAST, SLOW = Series("fast", (1.0, 3.0, 2.0)), Series("slow", (5.0, 5.0, 10.0))
MEMORY = Series("a lab", (1.25, 1.5), "GiB")


def test_jobs_are_timed_by_turns_after_one_run_that_does_not_count() -> None:
    ran: list[str] = []
    found = by_turns({"a": lambda: ran.append("a"), "b": lambda: ran.append("b")}, 3, lambda _: None)
    assert ran == ["a", "b"] * 4
    assert [len(series.values) for series in found.values()] == [3, 3]


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (Figure("a ratio", SLOW, FAST, 1.6), "a ratio: 2.50 x, OVER 1.6 x"),
        (Figure("a difference", SLOW, FAST, 1.0, Kind.DIFFERENCE), "a difference: 3.00 s, OVER 1 s"),
        (Figure("beside another", SLOW, FAST, 6.0, Kind.AMOUNT), "beside another: 5.00 s, within 6 s"),
        (Figure("alone", MEMORY, None, 1.375), "alone: 1.38 GiB, within 1.375 GiB"),
    ],
    ids=["ratio", "difference", "beside another", "alone"],
)
def test_a_figure_is_compared_with_its_bar_as_its_kind_says(figure: Figure, shown: str) -> None:
    assert shown in [line.strip() for line in command.table([figure], []).splitlines()]


def test_one_part_alone_is_measured_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    measured: list[str] = []

    def part(name: str) -> Callable[[int, Progress], list[Figure]]:
        def measure(runs: int, _progress: Progress) -> list[Figure]:
            measured.append(f"{name} {runs}")
            return [Figure(name, Series(name, (1.0,), unit), None, 2.0) for unit in ("s", "ms", "GiB")]

        return measure

    monkeypatch.setattr(command, "PARTS", {name: part(name) for name in command.PARTS})
    assert command.main(["--only", "rehearsal", "--runs", "2", "--json", "--out", str(tmp_path)]) == 0
    assert measured == ["rehearsal 2"]
    assert {figure["name"] for figure in json.loads(capsys.readouterr().out)["figures"]} == {"rehearsal"}
    ET.parse(tmp_path / "results.svg")
    assert command.main(["--runs", "1", "--out", str(tmp_path)]) == 0
    assert measured[1:] == ["previews 1", "rendering 1", "rehearsal 1", "changing 1"]


@pytest.mark.parametrize("runs", ["0", "51"])
def test_a_number_of_runs_without_a_median_or_an_end_is_refused(runs: str) -> None:
    with pytest.raises(SystemExit) as refused:
        command.main(["--runs", runs])
    assert refused.value.code == 2
