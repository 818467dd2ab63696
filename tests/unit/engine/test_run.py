"""How the engine is run: its output comes through pipes alone, and one that hangs is stopped in time."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.system.waiting import until
from lbstack.engine import errors, process
from lbstack.engine import run as engine
from lbstack.engine.errors import EngineFailed
from lbstack.engine.stack import Stack
from lbstack.nodes import gate, health, waits

# A stand-in for the engine: finds the event log among its arguments and appends to its record of calls, as it does.
HEAD = """#!/bin/bash
while [ $# -gt 0 ]; do [ "$1" = --event-log ] && log=$2; shift; done
"""
EVENT = (
    '{"resourcePreEvent":{"metadata":{"op":"same","urn":"urn:x::pair-node1",'
    '"type":"vsphere:index/virtualMachine:VirtualMachine"}}}'
)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    file = tmp_path / "Pulumi.trial.yaml"
    file.write_text("config: {}\n")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return Stack("trial", file, tmp_path)


def install(stack: Stack, body: str) -> None:
    program = stack.program / "bin" / "pulumi"
    program.write_text(HEAD + body)
    program.chmod(0o755)


def test_events_and_calls_come_back_and_nothing_is_written_to_a_disk(stack: Stack) -> None:
    install(
        stack,
        f"echo '{EVENT}' >>$log\n"
        'echo \'{"diagnosticEvent":{"severity":"debug","message":"x"}}\' >>$log\n'
        'echo \'{"method":"/pulumirpc.ResourceProvider/Read","request":{},"response":{}}\' >>$PULUMI_DEBUG_GRPC\n'
        'echo \'{"method":"/pulumirpc.ResourceProvider/Diff","request":{}}\' >>$PULUMI_DEBUG_GRPC\n'
        "echo output; echo $log $PULUMI_DEBUG_GRPC\n",
    )
    before = set(stack.program.rglob("*"))
    lines: list[str] = []
    run = engine.run(stack, "preview", progress=lines.append)
    assert len(run.events) == 1
    assert [call["method"].rpartition("/")[2] for call in run.calls] == ["Read"]
    assert run.output.startswith("output\n/dev/fd/")
    assert set(stack.program.rglob("*")) == before
    assert "Read" not in repr(run)


def test_an_engine_that_hangs_is_interrupted_and_its_last_step_is_reported(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (engine, process):
        monkeypatch.setattr(module, "GRACE_S", 0.3)
    pid_file = stack.program / "pid"
    install(
        stack,
        f"trap '' INT TERM\necho $$ >{pid_file}\necho '{EVENT}' >>$log\n"
        "while :; do read -r -t 0.2 <> <(:) || :; done\n",
    )
    begin = time.monotonic()
    with pytest.raises(EngineFailed) as failed:
        engine.run(stack, "preview", timeout_s=1.0)
    assert time.monotonic() - begin < 10
    assert failed.value.kind == "timeout"
    assert "same pair-node1" in failed.value.message
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_provider_that_outlives_the_engine_does_not_hold_the_report_up(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = stack.program / "pid"
    install(stack, f"echo '{EVENT}' >>$log\n(exec sleep 20) & echo $! >{pid_file}\n")
    begin = time.monotonic()
    run = engine.run(stack, "preview")
    try:
        assert time.monotonic() - begin < 10
        assert len(run.events) == 1
    finally:
        os.kill(int(pid_file.read_text()), 9)


def test_the_stack_file_is_named_only_where_the_engine_would_not_find_it(stack: Stack) -> None:
    assert "--config-file" not in engine.arguments_of(stack)
    elsewhere = stack.program / "elsewhere.yaml"
    elsewhere.write_text("")
    assert str(elsewhere) in engine.arguments_of(Stack("trial", elsewhere, stack.program))


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("error: no stack named 'x' found", "no-stack"),
        ("error: the stack is currently locked by 1 lock(s). Either wait", "locked"),
        ("error: getting stack configuration: get stack secrets manager: incorrect passphrase", "passphrase"),
        ('error: unable to open state directory "file:///x"', "backend"),
        (
            "error: 1 error occurred:\n\t* error setting up new vSphere SOAP client: ServerFaultCode: Login failure",
            "credentials",
        ),
        ("something nobody knows", "engine"),
        ("", "engine"),
    ],
)
def test_what_an_engine_reports_becomes_one_message_with_a_remedy(output: str, kind: str) -> None:
    found = errors.explain("preview", [], output)
    assert found.kind == kind
    assert found.message
    assert found.remedy


def test_a_diagnostic_of_a_refused_login_is_known() -> None:
    text = "1 error occurred:\n\t* error setting up new vSphere SOAP client: ServerFaultCode: Login failure\n"
    found = errors.explain("preview", [text, "preview failed"], "")
    assert found.kind == "credentials"
    assert found.message == "error setting up new vSphere SOAP client: ServerFaultCode: Login failure"


NEW, OLD = "a" * health.SHOWN_DIGITS, "b" * health.SHOWN_DIGITS
NODES = (health.Target("lb1", "127.0.0.1"), health.Target("lb2", "127.0.0.2"))
# A node's report quotes whatever its daemons output, which may be what other failures are known by.
QUOTED = "dial tcp: connection refused; no route to host; x509: no stack named; Login failure"
HELD = health.Answer(OLD, "master", applied=f"failed {OLD[:12]}: {QUOTED}")
STANDS_BY = health.Answer(OLD, "backup", applied=f"failed {OLD[:12]}: {QUOTED}")
REFUSES = health.Answer(OLD, "backup", applied=f"refused {NEW[:12]}: {QUOTED}")
OF_A_DEPLOYMENT = "up --yes --skip-preview"


@pytest.fixture
def silent() -> Iterator[health.Answer]:
    """The answer of a node on which nobody listens, as this machine's kernel words it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield health.ask(health.Target("lb", *bound.getsockname()))


def closed(wait: Callable[..., None], wanted: str | None, answers: Sequence[health.Answer]) -> str:
    """The message of a gate that stays closed: lb1 is asked about, and lb2 is its peer."""
    known = dict(zip(("lb1", "lb2"), answers, strict=True))
    patience = waits.Patience(question=lambda node: known[node.name], timeout_s=0)
    with pytest.raises(gate.GateClosed) as refusal:
        wait(*NODES, wanted, patience)
    return str(refusal.value)


@pytest.mark.parametrize(
    ("wait", "wanted", "answers", "headline"),
    [
        (gate.require_open, None, (HELD, None), "lb1 was left untouched: its peer lb2 does not serve at all after"),
        (gate.require_open, NEW, (HELD, None), "lb1 was left untouched: its peer lb2 does not serve set"),
        (gate.require_open, NEW, (HELD, REFUSES), "lb1 was left untouched: its peer lb2 has refused set"),
        (gate.require_open, NEW, (HELD, HELD), "lb1 was left untouched: it and lb2 are both master."),
        (gate.require_serving, NEW, (None, HELD), "lb1 does not serve set"),
        (gate.require_serving, NEW, (STANDS_BY, None), "lb1 does not serve set"),
        (gate.require_serving, NEW, (REFUSES, None), "lb1 has refused set"),
        (gate.require_serving, OLD, (HELD, HELD), "lb1 and lb2 are both master."),
    ],
)
def test_a_closed_gate_is_reported_as_that_whatever_it_quotes(
    silent: health.Answer,
    wait: Callable[..., None],
    wanted: str | None,
    answers: Sequence[health.Answer | None],
    headline: str,
) -> None:
    output = closed(wait, wanted, [answer or silent for answer in answers])
    assert output.startswith(headline)
    assert "connection refused" in output.lower()
    found = errors.explain(OF_A_DEPLOYMENT, [output, "update failed"], "")
    assert found.kind == "gate"
    assert ("goes on serving" in found.remedy) is ("untouched" in headline)
    assert "vCenter" not in found.remedy


def test_a_runner_that_could_hear_nobody_is_reported_where_to_run_it(silent: health.Answer) -> None:
    networks = (ipaddress.IPv4Network("198.51.100.0/24"),)
    nodes = [health.Target(name, "127.0.0.1", management=networks) for name in ("lb1", "lb2")]
    with pytest.raises(gate.GateClosed) as refusal:
        gate.require_askable(nodes, [silent, silent])
    assert "connection refused" in str(refusal.value).lower()
    found = errors.explain(OF_A_DEPLOYMENT, [str(refusal.value), "update failed"], "")
    assert (found.kind, "where the nodes can be asked" in found.remedy) == ("gate", True)


@pytest.mark.parametrize(
    "output",
    [
        'Post "https://192.0.2.1/sdk": dial tcp 192.0.2.1:443: connect: connection refused',
        'Post "https://192.0.2.1/sdk": dial tcp 192.0.2.1:443: connect: no route to host',
        'Post "https://vcenter.invalid/sdk": dial tcp: lookup vcenter.invalid: no such host',
        "no vCenter answers at 192.0.2.1:443: [Errno 111] Connection refused",
    ],
)
def test_a_vcenter_that_cannot_be_reached_is_still_reported_as_that(output: str) -> None:
    found = errors.explain(OF_A_DEPLOYMENT, [output], "")
    assert found.kind == "unreachable"
    assert "vsphere:vsphereServer" in found.remedy


def test_the_providers_own_decoration_is_taken_off_a_vcenters_words() -> None:
    text = "sdk-v2/provider2.go:571: sdk.helper_schema: the datastore is full: provider=vsphere@4.18.2\nupdate failed"
    assert errors.explain("up", [text], "").message == "the datastore is full"


def test_only_a_run_that_changes_nothing_shows_that_nothing_was_changed() -> None:
    for output in ("dial tcp: connection refused", "something nobody knows"):
        assert "Nothing was changed." in errors.explain("preview", [output], "").remedy
        for command in ("up --yes", "destroy --yes"):
            remedy = errors.explain(command, [output], "").remedy
            assert "othing was changed" not in remedy
            assert "goes on from there" in remedy
    assert "Nothing was changed." in errors.too_slow("preview", 1, "").remedy
    assert "othing was changed" not in errors.too_slow("up --yes", 1, "").remedy


# Ends its step when it is interrupted once; a second interrupt would make the real one drop everything.
PATIENT = """
notes={notes}
end() {{ sleep 0.3; {says}; echo ended >>{notes}; exit 3; }}
trap 'echo interrupted >>{notes}; [ -e {again} ] && exit 9; touch {again}; end' INT
echo '{event}' >>$log
touch {ready}
for _ in {{1..300}}; do read -r -t 0.2 <> <(:) || :; done  # a minute, should nobody interrupt it
"""


def patient(stack: Stack, says: str = ":") -> Path:
    """An engine in the middle of an update; its notes."""
    notes, again, ready = (stack.program / name for name in ("notes", "again", "ready"))
    install(stack, PATIENT.format(notes=notes, again=again, ready=ready, event=EVENT, says=says))
    return notes


def test_a_deployment_that_takes_too_long_may_end_its_step_and_what_it_did_is_returned(stack: Stack) -> None:
    notes = patient(stack)
    run = engine.run(stack, "up", timeout_s=1.0)
    assert notes.read_text() == "interrupted\nended\n"
    assert len(run.events) == 1
    with pytest.raises(EngineFailed) as failed:
        run.require_success()
    assert failed.value.kind == "timeout"


ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]  # a person, a runner, a lost ssh session, Ctrl-\
DEPLOYING = """
import sys
from pathlib import Path
from lbstack.engine import run as engine
from lbstack.engine.stack import Stack
here = Path(sys.argv[1])
stack = Stack("trial", here / "Pulumi.trial.yaml", here)
run = engine.run(stack, "up", progress=lambda line: print(line, file=sys.stderr, flush=True))
print(run.code, run.cut_short and run.cut_short.kind)
"""


