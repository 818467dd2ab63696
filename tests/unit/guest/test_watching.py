"""The watcher as a program: what it starts, and what it does not believe."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.unit.guest.processes import PROGRAM

HASH, OTHER = "a" * 64, "b" * 64
LIMIT_S = 10.0
LOOKS = 3


def watch(base: Path, answer: str, considered: str) -> list[str]:
    """Let it look a few times; return the commands that it gave systemd."""
    commands, log = base / "bin", base / "log"
    commands.mkdir()
    for name, text in {
        "vmware-rpctool": f"echo look >>{log}; {answer}",
        "systemctl": f'echo "$*" >>{log}',
        "sleep": "/usr/bin/sleep 0.02",
        "timeout": 'shift\nexec "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    (base / "considered").write_text(considered + "\n")
    text = PROGRAM.with_name("lbstack-watch").read_text().replace("/run/lbstack/considered", f"{base}/considered")
    (base / "watch").write_text(text)
    process = subprocess.Popen(["/bin/sh", str(base / "watch")], env=os.environ | {"PATH": f"{commands}:{os.defpath}"})
    try:
        end = time.monotonic() + LIMIT_S
        while not log.exists() or log.read_text().count("look\n") < LOOKS:
            assert process.poll() is None
            assert time.monotonic() < end
    finally:
        process.kill()
        process.wait()
    return [line for line in log.read_text().splitlines() if line != "look"]


def test_another_hash_starts_the_appliers_unit(tmp_path: Path) -> None:
    assert set(watch(tmp_path, f"echo {HASH}", OTHER)) == {"--no-block start lbstack-live.service"}


@pytest.mark.parametrize(
    "answer",
    [
        f"echo {OTHER}",  # dealt with
        f"echo {HASH}; exit 1",
        "echo No value found >&2; exit 1",
        f"echo {HASH[:40]}",
        "echo Permission denied",
        "echo",
        f"echo {HASH[:-1]}/",
    ],
)
def test_what_was_dealt_with_and_what_is_no_whole_hash_starts_nothing(tmp_path: Path, answer: str) -> None:
    assert watch(tmp_path, answer, OTHER) == []


def looks_of(base: Path, workers: str, *, edit: bool) -> int:
    """Let it look at an installed file some times, the file edited in between or not; return how often it asked."""
    commands, log, file = base / "bin", base / "log", base / "authorized_keys"
    commands.mkdir()
    file.write_text("one\n")
    for name, text in {
        "vmware-rpctool": f"echo look >>{log}; echo {HASH}",
        "systemctl": f'echo "$*" >>{log}',
        "sleep": "/usr/bin/sleep 0.02",
        "timeout": 'shift\nexec "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    (base / "considered").write_text(f"{HASH}\n")
    (base / "files").write_text(f"{file}\n{base}/missing\n")
    (base / "state.map").write_text(f"vrrp master\nworkers {workers} of 8\napply ok\n")
    text = PROGRAM.with_name("lbstack-watch").read_text().replace("/run/lbstack/", f"{base}/")
    (base / "watch").write_text(text.replace("EDITS_EVERY=40", "EDITS_EVERY=1"))
    process = subprocess.Popen(["/bin/sh", str(base / "watch")], env=os.environ | {"PATH": f"{commands}:{os.defpath}"})
    asked = "--no-block start lbstack-look.service\n"
    try:
        end = time.monotonic() + LIMIT_S
        edited = False
        while not log.exists() or log.read_text().count("look\n") < LOOKS * 4:
            assert process.poll() is None
            assert time.monotonic() < end
            if edit and not edited and log.exists() and log.read_text().count("look\n") > LOOKS:
                edited = bool((base / "new").write_text("two\n"))
                (base / "new").replace(file)  # at once, as an editor does
    finally:
        process.kill()
        process.wait()
    return log.read_text().count(asked)


@pytest.mark.parametrize(("edit", "times"), [(False, 1), (True, 2)])
def test_an_edited_file_has_the_applier_look_once_and_an_untouched_one_does_not(
    tmp_path: Path, *, edit: bool, times: int
) -> None:
    assert looks_of(tmp_path, "0", edit=edit) == times  # once after its start, when it knows of nothing before


def test_while_there_are_old_workers_they_are_counted_each_time(tmp_path: Path) -> None:
    assert looks_of(tmp_path, "2", edit=False) >= LOOKS
