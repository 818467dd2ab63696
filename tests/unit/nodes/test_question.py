"""One question ends in time and with bounded memory, whatever the other side sends; over real sockets on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from lbstack.nodes import about, health, status
from lbstack.nodes.health import Target

LIMIT_S = 0.4  # instead of two seconds
SLACK_S = 0.4  # of a busy machine
WANTED = "a" * 64
BODY = json.dumps({"hash": WANTED, "vrrp": "master", "apply": "applied"}).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

Send = Callable[[socket.socket, threading.Event], None]


@contextmanager
def answering(send: Send) -> Iterator[Target]:
    """Somebody on loopback who takes one connection and does with it what a test wants."""
    end = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    send(connection, end)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Target("lb1", "127.0.0.1", listening.getsockname()[1])
        finally:
            end.set()
            with suppress(OSError), socket.create_connection(listening.getsockname(), 1):
                pass  # should nobody have asked
            thread.join()


def trickle(first: bytes, part: bytes) -> Send:
    def send(connection: socket.socket, end: threading.Event) -> None:
        connection.sendall(first)
        while not end.wait(LIMIT_S / 8):  # each read ends well within the limit of one
            connection.sendall(part)

    return send


def pour(first: bytes, part: bytes) -> Send:
    def send(connection: socket.socket, end: threading.Event) -> None:
        connection.sendall(first)
        while not end.is_set():
            connection.sendall(part)

    return send


def once(text: bytes, *, stay: bool = False) -> Send:
    def send(connection: socket.socket, end: threading.Event) -> None:
        connection.recv(1 << 16)
        connection.sendall(text)
        if stay:
            end.wait(10)

    return send


ENDLESS = {
    "nothing at all": trickle(b"", b""),
    "the status line, byte by byte": trickle(b"", b"H"),
    "headers without end": trickle(HEAD, b"X-A: b\r\n"),
    "headers without end, fast": pour(HEAD, b"X-A: b\r\n" * 1000),
    "one header without end": pour(HEAD + b"X-A: ", b"b" * 65536),
    "continue without end": trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "the body, byte by byte": trickle(HEAD + b"Content-Length: 9999\r\n\r\n{", b" "),
    "a body without end": pour(HEAD + b"\r\n{", b" " * 65536),
    "chunks, byte by byte": trickle(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a huge body": once(HEAD + b"Content-Length: 5000000\r\n\r\n" + b" " * 5_000_000),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_a_question_ends_in_time_whatever_is_sent(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ASK_TIMEOUT_S", LIMIT_S)
    with answering(ENDLESS[what]) as node:
        began = time.monotonic()
        answer = health.ask(node)
        took = time.monotonic() - began
    assert not answer.serves
    assert not answer.config_hash
    assert answer.error
    assert took < LIMIT_S + SLACK_S


def test_the_questions_of_status_end_in_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(about, "QUESTION_S", LIMIT_S)
    with answering(ENDLESS["the body, byte by byte"]) as node:
        monkeypatch.setattr(about, "HEALTH_PORT", node.port)
        began = time.monotonic()
        assert status.get(node.address, "/health") is None
        assert time.monotonic() - began < LIMIT_S + SLACK_S


@pytest.mark.parametrize(
    "text",
    [
        HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"\r\n" + BODY,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    ],
)
def test_every_form_of_a_whole_answer_is_understood(text: bytes) -> None:
    with answering(once(text)) as node:
        assert health.ask(node) == health.Answer(WANTED, "master", applied="applied")


def test_a_server_that_keeps_the_connection_is_not_waited_for() -> None:
    with answering(once(HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY, stay=True)) as node:
        began = time.monotonic()
        assert health.ask(node).serves
        assert time.monotonic() - began < health.ASK_TIMEOUT_S / 2


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/health\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY,
        HEAD + b"Content-Length: 9999\r\n\r\n" + BODY[:20],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        HEAD + b"\r\n" + b"[" * 60_000,
        b"",
    ],
)
def test_what_is_no_answer_of_a_node_shows_nothing_of_it(text: bytes) -> None:
    with answering(once(text)) as node:
        answer = health.ask(node)
    assert not answer.config_hash
    assert answer.error
