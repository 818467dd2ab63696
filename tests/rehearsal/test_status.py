"""The live view of a pair that runs: what a person sees, what a program reads, what a broken pair shows."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.acts import faults
from lab.system.waiting import until
from tests.deploy.engine import Result
from tests.rehearsal.conftest import Rehearsal

LIMIT_S = 30.0


def shown(result: Result) -> dict[str, Any]:
    """What a command printed as JSON."""
    return dict(json.loads(result.out))


def test_the_lab_shows_guests_ports_and_the_pair(pair: Rehearsal) -> None:
    pair.wait_until_healthy()
    found = shown(pair.lab.cli("status", "--json").ok())
    assert {guest["guest"] for guest in found["guests"].values()} == {"running"}
    assert {guest["port"] for guest in found["guests"].values()} == {"connected"}
    assert found["pair"]["healthy"] is True
    nodes = {node["name"]: node for node in found["pair"]["nodes"]}
    assert nodes[pair.master]["vrrp"] == "master"
    assert set(nodes[pair.master]["vips"]) == {str(vip) for vip in pair.scene.network.topology.vips}
    assert nodes[pair.standby]["vips"] == []
    text = pair.lab.cli("status").ok().text
    assert "(deployed)" in text
    assert "Horizon_Connection_Server_01" in text


@pytest.mark.parametrize(
    ("act", "message"), [("freeze", "does not serve"), ("link", "does not serve"), ("hang", "does not serve")]
)
def test_a_broken_standby_is_reported_with_the_reason(pair: Rehearsal, act: str, message: str) -> None:
    node = pair.standby
    faults.ACTS[act].do(pair.scene, node)
    try:
        result = until(lambda: broken(pair), LIMIT_S, "the status to show it")
        assert f"{node} {message}" in result.text
        assert "which is inside `managementNetworks`" in result.text
    finally:
        assert faults.heal(pair.scene, print).passed


def broken(pair: Rehearsal) -> Result | None:
    """The status of a pair that is not well."""
    result = pair.lab.cli("status")
    return result if result.code == 1 else None


def test_lbstack_status_shows_the_same_for_any_stack(pair: Rehearsal) -> None:
    pair.wait_until_healthy()
    result = pair.lab.cli("exec", "--", "lbstack", "status", str(pair.lab.paths.stack_file), "--json").ok()
    found = shown(result)
    assert found["healthy"] is True
    assert found["wanted"] == pair.lab.outputs()["config_hash"]


def test_lbstack_status_goes_on_until_interrupted(pair: Rehearsal) -> None:
    command = ["lbstack", "status", str(pair.lab.paths.stack_file), "--json", "--watch", "--every", "1"]
    workspace = pair.lab.workspace
    pair.wait_until_healthy()
    with subprocess.Popen(
        [*workspace.station, *command],
        env=workspace.environment(),
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        looks = [json.loads(running.stdout.readline()) for _ in range(2)]
        running.send_signal(2)
        running.communicate(timeout=LIMIT_S)
    assert [look["healthy"] for look in looks] == [True, True]
    assert running.returncode == 0
