"""`make check`: what it runs over which files, and that a checker which is missing is no pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import check
from lab.system.cache import CHECKOUT

INJECTION = """\
name: bad
"on": issues
permissions: {}
jobs:
  say:
    runs-on: ubuntu-24.04
    steps:
      - run: echo "${{ github.event.issue.title }}"
"""


def test_a_checker_that_is_missing_is_a_failure_and_reports_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert not check.passes(check.Check("nothing", ("no-such-checker-anywhere",)))
    output = capsys.readouterr().out
    assert "FAILED nothing" in output
    assert "no-such-checker-anywhere is not installed" in output


def test_every_workflow_is_given_to_both_checkers_of_workflows() -> None:
    files = check.tracked()
    workflows = {str(path) for path in (CHECKOUT / ".github" / "workflows").glob("*.yml")}
    chosen = {item.name: item for item in check.workflow_checks(files, Path("/tools/actionlint"))}
    assert set(chosen) == {"actionlint", "zizmor"}
    assert workflows
    for item in chosen.values():
        assert workflows <= set(item.command)


def test_they_are_part_of_the_whole_run() -> None:
    names = [item.name for item in check.checks(check.tracked(), "go", Path("actionlint"))]
    assert {"actionlint", "zizmor"} <= set(names)


def test_a_strangers_words_in_a_script_are_objected_to(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(INJECTION)
    (zizmor,) = [item for item in check.workflow_checks([], Path("actionlint")) if item.name == "zizmor"]
    environment = dict(os.environ) | {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"}
    command = [*zizmor.command, str(bad)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "template-injection" in result.stdout
