"""A back-end server for tests that runs on loopback, in an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from lab.network.topology import Backend
from lab.servers.daemon import certificate_of
from lab.servers.server import Server
from lab.servers.spec import Spec
from lab.traffic.request import Answer, Tls, request
from tests import ports

HOST = "127.0.0.1"
NAME = "horizon.lab.example"
LIMIT_S = 20.0


def backend(**changes: object) -> Backend:
    made = Backend("horizon-01", "CS_01", "horizon", IPv4Address(HOST), (443,), (NAME, HOST), "/favicon.ico")
    return replace(made, **changes)  # type: ignore[arg-type]


class Running:
    """A server in an event loop of its own, and questions to it.

    Its port is its own until ``close``, also while it is killed.

    Args:
        kind: What it stands for.
        path: Its health path.
        certificates: The directory of its certificate.
    """

    def __init__(self, kind: str, path: str, certificates: Path) -> None:
        self._held = ExitStack()
        self.port = self._held.enter_context(ports.reserved())
        spec = Spec("horizon-01", kind, HOST, (self.port,), path)
        self.server = Server(spec, certificate_of(certificates, "horizon-01"))
        self.tls = Tls(certificates / "ca.pem", NAME)
        self._loop = asyncio.new_event_loop()
        self._pool = ThreadPoolExecutor(1)
        self._pool.submit(self._loop.run_forever)

    def call(self, work: Callable[[], Awaitable[None] | None]) -> None:
        async def run() -> None:
            result = work()
            if result is not None:
                await result

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(LIMIT_S)

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return request(None, HOST, self.port, path, tls=self.tls, method=method, headers=headers)

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection((HOST, self.port), LIMIT_S)
        return self.tls.context().wrap_socket(plain, server_hostname=NAME)

    def close(self) -> None:
        self.call(self.server.kill)

        async def drain() -> None:
            while others := asyncio.all_tasks() - {asyncio.current_task()}:  # a handshake's end begins another one
                await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), LIMIT_S)
                await asyncio.sleep(0)
            # A handshake that has begun has no task, and the server does not know of it yet.
            for transport in list(getattr(self._loop, "_transports", {}).values()):
                transport.abort()
            await asyncio.sleep(0)  # in which the loop tells each that its connection is lost

        asyncio.run_coroutine_threadsafe(drain(), self._loop).result(LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._pool.shutdown()
        self._loop.close()
        self._held.close()
