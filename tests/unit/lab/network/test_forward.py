"""The forwarder passes on bytes, ends and failures."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from lab.errors import LabError
from lab.network.forward import HOST, forward
from lab.network.sockets import listening_socket
from tests import ports

LIMIT_S = 20.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def through(handler: Handler | None, client: Callable[[int, asyncio.Event], Awaitable[None]]) -> None:
    """Run a client (given the forwarder's port and what ends it) against a server behind a forwarder."""

    async def run() -> None:
        end = asyncio.Event()
        server = await asyncio.start_server(handler, HOST, 0) if handler else None
        with ports.reserved() as port, ports.reserved() as refusing:
            target = server.sockets[0].getsockname()[1] if server else refusing
            listening = listening_socket(None, HOST, port)
            forwarding = asyncio.create_task(forward(listening, (HOST, target), end))
            try:
                async with asyncio.timeout(LIMIT_S):
                    await client(port, end)
            finally:
                end.set()
                await forwarding
                if server:
                    server.close()

    asyncio.run(run())


async def echo_after_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read()
    writer.write(data[::-1])
    await writer.drain()
    writer.close()


def test_each_direction_ends_by_itself() -> None:
    data = os.urandom(3 << 20)

    async def client(port: int, _: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data[::-1]
        writer.close()

    through(echo_after_the_end, client)


def test_a_hundred_connections_at_once_keep_apart() -> None:
    async def one(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        text = f"connection {number}".encode()
        writer.write(text)
        writer.write_eof()
        assert await reader.read() == text[::-1]
        writer.close()

    async def client(port: int, _: asyncio.Event) -> None:
        await asyncio.gather(*(one(port, number) for number in range(100)))

    through(echo_after_the_end, client)


def test_a_target_that_refuses_makes_the_connection_be_reset() -> None:
    async def client(port: int, _: asyncio.Event) -> None:
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - the reset may come at either step
            reader, _writer = await asyncio.open_connection(HOST, port)
            await reader.read()

    through(None, client)


def test_a_reset_is_passed_on() -> None:
    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def client(port: int, _: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()

    through(resets, client)


def test_the_end_cuts_what_is_open_and_stops_listening() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def client(port: int, end: asyncio.Event) -> None:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"x")
        await writer.drain()
        end.set()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, port)

    through(silent, client)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LabError, match=rf"{HOST}:{port}: Address already in use"):
            listening_socket(None, HOST, port)
