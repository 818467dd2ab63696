"""The tier machinery itself, run as pytest runs it, on a checkout of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import groupby
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

# Everything of the real tests but the labs and what the tests do: when a lab is made and goes is the question.
ONLY_FIXTURES = """
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import MagicMock

import pytest

LOG = Path(__file__).with_name("log")


def say(what):
    with LOG.open("a") as log:
        log.write(f"{what}\\n")


@contextmanager
def stand_in():
    lab = MagicMock()
    lab.scene.whole.return_value = ""
    say("a lab is made")
    yield lab
    say("the lab goes")


def prepared(root):
    lab = MagicMock()
    lab.prepare.side_effect = lambda: say("a lab is made")
    lab.remove.side_effect = lambda: say("the lab goes")
    return lab


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    order = [argument.partition("::")[0] for argument in config.args]
    items.sort(key=lambda item: order.index(str(item.path.relative_to(config.rootpath))))
    from tests.deploy import harness
    from tests.deploy import conftest as deploy
    from tests.rehearsal import conftest as rehearsal

    harness.require_tools = lambda: None
    deploy.Harness = prepared
    rehearsal.deployed = stand_in


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    say(pyfuncitem.path.stem)
    return True
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


def test_a_tiers_lab_lasts_for_its_files_and_ends_before_the_next_tier(tmp_path: Path) -> None:
    """A worker that comes back, as one does whose neighbour has crashed, gets another one."""
    (tmp_path / "only_fixtures.py").write_text(ONLY_FIXTURES)
    environment = {name: value for name, value in os.environ.items() if name != "CI" and "PYTEST" not in name}
    environment |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(tmp_path)}
    worker = [
        "rehearsal/test_stats_page.py",
        "rehearsal/test_status.py",
        "unit/lab/network/test_record.py",
        "deploy/test_pair_drift.py",
        "deploy/test_pair_deployed.py",
        "unit/lab/home/test_state.py",
        "rehearsal/test_acts.py",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "only_fixtures"]
        + [f"tests/{file}" for file in worker],
        cwd=tiers.TESTS.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    seen = [line for line, _ in groupby((tmp_path / "log").read_text().splitlines())]
    assert seen == [
        "a lab is made",
        "test_stats_page",
        "test_status",
        "the lab goes",
        "test_record",
        "a lab is made",
        "test_pair_drift",
        "test_pair_deployed",
        "the lab goes",
        "test_state",
        "a lab is made",
        "test_acts",
        "the lab goes",
    ]


@pytest.mark.parametrize(
    ("given", "folders"),
    [
        ([], "tests/unit tests/native tests/deploy tests/rehearsal"),
        (["TIERS=unit native deploy"], "tests/unit tests/native tests/deploy"),
        (["TIERS=unit native"], "tests/unit tests/native"),
    ],
)
def test_make_test_runs_all_tiers_or_those_that_are_named(given: list[str], folders: str) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "test", *given], cwd=tiers.TESTS.parent, capture_output=True, text=True, check=True
    )
    assert f"exec pytest {folders} --numprocesses=" in shown.stdout
    assert ("lab build" in shown.stdout) == ("deploy" in folders)  # the others need none of what is built
    assert folders.split() == [f"tests/{tier}" for tier in tiers.TIERS][: len(folders.split())]
