"""The watcher as a program: when it looks, what it starts, and what it does not believe."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from lbstack.render.paths import WATCH_UNIT
from tests.goldens.cases import rendered
from tests.unit.guest.processes import PROGRAM

HASH, OTHER = "a" * 64, "b" * 64
LIMIT_S = 30.0
LOOKS = 3
PAUSE_S = 1.8
EDITS_EVERY = 40
NOTICED_S = 2.0  # the bar, without the time that the look itself takes
START = "systemctl --no-block start lbstack-live.service"
DEALS = f"echo {HASH} >considered"


def watch(
    base: Path, answer: str, considered: str, *, looks: int = LOOKS, applier: str = ":", edits_every: int = EDITS_EVERY
) -> list[str]:
    """Let it look a few times, at its own clock: each sleep takes no time and is in the log.

    Args:
        base: For its files.
        answer: A shell command in place of ``vmware-rpctool``; ``$n`` is the number of the look.
        considered: The set that the applier has dealt with last.
        looks: How many times it looks.
        applier: A shell command in place of the applier's unit.
        edits_every: Looks at guestinfo between two at the installed files.

    Returns:
        The commands that it gave, in order.
    """
    commands, log, done = base / "bin", base / "log", base / "done"
    commands.mkdir()
    count = 'echo "look" >>log; n=$(grep -c look log)'
    for name, text in {
        "vmware-rpctool": f"{count}; [ $n -le {looks} ] || {{ touch done; exec /usr/bin/sleep 600; }}; {answer}",
        "systemctl": f'echo "systemctl $*" >>log; {applier}',
        "sleep": 'echo "sleep $1" >>log',
        "timeout": 'echo "timeout $1" >>log; shift; exec "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/sh\ncd {base}\n{text}\n")
        (commands / name).chmod(0o755)
    (base / "considered").write_text(considered + "\n")
    text = PROGRAM.with_name("lbstack-watch").read_text().replace("/run/lbstack/", f"{base}/")
    assert f"EDITS_EVERY={EDITS_EVERY} " in text
    (base / "watch").write_text(text.replace(f"EDITS_EVERY={EDITS_EVERY}", f"EDITS_EVERY={edits_every}"))
    environment = os.environ | {"PATH": f"{commands}:{os.defpath}"}
    process = subprocess.Popen(["/bin/sh", str(base / "watch")], env=environment, start_new_session=True)
    try:
        end = time.monotonic() + LIMIT_S
        while not done.exists():
            assert process.poll() is None
            assert time.monotonic() < end
    finally:
        os.killpg(process.pid, 9)
        process.wait()
    return log.read_text().splitlines()


def starts(log: list[str]) -> list[float]:
    """When it started the applier's unit, in seconds of its own clock."""
    now, found = 0, []
    for line in log:
        now += line.startswith("sleep ")
        found += [now * PAUSE_S] if line == START else []
    return found


def test_another_hash_starts_the_appliers_unit_and_does_nothing_else(tmp_path: Path) -> None:
    log = watch(tmp_path, f"echo {HASH}", OTHER)
    assert {line for line in log if line.startswith("systemctl")} == {START}
    assert starts(log) == [0.0]


@pytest.mark.parametrize(
    "answer",
    [
        f"echo {OTHER}",  # dealt with
        f"echo {HASH}; exit 1",
        "echo No value found >&2; exit 1",
        f"echo {HASH[:40]}",
        f"printf %s {HASH[:63]}",
        f"echo {HASH}; echo {HASH}",
        "echo Permission denied",
        "echo",
        "exit 124",  # of timeout(1): too slow
        "head -c 100000 /dev/zero",
        f"echo {HASH[:-1]}/",
        f"echo {HASH.upper()}",
    ],
)
def test_what_was_dealt_with_and_what_is_no_whole_hash_starts_nothing(tmp_path: Path, answer: str) -> None:
    assert starts(watch(tmp_path, answer, OTHER)) == []


