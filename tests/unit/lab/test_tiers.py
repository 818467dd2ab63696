"""The tier machinery itself, run as pytest runs it, on a checkout of its own."""

from __future__ import annotations

import os
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
def test_passes(request):
    assert request.node.get_closest_marker("unit")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with this project's tier machinery and one passing unit test."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --import-mode=importlib --strict-markers\npythonpath = .\n"
    )
    for tier in ("unit", "native"):
        (tmp_path / "tests" / tier).mkdir(parents=True)
    for name in ("conftest.py", "tiers.py"):
        shutil.copy(tiers.TESTS / name, tmp_path / "tests" / name)
    (tmp_path / "tests/unit/test_passes.py").write_text(PASSES)
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
    for name, body in {"tool": NEEDS_A_TOOL, "mark": SKIPS_BY_ITSELF, "file": SKIPS_THE_FILE}.items():
        (project / f"tests/native/test_{name}.py").write_text(body)
    alone = run(project, "tests", "-rs", ci=False)
    assert alone.returncode == 0, alone.stdout
    under_ci = run(project, "tests", "--continue-on-collection-errors", ci=True)
    assert under_ci.returncode != 0
    assert under_ci.stdout.splitlines()[-1].startswith("1 failed, 1 passed, 2 errors")
    for reason in ("missing: no-such-tool-of-any-machine", "not in the mood", "the whole file is away"):
        assert reason in alone.stdout
        assert reason in under_ci.stdout


def test_the_summary_names_each_tier_and_why_it_was_skipped_or_not_run(project: Path) -> None:
    (project / "tests/native/test_native.py").write_text(NEEDS_A_TOOL)
    lines = run(project, "tests", ci=False).stdout.splitlines()
    assert "unit       1 passed" in lines
    assert "native     1 skipped" in lines
    assert any("skipped 1: missing: no-such-tool-of-any-machine" in line for line in lines)
    by_marker = run(project, "tests", "-m", "unit", ci=True)
    assert by_marker.returncode == 0
    assert any(line.startswith("native     not run") for line in by_marker.stdout.splitlines())
