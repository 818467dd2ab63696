"""What is recorded besides the resources: locks and half-done steps, read from the files of a backend."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from lbstack.engine import backend
from lbstack.engine.errors import EngineFailed
from lbstack.engine.stack import Stack

URN = "urn:pulumi:trial::project::vsphere:index/virtualMachine:VirtualMachine::pair-node2"


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    (tmp_path / "Pulumi.yaml").write_text("name: project\nruntime: python\n")
    monkeypatch.setenv("PULUMI_BACKEND_URL", (tmp_path / "state").as_uri())
    return Stack("trial", tmp_path / "Pulumi.trial.yaml", tmp_path)


def lock(stack: Stack, *parts: str) -> None:
    place = stack.program.joinpath("state", ".pulumi", "locks", *parts)
    place.mkdir(parents=True)
    held = {"pid": 7, "username": "root", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    (place / "held.json").write_text(json.dumps(held))


def record(stack: Stack, *parts: str, packed: bool = False) -> None:
    place = stack.program.joinpath("state", ".pulumi", "stacks", *parts)
    place.parent.mkdir(parents=True)
    steps = [{"resource": {"urn": URN}, "type": "updating"}, {"resource": {"urn": URN}, "type": "creating"}]
    data = json.dumps({"checkpoint": {"latest": {"pending_operations": steps}}}).encode()
    place.write_bytes(gzip.compress(data) if packed else data)


def test_where_nothing_is_recorded_nothing_is_reported(stack: Stack) -> None:
    backend.require_unlocked(stack)
    assert backend.pending(stack) == []


@pytest.mark.parametrize("parts", [("organization", "project", "trial"), ("trial",)])
def test_a_lock_is_reported_with_its_holder(stack: Stack, parts: tuple[str, ...]) -> None:
    lock(stack, *parts)
    with pytest.raises(EngineFailed, match="root@elsewhere") as refused:
        backend.require_unlocked(stack)
    assert refused.value.kind == "locked"


@pytest.mark.parametrize("parts", [("organization", "another", "trial"), ("organization", "project", "trial2")])
def test_a_lock_of_another_projects_stack_of_that_name_is_none(stack: Stack, parts: tuple[str, ...]) -> None:
    lock(stack, *parts)
    backend.require_unlocked(stack)


@pytest.mark.parametrize("name", ["trial.json", "trial.json.gz"])
def test_what_a_killed_run_was_doing_is_reported_with_what_comes_of_it(stack: Stack, name: str) -> None:
    record(stack, "project", name, packed=name.endswith(".gz"))
    updating, creating = (str(step) for step in backend.pending(stack))
    assert updating.startswith("A run was killed while it was updating pair-node2.")
    assert "goes on from there" in updating
    assert "delete it there" in creating


@pytest.mark.parametrize("text", ["", "{", "[]", '{"checkpoint": {"latest": null}}', '{"checkpoint": {"latest": {}}}'])
def test_a_record_of_an_unknown_form_is_left_to_the_engine(stack: Stack, text: str) -> None:
    record(stack, "project", "trial.json")
    (stack.program / "state" / ".pulumi" / "stacks" / "project" / "trial.json").write_text(text)
    assert backend.pending(stack) == []


def test_a_backend_below_the_home_directory_is_found(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(stack.program))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file://~/state")
    assert backend.directory_of(stack) == stack.program / "state"
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert backend.directory_of(stack) is None
