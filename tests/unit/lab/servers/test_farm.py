"""A back-end server behaves as a load balancer expects of the real one; the name server always answers."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.servers import dns
from lab.servers.daemon import Farm
from lab.servers.farm import ACTIONS, Control, ensure_certificates
from lab.servers.http import parse_head
from lab.traffic.attempts import CLOSED, CONNECT, HANDSHAKE, REFUSED, RESET, TLS
from lab.traffic.request import Failed, request
from tests.unit.lab.servers.servers import HOST, LIMIT_S, NAME, Running, backend


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("backends")
    ensure_certificates(directory, [backend()])
    return directory


@pytest.fixture(params=["horizon"])
def running(request: pytest.FixtureRequest, certificates: Path) -> Iterator[Running]:
    kind: str = request.param
    path = {"horizon": "/favicon.ico", "appvolumes": "/"}[kind]
    made = Running(kind, path, certificates)
    made.call(made.server.start)
    try:
        yield made
    finally:
        made.close()


app_volumes = pytest.mark.parametrize("running", ["appvolumes"], indirect=True)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a_connection_server_answers_503_while_it_is_disabled_and_serves_on(running: Running, method: str) -> None:
    assert running.get("/favicon.ico", method).status == 200
    running.server.enabled = False
    assert running.get("/favicon.ico", method).status == 503
    assert running.get("/").status == 200
    running.server.enabled = True
    assert running.get("/favicon.ico", method).status == 200


def test_a_server_that_dies_leaves_no_connection_open_that_the_client_has_not_ended(certificates: Path) -> None:
    made = Running("horizon", "/", certificates)
    made.call(made.server.start)
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        with made.connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            made.close()
        del made
        gc.collect()
    assert [str(warning.message) for warning in left] == []


@app_volumes
def test_the_start_page_of_a_manager_stays_while_its_health_address_answers_503(running: Running) -> None:
    running.server.enabled = False
    assert running.get("/").status == 200
    assert running.get("/health_check").status == 503
    assert running.get("/health-check").status == 503


def test_every_answer_names_the_server(running: Running) -> None:
    for path in ("/", "/favicon.ico", "/nowhere", "/hold?seconds=0"):
        assert running.get(path).server == "horizon-01"
    assert running.get("/nowhere").status == 404


def test_only_tls_1_2_is_spoken(running: Running) -> None:
    assert running.get("/").tls_version == "TLSv1.2"
    newer = running.tls.context()
    newer.minimum_version = ssl.TLSVersion.TLSv1_3
    with socket.create_connection((HOST, running.port)) as plain, pytest.raises(ssl.SSLError):
        newer.wrap_socket(plain, server_hostname=NAME)


def test_a_client_that_expects_another_name_refuses_the_server(running: Running) -> None:
    running.tls = replace(running.tls, hostname="other.lab.example")
    with pytest.raises(Failed) as failed:
        running.get("/")
    assert (failed.value.outcome, failed.value.stage) == (TLS, HANDSHAKE)


def test_several_requests_fit_one_connection_and_a_body_is_no_request(running: Running) -> None:
    with running.connect() as connection, connection.makefile("rb") as answers:
        for _ in range(3):
            connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
            assert b"200" in answers.readline()
            while (line := answers.readline().strip()) != b"":
                if line.lower().startswith(b"content-length"):
                    length = int(line.split()[1])
            answers.read(length)


def test_http_1_0_and_connection_close_end_the_connection(running: Running) -> None:
    for head in (b"HEAD /favicon.ico HTTP/1.0\r\n\r\n", b"HEAD /favicon.ico HTTP/1.1\r\nConnection: close\r\n\r\n"):
        with running.connect() as connection:
            connection.sendall(head)
            received = b""
            while part := connection.recv(4096):
                received += part
            assert received.startswith(b"HTTP/1.1 200 OK\r\n")
            assert received.endswith(b"\r\n\r\n")


def test_probes_are_counted_by_source_and_the_labs_own_traffic_is_none(running: Running) -> None:
    for _ in range(3):
        running.get("/favicon.ico", "HEAD")  # `request` marks itself as the lab's
    running.get("/")
    assert running.server.as_dict()["probes"] == {}
    for _ in range(3):
        with running.connect() as connection:
            connection.sendall(b"HEAD /favicon.ico HTTP/1.0\r\n\r\n")
            while connection.recv(4096):
                pass
    seen = running.server.as_dict()
    assert seen["requests"] == 7
    assert seen["probes"][HOST]["count"] == 3
    assert 0 <= seen["probes"][HOST]["shortest_s"] <= seen["probes"][HOST]["median_s"] < LIMIT_S


def test_a_tunnel_is_silent_until_it_is_spoken_to(running: Running) -> None:
    with running.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(b"GET /tunnel HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: lab\r\n\r\n")
        assert answers.readline().startswith(b"HTTP/1.1 101")
        while answers.readline() != b"\r\n":
            pass
        connection.sendall(b"hello\n")
        assert answers.readline() == b"horizon-01 hello\n"


def test_a_stream_goes_on_for_as_long_as_it_was_asked_for(running: Running) -> None:
    answer = running.get("/stream?seconds=0.6")
    assert answer.body.splitlines() == [b"horizon-01 1", b"horizon-01 2"]
    assert answer.total_s >= 0.6


def test_a_request_can_be_held_open(running: Running) -> None:
    answer = running.get("/hold?seconds=0.3")
    assert answer.status == 200
    assert answer.total_s >= 0.3


def test_a_killed_server_cuts_its_sessions_and_refuses_until_it_starts_again(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(b"GET /tunnel HTTP/1.1\r\nUpgrade: lab\r\n\r\n")
        assert b"101" in connection.recv(4096)
        running.call(running.server.kill)
        assert not running.server.running
        with suppress(ConnectionResetError, ssl.SSLEOFError):
            assert connection.recv(4096) == b""
    with pytest.raises(Failed) as failed:
        running.get("/")
    assert (failed.value.outcome, failed.value.stage) == (REFUSED, CONNECT)
    running.call(running.server.start)
    assert running.get("/").status == 200


def test_nonsense_is_answered_or_dropped_and_the_server_lives(running: Running) -> None:
    for nonsense in (b"\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"x" * 100_000 + b"\r\n\r\n"):
        with running.connect() as connection:
            try:
                connection.sendall(nonsense)
                assert connection.recv(4096)[:12] in (b"HTTP/1.1 400", b"")
            except (ConnectionError, ssl.SSLError):
                pass
    with socket.create_connection((HOST, running.port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert running.get("/").status == 200


def test_a_connection_that_ends_without_an_answer_is_distinguished_from_a_reset() -> None:
    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as pool:

        def close_after_the_request(linger: bytes) -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        for linger, outcome in ((b"\0" * 8, CLOSED), (b"\1" + b"\0" * 7, RESET)):
            served = pool.submit(close_after_the_request, linger)
            with pytest.raises(Failed) as failed:
                request(None, HOST, listening.getsockname()[1])
            served.result(LIMIT_S)
            assert failed.value.outcome == outcome


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (b"GET /a?b=c HTTP/1.1\r\nConnection: Close\r\n\r\n", False),
        (b"GET /a?b=c HTTP/1.0\r\n\r\n", False),
        (b"GET /a?b=c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
    ],
)
def test_a_head_is_read_with_its_wish_to_stay(head: bytes, keep_alive: bool) -> None:  # noqa: FBT001
    request = parse_head(head)
    assert request is not None
    assert (request.method, request.path, request.query, request.keep_alive) == ("GET", "/a", {"b": "c"}, keep_alive)


def test_certificates_are_made_once_and_again_only_for_other_names(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, [backend()])
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    ensure_certificates(tmp_path, [backend()])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first
    ensure_certificates(tmp_path, [backend(hostnames=(NAME, "more.lab.example")), backend(name="horizon-02")])
    second = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert second["ca.pem"] == first["ca.pem"]
    assert second["horizon-01.pem"] != first["horizon-01.pem"]
    assert "horizon-02.pem" in second
    assert all(file.stat().st_mode & 0o077 == 0 for file in tmp_path.iterdir())


def test_without_the_process_control_shows_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="python -m lab up"):
        Control(tmp_path).show()


def test_an_unknown_action_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=", ".join(ACTIONS)):
        Control(tmp_path).set("horizon-01", "explode")


RECORDS = {NAME: IPv4Address("192.168.6.123"), "horizon-01": IPv4Address("192.168.6.113")}


def query(name: str, kind: int = 1, *, flags: int = 0x0100, group: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return struct.pack("!6H", 77, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, group)


def code_and_answers(reply: bytes | None) -> tuple[int, int]:
    assert reply is not None
    identity, flags, questions, answers, _, _ = struct.unpack_from("!6H", reply)
    assert (identity, flags & 0x8000, questions) == (77, 0x8000, 1)
    return flags & 0x0F, answers


def test_a_known_name_is_answered_whatever_its_case() -> None:
    reply = dns.answer(query("Horizon.LAB.example"), RECORDS)
    assert code_and_answers(reply) == (0, 1)
    assert reply is not None
    assert reply[-4:] == RECORDS[NAME].packed


def test_a_known_name_without_that_kind_of_record_is_no_error() -> None:
    assert code_and_answers(dns.answer(query(NAME, 28), RECORDS)) == (0, 0)


def test_an_unknown_name_is_denied_at_once() -> None:
    assert code_and_answers(dns.answer(query("packages.example"), RECORDS)) == (3, 0)
    assert code_and_answers(dns.answer(query(""), RECORDS)) == (3, 0)


def test_an_address_is_turned_into_its_name() -> None:
    reply = dns.answer(query("113.6.168.192.in-addr.arpa", 12), RECORDS)
    assert code_and_answers(reply) == (0, 1)
    assert reply is not None
    assert reply.endswith(b"\x0ahorizon-01\0")
    assert code_and_answers(dns.answer(query("9.6.168.192.in-addr.arpa", 12), RECORDS)) == (3, 0)


def test_what_is_no_lookup_is_not_implemented() -> None:
    assert code_and_answers(dns.answer(query(NAME, flags=0x2800), RECORDS)) == (4, 0)
    assert code_and_answers(dns.answer(query(NAME, group=3), RECORDS)) == (4, 0)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\0" * 11,
        query(NAME)[:20],
        query(NAME)[:-1],
        query(NAME, flags=0x8000),
        query(NAME)[:12] + b"\xc0\x0c\0\1",
    ],
    ids=["nothing", "half a header", "half a name", "half a question", "an answer", "a pointer"],
)
def test_what_is_no_query_gets_no_answer(datagram: bytes) -> None:
    assert dns.answer(datagram, RECORDS) is None


def test_a_document_of_the_control_socket_that_is_none_is_an_error_not_an_end(certificates: Path) -> None:
    farm = Farm(certificates)
    for text in (b"", b"nonsense", b"[]", b'{"command":"kill","name":"nobody"}', b"{}"):
        assert "error" in asyncio.run(farm.command(text)), text
    assert asyncio.run(farm.command(b'{"command":"show"}'))["servers"] == []
