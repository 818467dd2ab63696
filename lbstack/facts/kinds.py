"""Describe the kinds of service that a pair can balance: ports, health check, persistence and timeouts.

The module holds a table with its sources, and the arithmetic that needs no configuration model: HAProxy's durations,
and how many connections a node's memory carries. It holds no address and depends on no stack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lbstack.facts.ports import HTTP_PORT, HTTPS_PORT

_UNIT_MS: Mapping[str, int] = MappingProxyType({"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000})
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h|d)")
_LONGEST_MS = 2**31 - 1
"""HAProxy stores a timer in 31 bits of milliseconds (about 24.8 days) and refuses more (its manual, section 2.5)."""

CONNECTIONS_PER_GIB = 20_000
"""From HAProxy's introduction, "Sizing": 20000 saturated connections per GB of RAM, system buffers included."""

RESERVED_MIB = 512
"""Memory that is not available to connections. Photon itself needs about 150 MiB. The rest is for keepalived,
connection tracking, stick tables, and the old worker that keeps its sessions after a reload."""

MAXCONN_CEILING = 200_000
"""A connection needs two file descriptors; all of them must stay far below the kernel's default ``fs.nr_open`` of
1048576."""

SPARE_DESCRIPTORS = 2_048
"""File descriptors in addition to those of connections: listeners, checks, sockets, logs, threads' pipes."""


@dataclass(frozen=True)
class HealthCheck:
    """How HAProxy checks whether a server can serve clients. Intervals and timeouts are HAProxy durations.

    Args:
        path: Path of an HTTPS request; with ``None`` the check is a plain TCP connection.
        method: HTTP method of the request.
        expect: Argument of ``http-check expect`` that matches a healthy response.
        quiesced_status: HTTP status of a server that takes no new clients but keeps its current ones, or ``None``.
        interval: Time between two checks while the state does not change.
        confirm_interval: Time between the checks that confirm a change of state (``fastinter``).
        down_interval: Time between two checks of a server that is down (``downinter``).
        fall: Number of failed checks until a server is down.
        rise: Number of passed checks until a server is up again.
        read_timeout: Longest wait for the response after connecting (``timeout check``).
    """

    path: str | None
    method: str = "GET"
    expect: str = "status 200"
    quiesced_status: int | None = None
    interval: str = "5s"
    confirm_interval: str = "2s"
    down_interval: str = "5s"
    fall: int = 3
    rise: int = 2
    read_timeout: str = "10s"


@dataclass(frozen=True)
class KindTimeouts:
    """A kind's timeouts, as HAProxy durations.

    Args:
        connect: Time to establish a connection to a server.
        client: Inactivity of the client before both sides have sent data; afterwards ``tunnel`` applies (in pure TCP
            mode too, see ``timeout tunnel`` in HAProxy's manual).
        server: The same for the server.
        tunnel: Inactivity of both sides of an established connection.
        fin: Inactivity after one side has closed its half.
    """

    connect: str = "5s"
    client: str = "1m"
    server: str = "1m"
    tunnel: str = "1h"
    fin: str = "30s"


@dataclass(frozen=True)
class ServiceKind:
    """One kind of service.

    Args:
        name: Its name in a stack file.
        title: Its name in texts for people.
        default_port: Port on the VIP and on the servers; ``None`` where the stack file must set it.
        redirects: Whether port 80 of the VIP redirects to the service.
        health: The health check; ``health_path`` and ``health_interval`` of a service override two of its values.
        persistence: How long a client (identified by its source address) keeps its server after its last connection.
        timeouts: The timeouts; a service may override each.
        remark: What a user must know about the kind's defaults.
    """

    name: str
    title: str
    default_port: int | None
    redirects: bool
    health: HealthCheck
    persistence: str
    timeouts: KindTimeouts
    remark: str

    def service_port(self, port: int | None) -> int:
        """Return the port that the service and its servers listen on.

        Args:
            port: The service's port in the stack file, if any.

        Raises:
            ValueError: There is neither a port nor a default; the rules of the configuration exclude this case.
        """
        chosen = self.default_port if port is None else port
        if chosen is None:
            raise ValueError(f"a service of kind {self.name} needs a port")
        return chosen

    def ports(self, port: int | None) -> tuple[int, ...]:
        """Return every port that a service of this kind occupies on its VIP, sorted.

        Args:
            port: The service's port in the stack file, if any.
        """
        chosen = self.service_port(port)
        return tuple(sorted({HTTP_PORT, chosen})) if self.redirects else (chosen,)


