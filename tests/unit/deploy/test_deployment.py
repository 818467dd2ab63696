"""Looking up and rendering happen side by side; neither alone makes anything."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from lbstack.deploy.site import Site
from lbstack.render import fitting, pack
from tests.unit.deploy import sites
from tests.unit.deploy.conftest import Program, RecordingMonitor

STACK, PROVIDER = "pulumi:pulumi:Stack", "pulumi:providers:vsphere"


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types of all resources that the engine was asked for, also by a run that fails."""
    seen: list[str] = []
    register = RecordingMonitor.RegisterResource

    def recorded(self: RecordingMonitor, request: Any) -> Any:
        seen.append(request.type)
        return register(self, request)

    monkeypatch.setattr(RecordingMonitor, "RegisterResource", recorded)
    return seen


def refused(program: Program, **arguments: Any) -> str:
    """The message of a run that ends with one."""
    with pytest.raises(pulumi.RunError) as refusal:
        program(**arguments)
    return str(refusal.value)


def test_a_name_that_does_not_exist_leaves_nothing_behind(program: Program, registered: list[str]) -> None:
    """Not even the folder and the tags, which need no name of the missing thing."""
    text = refused(program, site=Site(sites.tree(without=["LocalDS_0"])))
    assert "there is no datastore 'LocalDS_0'" in text
    assert set(registered) <= {STACK, PROVIDER}


def test_a_set_that_does_not_fit_and_a_miss_are_reported_together_and_leave_nothing_behind(
    program: Program, registered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "GUESTINFO_LIMIT", 1000)
    text = refused(program, site=Site(sites.tree(without=["DC0_C0"])))
    assert "there is no cluster 'DC0_C0'" in text
    assert "over the limit of 1000 for one guestinfo value" in text
    assert set(registered) <= {STACK, PROVIDER}


def test_a_fault_of_the_program_is_not_taken_for_one_of_the_stack_file(
    program: Program, registered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(pack, "pack", broken)
    with pytest.raises(ZeroDivisionError):
        program()
    assert set(registered) <= {STACK, PROVIDER}
