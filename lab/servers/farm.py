"""Start, query, disable and kill the back-end servers of a lab, and make their certificates.

The certificates belong to a CA of their own, which is made once for a lab and kept with its key: a server that joins
later needs one that the clients already trust. ``daemon.py`` is the process, ``server.py`` is one server in it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.errors import RUN, LabError
from lab.home.state import write_private
from lab.network import netns
from lab.network.network import DNS, Network
from lab.network.topology import Backend
from lab.servers.daemon import SERVERS, certificate_of, control_address
from lab.servers.spec import Spec
from lab.system.daemon import Daemon

ACTIONS = ("enable", "disable", "kill", "start")
ANSWER_S = 10.0


@dataclass(frozen=True)
class Probes:
    """How one source asked a server for its health.

    Args:
        source: Its address, as the server saw it.
        count: How often since the server was made.
        last_ago_s: Seconds since the last time.
        shortest_s: Shortest interval in seconds; None before there are two.
        median_s: Middle interval in seconds.
    """

    source: str
    count: int
    last_ago_s: float
    shortest_s: float | None
    median_s: float | None


@dataclass(frozen=True)
class Status:
    """What a server reports about itself.

    Args:
        name: Its name, as the lab calls it.
        kind: Its kind.
        address: Its address.
        ports: Its ports.
        running: Whether its process lives.
        enabled: Whether its health address answers 200.
        connections: Open ones.
        requests: How many it has answered.
        probes: By source.
    """

    name: str
    kind: str
    address: str
    ports: tuple[int, ...]
    running: bool
    enabled: bool
    connections: int
    requests: int
    probes: tuple[Probes, ...]

    @property
    def state(self) -> str:
        """``serves``, ``disabled`` or ``dead``."""
        if not self.running:
            return "dead"
        return "serves" if self.enabled else "disabled"


def directory_of(state: Path) -> Path:
    """Where the servers' things are in a lab's directory."""
    return state / "backends"


def ca_file(state: Path) -> Path:
    """The certificate of the CA of the servers; clients verify them with it."""
    return directory_of(state) / "ca.pem"


def _daemon(state: Path) -> Daemon:
    return Daemon("lab.servers.daemon", directory_of(state))


def start(network: Network, state: Path, logs: Path, *, tied: bool = False) -> None:
    """Let every server of a network's topology serve, and its name server answer; what serves already goes on.

    Args:
        network: It is up.
        state: The lab's directory.
        logs: Where their log goes.
        tied: They end with this process.

    Raises:
        LabError: One cannot listen.
    """
    directory = directory_of(state)
    topology = network.topology
    ensure_certificates(directory, topology.backends)
    dns = network.namespace(DNS)
    document = {
        "servers": [asdict(_spec(network, backend)) for backend in topology.backends],
        "dns": {
            "address": str(topology.dns),
            "namespace": dns,
            "identity": netns.identity(dns),
            "records": {name: str(address) for name, address in topology.records.items()},
        },
    }
    write_private(directory / SERVERS, json.dumps(document, indent=1) + "\n")
    background = _daemon(state)
    if len(background.find()) == 1:
        Control(state).reload()
    else:
        background.stop()
        background.start([], logs / "backends.log", tied=tied)


def _spec(network: Network, backend: Backend) -> Spec:
    namespace = network.namespace(backend.name)
    return Spec(
        name=backend.name,
        kind=backend.kind,
        address=str(backend.address),
        ports=backend.ports,
        health_path=backend.health_path,
        namespace=namespace,
        identity=netns.identity(namespace),
    )


def stop(state: Path) -> None:
    """End all servers; none is fine."""
    _daemon(state).stop()


def ensure_certificates(directory: Path, backends: Sequence[Backend]) -> None:
    """Make the CA, and the certificates that are missing or for other names."""
    import trustme  # noqa: PLC0415 - only here, when servers are started

    ca, key = directory / "ca.pem", directory / "ca.key"
    if key.exists() and ca.exists():
        authority = trustme.CA.from_pem(ca.read_bytes(), key.read_bytes())
    else:
        authority = trustme.CA(organization_name="lab, back-end servers")
        write_private(ca, authority.cert_pem.bytes().decode())
        write_private(key, authority.private_key_pem.bytes().decode())
    for backend in backends:
        file = certificate_of(directory, backend.name)
        names = directory / f"{backend.name}.names"
        wanted = "\n".join((ca.read_text(encoding="ascii"), *backend.hostnames))
        if not file.exists() or not names.exists() or names.read_text(encoding="utf-8") != wanted:
            certificate = authority.issue_cert(*backend.hostnames)
            write_private(file, certificate.private_key_and_cert_chain_pem.bytes().decode())
            write_private(names, wanted)


class Control:
    """The running servers, by their control socket.

    Args:
        state: The lab's directory.
    """

    def __init__(self, state: Path) -> None:
        self._directory = directory_of(state)

    def show(self) -> list[Status]:
        """All servers.

        Raises:
            LabError: They do not run.
        """
        return self._ask({"command": "show"})

    def set(self, name: str, action: str) -> Status:
        """Change one server.

        Args:
            name: As the lab calls it.
            action: One of ``ACTIONS``: ``disable`` is the switch in its console, ``kill`` the death of its process.

        Returns:
            How it is now.

        Raises:
            LabError: There is no such server or action, or they do not run.
        """
        if action not in ACTIONS:
            raise LabError(f"{action!r} is nothing that can be done to a server; there is: {', '.join(ACTIONS)}.")
        return next(status for status in self._ask({"command": action, "name": name}) if status.name == name)

    def reload(self) -> None:
        """Let the process take in its file again.

        Raises:
            LabError: It cannot, or does not run.
        """
        self._ask({"command": "reload"})

    def _ask(self, wish: Mapping[str, str]) -> list[Status]:
        answer: dict[str, Any] = {}
        try:
            opened = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.settimeout(ANSWER_S)
                    connection.connect(control_address(opened))
                    connection.sendall(json.dumps(wish).encode() + b"\n")
                    with connection.makefile("rb") as lines:
                        answer = json.loads(lines.readline() or b"{}")
            finally:
                os.close(opened)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise LabError(f"The lab's back-end servers do not answer ({reason}); `{RUN} up` starts them.") from error
        if "error" in answer or "servers" not in answer:
            raise LabError(f"The lab's back-end servers: {answer.get('error', 'no answer')}.")
        return [_status(values, answer["now"]) for values in answer["servers"]]


def _status(values: dict[str, Any], now: float) -> Status:
    probes = tuple(
        Probes(source, found["count"], round(now - found["last"], 3), found["shortest_s"], found["median_s"])
        for source, found in values["probes"].items()
    )
    return Status(**values | {"ports": tuple(values["ports"]), "probes": probes})
