"""Send one request from inside a namespace: for checks, tables and tests that need a single answer.

``traffic.py`` sends many.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from lab.errors import LabError
from lab.network import netns
from lab.servers.server import CLIENT_HEADER, SERVER_HEADER
from lab.traffic.attempts import CLOSED, CONNECT, HANDSHAKE, REQUEST, outcome_of
from lbstack.facts.ports import HTTPS_PORT

LIMIT_S = 3.0  # what the project promises a connection attempt


class Failed(LabError):
    """A request got no answer.

    Args:
        outcome: The word for it, of ``attempts``.
        stage: How far it came.
        described: What was asked of whom.
    """

    def __init__(self, outcome: str, stage: str, described: str) -> None:
        super().__init__(f"{described}: {outcome} ({stage})")
        self.outcome = outcome
        self.stage = stage


@dataclass(frozen=True)
class Tls:
    """How a client verifies a server.

    Args:
        ca_file: The certificates that it trusts; None trusts whatever comes.
        hostname: The name that it asks for and that the certificate has to be for.
    """

    ca_file: Path | None
    hostname: str

    def context(self) -> ssl.SSLContext:
        """As the standard library wants it."""
        if self.ca_file is not None:
            return ssl.create_default_context(cafile=str(self.ca_file))
        made = ssl.create_default_context()
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        status: HTTP status.
        headers: Names in lower case.
        body: All of it.
        connect_s: Seconds until the connection stood.
        total_s: Seconds until everything was there.
        tls_version: Such as ``TLSv1.2``; empty without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    connect_s: float
    total_s: float
    tls_version: str

    @property
    def server(self) -> str:
        """The back-end server that answered; empty where it was none of the lab's."""
        return self.headers.get(SERVER_HEADER.lower(), "")


def request(
    namespace: str | None,
    address: IPv4Address | str,
    port: int = HTTPS_PORT,
    path: str = "/",
    *,
    tls: Tls | None = None,
    source: IPv4Address | str | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    limit_s: float = LIMIT_S,
) -> Answer:
    """Ask once, on a connection of its own.

    Args:
        namespace: Where the client is; None is this process's own.
        address: Whom to ask.
        port: Its port.
        path: What to ask for.
        tls: How to verify the server; None is plain HTTP.
        source: The client's own address, where it has several.
        method: HTTP method.
        headers: Headers next to the usual ones.
        limit_s: For each step, in seconds.

    Raises:
        Failed: There was no answer; with outcome and stage.
        LabError: There is no such namespace.
    """
    described = f"{method} {'https' if tls else 'http'}://{address}:{port}{path}"
    with netns.inside(namespace):
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    stage, started = CONNECT, time.monotonic()
    client = http.client.HTTPConnection(tls.hostname if tls else str(address), port)
    try:
        connection.settimeout(limit_s)
        if source is not None:
            connection.bind((str(source), 0))
        connection.connect((str(address), port))
        connected = time.monotonic() - started
        client.sock = connection
        version = ""
        if tls is not None:
            stage = HANDSHAKE
            client.sock = secured = tls.context().wrap_socket(connection, server_hostname=tls.hostname)
            version = secured.version() or ""
        stage = REQUEST
        own = {CLIENT_HEADER: str(source or "one"), "Connection": "close"}
        client.request(method, path, headers={**own, **(headers or {})})
        response = client.getresponse()
        body = response.read()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, body, connected, time.monotonic() - started, version)
    except (OSError, http.client.HTTPException) as error:
        ended = isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead)
        raise Failed(CLOSED if ended else outcome_of(error), stage, described) from error
    finally:
        client.close()
        connection.close()
