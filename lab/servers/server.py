"""One back-end server as a load balancer sees it: a Horizon Connection Server or an App Volumes Manager.

It behaves like the real one where the pair depends on it: TLS 1.2 only; the health address answers 200, or 503 while
the server is disabled in its console; a disabled server goes on serving its clients; the connections of a dead process
are refused; sessions last for hours and may be silent most of the time; requests are held open. Every answer carries
the server's name. Every probe is counted by its source, since at most two load balancers may probe a Connection Server,
every 30 s.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab.network.sockets import listening_socket
from lab.servers.http import parse_head, seconds_of
from lab.servers.spec import Probes, Spec

SERVER_HEADER = "X-Lab-Server"
CLIENT_HEADER = "X-Lab-Client"  # the lab's own traffic has it; a request without it is a load balancer's or a person's
HANDSHAKE_S = 10.0
SHUTDOWN_S = 1.0  # for the peer's close_notify, which many never send
STREAM_EVERY_S = 0.5
OK, SWITCHING, BAD_REQUEST, NOT_FOUND, UNAVAILABLE = 200, 101, 400, 404, 503
_REASONS = {
    OK: "OK",
    SWITCHING: "Switching Protocols",
    BAD_REQUEST: "Bad Request",
    NOT_FOUND: "Not Found",
    UNAVAILABLE: "Service Unavailable",
}


class Server:
    """A running server.

    Args:
        spec: What it is.
        certificate: PEM file with its certificate and key.
    """

    def __init__(self, spec: Spec, certificate: Path) -> None:
        self.spec = spec
        self.enabled = True
        self._probes: dict[str, Probes] = {}
        self._requests = 0
        self._listening: list[asyncio.Server] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()  # those, and whose end the peer has not confirmed
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = self._tls.maximum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(certificate)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return bool(self._listening)

    def update(self, spec: Spec, certificate: Path) -> None:
        """Take in what may change without a restart: name, kind, health path, certificate."""
        self.spec = spec
        self._tls.load_cert_chain(certificate)

    async def start(self) -> None:
        """Listen; nothing happens where it runs.

        Raises:
            LabError: A port is not available.
        """
        if self.running:
            return
        sockets = [listening_socket(self.spec.namespace, self.spec.address, port) for port in self.spec.ports]
        self._listening = [
            await asyncio.start_server(
                self._connected,
                sock=listening,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
            for listening in sockets
        ]

    def kill(self) -> None:
        """Die as a process dies: nothing listens any more, and every connection is gone without notice."""
        for server in self._listening:
            server.close()
        self._listening = []
        for writer in self._open:
            writer.transport.abort()

    def as_dict(self) -> dict[str, Any]:
        """What there is to know about it."""
        return {
            "name": self.spec.name,
            "kind": self.spec.kind,
            "address": self.spec.address,
            "ports": list(self.spec.ports),
            "running": self.running,
            "enabled": self.enabled,
            "connections": len(self._connections),
            "requests": self._requests,
            "probes": {source: probes.as_dict() for source, probes in sorted(self._probes.items())},
        }

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if self.running:
                await self._serve(reader, writer)
            else:  # killed during the handshake
                writer.transport.abort()
        finally:
            with suppress(OSError):
                writer.close()
                await writer.wait_closed()
            self._open.discard(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until one side has had enough."""
        self._connections.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the other side went, or talks something else: neither is this server's business
        finally:
            self._connections.discard(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether there may be another one."""
        request = parse_head(await reader.readuntil(b"\r\n\r\n"))
        if request is None:
            await self._send(writer, BAD_REQUEST, b"", keep_alive=False)
            return False
        self._requests += 1
        source = str(writer.get_extra_info("peername")[0])
        if request.path in self.spec.probed and CLIENT_HEADER.lower() not in request.headers:
            probes = self._probes.setdefault(source, Probes())
            probes.count += 1
            probes.times.append(time.monotonic())
        length = request.headers.get("content-length", "0")
        await reader.readexactly(int(length) if length.isdigit() else 0)
        if request.path == "/stream":
            await self._stream(writer, seconds_of(request))
            return False
        if request.path == "/tunnel" and "upgrade" in request.headers:
            await self._tunnel(reader, writer)
            return False
        if request.path == "/hold":
            await asyncio.sleep(seconds_of(request))
        status, body = self._page(request.path)
        head_only = request.method == "HEAD"
        await self._send(writer, status, body, keep_alive=request.keep_alive, head_only=head_only)
        return request.keep_alive

    def _page(self, path: str) -> tuple[int, bytes]:
        if path in self.spec.telling:
            return (OK, b"ok\n") if self.enabled else (UNAVAILABLE, b"disabled\n")
        if path in ("/", "/favicon.ico", "/hold"):
            return OK, f"<!doctype html><title>{self.spec.name}</title><h1>{self.spec.name}</h1>\n".encode()
        return NOT_FOUND, b"not found\n"

    async def _send(
        self, writer: asyncio.StreamWriter, status: int, body: bytes, *, keep_alive: bool, head_only: bool = False
    ) -> None:
        fields = (
            f"Content-Length: {len(body)}",
            "Content-Type: text/html",
            f"Connection: {'keep-alive' if keep_alive else 'close'}",
        )
        writer.write(self._head(status, *fields) + (b"" if head_only else body))
        await writer.drain()

    def _head(self, status: int, *fields: str) -> bytes:
        lines = (f"HTTP/1.1 {status} {_REASONS[status]}", f"{SERVER_HEADER}: {self.spec.name}", *fields)
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _stream(self, writer: asyncio.StreamWriter, seconds: float) -> None:
        """A download that goes on for as long as it was asked for: a line with a number every half second."""
        writer.write(self._head(OK, "Transfer-Encoding: chunked", "Content-Type: text/plain"))
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            line = f"{self.spec.name} {number}\n".encode()
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            await writer.drain()
            await asyncio.sleep(min(STREAM_EVERY_S, max(end - time.monotonic(), 0)))
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A display protocol's connection: silent until the client sends a line, which comes back with the name."""
        writer.write(self._head(SWITCHING, "Connection: Upgrade", "Upgrade: lab"))
        await writer.drain()
        while line := await reader.readline():
            writer.write(self.spec.name.encode() + b" " + line)
            await writer.drain()
