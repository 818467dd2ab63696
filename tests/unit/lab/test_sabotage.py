"""The list of sabotages stays one that can be tried, and a test that fails for another reason proves nothing."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.rehearsal import sabotage
from tests.rehearsal.sabotage import CHECKOUT, SABOTAGES, Run, Sabotage, outcomes, verdict

NAMES = [each.name for each in SABOTAGES]


@pytest.mark.parametrize("each", SABOTAGES, ids=NAMES)
def test_every_safeguard_stands_where_it_is_taken_out_just_once(each: Sabotage) -> None:
    text = (CHECKOUT / each.file).read_text()
    without = sabotage.taken_out(each, text)
    assert without != text
    with pytest.raises(ValueError, match="has to follow"):
        sabotage.taken_out(each, text + each.what)
    with pytest.raises(ValueError, match="has to follow"):
        sabotage.taken_out(each, "something else")


@pytest.mark.parametrize("each", SABOTAGES, ids=NAMES)
def test_every_test_that_has_to_fail_is_there(each: Sabotage) -> None:
    file, _, name = each.test.partition("::")
    found = re.fullmatch(r"(\w+)(?:\[(.+)\])?", name)
    assert found
    function = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), found[1])
    cases = [str(case) for mark in getattr(function, "pytestmark", ()) for case in mark.args[1]]
    assert (found[2] in cases) if found[2] else not cases


def outcome(child: str) -> Run:
    """How a test went by a report of pytest's."""
    case = f"<testcase classname='tests.rehearsal.test_acts' name='test_t[1]'>{child}</testcase>"
    (name, run), *others = outcomes(f"<testsuites><testsuite>{case}</testsuite></testsuites>").items()
    assert (name, others) == ("tests/rehearsal/test_acts.py::test_t[1]", [])
    return run


def test_a_failure_an_unprepared_test_a_skip_and_a_pass_are_told_apart() -> None:
    assert outcome("") == Run(passed=True)
    assert outcome("<failure message='m'>E  why</failure>") == Run(passed=False, failed="m\nE  why")
    assert outcome("<error message='m'>E  why</error>") == Run(passed=False, unprepared="m\nE  why")
    assert outcome("<skipped message='m'>no root</skipped>") == Run(passed=False, unprepared="m\nno root")


def test_a_test_that_pytest_does_not_find_did_not_pass(tmp_path: Path) -> None:
    (run,) = sabotage.run(["test_nothing.py::test_nothing"], tmp_path).values()
    assert not run.passed
    assert "exit code 4" in run.unprepared


def test_only_a_failure_of_the_test_itself_or_the_expected_words_are_proof() -> None:
    plain = Sabotage("a", "f", "what", "by", "test")
    early = Sabotage("b", "f", "what", "by", "test", unprepared="two masters")
    assert verdict(plain, Run(passed=False, failed="assert 1 == 2")) == ""
    assert verdict(plain, Run(passed=True)) == "it passes all the same"
    assert "no space left" in verdict(plain, Run(passed=False, unprepared="E  OSError: no space left"))
    assert verdict(early, Run(passed=False, unprepared="waited: two masters")) == ""
    assert "no space left" in verdict(early, Run(passed=False, unprepared="E  OSError: no space left"))


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