HORIZON = ServiceKind(
    name="horizon",
    title="Horizon Connection Servers",
    default_port=HTTPS_PORT,
    redirects=True,
    health=HealthCheck(
        # Horizon Console Administration, "health" topic: HEAD /favicon.ico is the only supported probe. 200 means
        # healthy, 503 means disabled by an administrator. Poll every 30 s, and decide after two or three polls. At
        # most two load balancers may probe one server: these are the two nodes. So a server that is down is not
        # probed more often either.
        path="/favicon.ico",
        method="HEAD",
        expect="status 200",
        quiesced_status=503,
        interval="30s",
        confirm_interval="5s",
        down_interval="30s",
    ),
    # A client sends its heartbeat at most every 30 minutes, and three missed ones end its session (KB 56636). Hence
    # the source address persistence of 90 minutes.
    persistence="90m",
    # An established connection may be inactive for one heartbeat interval; twice that tolerates one lost heartbeat.
    timeouts=KindTimeouts(tunnel="1h"),
    remark="A Connection Server that was disabled in the Horizon console answers 503: it keeps its clients, and new "
    "clients go to other servers.",
)

APP_VOLUMES = ServiceKind(
    name="appvolumes",
    title="App Volumes Managers",
    default_port=HTTPS_PORT,
    redirects=True,
    health=HealthCheck(
        # The vendor documents no health path for every version. A GET of the start page only proves that the web
        # server works. Where managers have /health_check or /health-check, healthPath can select it.
        path="/",
        method="GET",
        expect="rstatus ^[23][0-9][0-9]",
        interval="30s",
        confirm_interval="5s",
        down_interval="30s",
    ),
    # An agent's requests of one logon belong together, and a manager rejects a client whose requests come through
    # different load balancers (a load balancer vendor's guide for App Volumes). The period is the same as for Horizon.
    persistence="90m",
    # With asynchronous mounting off, a manager keeps a request open until the volumes are attached (App Volumes 4
    # administration guide): half a minute without data is normal.
    timeouts=KindTimeouts(tunnel="1h"),
    remark="The default health path only proves that the web server answers. Set healthPath to the manager's own "
    "health path where its version has one.",
)

TCP = ServiceKind(
    name="tcp",
    title="TCP service",
    default_port=None,
    redirects=False,
    # The protocol is unknown, so the check only tests whether a connection is accepted. Every 5 s this costs a server
    # almost nothing. With a healthPath the check is an HTTPS request.
    health=HealthCheck(path=None, expect="rstatus ^[23][0-9][0-9]"),
    persistence="90m",
    timeouts=KindTimeouts(tunnel="1h"),
    remark="The check proves only that the port accepts connections, unless healthPath is given.",
)

KINDS: Mapping[str, ServiceKind] = MappingProxyType({kind.name: kind for kind in (HORIZON, APP_VOLUMES, TCP)})
"""Name in a stack file → kind, for every supported kind."""

PLANNED_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "uag": "Unified Access Gateways need each client on one gateway over several ports, which is not supported "
        "yet; a service of kind tcp balances their port 443",
    }
)
"""Planned kinds that are refused for now → the reason and an alternative, without a full stop."""


def duration_ms(text: str) -> int:
    """Convert a HAProxy duration to milliseconds.

    Args:
        text: A positive whole number with one of the units ms, s, m, h, d, such as ``30s``.

    Raises:
        ValueError: The text is not a duration, or longer than HAProxy's timers can store. The message can be shown to
            users.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and ms, s, m, h or d, such as 30s or 1h")
    value = int(match[1]) * _UNIT_MS[match[2]]
    if value > _LONGEST_MS:
        raise ValueError(f"{text!r} is longer than HAProxy's longest timer, 24d")
    return value


def derived_maxconn(memory_mib: int) -> int:
    """Return how many connections a node with this memory carries: the default and the limit of ``maxconn``.

    Args:
        memory_mib: The smaller node's memory in MiB; at least 1024 is sensible.

    Returns:
        A multiple of 500, at least 500, at most ``MAXCONN_CEILING``.
    """
    step = 500
    capacity = max(memory_mib - RESERVED_MIB, 0) * CONNECTIONS_PER_GIB // 1024
    return min(max(capacity // step * step, step), MAXCONN_CEILING)


def descriptor_limit(maxconn: int) -> int:
    """Return the limit of open files (LimitNOFILE) that HAProxy needs: two for each connection, plus spare ones.

    Args:
        maxconn: HAProxy's connection limit.
    """
    return 2 * maxconn + SPARE_DESCRIPTORS
