"""A lab's directory: one run at a time, nothing foreign touched, secrets private."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.home import state
from lab.home.credentials import credentials_of
from lab.home.state import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A lab that does not exist yet."""
    return Paths(tmp_path / "lab")


def test_a_lab_remembers(paths: Paths) -> None:
    record = state.prepare(paths)
    record.port = 4711
    state.write_record(paths, record)
    assert state.read_record(paths) == record
    assert state.prepare(paths) == record


def test_the_engine_keeps_no_log_of_its_own_in_a_lab_of_whatever_age(paths: Paths) -> None:
    state.prepare(paths)
    assert paths.engine_log.is_file()  # where the engine would make a directory
    paths.engine_log.unlink()
    paths.engine_log.mkdir()
    (paths.engine_log / "pulumi-20260101T000000.log").touch()
    state.prepare(paths)
    assert paths.engine_log.is_file()


def test_a_directory_with_other_things_is_not_made_a_lab(paths: Paths) -> None:
    paths.root.mkdir()
    (paths.root / "letters").mkdir()
    with pytest.raises(LabError, match="is not a lab's: it holds letters"):
        state.prepare(paths)
    assert [entry.name for entry in paths.root.iterdir()] == ["letters"]


def test_nothing_is_removed_from_a_directory_that_is_no_lab(paths: Paths) -> None:
    paths.root.mkdir()
    (paths.root / "letters").touch()
    with state.exclusive(paths, "down"), pytest.raises(LabError, match="nothing was removed"):
        state.remove(paths)
    assert (paths.root / "letters").exists()


def test_removing_leaves_nothing(paths: Paths) -> None:
    with state.exclusive(paths, "down"):
        state.prepare(paths)
        state.remove(paths)
    assert not paths.root.exists()


def test_a_marker_of_another_version_is_named(paths: Paths) -> None:
    state.prepare(paths)
    paths.marker.write_text(json.dumps({"format": 99}))
    with pytest.raises(LabError, match="was not written by this version"):
        state.prepare(paths)
    paths.marker.write_text("{")
    with pytest.raises(LabError, match="was not written by this version"):
        state.prepare(paths)


def test_a_second_run_learns_who_is_at_work(paths: Paths) -> None:
    with (
        state.exclusive(paths, "up"),
        pytest.raises(LabError, match=r"`.venv/bin/python -m lab up` \(pid \d+\) is at work on this lab"),
        state.exclusive(paths, "down"),
    ):
        pytest.fail("two runs at once")
    with state.exclusive(paths, "down"):
        pass


def _die_with_the_lock(root: Path) -> None:
    with state.exclusive(Paths(root), "up"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_holds_no_lock(paths: Paths) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_die_with_the_lock, args=(paths.root,))
    child.start()
    child.join(30)
    assert child.exitcode == -9
    with state.exclusive(paths, "up"):
        pass


def test_a_full_disk_is_reported_before_anything_is_written(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.root.mkdir()
    monkeypatch.setattr("lab.home.state.shutil.disk_usage", lambda _path: type("Usage", (), {"free": 1 << 20}))
    with pytest.raises(LabError, match="is full: 1 MiB free, a lab needs 64 MiB"):
        state.prepare(paths)
    assert not list(paths.root.iterdir())


def test_private_files_are_whole_and_private(paths: Paths) -> None:
    file = paths.secrets / "x"
    state.write_private(file, "one")
    state.write_private(file, "two")
    assert file.read_text() == "two"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [entry.name for entry in paths.secrets.iterdir()] == ["x"]


def test_credentials_are_made_once_and_only_their_owner_reads_them(paths: Paths) -> None:
    state.prepare(paths)
    credentials = credentials_of(paths)
    credentials.ensure(["admin"])
    before = {file.name: (file.read_text(), file.stat().st_ino) for file in paths.secrets.iterdir()}
    credentials.ensure(["admin"])
    assert {file.name: (file.read_text(), file.stat().st_ino) for file in paths.secrets.iterdir()} == before
    credentials.ensure(["admin", "stats"])
    assert credentials.password("admin") != credentials.password("stats")
    assert credentials.password_hash("stats").startswith("$6$")
    assert credentials.ssh_public_key.startswith("ssh-ed25519 ")
    assert credentials.signing_key.startswith("-----BEGIN PRIVATE KEY-----")
    assert {stat.S_IMODE(file.stat().st_mode) for file in paths.secrets.iterdir()} == {0o600}
    assert stat.S_IMODE(paths.secrets.stat().st_mode) == 0o700
    assert credentials.password("admin") not in repr(credentials)
