"""The process that runs every back-end server of a lab and its name server: one process, so that a lab stays small.

It imports only the standard library and its own package, runs outside the lab's namespaces, and opens each listening
socket inside the namespace that it belongs to. The file that ``farm.py`` writes lists the servers. Commands arrive on a
unix socket: one JSON document a line, and one in return.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.network import netns
from lab.servers import dns
from lab.servers.server import Server
from lab.servers.spec import Spec
from lab.system import daemon

SERVERS, CONTROL = "servers.json", "control"
LONGEST_COMMAND = 1 << 16


def certificate_of(directory: Path, name: str) -> Path:
    """The PEM file with a server's certificate and key."""
    return directory / f"{name}.pem"


def control_address(directory: int) -> str:
    """The control socket's address through an open directory: a unix socket's path may have 107 bytes only.

    Args:
        directory: Descriptor of the daemon's directory.
    """
    return f"/proc/self/fd/{directory}/{CONTROL}"


class Farm:
    """All servers of a lab.

    Args:
        directory: Where file, certificates and control socket are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._servers: dict[tuple[object, ...], Server] = {}
        self._names: asyncio.DatagramTransport | None = None
        self._names_place: tuple[object, ...] = ()

    async def load(self) -> None:
        """Serve what the file lists: new servers start, gone ones die, the others go on.

        Raises:
            LabError: A socket cannot be made.
        """
        wanted = json.loads((self._directory / SERVERS).read_text(encoding="utf-8"))
        specs = [Spec(**values | {"ports": tuple(values["ports"])}) for values in wanted["servers"]]
        for place in set(self._servers) - {spec.place for spec in specs}:
            self._servers.pop(place).kill()
        for spec in specs:
            certificate = certificate_of(self._directory, spec.name)
            known = self._servers.get(spec.place)
            if known is not None:
                known.update(spec, certificate)
            else:
                server = Server(spec, certificate)
                await server.start()
                self._servers[spec.place] = server
        await self._answer_names(**wanted["dns"])

    async def _answer_names(self, address: str, namespace: str, identity: str, records: Mapping[str, str]) -> None:
        known = {name: IPv4Address(value) for name, value in records.items()}
        place = (address, namespace, identity)
        if self._names is not None and place == self._names_place:
            responder = self._names.get_protocol()
            assert isinstance(responder, dns.Responder)
            responder.records = known
            return
        if self._names is not None:
            self._names.close()
        with netns.inside(namespace):
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            own.bind((address, dns.PORT))
        except OSError as error:
            own.close()
            raise LabError(f"The name server cannot listen on {address} in {namespace}: {error.strerror}.") from error
        self._names, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: dns.Responder(known), sock=own
        )
        self._names_place = place

    async def command(self, text: bytes) -> dict[str, Any]:
        """Do what a line of the control socket asks.

        Returns:
            The answer: ``error`` where it could not be done.
        """
        try:
            wish = json.loads(text)
            what, name = wish["command"], wish.get("name", "")
            if what == "reload":
                await self.load()
            elif what != "show":
                await self._change(what, self._server(name))
        except LabError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"no command: {error}"}
        return {"servers": [server.as_dict() for server in self._servers.values()], "now": time.monotonic()}

    def _server(self, name: str) -> Server:
        for server in self._servers.values():
            if server.spec.name == name:
                return server
        raise LabError(f"no server {name!r}; there is: {', '.join(each.spec.name for each in self._servers.values())}")

    async def _change(self, what: str, server: Server) -> None:
        if what in ("enable", "disable"):
            server.enabled = what == "enable"
        elif what == "kill":
            server.kill()
        elif what == "start":
            await server.start()
        else:
            raise LabError(f"no command {what!r}")

    async def controlled(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the control socket."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self.command(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # it went, or sent a line without end
        finally:
            writer.close()

    def end(self) -> None:
        """Let everything go."""
        for server in self._servers.values():
            server.kill()
        if self._names is not None:
            self._names.close()


async def _serve(directory: Path, ending: daemon.Ending) -> None:
    farm = Farm(directory)
    try:
        await farm.load()
        (directory / CONTROL).unlink(missing_ok=True)
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            own.bind(control_address(opened))
        finally:
            os.close(opened)
        control = await asyncio.start_unix_server(farm.controlled, sock=own, limit=LONGEST_COMMAND)
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(ending.fileno(), end.set)
        ending.announce()
        await end.wait()
        loop.remove_reader(ending.fileno())
        control.close()
    finally:
        farm.end()


def main(arguments: Sequence[str]) -> int:
    """Be all back-end servers of a lab until asked to end."""
    options = daemon.parser(main.__doc__ or "").parse_args(arguments)
    os.umask(0o077)
    try:
        with daemon.Ending(options) as ending:
            asyncio.run(_serve(options.mark, ending))
    except LabError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
