"""Traffic from a lab's client: planned, sent by a process of its own, recorded.

``sender.py`` sends and records every attempt. ``report.py`` answers from its file whether a connection attempt was
refused or timed out, how long the longest outage was, which client changed its server, which session was lost and when
the client noticed. The sender always has an upper limit of time.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.network.network import CLIENT, Network
from lab.network.topology import Topology
from lab.system.daemon import Daemon
from lab.traffic.report import Report
from lab.traffic.request import LIMIT_S
from lab.traffic.sender import Target

PROBE_EVERY_S = 0.005
PROBE_LIMIT_S = 0.05
PING_S = 0.25
LONGEST_S = 900.0
READY_S = 30.0  # sessions are opened first, and each may take its limit


@dataclass(frozen=True)
class Plan:
    """What to send.

    Args:
        namespace: Where the client is; None is this process's own.
        targets: Asked in turn.
        clients: The client's own addresses, used in turn, so that it is as many users.
        ca_file: The certificates that the client trusts; needed where a target has a host name.
        rate: Requests in a second, all targets together; 0 for sessions alone.
        sessions: Long-lived connections that send something again and again.
        idle_sessions: Long-lived connections that are silent until the end, and are asked then.
        seconds: When it ends by itself.
        limit_s: For each step of an attempt: connection, TLS, answer.
        connect_only: Only connections are made; nothing is asked.
        ping_s: How long such a session rests after an answer.
        session_targets: What the sessions go through, in turn; None is what is asked.
    """

    namespace: str | None
    targets: tuple[Target, ...]
    clients: tuple[str, ...]
    ca_file: Path | None = None
    rate: float = 50.0
    sessions: int = 0
    idle_sessions: int = 0
    seconds: float = LONGEST_S
    limit_s: float = LIMIT_S
    connect_only: bool = False
    ping_s: float = PING_S
    session_targets: tuple[Target, ...] | None = None

    @classmethod
    def of(cls, network: Network, ca_file: Path, **changes: Any) -> Plan:
        """Every service of a network through its VIP, from all of the client's addresses.

        Args:
            network: It is up.
            ca_file: Of the back-end servers (``farm.ca_file``).
            changes: Fields that shall differ.
        """
        topology = network.topology
        clients = tuple(str(client) for client in topology.clients)
        return replace(cls(network.namespace(CLIENT), targets_of(topology), clients, ca_file), **changes)

    @classmethod
    def probe(cls, network: Network, address: IPv4Address | str, port: int, **changes: Any) -> Plan:
        """Connections to one address every 5 ms, each with 50 ms: what measures an outage exactly.

        Args:
            network: It is up.
            address: Whom to ask.
            port: Its port; best one behind which the load balancer itself answers.
            changes: Fields that shall differ.
        """
        plan = cls(
            namespace=network.namespace(CLIENT),
            targets=(Target("probe", str(address), port),),
            clients=(str(network.topology.client),),
            rate=1 / PROBE_EVERY_S,
            limit_s=PROBE_LIMIT_S,
            connect_only=True,
        )
        return replace(plan, **changes)


def targets_of(topology: Topology) -> tuple[Target, ...]:
    """Every service through its VIP."""
    return tuple(
        Target(service.name, str(service.vip), service.port, service.hostname) for service in topology.services
    )


class Traffic:
    """Traffic that is being sent; use it with ``with``, or ``start`` and ``stop``.

    Args:
        plan: What to send.
        file: Where every attempt is recorded; plan and log go next to it.
        tied: It ends with this process.
    """

    def __init__(self, plan: Plan, file: Path, *, tied: bool = True) -> None:
        self.plan = plan
        self.file = file
        self._tied = tied
        self._daemon = Daemon("lab.traffic.sender", file)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin; returns when the sessions stand and the first request is on its way.

        Raises:
            LabError: It does not start; with its own words.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        plan = self.file.with_suffix(".plan.json")
        plan.write_text(json.dumps(asdict(self.plan), default=str), encoding="utf-8")
        log = self.file.with_suffix(".log")
        self._daemon.start([str(plan), str(self.file)], log, tied=self._tied, limit_s=READY_S)

    def stop(self) -> Report:
        """End; waits for what is under way.

        Returns:
            What became of all of it.
        """
        self._daemon.stop()
        return self.report()

    def wait(self) -> Report:
        """Let it end by itself.

        Returns:
            What became of all of it.

        Raises:
            LabError: It does not.
        """
        self._daemon.wait(self.plan.seconds + READY_S)
        return self.report()

    def report(self) -> Report:
        """What became of it so far."""
        return Report.load(self.file)