def looks_of(base: Path, workers: str, *, edit: bool) -> int:
    """Let it look at an installed file some times, the file edited in between or not; return how often it asked."""
    file = base / "authorized_keys"
    file.write_text("one\n")
    (base / "files").write_text(f"{file}\n{base}/missing\n")
    (base / "state.map").write_text(f"vrrp master\nworkers {workers} of 8\napply ok\n")
    edits = f"[ $n -ne {LOOKS * 2} ] || {{ echo two >new; mv new {file}; }}" if edit else ":"  # as an editor does
    log = watch(base, f"{edits}; echo {HASH}", HASH, looks=LOOKS * 4, edits_every=1)
    return log.count("systemctl --no-block start lbstack-look.service")


@pytest.mark.parametrize(("edit", "times"), [(False, 1), (True, 2)])
def test_an_edited_file_has_the_applier_look_once_and_an_untouched_one_does_not(
    tmp_path: Path, *, edit: bool, times: int
) -> None:
    assert looks_of(tmp_path, "0", edit=edit) == times  # once after its start, when it knows of nothing before


def test_while_there_are_old_workers_they_are_counted_each_time(tmp_path: Path) -> None:
    assert looks_of(tmp_path, "2", edit=False) >= LOOKS


def test_it_looks_once_in_each_period_and_not_more_and_a_change_is_noticed_within_two_seconds(tmp_path: Path) -> None:
    """Whether there is something to do or not; a channel that hangs costs one look, with a limit."""
    for number, answer in enumerate((f"echo {HASH}", f"echo {OTHER}", "exit 1")):
        base = tmp_path / str(number)
        base.mkdir()
        log = watch(base, answer, OTHER, looks=20)
        assert log.count("look") == 21  # the last one is where the test ends it
        assert log.count("timeout 5") == 21
        pauses = [float(line.removeprefix("sleep ")) for line in log if line.startswith("sleep ")]
        assert len(pauses) == 20
        assert set(pauses) == {PAUSE_S}
        assert max(pauses) < NOTICED_S


def test_a_set_that_is_not_dealt_with_is_handed_over_again_later_and_later(tmp_path: Path) -> None:
    log = watch(tmp_path, f"echo {HASH}", OTHER, looks=160)
    assert starts(log) == [n * PAUSE_S for n in (0, 10, 30, 70, 110, 150)]


def test_another_set_is_handed_over_at_once_however_long_the_one_before_has_to_wait(tmp_path: Path) -> None:
    third = "c" * 64
    log = watch(tmp_path, f"if [ $n -lt 6 ]; then echo {HASH}; else echo {third}; fi", OTHER, looks=8)
    assert starts(log) == [0.0, 5 * PAUSE_S]


def test_a_set_that_came_while_the_applier_dealt_with_another_is_handed_over_as_soon_as_that_is_done(
    tmp_path: Path,
) -> None:
    """At the second look the wanted set is another, and the applier is still at the first one: its start is none."""
    third = "c" * 64
    deals = (
        f"if [ $n -eq 4 ]; then echo {HASH} >considered; fi; if [ $n -ge 2 ]; then echo {third}; else echo {HASH}; fi"
    )
    log = watch(tmp_path, deals, OTHER, looks=6)
    assert starts(log) == [0.0, PAUSE_S, 3 * PAUSE_S]


def test_a_set_that_was_dealt_with_is_not_handed_over_again(tmp_path: Path) -> None:
    assert starts(watch(tmp_path, f"echo {HASH}", OTHER, looks=30, applier=DEALS)) == [0.0]


def test_the_unit_leaves_vmware_rpctool_what_it_needs_and_no_device_besides() -> None:
    """Why each of these is needed is said in the unit, with its source."""
    lines = rendered("post-5.0").nodes["PhotonLB-01"][WATCH_UNIT].content.splitlines()
    values = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert "AF_VSOCK" in values["RestrictAddressFamilies"].split()
    assert values["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"
    assert (values["DevicePolicy"], values["DeviceAllow"]) == ("closed", "/dev/vsock r")
    assert "PrivateDevices" not in values
    assert values["SystemCallFilter"] == "@system-service"
    assert values["NoNewPrivileges"] == values["PrivateNetwork"] == values["MemoryDenyWriteExecute"] == "yes"
    assert values["ProtectSystem"] == "strict"