def deploying(stack: Stack, *before: str, **options: Any) -> subprocess.Popen[str]:
    """A process that deploys, with an engine that has begun its step."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", DEPLOYING, str(stack.program)],
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parents[3],
        **options,
    )
    until((stack.program / "ready").exists, 20.0, "the engine at work")
    return process


def ended(stack: Stack) -> bool:
    """Whether the engine's step was ended in good order."""
    notes = stack.program / "notes"
    return notes.exists() and notes.read_text() == "interrupted\nended\n"


def test_a_deployment_whose_lbstack_is_killed_ends_its_step(stack: Stack) -> None:
    """As by a machine that runs out of memory; what the engine prints then has no reader, which must not end it."""
    patient(stack, says="echo output; echo {} >>$PULUMI_DEBUG_GRPC || echo failed >>$notes")
    process = deploying(stack, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process.kill()
    process.wait()
    until(lambda: ended(stack), 20.0, "the engine to end its step")


def test_a_deployment_goes_on_when_nobody_reads_its_progress(stack: Stack) -> None:
    notes, ready = stack.program / "notes", stack.program / "ready"
    install(
        stack, f"echo '{EVENT}' >>$log; touch {ready}; sleep 1; echo '{EVENT}' >>$log; echo done >{notes}; exit 0\n"
    )
    process = deploying(stack, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()  # `2>&1 | head -1`
    assert process.stdout is not None
    assert process.stdout.read() == "0 None\n"
    process.stdout.close()
    process.wait(20)
    assert notes.read_text() == "done\n"


def test_a_deployment_that_was_told_to_outlive_its_terminal_does(stack: Stack) -> None:
    notes, ready = stack.program / "notes", stack.program / "ready"
    install(stack, f"echo '{EVENT}' >>$log; touch {ready}; sleep 1; echo done >{notes}; exit 0\n")
    process = deploying(stack, "nohup", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.killpg(process.pid, signal.SIGHUP)
    out, _ = process.communicate(timeout=20)
    assert out == "0 None\n"
    assert notes.read_text() == "done\n"


@pytest.mark.parametrize("number", ENDS)
def test_a_cancelled_deployment_reports_the_engine_once_and_waits_for_it(stack: Stack, number: signal.Signals) -> None:
    notes = patient(stack)
    process = deploying(stack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        os.killpg(process.pid, number)  # as a terminal does it, and a runner
        out, _ = process.communicate(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert out == "3 interrupted\n"
    assert notes.read_text() == "interrupted\nended\n"


@pytest.mark.parametrize("number", ENDS)
def test_a_deployment_that_is_cancelled_while_the_engine_is_being_started_is_reported_to_end_too(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    notes = patient(stack)
    start = subprocess.Popen

    def cancelled_in_the_middle(*arguments: object, **options: object) -> object:
        process = start(*arguments, **options)  # type: ignore[call-overload]
        if process.args[0] == "/bin/sh":  # who watches for this process's death
            return process
        until((stack.program / "ready").exists, 20.0, "the engine at work")
        signal.raise_signal(number)
        return process

    monkeypatch.setattr(subprocess, "Popen", cancelled_in_the_middle)
    run = engine.run(stack, "up")
    assert run.cut_short is not None
    assert (run.code, run.cut_short.kind) == (3, "interrupted")
    assert notes.read_text() == "interrupted\nended\n"


def test_a_person_who_insists_has_the_engine_drop_everything(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = patient(stack)
    wait = subprocess.Popen.wait

    def insisted(process: subprocess.Popen[bytes], patience_s: float | None = None) -> int:
        if patience_s is None:
            return wait(process)
        until(notes.exists, 20.0, "the engine to get the signal")
        signal.raise_signal(signal.SIGTERM)  # a runner that grows impatient is not a person
        signal.raise_signal(signal.SIGINT)
        return wait(process, patience_s)

    monkeypatch.setattr(subprocess.Popen, "wait", insisted)

    def reported(_line: str) -> None:
        signal.raise_signal(signal.SIGINT)

    run = engine.run(stack, "up", progress=reported)
    assert run.code == 9
    assert notes.read_text() == "interrupted\ninterrupted\n"
