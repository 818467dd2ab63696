"""The kinds of service that a pair can balance: ports, health check, persistence and time limits of each.

A table with its sources, plus the arithmetic that needs no configuration model: durations as HAProxy writes them,
and how many connections a node's memory carries. It holds no address and decides nothing about a concrete stack.
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
"""HAProxy keeps a timer in 31 bits of milliseconds (about 24.8 days) and refuses more (its manual, section 2.5)."""

CONNECTIONS_PER_GIB = 20_000
"""HAProxy's introduction, "Sizing": 20000 saturated connections per GB of RAM, system buffers included."""

RESERVED_MIB = 512
"""Memory that connections may not have: Photon itself needs about 150 MiB, the rest is for keepalived, connection
tracking, stick tables, and for the old worker that keeps its sessions after a reload."""

MAXCONN_CEILING = 200_000
"""Two file descriptors a connection must stay far below the kernel's default ``fs.nr_open`` of 1048576."""

SPARE_DESCRIPTORS = 2_048
"""File descriptors beside the connections' own: listeners, checks, sockets, logs, threads' pipes."""


@dataclass(frozen=True)
class HealthCheck:
    """How HAProxy finds out whether a server may have clients.

    Args:
        path: Requested over TLS when given; ``None`` is a plain TCP connection.
        method: HTTP method of the request.
        expect: Argument of ``http-check expect`` that says what a healthy answer is.
        quiesced_status: Status by which a server says "no new clients, but serve the ones I have", or ``None``.
        interval: Between two checks while nothing changes.
        confirm_interval: Between the checks that confirm a change of state (``fastinter``).
        down_interval: Between two checks of a server that is down (``downinter``).
        fall: Failed checks until a server is down.
        rise: Good checks until a server is up again.
        read_timeout: Longest wait for the answer once connected (``timeout check``).
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
    """A kind's time limits, as HAProxy durations.

    Args:
        connect: For a connection to a server to be established.
        client: Silence of the client before both sides have spoken; afterwards ``tunnel`` rules (HAProxy applies
            it in pure TCP mode too, see the manual's ``timeout tunnel``).
        server: The same for the server.
        tunnel: Silence of both sides of an established connection.
        fin: Silence after one side has closed its half.
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
        name: How a stack file calls it.
        title: How people call it.
        default_port: Port on the VIP and on the servers; ``None`` where the stack file must say it.
        redirects: Whether port 80 of the VIP answers with a redirect to the service.
        health: The check; ``health_path`` and ``health_interval`` of a service override two of its values.
        persistence: How long a client (by source address) keeps its server after its last connection.
        timeouts: Time limits; a service may override each.
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
        """Return the port that the service listens on and its servers too.

        Args:
            port: The one that the stack file gives, if any.

        Raises:
            ValueError: There is neither that nor a default; the configuration's rules see to it beforehand.
        """
        chosen = self.default_port if port is None else port
        if chosen is None:
            raise ValueError(f"a service of kind {self.name} needs a port")
        return chosen

    def ports(self, port: int | None) -> tuple[int, ...]:
        """Return every port that a service of this kind takes on its VIP, sorted.

        Args:
            port: The service's port as the stack file gives it, if any.
        """
        chosen = self.service_port(port)
        return tuple(sorted({HTTP_PORT, chosen})) if self.redirects else (chosen,)


HORIZON = ServiceKind(
    name="horizon",
    title="Horizon Connection Servers",
    default_port=HTTPS_PORT,
    redirects=True,
    health=HealthCheck(
        # Horizon Console Administration, "health" topic: HEAD /favicon.ico is the only supported probe; 200 is
        # healthy, 503 is an administratively disabled server; poll every 30 s and judge after two or three times
        # that; at most two load balancers may probe one server, and the two nodes are those two. So a server that
        # is down is asked no more often either.
        path="/favicon.ico",
        method="HEAD",
        expect="status 200",
        quiesced_status=503,
        interval="30s",
        confirm_interval="5s",
        down_interval="30s",
    ),
    # A client's heartbeat comes at most every 30 minutes and three missed ones end its session (KB 56636): source
    # address persistence of 90 minutes.
    persistence="90m",
    # An established connection may be silent for a whole heartbeat; twice that leaves room for one lost heartbeat.
    timeouts=KindTimeouts(tunnel="1h"),
    remark="A Connection Server that was disabled in the Horizon console answers 503: its clients stay, new ones go "
    "elsewhere.",
)

APP_VOLUMES = ServiceKind(
    name="appvolumes",
    title="App Volumes Managers",
    default_port=HTTPS_PORT,
    redirects=True,
    health=HealthCheck(
        # There is no health address that the vendor documents for every version: a GET of the start page proves
        # the web server only. Managers that have /health_check or /health-check can be asked for that one.
        path="/",
        method="GET",
        expect="rstatus ^[23][0-9][0-9]",
        interval="30s",
        confirm_interval="5s",
        down_interval="30s",
    ),
    # An agent's requests of one logon belong together, and a manager rejects one client that comes by different
    # ways (vendor guide of a load balancer for App Volumes): the same period as in front of Horizon.
    persistence="90m",
    # With asynchronous mounting off a manager holds a request open until the volumes are attached (App Volumes 4
    # administration guide): half a minute of silence is normal.
    timeouts=KindTimeouts(tunnel="1h"),
    remark="The default health path proves that the web server answers; set healthPath to the manager's own health "
    "address where the version has one.",
)

TCP = ServiceKind(
    name="tcp",
    title="TCP service",
    default_port=None,
    redirects=False,
    # Nothing is known of the protocol: whether a connection is accepted is all that can be asked, every 5 s, which
    # costs a server next to nothing. With a healthPath it is an HTTPS request.
    health=HealthCheck(path=None, expect="rstatus ^[23][0-9][0-9]"),
    persistence="90m",
    timeouts=KindTimeouts(tunnel="1h"),
    remark="The check proves only that the port accepts connections, unless healthPath is given.",
)

KINDS: Mapping[str, ServiceKind] = MappingProxyType({kind.name: kind for kind in (HORIZON, APP_VOLUMES, TCP)})
"""Every kind on offer by its name in a stack file."""

PLANNED_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "uag": "Unified Access Gateways need one client on one gateway over several ports and are not offered yet; "
        "a service of kind tcp balances their port 443",
    }
)
"""Kinds that have a place kept for them and are refused, with the sentence that says so."""


