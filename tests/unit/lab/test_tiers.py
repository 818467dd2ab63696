"""The tier machinery itself, run as pytest runs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiers

NEEDS_A_TOOL = """
from tests.tiers import require


def test_with_a_tool():
    require("no-such-tool-of-any-machine")
"""
SKIPS_BY_ITSELF = """
import pytest


@pytest.mark.skip(reason="not in the mood")
def test_never_runs():
    raise AssertionError
"""
SKIPS_THE_FILE = """
import pytest

pytest.skip("the whole file is away", allow_module_level=True)
"""
PASSES = """
def test_passes():
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with this project's tier machinery, one passing unit test, and every kind of skip among the others."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib --strict-markers\npythonpath = .\n"
    )
    for tier in ("unit", "native"):
        (tmp_path / "tests" / tier).mkdir(parents=True)
    for name in ("conftest.py", "tiers.py"):
        shutil.copy(tiers.TESTS / name, tmp_path / "tests" / name)
    (tmp_path / "tests/unit/test_passes.py").write_text(PASSES)
    for name, body in {"tool": NEEDS_A_TOOL, "mark": SKIPS_BY_ITSELF, "file": SKIPS_THE_FILE}.items():
        (tmp_path / f"tests/native/test_{name}.py").write_text(body)
    return tmp_path


def run(project: Path, *arguments: str, ci: bool) -> subprocess.CompletedProcess[str]:
    """Run pytest there, with or without CI in its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the other plugins cost a second a run
    if ci:
        environment["CI"] = "true"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_any_kind_of_skip_is_a_failure_under_ci_and_only_there(project: Path) -> None:
    alone = run(project, "tests", "-rs", ci=False)
    assert alone.returncode == 0, alone.stdout
    lines = alone.stdout.splitlines()
    assert "unit       1 passed" in lines
    assert "native     2 skipped" in lines  # a file that is skipped as a whole has no tests to count
    assert any("skipped 1: missing: no-such-tool-of-any-machine" in line for line in lines)
    under_ci = run(project, "tests", "--continue-on-collection-errors", ci=True)
    assert under_ci.returncode != 0
    assert under_ci.stdout.splitlines()[-1].startswith("1 failed, 1 passed, 2 errors")
    for reason in ("missing: no-such-tool-of-any-machine", "not in the mood", "the whole file is away"):
        assert reason in alone.stdout
        assert reason in under_ci.stdout


def test_a_tier_is_chosen_by_its_marker_and_one_that_did_not_run_is_named(project: Path) -> None:
    (project / "tests/native/test_file.py").unlink()  # skipped while it is collected, whatever is chosen
    by_marker = run(project, "tests", "-m", "unit", ci=True)
    assert by_marker.returncode == 0, by_marker.stdout
    assert "unit       1 passed" in by_marker.stdout.splitlines()
    assert any(line.startswith("native     not run") for line in by_marker.stdout.splitlines())


def test_a_tiers_lab_lasts_for_its_files_and_ends_before_the_next_tier() -> None:
    """Guests that go on next to the next tier would cost it time, and so would a lab for each file."""
    files = (
        "rehearsal/test_stats_page",
        "rehearsal/test_status",
        "deploy/test_pair_drift",
        "deploy/test_pair_deployed",
    )
    plan = run(tiers.TESTS.parent, "--setup-plan", *(f"tests/{file}.py" for file in files), ci=False)
    assert plan.returncode == 0, plan.stdout
    assert re.findall(r"^ +(SETUP|TEARDOWN) +\w (rehearsed|tier_lab)\b", plan.stdout, re.MULTILINE) == [
        ("SETUP", "rehearsed"),
        ("TEARDOWN", "rehearsed"),
        ("SETUP", "tier_lab"),
        ("TEARDOWN", "tier_lab"),
    ]


def test_make_test_runs_every_tier_and_builds_tools_for_those_that_need_them() -> None:
    for given, folders in {"": list(tiers.TIERS), "TIERS=unit native": ["unit", "native"]}.items():
        command = ["make", "--dry-run", "test", *filter(None, [given])]
        shown = subprocess.run(command, cwd=tiers.TESTS.parent, capture_output=True, text=True, check=True).stdout
        assert f"exec pytest {' '.join(f'tests/{folder}' for folder in folders)} --numprocesses=" in shown
        assert ("lab build" in shown) == ("deploy" in folders)
