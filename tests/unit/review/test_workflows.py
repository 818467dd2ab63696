"""The form of the workflows: least rights, pinned actions, no stranger's value in a script, nothing cancels `up`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).parents[3] / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"actions/(?:checkout|upload-artifact)@[0-9a-f]{40}")


def jobs(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text())["jobs"])


def test_all_five_are_there() -> None:
    assert [path.stem for path in WORKFLOWS] == ["ci", "deploy", "drift", "lab-destroy", "preview"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_workflow_asks_for_nothing_and_pins_everything(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {}
    for job in jobs(path).values():
        assert job["timeout-minutes"] <= 90
        assert "permissions" in job
        for step in job["steps"]:
            if "uses" in step:
                assert PINNED.fullmatch(step["uses"]), step["uses"]
                if "checkout" in step["uses"]:
                    assert step["with"]["persist-credentials"] is False
            else:
                assert "${{" not in step["run"], "values go through the environment"


@pytest.mark.parametrize("name", ["deploy", "preview", "drift"])
def test_what_works_on_a_stack_waits_for_the_others_and_cancels_none(name: str) -> None:
    path = next(path for path in WORKFLOWS if path.stem == name)
    groups = [job["concurrency"] for job in jobs(path).values() if "vsphere" in job["runs-on"]]
    assert groups == [{"group": "stack-${{ matrix.stack }}", "cancel-in-progress": False}]


def test_a_fork_meets_no_secret() -> None:
    path = next(path for path in WORKFLOWS if path.stem == "preview")
    assert "pull_request_target" not in path.read_text()
    for job in jobs(path).values():
        if "secrets." in str(job):
            assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
