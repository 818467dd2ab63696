"""How the rehearsal is measured: what counts as an outage, whose memory and whose disk it is."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from bench import rehearsal
from bench.rehearsal import JOBS, outage_ms
from bench.weighing import Memory, disk_usage, proportional
from lab.acts.scene import Scene
from lab.acts.stage import Verdict
from lab.errors import LabError
from lab.traffic.report import Report
from tests.unit.lab.traffic.test_traffic import attempt

RATE = 100.0
SECONDS = 1.0
LIMIT_S = 20.0
HOLDS = "import sys; held = bytearray(32 << 20); print(1, flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {HOLDS!r}]).returncode)"


def asked(*failed: range, number: int = 100) -> Report:
    bad = {each for one in failed for each in one}
    attempts = (attempt(each / RATE, "timeout" if each in bad else "ok") for each in range(number))
    return Report(tuple(attempts), (), complete=True)


def test_the_longest_outage_counts_in_milliseconds() -> None:
    assert outage_ms(asked(range(10, 12), range(50, 57)), RATE, SECONDS) == pytest.approx(70.0)
    assert outage_ms(asked(), RATE, SECONDS) == 0.0


@pytest.mark.parametrize(
    ("report", "message"), [(asked(number=79), "too much to do"), (asked(range(90, 100)), "did not come back")]
)
def test_a_report_that_is_incomplete_is_no_figure(report: Report, message: str) -> None:
    with pytest.raises(LabError, match=message):
        outage_ms(report, RATE, SECONDS)


def test_memory_is_that_of_whoever_names_the_lab_and_of_all_that_they_started(tmp_path: Path) -> None:
    """A process that ends while it is weighed weighs nothing, and the measurement goes on."""
    command = [sys.executable, "-c", PARENT, str(tmp_path / "lab")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        started.stdout.readline()
        with Memory(tmp_path / "lab") as memory:
            found = {process.pid: process for process in memory.processes()}
            (child,) = [process for process in found.values() if process.pid != started.pid]
            assert started.pid in found
            assert child.parent == started.pid
        assert memory.peak > proportional(child) > 32 << 20
        assert Memory(tmp_path / "another").processes() == []
        started.communicate(timeout=LIMIT_S)
    assert proportional(child) == 0


def test_disk_counts_a_file_once_whatever_its_names(tmp_path: Path) -> None:
    before = disk_usage(tmp_path)
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    (tmp_path / "again").hardlink_to(tmp_path / "file")
    assert 1 << 20 <= disk_usage(tmp_path) - before < 2 << 20


def test_a_machine_that_cannot_boot_guests_reports_it_and_measures_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    output: list[str] = []
    monkeypatch.setattr(rehearsal, "shortcomings", lambda *_arguments: ["it is no Debian"])
    assert rehearsal.measure(3, output.append) == []
    assert output == ["nothing of the rehearsal is measured here: it is no Debian"]


def test_when_the_time_is_up_everything_has_been_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would have a median otherwise, and all that was measured before would be lost."""
    monkeypatch.setattr(rehearsal, "_outage_ms", lambda *_arguments: 1.0)
    monkeypatch.setattr("lab.acts.faults.heal", lambda *_arguments: Verdict("healed"))
    found = rehearsal._run_jobs(cast(Scene, None), 3, time.monotonic() - 1.0, lambda _line: None)
    assert found == {job.name: [1.0] for job in JOBS}
