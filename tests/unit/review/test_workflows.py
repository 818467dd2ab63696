"""The form of the workflows: least rights, pinned actions, no stranger's value in a script, nothing cancels `up`."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbstack.facts.limits import UP_JOB_S

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
        # Of GitHub's six hours, a deployment may take what all that it waits for adds up to.
        assert job["timeout-minutes"] <= (math.ceil(UP_JOB_S / 60) if path.stem == "deploy" else 90)
        assert "permissions" in job
        for step in job["steps"]:
            if "uses" in step:
                assert PINNED.fullmatch(step["uses"]), step["uses"]
                if "checkout" in step["uses"]:
                    assert step["with"]["persist-credentials"] is False
            else:
                assert "${{" not in step["run"], "values go through the environment"


NUMBER = "${{ github.event.pull_request.number }}"
STACK = "${{ matrix.stack }}"
# A group keeps one job waiting and cancels the one that waited before, so that no two kinds of jobs may share one.
GROUPS = {
    ("deploy", "deploy"): (f"deploy-{STACK}", False),
    ("drift", "drift"): (f"drift-{STACK}", False),
    ("preview", "preview"): (f"preview-{STACK}-{NUMBER}", True),
    ("lab-destroy", "closed"): (f"lab-destroy-lab-pr-{NUMBER}", False),
    ("lab-destroy", "expired"): ("lab-destroy-expired", False),
}


def test_what_works_on_a_stack_is_cancelled_by_none_of_another_kind_and_a_deployment_by_nothing() -> None:
    found = {}
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            if "vsphere" in job["runs-on"]:
                assert "concurrency" not in yaml.safe_load(path.read_text())
                found[path.stem, name] = tuple(job["concurrency"].values())
    assert found == GROUPS
    groups = [group for group, _ in found.values()]
    assert len(set(groups)) == len(groups)


def test_every_job_that_publishes_does_so_whatever_failed_before_it() -> None:
    steps = [
        (step, job)
        for path in WORKFLOWS
        for job in jobs(path).values()
        for step in job["steps"]
        if ".ci/publish" in step.get("run", "")
    ]
    assert len(steps) == 2
    for step, job in steps:
        assert step["if"] == "${{ !cancelled() }}"
        assert "needs" not in job


def test_a_fork_meets_no_secret() -> None:
    path = next(path for path in WORKFLOWS if path.stem == "preview")
    assert "pull_request_target" not in path.read_text()
    for job in jobs(path).values():
        if "secrets." in str(job):
            assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"
