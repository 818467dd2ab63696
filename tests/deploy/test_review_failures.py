"""Whatever is wrong: one clear message with the remedy, exit code 2, in time, and the state is what it was."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.deploy.engine import Result
from tests.deploy.harness import Config, Harness
from tests.deploy.review import STACK, lbstack

SERVER = "vsphere:vsphereServer"
MOST_S = 60.0
SHORT_LIMIT_S = 8


@pytest.fixture(scope="module")
def deployed(session_lab: Harness) -> Harness:
    """The session's lab with the pair deployed; these tests change nothing of it."""
    session_lab.converge()
    return session_lab


def refused(lab: Harness, *arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run a preview that cannot tell; the same failure as data, Markdown and text."""
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
    assert found["verdict"].startswith("Cannot tell: ")
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
    result = lbstack(deployed, "preview", "nowhere", environment={"PULUMI_OPTION_CONFIG_FILE": ""}).refused(2)
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


def test_a_state_that_is_not_where_it_should_be(deployed: Harness) -> None:
    result = refused(deployed, environment={"PULUMI_BACKEND_URL": "file:///nonexistent/state"})
    assert kind(result) == "backend"


def test_a_vcenter_that_nobody_answers_for(deployed: Harness) -> None:
    with stack_file(deployed, point_to("127.0.0.1:1")):
        result = refused(deployed)
    assert kind(result) == "unreachable"
    assert "127.0.0.1:1" in message(result)


def test_a_vcenter_that_takes_a_connection_and_says_nothing(deployed: Harness) -> None:
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
    authority = trustme.CA()
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    certificate = authority.issue_cert("127.0.0.1", not_after=yesterday)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
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