def duration_ms(text: str) -> int:
    """Return a HAProxy duration in milliseconds.

    Args:
        text: A positive whole number with one of the units ms, s, m, h, d, such as ``30s``.

    Raises:
        ValueError: It is none, or longer than HAProxy's timers hold; the message says which and is fit for users.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a whole number and ms, s, m, h or d, such as 30s or 1h")
    value = int(match[1]) * _UNIT_MS[match[2]]
    if value > _LONGEST_MS:
        raise ValueError(f"{text!r} is longer than HAProxy's longest timer, 24d")
    return value


def derived_maxconn(memory_mib: int) -> int:
    """Return how many connections a node of this memory carries: the default and the limit of ``maxconn``.

    Args:
        memory_mib: The smaller node's memory in MiB; not less than 1024 is sensible.

    Returns:
        A multiple of 500, at least 500, at most ``MAXCONN_CEILING``.
    """
    step = 500
    room = max(memory_mib - RESERVED_MIB, 0) * CONNECTIONS_PER_GIB // 1024
    return min(max(room // step * step, step), MAXCONN_CEILING)


def descriptor_limit(maxconn: int) -> int:
    """Return the file limit (LimitNOFILE) that HAProxy needs for so many connections: both sides of each."""
    return 2 * maxconn + SPARE_DESCRIPTORS
