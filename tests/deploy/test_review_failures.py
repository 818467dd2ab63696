"""Whatever is wrong: one clear message with the remedy, exit code 2, in time, and the state is what it was."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import trustme

from lab.system.waiting import until
from lbstack.cli import EXIT_REFUSED
from tests.deploy.engine import Result
from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY, drift, lbstack, report

SERVER = "vsphere:vsphereServer"
MOST_S = 60.0
SHORT_LIMIT_S = 8
SLOW_S = 20


@pytest.fixture(scope="module")
def deployed(tier_lab: Harness) -> Harness:
    """The tier's lab with the pair deployed; these tests change nothing of it."""
    tier_lab.converge()
    return tier_lab


def longer_tunnels(config: Config) -> None:
    config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}


def refused(lab: Harness, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run a preview that cannot report; the same failure as data, Markdown and text."""
    state, begin = lab.checkpoint.file.read_bytes(), time.monotonic()
    file = lab.paths.root / "report.md"
    result = lbstack(
        lab,
        "preview",
        *(arguments or (STACK,)),
        *("--json", "--markdown", str(file)),
        environment=environment,
    ).refused(2)
    assert time.monotonic() - begin < MOST_S
    assert lab.checkpoint.file.read_bytes() == state
    found = json.loads(result.out)
    assert found["outcome"] == "unknown"
    assert found["verdict"].startswith("Unknown: ")
    assert found["failure"]["remedy"]
    text = file.read_text()
    assert found["failure"]["message"].splitlines()[0] in text
    for secret in lab.plain_secrets().values():
        assert secret not in result.text + text
    return result


def kind(result: Result) -> str:
    return str(json.loads(result.out)["failure"]["kind"])


def message(result: Result) -> str:
    failure = json.loads(result.out)["failure"]
    return f"{failure['message']} {failure['remedy']}"


def point_to(address: str) -> dict[str, str]:
    return {SERVER: address}


@contextmanager
def stack_file(lab: Harness, changes: Mapping[str, str]) -> Iterator[None]:
    def change(config: Config) -> None:
        config.update(changes)

    with lab.edited(change):
        yield


def test_no_such_stack_file_names_those_that_there_are(deployed: Harness) -> None:
    result = lbstack(deployed, "preview", "nowhere", environment={"PULUMI_OPTION_CONFIG_FILE": ""}).refused(
        EXIT_REFUSED
    )
    assert 'no stack "nowhere"' in result.err
    assert "Pulumi.lab.yaml" in result.err


def test_a_stack_file_without_a_stack(deployed: Harness, tmp_path: Path) -> None:
    copy = tmp_path / "Pulumi.elsewhere.yaml"
    copy.write_text(deployed.paths.stack_file.read_text())
    environment = {"PULUMI_OPTION_CONFIG_FILE": "", "PULUMI_STACK": ""}
    result = refused(deployed, str(copy), environment=environment)
    assert kind(result) == "no-stack"
    assert "elsewhere" in message(result)
    assert "pulumi stack ls" in message(result)


def test_no_engine(deployed: Harness) -> None:
    result = refused(deployed, environment={"PATH": os.defpath})
    assert kind(result) == "no-engine"
    assert "https://www.pulumi.com/docs/install/" in message(result)


def test_the_wrong_passphrase(deployed: Harness, tmp_path: Path) -> None:
    wrong = tmp_path / "passphrase"
    wrong.write_text("wrong")
    result = refused(deployed, environment={"PULUMI_CONFIG_PASSPHRASE_FILE": str(wrong)})
    assert kind(result) == "passphrase"
    assert "PULUMI_CONFIG_PASSPHRASE_FILE" in message(result)


def test_no_passphrase(deployed: Harness) -> None:
    result = refused(deployed, environment={"PULUMI_CONFIG_PASSPHRASE_FILE": ""})
    assert kind(result) == "passphrase"


def test_a_state_that_a_killed_run_left_locked(deployed: Harness) -> None:
    lock = deployed.paths.backend / ".pulumi" / "locks" / "organization" / "lbstack" / STACK / "held.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = {"pid": 1, "username": "root", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    lock.write_text(json.dumps(held))
    try:
        result = refused(deployed)
    finally:
        lock.unlink()
    assert kind(result) == "locked"
    for word in ("root@elsewhere", "pid 1", "2026-01-01", "pulumi cancel"):
        assert word in message(result)


@contextmanager
def deploying(lab: Harness, operation: str) -> Iterator[subprocess.Popen[bytes]]:
    """`lbstack up`, once vCenter has been asked to do this; not waited for."""
    mark = lab.last_task()
    process = subprocess.Popen(
        [sys.executable, "-m", "lbstack", "up", STACK],
        env=lab.workspace.environment(),
        cwd=lab.program,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: [task for task in lab.tasks(mark) if task["operation"] == operation], MOST_S, operation)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def killed(lab: Harness, operation: str) -> None:
    """Deploy, and kill everything that takes part in it with signal 9 once vCenter has done this."""
    with deploying(lab, operation) as process:
        below = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        for each in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def ends_in_good_order(lab: Harness, engines: list[psutil.Process]) -> None:
    """The engine ends the step that it has begun: no lock is left, no half-done step, no node is off."""
    _, alive = psutil.wait_procs(engines, MOST_S)
    assert alive == []
    assert "A run was killed" not in lbstack(lab, "preview", STACK).ok().out  # nor is the stack locked
    assert {machine.power for machine in lab.machines().values()} == {"on"}


def engines_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [each for each in psutil.Process(process.pid).children() if "pulumi" in each.name()]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT])
def test_an_ssh_session_that_drops_in_the_middle_of_a_roll_leaves_no_lock_and_no_node_off(
    pair: Harness, number: signal.Signals
) -> None:
    with pair.edited(longer_tunnels):
        with deploying(pair, "reconfigure") as process:
            engines = engines_of(process)
            assert engines
            os.killpg(process.pid, number)
            assert process.wait(MOST_S) == EXIT_REFUSED  # with a report
        ends_in_good_order(pair, engines)
        pair.up().ok()


def test_an_engine_whose_lbstack_is_killed_in_the_middle_of_a_roll_ends_in_good_order(pair: Harness) -> None:
    with pair.edited(longer_tunnels):
        with deploying(pair, "reconfigure") as process:
            engines = engines_of(process)
            assert engines
            process.kill()
        ends_in_good_order(pair, engines)
        pair.up().ok()


def test_a_change_that_was_killed_in_the_middle_is_reported_and_the_remedy_leads_on(pair: Harness) -> None:
    def change(config: Config) -> None:
        longer_tunnels(config)
        config["lbstack:rollout"]["mode"] = "reboot"  # which leaves a node without power, if it is killed

    with pair.edited(change):
        killed(pair, "reconfigure")
        for command in ("preview", "up", "destroy"):
            output = lbstack(pair, command, STACK, *(["--yes"] if command == "destroy" else [])).refused(2).text
            assert "pulumi cancel" in output
            assert "locked" in output
        pair.pulumi("cancel", "--yes", STACK).ok()
        text = lbstack(pair, "preview", STACK).ok().out
        assert "A run was killed while it was updating pair-node2." in text
        assert f"{STANDBY}: The VM is powered off in vCenter" in text
        assert "which switches it on" in text
        assert "nothing has to be put back" in text
        output = lbstack(pair, "up", STACK).ok().out
        assert "A run was killed while it was updating pair-node2." in output
        assert "AWS" not in output
        assert {machine.power for machine in pair.machines().values()} == {"on"}
        assert report(pair)["outcome"] == "nothing"


def test_a_node_that_is_off_is_drift_although_a_refresh_has_taken_it_into_the_state(pair: Harness) -> None:
    pair.power_off(STANDBY)
    pair.pulumi("refresh", "--run-program", "--yes", "--skip-preview").ok()
    item = drift(report(pair))[STANDBY, "power"]
    assert item["text"] == "The VM is powered off in vCenter; a node is meant to be on."
    assert "switch the VM on" in item["remedy"]


def test_a_creation_that_was_killed_leaves_a_vm_that_is_reported_and_the_remedy_leads_on(pair: Harness) -> None:
    pair.destroy().ok()
    killed(pair, "create")
    pair.pulumi("cancel", "--yes", STACK).ok()
    assert "A run was killed while it was creating pair-node2." in lbstack(pair, "preview", STACK).ok().out
    output = lbstack(pair, "up", STACK).refused(2).text
    assert f"2. {MASTER}" not in output
    assert "Failed, and nothing was changed" in output
    for text in (output, lbstack(pair, "destroy", STACK, "--yes").refused(2).text):
        assert "govc vm.destroy" in text
    assert lbstack(pair, "destroy", STACK, "--yes", "--remove").refused(2)
    assert STANDBY in pair.machines()  # and its stack is there to tell
    pair.govc("vm.destroy", STANDBY)
    lbstack(pair, "up", STACK).ok()
    assert set(pair.machines()) == {MASTER, STANDBY}
    lbstack(pair, "destroy", STACK, "--yes").ok()  # what became of the killed creation is known
    assert pair.machines() == {}
    pair.converge()  # as the other tests of this module want it


def test_a_killed_creation_is_struck_off_as_its_refusal_says(pair: Harness) -> None:
    pair.destroy().ok()
    killed(pair, "create")
    pair.pulumi("cancel", "--yes", STACK).ok()
    text = lbstack(pair, "destroy", STACK, "--yes").refused(2).text
    assert f"creating pair-node2 ({STANDBY})" in text
    pair.govc("vm.destroy", STANDBY)
    assert f"pulumi refresh --yes --clear-pending-creates --stack {STACK}" in text
    pair.pulumi("refresh", "--yes", "--clear-pending-creates").ok()
    lbstack(pair, "destroy", STACK, "--yes").ok()
    assert pair.machines() == {}
    pair.converge()


@pytest.mark.parametrize("command", ["up", "destroy", "sweep"])
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PATH": os.defpath}, "https://www.pulumi.com/docs/install/"),
        ({"PULUMI_CONFIG_PASSPHRASE_FILE": os.devnull}, "PULUMI_CONFIG_PASSPHRASE"),
        ({"PULUMI_BACKEND_URL": "file:///nonexistent/state"}, "PULUMI_BACKEND_URL"),
    ],
)
def test_what_changes_a_stack_refuses_wrong_input_too(
    deployed: Harness, command: str, environment: dict[str, str], message: str
) -> None:
    def expired(config: Config) -> None:
        config["lbstack:lab"] = {"ttlHours": 1}

    mark = deployed.last_task()
    more = {"up": [], "destroy": ["--yes"], "sweep": ["--destroy"]}[command]
    with deployed.edited(expired), aged(deployed):
        state = deployed.checkpoint.file.read_bytes()
        result = lbstack(deployed, command, STACK, *more, environment=environment).refused(2)
        assert deployed.checkpoint.file.read_bytes() == state
    assert message in result.text
    assert deployed.tasks(mark) == []


@contextmanager
def recorded(lab: Harness, changes: Mapping[str, str]) -> Iterator[None]:
    """A state whose provider reaches vCenter in another way, as if the last deployment had."""
    before = lab.checkpoint.file.read_bytes()
    record = json.loads(before)
    for resource in record["checkpoint"]["latest"]["resources"]:
        if resource["type"] == "pulumi:providers:vsphere":
            for side in ("inputs", "outputs"):
                resource[side].update({key.removeprefix("vsphere:"): value for key, value in changes.items()})
    lab.checkpoint.file.write_text(json.dumps(record))
    try:
        yield
    finally:
        lab.checkpoint.file.write_bytes(before)


TROUBLES = {
    "unreachable": "no vCenter answers at 127.0.0.1:1",
    "silent": "no vCenter answers at 127.0.0.1:",
    "credentials": "Set vsphere:user and the secret vsphere:password",
    "expired": "expired",
    "unknown authority": "SSL_CERT_FILE",
}


@contextmanager
def trouble(lab: Harness, name: str, directory: Path) -> Iterator[dict[str, str]]:
    """A way to vCenter that leads nowhere, in the stack file and in the state alike; what the environment has of it."""
    environment: dict[str, str] = {}
    with ExitStack() as stack:
        if name == "credentials":
            changes = {"vsphere:user": "nobody@vsphere.local"}
        elif name == "unreachable":
            changes = point_to("127.0.0.1:1")
        elif name == "silent":
            changes = point_to(stack.enter_context(silent_server()))
        elif name == "expired":
            certificate, trusted = expired_certificate(directory)
            changes = point_to(stack.enter_context(silent_server(certificate)))
            environment = {"SSL_CERT_FILE": str(trusted)}
        else:
            changes, environment = {}, {"SSL_CERT_FILE": os.devnull}
        stack.enter_context(stack_file(lab, changes))
        stack.enter_context(recorded(lab, changes))
        yield environment


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("command", ["up", "destroy", "sweep"])
def test_what_changes_a_stack_shows_what_is_wrong_with_the_way_to_vcenter(
    deployed: Harness, tmp_path: Path, command: str, name: str
) -> None:
    def expiring(config: Config) -> None:
        config["lbstack:lab"] = {"ttlHours": 1}

    more = {"up": [], "destroy": ["--yes"], "sweep": ["--destroy"]}[command]
    mark = deployed.last_task()
    with deployed.edited(expiring), aged(deployed), trouble(deployed, name, tmp_path) as environment:
        before, begin = resources(deployed), time.monotonic()
        output = lbstack(deployed, command, STACK, *more, environment=environment).refused(EXIT_REFUSED).text
        assert time.monotonic() - begin < MOST_S
        assert resources(deployed) == before
    assert TROUBLES[name] in output
    if command == "up":
        assert "Failed, and nothing was changed" in output
    else:
        assert "as the last deployment recorded it" in output
        assert "pulumi up --target" in output
    assert deployed.tasks(mark) == []


def test_a_destroy_with_a_login_of_yesterday_shows_what_helps_and_that_helps(pair: Harness) -> None:
    """The account that the state has is refused today; the stack file has the one that is not."""
    record = json.loads(pair.checkpoint.file.read_text())
    for resource in record["checkpoint"]["latest"]["resources"]:
        if resource["type"] == "pulumi:providers:vsphere":
            resource["inputs"]["user"] = resource["outputs"]["user"] = "nobody@vsphere.local"
    pair.checkpoint.file.write_text(json.dumps(record))
    output = lbstack(pair, "destroy", STACK, "--yes").refused(EXIT_REFUSED).text
    found = re.search(r"`pulumi up --target '([^']+)'`", output)
    assert found
    pair.up("--target", found[1]).ok()
    lbstack(pair, "destroy", STACK, "--yes").ok()
    assert pair.machines() == {}
    pair.converge()  # as the other tests of this module want it


@pytest.mark.parametrize("command", ["preview", "up"])
def test_a_call_of_the_provider_that_takes_too_long_ends_with_the_time_that_was_given(
    deployed: Harness, command: str
) -> None:
    """The guard is answered at once; it is the provider's own login that vCenter keeps waiting."""
    before, begin = resources(deployed), time.monotonic()
    for _ in range(4):  # the provider's two APIs, in both runs of a preview
        deployed.slow_next("Login", SLOW_S)
    try:
        output = lbstack(deployed, command, STACK, "--timeout", str(SHORT_LIMIT_S)).refused(EXIT_REFUSED).text
    finally:
        deployed.forget_faults()
    assert time.monotonic() - begin < MOST_S
    assert f"did not end within {SHORT_LIMIT_S} s and was interrupted" in output
    assert "If the vCenter is only slow, give it longer with --timeout SECONDS." in output
    assert resources(deployed) == before


def resources(lab: Harness) -> object:
    """What is recorded as deployed, without what every writing makes anew: the time, and the noise in secrets."""
    found = json.loads(re.sub(r'"ciphertext": ?"[^"]*"', '"ciphertext":""', lab.checkpoint.file.read_text()))
    return found["checkpoint"]["latest"]["resources"]


@contextmanager
def aged(lab: Harness) -> Iterator[None]:
    """A deployment that is a week old."""
    before = lab.checkpoint.file.read_bytes()
    record = json.loads(before)
    record["checkpoint"]["latest"]["manifest"]["time"] = "2026-01-01T00:00:00Z"
    lab.checkpoint.file.write_text(json.dumps(record))
    try:
        yield
    finally:
        lab.checkpoint.file.write_bytes(before)


def test_a_state_that_is_not_where_it_should_be(deployed: Harness) -> None:
    result = refused(deployed, environment={"PULUMI_BACKEND_URL": "file:///nonexistent/state"})
    assert kind(result) == "backend"


def test_a_vcenter_that_nobody_answers_for(deployed: Harness) -> None:
    with stack_file(deployed, point_to("127.0.0.1:1")):
        result = refused(deployed)
    assert kind(result) == "unreachable"
    assert "127.0.0.1:1" in message(result)


def test_a_vcenter_that_takes_a_connection_and_reports_nothing(deployed: Harness) -> None:
    with silent_server() as address, stack_file(deployed, point_to(address)):
        result = refused(deployed, STACK, "--timeout", str(SHORT_LIMIT_S))
    assert kind(result) == "timeout"
    assert f"within {SHORT_LIMIT_S} s" in message(result)
    assert "--timeout" in message(result)


def test_a_vcenter_that_stays_silent_ends_by_itself_too(deployed: Harness) -> None:
    with silent_server() as address, stack_file(deployed, point_to(address)):
        result = refused(deployed)
    assert kind(result) == "unreachable"
    assert "no vCenter answers" in message(result)


def test_a_login_that_the_vcenter_refuses(deployed: Harness) -> None:
    with stack_file(deployed, {"vsphere:user": "nobody@vsphere.local"}):
        result = refused(deployed)
    assert kind(result) == "credentials"
    assert "vsphere:password" in message(result)


def test_an_expired_certificate(deployed: Harness, tmp_path: Path) -> None:
    certificate, trusted = expired_certificate(tmp_path)
    with silent_server(certificate) as address, stack_file(deployed, point_to(address)):
        result = refused(deployed, environment={"SSL_CERT_FILE": str(trusted)})
    assert kind(result) == "certificate"
    assert "expired" in message(result)


def test_a_certificate_of_an_unknown_authority(deployed: Harness) -> None:
    result = refused(deployed, environment={"SSL_CERT_FILE": os.devnull})
    assert kind(result) == "certificate"
    assert "SSL_CERT_FILE" in message(result)


def test_another_vcenter_than_the_pinned_one(deployed: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:placement"]["vcenterUuid"] = "11111111-2222-4333-8444-555555555555"

    with deployed.edited(change):
        result = refused(deployed)
    assert kind(result) == "other-vcenter"


def test_a_wrong_stack_file_is_a_report_with_every_problem(deployed: Harness) -> None:
    def change(config: Config) -> None:
        config["lbstack:vrrp"]["routerId"] = 300
        config["lbstack:stats"]["vip"] = "10.0.0.1"

    with deployed.edited(change):
        result = refused(deployed)
        for command in ("check", "render"):
            again = lbstack(deployed, command, STACK).refused(2)
            assert "vrrp.routerId" in again.err
            assert "stats.vip" in again.err
    assert kind(result) == "configuration"
    assert "vrrp.routerId" in message(result)
    assert "stats.vip" in message(result)


def expired_certificate(directory: Path) -> tuple[trustme.LeafCert, Path]:
    """A certificate that was good until yesterday, and the file of the authority that it is of."""
    authority = trustme.CA()
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    trusted = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    return authority.issue_cert("127.0.0.1", not_after=yesterday), trusted


@contextmanager
def silent_server(certificate: trustme.LeafCert | None = None) -> Iterator[str]:
    """A server on loopback that takes connections and never answers a request; its address."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                kept.append(context.wrap_socket(connection, server_side=True) if context else connection)
            except ssl.SSLError:
                continue  # a client that does not like the certificate
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in kept:
            connection.close()
