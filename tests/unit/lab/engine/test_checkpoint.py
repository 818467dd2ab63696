"""What is read from Pulumi's own record without running Pulumi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.engine.checkpoint import Checkpoint
from lab.home.state import Paths
from lbstack.engine.values import SECRET_MARK

URN = "urn:pulumi:lab::lbstack::lbstack:index:LoadBalancerPair$vsphere:index/virtualMachine:VirtualMachine::pair-node2"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """The record of a stack that was never deployed."""
    return Checkpoint(Paths(tmp_path))


def write(checkpoint: Checkpoint, latest: dict[str, Any] | None) -> None:
    """What the local backend writes."""
    checkpoint.file.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.file.write_text(json.dumps({"version": 3, "checkpoint": {"stack": "lab", "latest": latest}}))


def lock(checkpoint: Checkpoint, pid: int) -> None:
    """A lock as the local backend writes it."""
    directory = checkpoint.paths.backend / ".pulumi" / "locks" / "organization" / "lbstack" / "lab"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "f9.json").write_text(json.dumps({"pid": pid, "username": "root", "hostname": "here"}))


def test_nothing_deployed_is_nothing_recorded(checkpoint: Checkpoint) -> None:
    for state in (None, "missing", "broken"):
        if state is None:
            write(checkpoint, None)
        elif state == "broken":
            checkpoint.file.write_text("{")
        assert checkpoint.resources() == []
        assert checkpoint.unfinished() == []
        assert checkpoint.outputs() == {}
        assert not checkpoint.recorded()


WHOLE = json.dumps({"version": 3, "checkpoint": {"stack": "lab", "latest": {"resources": [{"type": "x"}]}}})
DAMAGED = {"empty": "", "cut": WHOLE[: len(WHOLE) // 2], "something else": "[]", "without a stack": '{"version": 3}'}


@pytest.mark.parametrize("text", DAMAGED.values(), ids=DAMAGED)
def test_a_record_that_cannot_be_read_is_known_and_its_backup_takes_its_place(
    checkpoint: Checkpoint, text: str
) -> None:
    assert checkpoint.readable()  # there is no stack yet
    write(checkpoint, None)
    assert checkpoint.readable()
    checkpoint.file.write_text(text)
    note = checkpoint.file.with_name("lab.json.attrs")
    note.write_text('{"md5": "of the record that was lost"}')
    assert not checkpoint.readable()
    assert not checkpoint.recorded()
    assert not checkpoint.restorable()  # there is none
    checkpoint.backup.write_text(text)
    assert not checkpoint.restorable()  # it is no better
    checkpoint.backup.write_text(WHOLE)
    assert checkpoint.restorable()
    checkpoint.restore()
    assert checkpoint.readable()
    assert checkpoint.recorded()
    assert checkpoint.file.read_text() == WHOLE
    assert sorted(checkpoint.file.parent.iterdir()) == [checkpoint.file, checkpoint.backup]


def test_half_a_note_beside_a_file_of_the_backend_is_removed_and_a_whole_one_stays(checkpoint: Checkpoint) -> None:
    write(checkpoint, None)
    lock(checkpoint, 1)
    (lock_file,) = checkpoint.locks()
    whole = '{"user.content_type": "text/plain; charset=utf-8", "md5": "bsQ8n3lqvU1ZmkrRpTnhoA=="}'
    notes = {
        checkpoint.file: "",
        checkpoint.backup: whole,
        lock_file: whole[:30],
    }
    for file, text in notes.items():
        file.with_name(f"{file.name}.attrs").write_text(text)
    dropped = checkpoint.drop_broken_notes()
    assert sorted(note.name for note in dropped) == ["f9.json.attrs", "lab.json.attrs"]
    assert not [note for note in dropped if note.exists()]
    assert checkpoint.backup.with_name("lab.json.bak.attrs").read_text() == whole
    assert checkpoint.drop_broken_notes() == []
    assert checkpoint.readable()


def test_only_what_vcenter_holds_counts_as_a_resource(checkpoint: Checkpoint) -> None:
    resources = [
        {"type": "pulumi:pulumi:Stack", "custom": False},
        {"type": "pulumi:providers:vsphere", "custom": True},
        {"type": "lbstack:index:LoadBalancerPair", "custom": False},
        {"type": "vsphere:index/folder:Folder", "custom": True},
    ]
    write(checkpoint, {"resources": resources})
    assert checkpoint.resources() == ["vsphere:index/folder:Folder"]
    assert checkpoint.recorded()


def test_what_a_killed_run_was_making_is_distinguished_from_what_it_was_changing(checkpoint: Checkpoint) -> None:
    changing = URN.replace("node2", "node1")
    operations = [
        {"type": "creating", "resource": {"urn": URN}},
        {"type": "updating", "resource": {"urn": changing}},
    ]
    write(checkpoint, {"resources": [], "pending_operations": operations})
    assert checkpoint.unfinished() == ["pair-node2"]
    assert checkpoint.half_changed() == ["pair-node1"]


def test_outputs_show_no_secret(checkpoint: Checkpoint) -> None:
    secret = {SECRET_MARK: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}
    outputs = {"vips": {"stats": "192.168.6.122"}, "hidden": secret, "deep": [{"x": secret}]}
    write(checkpoint, {"resources": [{"type": "pulumi:pulumi:Stack", "outputs": outputs}]})
    assert checkpoint.outputs() == {
        "vips": {"stats": "192.168.6.122"},
        "hidden": "[secret]",
        "deep": [{"x": "[secret]"}],
    }


def test_a_lock_counts_only_while_its_pulumi_lives(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert checkpoint.living_holder() == 0
    lock(checkpoint, os.getpid())  # alive, and no Pulumi: the number was given to another
    assert checkpoint.locks()
    assert checkpoint.living_holder() == 0
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    shutil.copy("/bin/sh", program)
    with subprocess.Popen([program, "-c", "read line; :"], stdin=subprocess.PIPE) as process:
        lock(checkpoint, process.pid)
        assert checkpoint.living_holder() == process.pid
        process.communicate(b"\n", timeout=30)
    assert checkpoint.living_holder() == 0
