"""The sweeper goes on: one stack that cannot be read, or is refused, keeps no other from being destroyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbstack.cli import main
from lbstack.commands.teardown import DESTROY_TIMEOUT_S
from lbstack.engine.record import State
from lbstack.engine.stack import Stack
from lbstack.problems import LbstackError
from lbstack.teardown import destroy as teardown
from lbstack.teardown import sweep
from lbstack.teardown.destroy import Destroyed, Refused
from lbstack.teardown.sweep import Age

LAB = Path(__file__).parents[3] / "Pulumi.lab.yaml"
NAMES = ["lab-pr-1", "lab-pr-2", "lab-pr-3", "lab-pr-4"]
UNREADABLE, FOREIGN, GONE, OLD = NAMES


@pytest.fixture
def destroyed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the stacks that were destroyed, of four of which one cannot be read, one is refused, one is gone."""
    done: list[str] = []

    def age_of(stack: Stack, *_: object) -> Age:
        if stack.name == UNREADABLE:
            raise LbstackError("Its state is no JSON.")
        return Age(stack.name, 3, 50.0, 24)

    def inspect(stack: Stack, *_: object) -> State | None:
        if stack.name == FOREIGN:
            raise Refused(stack.name, ["it is somebody else's"])
        return None if stack.name == GONE else State(({"custom": True, "type": "x", "urn": "x"},))

    def destroy(stack: Stack, _state: State, _progress: object, timeout_s: float) -> Destroyed:
        done.append(stack.name if timeout_s == DESTROY_TIMEOUT_S else f"{stack.name} within {timeout_s:.0f} s")
        return Destroyed(1, [])

    monkeypatch.setattr(sweep, "stacks_like", lambda found, _: [Stack(name, found.file, LAB.parent) for name in NAMES])
    monkeypatch.setattr(teardown, "remove", lambda _: None)
    monkeypatch.setattr(sweep, "age_of", age_of)
    for function in (inspect, destroy):
        monkeypatch.setattr(teardown, function.__name__, function)
    return done


def test_one_that_cannot_be_read_and_one_that_is_refused_keep_no_other(
    destroyed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", str(LAB), "--prefix", "lab-pr-", "--destroy"]) == 2
    assert destroyed == [OLD]
    output = capsys.readouterr().err
    assert f"{UNREADABLE}: Its state is no JSON." in output
    assert "it is somebody else's" in output


def test_a_list_destroys_nothing_and_reports_of_those_that_cannot_be_read(destroyed: list[str]) -> None:
    assert main(["sweep", str(LAB), "--prefix", "lab-pr-"]) == 2
    assert destroyed == []


@pytest.mark.parametrize("command", [["destroy", "lab-pr-4", "--yes"], ["sweep", str(LAB), "--destroy"]])
def test_an_engine_that_needs_longer_can_be_given_longer(
    destroyed: list[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr("lbstack.commands.teardown.find_stack", lambda _: Stack(OLD, LAB, LAB.parent))
    assert main([*command, "--timeout", "7"]) == 0
    assert destroyed == [f"{OLD} within 7 s"]
