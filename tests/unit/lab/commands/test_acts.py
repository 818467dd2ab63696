"""The commands that act on a running pair: their message where they cannot, and how a bad verdict ends."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab.acts import faults, roll, stage
from lab.acts.scene import Scene
from lab.acts.stage import Verdict
from lab.commands import app
from lab.errors import LabError
from lab.home import stackfile
from lab.home.state import Paths, Record, write_record
from lab.network.network import Network
from lab.traffic.report import Report
from lab.traffic.traffic import Traffic
from tests.unit.lab.traffic.test_traffic import attempt, session

ACTING = [("fail", "haproxy", "master"), ("heal",), ("roll",), ("traffic", "--seconds", "1"), ("backend",)]
Typed = Callable[..., tuple[object, str, str]]
RATE, SECONDS = 50, 2
GOOD = tuple(attempt(number / RATE) for number in range(RATE * SECONDS))


def make_lab(root: Path, *, guests: bool) -> Paths:
    """A lab as it is on disk after everything that belongs to it has ended, as by a reboot of the machine."""
    paths = Paths(root)
    write_record(paths, Record(guests=guests))
    shutil.copy(stackfile.SOURCE, paths.stack_file)
    return paths


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Runs a command as ``python -m lab`` does; gives its exit code, its standard output and its standard error."""

    def run(*command: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["lab", *command])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return (ended.value.code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("command", ACTING, ids=lambda command: command[0])
@pytest.mark.parametrize("there", ["no lab", "a lab without guests", "a lab that is not up"])
def test_without_a_running_pair_one_message_shows_what_to_do(
    tmp_path: Path, typed: Typed, command: tuple[str, ...], there: str
) -> None:
    if there != "no lab":
        make_lab(tmp_path / "lab", guests=there == "a lab that is not up")
    code, output, message = typed(*command, "--state", str(tmp_path / "lab"))
    assert (code, output) == (2, "")
    assert "mistake of the lab itself" not in message
    assert "`make lab`" in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_whether_a_lab_is_up_does_not_hang_on_its_stack_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, up: bool
) -> None:
    """A user who has just broken it needs Pulumi's own message."""
    paths = make_lab(tmp_path / "lab", guests=True)
    paths.stack_file.write_text("config: {lbstack:network: nonsense}\n")
    monkeypatch.setattr(Network, "exists", lambda _network: up)
    scene = Scene(paths)
    if up:
        scene.require_up()
    else:
        with pytest.raises(LabError, match="network is gone"):
            scene.require_up()


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (("fail", "haproxy"), "Missing argument 'NODE'"),
        (("fail",), "Missing argument"),
        (("fail", "haproxy", "master", "--seconds", "601"), "--seconds"),
        (("roll", "--rate", "0"), "--rate"),
        (("traffic", "--rate", "501"), "--rate"),
        (("traffic", "--seconds", "0"), "--seconds"),
        (("status", "--sometimes"), "--sometimes"),
    ],
)
def test_wrong_usage_is_reported_with_the_usage(typed: Typed, command: tuple[str, ...], wanted: str) -> None:
    code, output, message = typed(*command)
    assert (code, output) == (2, "")
    assert message.startswith(f"Usage: python -m lab {command[0]} ")
    assert wanted in message


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A lab that would be up, if anybody looked."""
    monkeypatch.setattr(Scene, "require_up", lambda _scene: None)
    return ("--state", str(make_lab(tmp_path / "lab", guests=True).root))


@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
@pytest.mark.parametrize("form", ["text", "data"])
@pytest.mark.parametrize("command", [*ACTING[:3]], ids=lambda command: command[0])
def test_a_verdict_decides_about_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, state: tuple[str, str], command: tuple[str, ...], form: str, *, good: bool
) -> None:
    verdict = Verdict("something was done", [(0.5, "it was done")], [("it went well", good)])
    monkeypatch.setattr(faults, "fail", lambda *_arguments, **_options: verdict)
    monkeypatch.setattr(faults, "heal", lambda *_arguments: verdict)
    monkeypatch.setattr(roll, "roll", lambda *_arguments, **_options: verdict)
    result = CliRunner().invoke(app.app, [*command, *state, *(["--json"] if form == "data" else [])])
    assert result.exit_code == (0 if good else 1)
    if form == "data":
        assert json.loads(result.stdout)["passed"] is good
    else:
        assert result.stdout.splitlines()[-1] == f"Verdict: {'passed' if good else 'FAILED'}"


def test_what_is_typed_is_what_is_done(monkeypatch: pytest.MonkeyPatch, state: tuple[str, str]) -> None:
    done: list[object] = []

    def failed(scene: Scene, what: str, node: str, _progress: object, *, seconds: float) -> Verdict:
        done.append((str(scene.paths.root), what, node, seconds))
        return Verdict("")

    def rolled(scene: Scene, _progress: object, _show: object, **options: object) -> Verdict:
        done.append((str(scene.paths.root), options))
        return Verdict("")

    monkeypatch.setattr(faults, "fail", failed)
    monkeypatch.setattr(roll, "roll", rolled)
    runner = CliRunner()
    assert runner.invoke(app.app, ["fail", "freeze", "standby", "--seconds", "7", *state]).exit_code == 0
    changes = ["--set", "lbstack:vrrp.profile=fast", "--set", "a=b=c"]
    assert runner.invoke(app.app, ["roll", *changes, "--rate", "20", "--untouched", *state]).exit_code == 0
    assert runner.invoke(app.app, ["roll", *state]).exit_code == 0
    assert done == [
        (state[1], "freeze", "standby", 7.0),
        (
            state[1],
            {
                "changes": [("lbstack:vrrp.profile", "fast"), ("a", "b=c")],
                "rate": 20.0,
                "sessions": 20,
                "touches": False,
            },
        ),
        (state[1], {"changes": [], "rate": stage.RATE, "sessions": 20, "touches": True}),
    ]


@pytest.mark.parametrize(
    ("report", "code"),
    [
        (Report(GOOD, (session(),), complete=True), 0),
        (Report((*GOOD, attempt(9, "refused")), (), complete=True), 1),
        (Report(GOOD, (session("reset"),), complete=True), 1),
        (Report(GOOD, (), complete=False), 1),
        (Report(GOOD[: RATE * SECONDS // 2], (), complete=True), 1),
        (Report((), (), complete=True), 1),
    ],
    ids=["all is well", "a failure", "a lost session", "a sender that died", "half the attempts", "nothing"],
)
def test_traffic_that_was_not_sent_or_did_not_get_through_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, state: tuple[str, str], report: Report, code: int
) -> None:
    monkeypatch.setattr(Traffic, "start", lambda _traffic: None)
    monkeypatch.setattr(Traffic, "stop", lambda _traffic: report)
    monkeypatch.setattr(Traffic, "wait", lambda _traffic: report)
    result = CliRunner().invoke(app.app, ["traffic", "--seconds", f"{SECONDS}", "--rate", f"{RATE}", *state])
    assert result.exit_code == code
    assert f"{len(report.attempts)} attempts" in result.stdout


def test_the_usual_change_is_always_another_value_of_the_first_service() -> None:
    config = {"lbstack:services": {"horizon": {"kind": "horizon"}, "appvol": {}}}
    path, value = roll.usual_change(config)
    assert path == "lbstack:services.horizon.timeouts.tunnel"
    config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": value}  # type: ignore[assignment]
    assert roll.usual_change(config)[0] == path
    assert roll.usual_change(config)[1] != value
