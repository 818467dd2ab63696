"""The list of sabotages stays one that can be tried, and a test that fails for another reason proves nothing."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.rehearsal import sabotage
from tests.rehearsal.sabotage import CHECKOUT, SABOTAGES, Run, Sabotage, verdict

# Every way in which a test can go, for pytest itself to report.
OUTCOMES = """
import pytest


@pytest.fixture
def prepared():
    raise RuntimeError("two masters")


@pytest.mark.parametrize("case", [1])
def test_passes(case):
    pass


@pytest.mark.parametrize("case", [1])
def test_fails(case):
    assert case == 2


def test_unprepared(prepared):
    pass


@pytest.mark.skip(reason="no root")
def test_skipped():
    pass
"""


@pytest.mark.parametrize("each", SABOTAGES, ids=[each.name for each in SABOTAGES])
def test_a_safeguard_stands_where_it_is_taken_out_and_its_test_is_there(each: Sabotage) -> None:
    """`make sabotage` would report it too, but nobody runs that for every change."""
    sabotage.taken_out(each, (CHECKOUT / each.file).read_text())
    file, _, name = each.test.partition("::")
    found = re.fullmatch(r"(\w+)(?:\[(.+)\])?", name)
    assert found
    function = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), found[1])
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    cases = [str(case) for mark in marks for case in mark.args[1]]
    assert (found[2] in cases) if found[2] else not cases


def test_only_a_failure_of_the_test_itself_or_the_expected_words_are_proof(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the other plugins cost a second a run
    (tmp_path / "test_outcomes.py").write_text(OUTCOMES)
    words = {
        "test_outcomes.py::test_passes[1]": "it passes all the same",
        "test_outcomes.py::test_fails[1]": "",
        "test_outcomes.py::test_unprepared": "it did not get as far as the test: E       RuntimeError: two masters",
        "test_outcomes.py::test_skipped": "it did not get as far as the test",
    }
    runs = sabotage.run(list(words), tmp_path)
    (tmp_path / "test_broken.py").write_text("a safeguard that was cut out so that nothing can be imported")
    words["test_broken.py::test_never_reached"] = "it did not get as far as the test"
    runs |= sabotage.run(["test_broken.py::test_never_reached"], tmp_path)
    found = {name: verdict(Sabotage("late", "file", "what", "by", name), run) for name, run in runs.items()}
    assert {name: output for name, output in found.items() if bool(output) != bool(words[name])} == {}
    assert {name: output for name, output in found.items() if not output.startswith(words[name])} == {}
    early = Sabotage("early", "file", "what", "by", "test", unprepared="two masters")
    assert verdict(early, runs["test_outcomes.py::test_unprepared"]) == ""
    assert verdict(early, runs["test_outcomes.py::test_skipped"]) != ""


def test_a_test_that_fails_with_the_safeguard_in_place_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    each = Sabotage("a", "file", "guard", "", "test")
    (tmp_path / "file").write_text("guard")
    seen = []

    def run(tests: list[str], copy: Path) -> dict[str, Run]:
        seen.append((copy / "file").read_text())
        return dict.fromkeys(tests, Run(passed=False, failed="E  it noticed"))

    monkeypatch.setattr(sabotage, "run", run)
    broken = Run(passed=False, unprepared="E  no engine")
    assert "with the safeguard in place too: E  no engine" in sabotage.missed(each, tmp_path, broken)
    assert seen == []
    assert sabotage.missed(each, tmp_path, Run(passed=True)) == ""
    assert seen == [""]
    assert (tmp_path / "file").read_text() == "guard"
