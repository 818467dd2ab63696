"""Forward TCP from the management station to the simulated vCenter.

The vCenter listens on the loopback of this machine, the nodes are in namespaces, and Pulumi needs both. Pulumi runs on
the management station, where this forwarder listens on the same address and port as the vCenter does outside. So one
stack file works in both places, the vCenter's certificate is valid, and no address of the lab's subnet is on the
machine itself.

Data is passed on unchanged. Each direction ends by itself (half-close). If the vCenter refuses a connection, the
client's connection is reset, as without a forwarder.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError
from lab.network import netns
from lab.network.sockets import listening_socket
from lab.system import daemon

HOST = "127.0.0.1"
CHUNK = 1 << 16


def _daemon(state: Path) -> daemon.Daemon:
    return daemon.Daemon("lab.network.forward", state / "forward")


def start(namespace: str, ports: Sequence[int], state: Path, logs: Path, *, tied: bool = False) -> None:
    """Forward ports, unless that is being done already.

    Args:
        namespace: Where to listen: the management station's.
        ports: Ports of 127.0.0.1, there as here.
        state: The lab's directory.
        logs: Where its log goes.
        tied: It ends with this process.

    Raises:
        LabError: There is no such namespace, or a port is taken there.
    """
    numbers = [str(port) for port in sorted(ports)]
    arguments = ["--namespace", namespace, "--identity", netns.identity(namespace), *numbers]
    _daemon(state).ensure(arguments, logs / "forward.log", tied=tied)


def stop(state: Path) -> None:
    """End the forwarder; none is fine. Its connections are cut."""
    _daemon(state).stop()


async def forward(listening: socket.socket, target: tuple[str, int], end: asyncio.Event) -> None:
    """Forward every connection of a listening socket until asked to end.

    Args:
        listening: The socket; it is closed at the end.
        target: Address and port to dial for each connection.
        end: Set when it is time; open connections are cut then.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        if end.is_set():  # accepted at the last moment
            _reset(writer)
            return
        with suppress(asyncio.CancelledError):  # only at the end
            await _relay(reader, writer, target)

    server = await asyncio.start_server(accepted, sock=listening)
    try:
        await end.wait()
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int]) -> None:
    writers = [writer]
    try:
        their_reader, their_writer = await asyncio.open_connection(*target)
        writers.append(their_writer)
        # A TaskGroup ends both directions when one fails, which a reset is.
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(reader, their_writer))
            both.create_task(_pump(their_reader, writer))
        for each in writers:
            each.close()
    except (OSError, ExceptionGroup):
        pass
    finally:
        for each in writers:
            if not each.is_closing():
                _reset(each)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a failure, not an orderly end."""
    own = writer.get_extra_info("socket")
    with suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # on, 0 s
    writer.transport.abort()


async def _serve(sockets: dict[int, socket.socket], ending: daemon.Ending) -> None:
    end = asyncio.Event()
    asyncio.get_running_loop().add_reader(ending.fileno(), end.set)
    await asyncio.gather(*(forward(listening, (HOST, port), end) for port, listening in sockets.items()))
    asyncio.get_running_loop().remove_reader(ending.fileno())


def main(arguments: Sequence[str]) -> int:
    """Forward until asked to end."""
    parser = daemon.parser(main.__doc__ or "")
    parser.add_argument("--namespace", required=True, help="where to listen")
    parser.add_argument("--identity", required=True, help="which one of that name")
    parser.add_argument("ports", type=int, nargs="+")
    options = parser.parse_args(arguments)
    try:
        sockets = {port: listening_socket(options.namespace, HOST, port) for port in options.ports}
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    with daemon.Ending(options) as ending:
        ending.announce()
        asyncio.run(_serve(sockets, ending))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
