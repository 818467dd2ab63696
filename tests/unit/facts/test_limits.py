"""The limits add up: what contains something else takes no less than its parts, through all layers."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lbstack.commands import review, teardown
from lbstack.deploy import pair
from lbstack.engine import run
from lbstack.facts import limits
from lbstack.nodes import health, waits
from lbstack.nodes.course import Course
from lbstack.nodes.health import Answer, Target
from lbstack.nodes.seen import SILENCE_S, Clock
from lbstack.render import paths

ROOT = Path(__file__).parents[3]
APPLIER = (ROOT / "cloudinit" / "guest" / "lbstack-apply").read_text()
GITHUB_JOB_MIN = 360  # no job runs longer


def of_the_applier() -> dict[str, float]:
    """Every number with a name that the guest program has at its top."""
    found: dict[str, float] = {}
    for node in ast.parse(APPLIER).body:
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            for name, value in zip(names, values, strict=False):
                number = value.value if isinstance(value, ast.Constant) else None
                if isinstance(name, ast.Name) and isinstance(number, int | float):
                    found[name.id] = float(number)
    return found


@pytest.mark.parametrize("name", ["JOB", "INSTALL", "UPGRADE", "ADDRESS_WAIT", "HEALTH_WAIT", "LOCK_WAIT", "VRRP_WAIT"])
def test_the_limits_of_the_guest_program_are_the_ones_that_are_counted_on(name: str) -> None:
    assert of_the_applier()[name] == getattr(limits, f"{name}_S")


def test_every_use_of_a_long_limit_in_the_guest_program_is_counted() -> None:
    assert len(re.findall(r", INSTALL, env", APPLIER)) == 2
    assert len(re.findall(r", UPGRADE, env", APPLIER)) == 1
    # Another generation: all of its transaction. A first boot that has one leaves the other upgrade out.
    assert len(re.findall(r"time\.monotonic\(\) \+ UPGRADE", APPLIER)) == 1
    assert len(re.findall(r"\b(?:INSTALL|UPGRADE)\b", APPLIER.partition("# Limits in seconds")[2])) == 2 + 3 + 1 + 1
    assert limits.PACKAGES_S + limits.VERIFY_S == 1860 + 3 * (45 + 20)


def test_the_guest_programs_unit_has_no_limit_of_its_own() -> None:
    unit = (ROOT / "cloudinit" / "lbstack-apply.service.j2").read_text()
    assert "TimeoutStartSec=infinity" in unit
    assert paths.APPLIER in unit or "apply" in unit


@pytest.mark.parametrize("upgrade", [False, True])
def test_the_gate_waits_for_all_that_a_node_may_do(*, upgrade: bool) -> None:
    applier = limits.PACKAGES_S + limits.VERIFY_S + (limits.UPGRADE_S if upgrade else 0)
    assert limits.serving_s(upgrade=upgrade) >= limits.READY_S + applier


def test_a_run_waits_for_both_nodes_and_both_gates_and_a_job_for_the_run() -> None:
    waits = 2 * limits.serving_s(upgrade=True)
    provider = 2 * (limits.CLONE_S + limits.GUEST_NET_MIN * 60)
    assert SILENCE_S + limits.READY_S + waits + provider <= limits.UP_S
    assert review.UP_TIMEOUT_S == limits.UP_S
    assert review.PREVIEW_TIMEOUT_S >= limits.LOOK_UPS_S
    assert teardown.DESTROY_TIMEOUT_S >= limits.LOOK_UPS_S + 2 * limits.SHUTDOWN_S
    assert set(limits.GRACE_S) == set(run.CHANGING)
    assert limits.GRACE_S["up"] >= limits.SHUTDOWN_S + limits.CLONE_S + limits.GUEST_NET_MIN * 60
    assert limits.GRACE_S["destroy"] >= limits.SHUTDOWN_S


def test_the_program_and_the_questions_use_the_same_limits() -> None:
    assert "wait_for_guest_net_timeout=0 if config.rollout.gate else GUEST_NET_MIN" in inspect.getsource(pair)
    assert "custom_timeouts" not in inspect.getsource(pair)  # one would cut what is counted here
    assert limits.QUESTION_S == health.ASK_TIMEOUT_S
    assert limits.READY_S == waits.READY_TIMEOUT_S


def jobs(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"])


@pytest.mark.parametrize(
    ("workflow", "job", "least_s"),
    [
        ("deploy", "deploy", limits.UP_JOB_S),
        ("lab-destroy", "closed", limits.DESTROY_JOB_S),
        ("lab-destroy", "expired", limits.DESTROY_JOB_S),
        ("drift", "drift", limits.SETUP_S + limits.LOOK_UPS_S),
    ],
)
def test_a_job_is_not_cut_short_before_its_command_gives_up(workflow: str, job: str, least_s: float) -> None:
    minutes = jobs(workflow)[job]["timeout-minutes"]
    assert least_s <= minutes * 60 <= GITHUB_JOB_MIN * 60


NODES = (Target("lb1", "192.0.2.1"), Target("lb2", "192.0.2.2"))


def test_a_node_that_installs_its_packages_slowly_is_waited_for() -> None:
    """Its mirror takes all that the guest program allows: longer than a boot, shorter than the gate."""
    now, slow = [0.0], limits.PACKAGES_S + limits.HEALTH_WAIT_S

    def ask(node: Target) -> Answer:
        made = now[0] >= slow or node is NODES[0]
        return Answer("a" * 64, "master" if node is NODES[0] else "backup") if made else Answer(error="no answer")

    def sleep(seconds: float) -> None:
        now[0] += seconds

    course = Course(NODES, "a" * 64, limits.serving_s(upgrade=False), ask, Clock(lambda: now[0], sleep))
    course.begin(lambda _line: None)
    course.both_serve(lambda _line: None)
    assert now[0] >= slow
