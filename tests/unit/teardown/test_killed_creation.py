"""What a killed run was creating is in vCenter without a record: no command makes the last trace of it go away."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from lbstack.cli import main
from lbstack.engine import run as engine
from lbstack.engine.backend import pending_in
from lbstack.engine.record import State
from lbstack.engine.stack import Stack
from lbstack.stackfile.load import load_file
from lbstack.teardown import sweep

ROOT = Path(__file__).parents[3]
LAB = ROOT / "Pulumi.lab.yaml"
TYPE = "vsphere:index/virtualMachine:VirtualMachine"
MACHINE = f"urn:pulumi:lab::lbstack::lbstack:index:LoadBalancerPair${TYPE}::pair-node2"
OLD = "2020-01-01T00:00:00Z"


def step(urn: str, doing: str, **inputs: str) -> dict[str, Any]:
    return {"type": doing, "resource": {"urn": urn, "custom": True, "inputs": inputs}}


class Engine:
    """Answers `stack export` with a record, and notes every other command."""

    def __init__(self, *pending: dict[str, Any]) -> None:
        self.record = {"deployment": {"manifest": {"time": OLD}, "pending_operations": list(pending)}}
        self.asked: list[str] = []

    def quick(self, _stack: Stack, *arguments: str, **_: object) -> str:
        if arguments[:2] == ("stack", "export"):
            return json.dumps(self.record)
        self.asked.append(" ".join(arguments))
        return ""


@pytest.fixture
def with_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    def install(*pending: dict[str, Any]) -> Engine:
        made = Engine(*pending)
        monkeypatch.setenv("PULUMI_BACKEND_URL", tmp_path.as_uri())
        monkeypatch.setattr(engine, "quick", made.quick)
        monkeypatch.setattr(engine, "run", lambda *arguments, **_: made.asked.append(str(arguments[1:])))
        return made

    return install


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A stack file of a lab that may live for a day."""
    file = tmp_path / LAB.name
    file.write_text(LAB.read_text())
    (tmp_path / "Pulumi.yaml").write_text("name: lbstack\nruntime: python\n")
    return file


def test_a_stack_whose_creation_was_killed_is_neither_destroyed_nor_struck_off(
    with_engine: Any, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = with_engine(step(MACHINE, "creating", name="PhotonLB-02"))
    assert main(["destroy", str(lab), "--yes", "--remove"]) == 2
    text = capsys.readouterr().err
    assert "nothing was touched" in text
    assert "a run was killed while it was creating pair-node2 (PhotonLB-02)" in text
    assert "`govc vm.destroy PhotonLB-02`" in text
    assert "`pulumi refresh --yes --clear-pending-creates --stack lab`" in text
    assert made.asked == []


@pytest.mark.parametrize(
    "left",
    [
        [],
        [step(MACHINE, "deleting", name="PhotonLB-02")],
        [step("urn:pulumi:lab::lbstack::pulumi:providers:vsphere::vcenter", "creating")],
    ],
)
def test_other_steps_that_were_killed_keep_no_empty_stack(
    with_engine: Any, lab: Path, left: list[dict[str, Any]]
) -> None:
    made = with_engine(*left)
    assert main(["destroy", str(lab), "--yes", "--remove"]) == 0
    assert made.asked == ["stack rm lab --yes --preserve-config"]


def test_a_creation_that_a_later_run_has_made_good_keeps_nothing() -> None:
    """The engine keeps the killed step in its record all the same."""
    steps = pending_in({"pending_operations": [step(MACHINE, "creating", name="PhotonLB-02")]})
    made = {"custom": True, "urn": MACHINE, "type": TYPE}
    assert State((), None, steps).unknown == list(steps)
    assert State((made,), None, steps).unknown == []


def test_a_creation_that_is_under_way_is_reported_as_a_lock_and_not_as_killed(
    with_engine: Any, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_engine(step(MACHINE, "creating", name="PhotonLB-02"))
    place = lab.parent / ".pulumi" / "locks" / "organization" / "lbstack" / "lab"
    place.mkdir(parents=True)
    (place / "held.json").write_text("{}")
    assert main(["destroy", str(lab), "--yes"]) == 2
    text = capsys.readouterr().err
    assert "locked" in text
    assert "govc vm.destroy" not in text


def test_the_sweeper_sees_a_stack_of_which_only_a_killed_creation_is_left(
    with_engine: Any, lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = with_engine(step(MACHINE, "creating", name="PhotonLB-02"))
    age = sweep.age_of(Stack("lab", lab, lab.parent), load_file(lab), datetime.now(UTC))
    assert age.expired
    assert main(["sweep", str(lab), "--destroy"]) == 2
    assert "govc vm.destroy PhotonLB-02" in capsys.readouterr().err
    assert made.asked == []
