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
