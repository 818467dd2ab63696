"""The start-up benchmark takes out what it names; a text that has moved would be measured as nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench import startup
from bench.startup import MEASURES, Measure
from lab.errors import LabError


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_each_measure_can_be_taken_out_of_a_copy(tmp_path: Path, measure: Measure) -> None:
    copy = startup.without(measure, tmp_path / "copy")
    for file, (there, instead) in measure.changes.items():
        text = (copy / file).read_text()
        assert there not in text or there in instead
        assert not instead or instead in text
        ast.parse(text)


def test_a_text_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="does not have the text of «x» exactly once"):
        startup.without(Measure("x", {"__main__.py": ("no such text", "")}), tmp_path / "copy")
