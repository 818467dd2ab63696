"""The process that sends traffic: it starts requests on a clock, holds sessions, and records every outcome.

Requests begin at fixed times, whether earlier ones were answered or not, like those of independent users. So an outage
shows what each of them would have observed. The process moves into the client's namespace for good and imports little,
so that it starts fast and disturbs little. It ends on request, when its time is up, or with its parent. Then it waits
for requests under way, checks the idle sessions, and writes the last line.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from lab.errors import LabError
from lab.network import netns
from lab.servers.server import CLIENT_HEADER, SERVER_HEADER
from lab.system import daemon
from lab.traffic import attempts
from lab.traffic.attempts import ALIVE, CONNECT, HANDSHAKE, OK, REQUEST, Attempt, Session, outcome_of

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the port is chosen at connect, per destination
RESET_LINGER = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 s
FIRST_ERROR_STATUS = 400
FAILURES = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


@dataclass(frozen=True)
class Target:
    """What a client asks.

    Args:
        service: Its name in the records.
        address: Its address.
        port: Its port.
        hostname: For TLS and the Host header; empty is plain HTTP.
        path: What is asked for.
    """

    service: str
    address: str
    port: int
    hostname: str = ""
    path: str = "/"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Sender:
    """One run.

    Args:
        plan: As ``traffic.Plan`` writes it.
        output: Where records go.
    """

    def __init__(self, plan: dict[str, Any], output: TextIO) -> None:
        self._targets = [Target(**values) for values in plan["targets"]]
        self._clients: list[str] = plan["clients"]
        self._rate: float = plan["rate"]
        self._limit: float = plan["limit_s"]
        self._seconds: float = plan["seconds"]
        self._connect_only: bool = plan["connect_only"]
        self._active: int = plan["sessions"]
        self._idle: int = plan["idle_sessions"]
        self._ping_s: float = plan["ping_s"]
        through = plan["session_targets"]
        self._session_targets = self._targets if through is None else [Target(**values) for values in through]
        self._output = output
        self._end = asyncio.Event()
        self._tls: ssl.SSLContext | None = None
        if any(target.hostname for target in (*self._targets, *self._session_targets)):
            self._tls = ssl.create_default_context(cafile=plan["ca_file"])

    async def run(self, ending: daemon.Ending) -> None:
        """Open the sessions, report that all is ready, send until the end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(ending.fileno(), self._end.set)
        loop.call_later(self._seconds, self._end.set)
        sessions = await self._open_sessions()
        ending.announce()
        under_way: set[asyncio.Task[None]] = set()
        started = time.monotonic()
        if self._rate > 0:
            for number, (target, source) in enumerate(self._pairs(self._targets)):
                if not await self._wait_until(started + number / self._rate):
                    break
                task = asyncio.create_task(self._attempt(target, source))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
        await self._end.wait()
        await asyncio.gather(*under_way, *sessions)
        loop.remove_reader(ending.fileno())
        self._output.write(json.dumps({"kind": "end", "at": time.monotonic()}) + "\n")

    def _pairs(self, targets: Sequence[Target]) -> Iterator[tuple[Target, str]]:
        """Targets in turn; each client visits each target before the first one comes again."""
        for round_number in itertools.count():
            for number, target in enumerate(targets):
                yield target, self._clients[(round_number + number) % len(self._clients)]

    async def _wait_until(self, moment: float) -> bool:
        """Whether there is anything to do at that moment."""
        while (left := moment - time.monotonic()) > 0 and not self._end.is_set():
            try:
                await asyncio.wait_for(self._end.wait(), left)
            except TimeoutError:
                break
        return not self._end.is_set()

    async def _connected(self, target: Target, source: str) -> socket.socket:
        own = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            own.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            own.bind((source, 0))
            async with asyncio.timeout(self._limit):
                await asyncio.get_running_loop().sock_connect(own, (target.address, target.port))
        except BaseException:
            own.close()
            raise
        return own

    async def _secured(self, own: socket.socket, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not target.hostname:
            return await asyncio.open_connection(sock=own)
        try:
            async with asyncio.timeout(self._limit):
                return await asyncio.open_connection(
                    sock=own, ssl=self._tls, server_hostname=target.hostname, ssl_shutdown_timeout=self._limit
                )
        except BaseException:
            own.close()
            raise

    async def _attempt(self, target: Target, source: str) -> None:
        stage, started, connected = CONNECT, time.monotonic(), 0.0
        status, server, outcome = 0, "", OK
        try:
            own = await self._connected(target, source)
            connected = time.monotonic()
            if self._connect_only:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_LINGER)
                own.close()
            else:
                stage = HANDSHAKE if target.hostname else REQUEST
                reader, writer = await self._secured(own, target)
                stage = REQUEST
                try:
                    async with asyncio.timeout(self._limit):
                        status, server = await ask(reader, writer, target, source)
                finally:
                    writer.transport.abort()
                if status >= FIRST_ERROR_STATUS:
                    outcome = attempts.HTTP
        except FAILURES as error:
            outcome = outcome_of(error)
        now = time.monotonic()
        took = round((connected or now) - started, 6)
        record = Attempt(
            started, target.service, str(target), source, took, round(now - started, 6), outcome, stage, status, server
        )
        self._output.write(attempts.to_line(record))

    async def _open_sessions(self) -> list[asyncio.Task[None]]:
        loop = asyncio.get_running_loop()
        opened: list[asyncio.Future[None]] = []
        tasks = []
        pairs = self._pairs(self._session_targets)
        for number, (target, source) in zip(range(self._active + self._idle), pairs, strict=False):
            stands: asyncio.Future[None] = loop.create_future()
            opened.append(stands)
            tasks.append(asyncio.create_task(self._session(target, source, stands, active=number < self._active)))
        await asyncio.gather(*opened)
        return tasks

    async def _session(self, target: Target, source: str, stands: asyncio.Future[None], *, active: bool) -> None:
        opened = last = time.monotonic()
        server, outcome = "", ALIVE
        writer: asyncio.StreamWriter | None = None
        try:
            reader, writer = await self._secured(await self._connected(target, source), target)
            async with asyncio.timeout(self._limit):
                _, server = await ask(reader, writer, target, source, tunnel=True)
            opened = last = time.monotonic()
            stands.set_result(None)
            if active:
                asked_at_the_end = False
                while not asked_at_the_end:
                    asked_at_the_end = self._end.is_set()
                    await self._ping(reader, writer)
                    last = time.monotonic()
                    await self._silence(reader, self._ping_s)
            else:
                await self._silence(reader, None)
                await self._ping(reader, writer)
                last = time.monotonic()
        except FAILURES as error:
            outcome = outcome_of(error)
        finally:
            if writer is not None:
                writer.transport.abort()
            if not stands.done():
                stands.set_result(None)
        record = Session(target.service, str(target), source, active, opened, server, last, time.monotonic(), outcome)
        self._output.write(attempts.to_line(record))

    async def _ping(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._limit):
            writer.write(b"ping\n")
            await writer.drain()
            if not (await reader.readline()).endswith(b"ping\n"):
                raise EOFError("no answer")

    async def _silence(self, reader: asyncio.StreamReader, seconds: float | None) -> None:
        """Send nothing for a while, or until the end; an end of the connection is noticed at once."""
        end, data = asyncio.create_task(self._end.wait()), asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait((end, data), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if data.done() and not data.result():
                raise EOFError("closed")
        finally:
            for task in (end, data):
                task.cancel()
            await asyncio.gather(end, data, return_exceptions=True)


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, source: str, *, tunnel: bool = False
) -> tuple[int, str]:
    """Send one request and read the whole answer, or only its head where it opens a tunnel.

    Returns:
        HTTP status, and the name of the server that answered.

    Raises:
        EOFError: The connection ended before the answer did.
        ValueError: What came is no HTTP.
    """
    lines = [
        f"GET {'/tunnel' if tunnel else target.path} HTTP/1.1",
        f"Host: {target.hostname or target.address}",
        f"{CLIENT_HEADER}: {source}",
        *(["Connection: Upgrade", "Upgrade: lab"] if tunnel else ["Connection: close"]),
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    await writer.drain()
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    _, status, *_ = first.split(" ")
    if not tunnel:
        await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status), headers.get(SERVER_HEADER.lower(), "")


async def _run(plan: dict[str, Any], output: TextIO, ending: daemon.Ending) -> None:
    await Sender(plan, output).run(ending)


def main(arguments: Sequence[str]) -> int:
    """Send traffic until asked to end."""
    parser = daemon.parser(main.__doc__ or "")
    parser.add_argument("plan", type=Path, help="the plan, JSON")
    parser.add_argument("output", type=Path, help="the file for the records")
    options = parser.parse_args(arguments)
    plan = json.loads(options.plan.read_text(encoding="utf-8"))
    try:
        if plan["namespace"]:
            netns.enter(plan["namespace"])
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    with daemon.Ending(options) as ending, options.output.open("w", encoding="utf-8", buffering=1) as output:
        asyncio.run(_run(plan, output, ending))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
