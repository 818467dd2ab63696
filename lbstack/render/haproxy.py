"""Compute the values of ``haproxy.cfg``.

No value depends on a node, because the file has to be the same on both.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from types import MappingProxyType

from lbstack.config.choices import Role, ServerState
from lbstack.config.models import Server, Service, StackConfig
from lbstack.facts.kinds import KINDS, HealthCheck, KindTimeouts, ServiceKind, duration_ms
from lbstack.facts.ports import HEALTH_PORT, HTTP_PORT, HTTPS_PORT, PEERS_PORT
from lbstack.facts.releases import Release
from lbstack.render.paths import ADMIN_SOCKET, SERVER_STATES, STATE_MAP
from lbstack.render.values import Values, maxconn, release_of, timeouts_of

RESERVED_CONNECTIONS = 100
"""Not available to a service, so that the statistics page and the health endpoint answer although a service is full.
Several services together may still use all connections of the node; then the peer's report decides (``gate.alive``)."""
REDIRECT_CONNECTIONS = 1000
"""Concurrent connections of each port 80. A redirect takes one round trip: they serve thousands of users a second."""
SLOW_START = "60s"
"""In which a server that was down comes back to its whole share. `leastconn` would give one that has no connections yet
all new ones, and the logins of a morning's minute are what a Connection Server is slowest with."""
STICK_ENTRIES = "100k"
"""Clients in a service's stick table. A Horizon pod has at most 12,000 sessions; an entry takes about 100 bytes."""


@dataclass(frozen=True)
class ServerView:
    """One ``server`` line.

    Args:
        name: Its name.
        address: Its address.
        number: Its number in the stick table.
        id: The number as an option of the line, or empty.
        state: Its state as an option of the line, or empty.
        watch: Name of the backend that shows whether it takes new clients.
        resting: A condition, with a space before it, that is true while it takes none; empty where it never does, None
            where it always may.
    """

    name: str
    address: IPv4Address
    number: int
    id: str
    state: str
    watch: str
    resting: str | None


@dataclass(frozen=True)
class RedirectView:
    """What port 80 redirects to.

    Args:
        host: Where a client goes that names no host: the service's name, else its VIP.
        port: The port with a colon before it; empty for 443.
    """

    host: str
    port: str


@dataclass(frozen=True)
class ServiceView:
    """One service in ``haproxy.cfg.j2``.

    Args:
        name: The service's name.
        title: Its kind, for people.
        vip: Its virtual address.
        port: Its port on the VIP and on the servers.
        fqdn: Its DNS name, or empty.
        redirect: What port 80 redirects to; None without a redirect.
        persistence: How long a client keeps its server after its last connection.
        persist_when_down: Whether a client keeps its server although the server is down.
        conditional_check: Whether the check reports a quiesced server as one that takes no new clients.
        moves_on: Whether a client leaves a server that takes no new clients after the period of its persistence.
        left_alone: Numbers of the servers in maintenance, which get no client in spite of ``persist_when_down``.
        health: The health check.
        timeouts: The timeouts.
        servers: The servers.
    """

    name: str
    title: str
    vip: IPv4Address
    port: int
    fqdn: str
    redirect: RedirectView | None
    persistence: str
    persist_when_down: bool
    conditional_check: bool
    moves_on: bool
    left_alone: tuple[int, ...]
    health: HealthCheck
    timeouts: KindTimeouts
    servers: tuple[ServerView, ...]


_STATE_OPTIONS: Mapping[ServerState, str] = MappingProxyType(
    # A server with weight 0 gets no new clients but keeps known ones (HAProxy's manual, "weight"). A disabled server is
    # in maintenance mode and is not checked.
    {ServerState.READY: "", ServerState.DRAIN: " weight 0", ServerState.MAINTENANCE: " disabled"}
)


def server_ids(names: Iterable[str]) -> dict[str, int]:
    """Return a number for each server name of one backend that does not depend on the list's order or length.

    Args:
        names: Unique names.

    Returns:
        Name → a positive 31-bit number: the name's CRC-32. In a collision the second name gets the next free number.
    """
    used: dict[int, str] = {}
    for name in sorted(names):
        number = zlib.crc32(name.encode()) & 0x7FFFFFFF
        while number in used or number == 0:
            number = (number + 1) & 0x7FFFFFFF
        used[number] = name
    return {name: number for number, name in used.items()}


def _health(service: Service, kind: ServiceKind) -> HealthCheck:
    """Return the kind's check with the service's overrides; no time in it is longer than the interval."""
    check = kind.health
    if service.health_path is not None:
        check = replace(check, path=service.health_path)
    if service.health_interval is not None:
        check = replace(check, interval=service.health_interval, down_interval=service.health_interval)
    return replace(
        check,
        confirm_interval=min(check.confirm_interval, check.interval, key=duration_ms),
        read_timeout=min(check.read_timeout, check.interval, key=duration_ms),
    )


def _redirect(service: Service, port: int) -> RedirectView:
    return RedirectView(service.fqdn or str(service.vip), "" if port == HTTPS_PORT else f":{port}")


def _resting(name: str, server: Server, *, quiesces: bool, release: Release) -> str | None:
    """The condition under which a server takes no new clients, apart from what a client's entry tells."""
    if server.state is ServerState.DRAIN:
        return ""
    if server.state is ServerState.MAINTENANCE or not quiesces:
        return None
    # Without the conditional check, HAProxy cannot tell a quiesced server from one that is down.
    if release.has_conditional_check:
        return f" {{ nbsrv({watch_of(name, server.name)}) lt 1 }}"
    return f" !{{ srv_is_up({name}/{server.name}) }}"


def watch_of(service: str, server: str) -> str:
    """The name of the backend that follows one server and has no other, so that its state can be read."""
    return f"{service}.server.{server}"


def _service(name: str, service: Service, release: Release) -> ServiceView:
    kind = KINDS[service.kind]
    port = kind.service_port(service.port)
    health = _health(service, kind)
    quiesces = health.path is not None and health.quiesced_status is not None
    persist_when_down = quiesces and not release.has_conditional_check
    ids = server_ids(server.name for server in service.servers)
    in_maintenance = [server.name for server in service.servers if server.state is ServerState.MAINTENANCE]
    resting = {each.name: _resting(name, each, quiesces=quiesces, release=release) for each in service.servers}
    moves_on = any(condition is not None for condition in resting.values())
    return ServiceView(
        name=name,
        title=kind.title,
        vip=service.vip,
        port=port,
        fqdn=service.fqdn or "",
        redirect=_redirect(service, port) if kind.redirects else None,
        persistence=service.persistence or kind.persistence,
        persist_when_down=persist_when_down,
        conditional_check=quiesces and release.has_conditional_check,
        moves_on=moves_on,
        left_alone=tuple(ids[name] for name in in_maintenance) if persist_when_down else (),
        health=health,
        timeouts=timeouts_of(service, kind),
        servers=tuple(
            ServerView(
                name=server.name,
                address=server.address,
                number=ids[server.name],
                id=f" id {ids[server.name]}" if persist_when_down or moves_on else "",
                state=_STATE_OPTIONS[server.state],
                watch=watch_of(name, server.name),
                resting=resting[server.name],
            )
            for server in service.servers
        ),
    )


def haproxy_values(
    config: StackConfig, stats_hashes: Mapping[str, str], config_hash: str, *, earlier: bool = False
) -> Values:
    """Return the values of ``haproxy.cfg.j2``; none depends on a node.

    Args:
        config: The validated configuration.
        stats_hashes: Login → ``$6$`` hash, one for each login of the statistics page.
        config_hash: The set's hash, 64 hexadecimal digits.
        earlier: Whether the applier of the release before judges the file: then it has nothing of a form that is new.
    """
    release = release_of(config)
    limit = maxconn(config)
    users = sorted(config.stats.users)
    return {
        "hash": config_hash,
        "nodes": config.nodes,
        "maxconn": limit,
        "service_maxconn": max(limit - RESERVED_CONNECTIONS, limit // 2),
        "redirect_maxconn": min(REDIRECT_CONNECTIONS, limit // 2),
        "hard_stop_after": config.haproxy.hard_stop_after,
        "stick_entries": STICK_ENTRIES,
        "slow_start": None if earlier else SLOW_START,
        "admin_socket": ADMIN_SOCKET,
        "state_map": STATE_MAP,
        "server_states": SERVER_STATES,
        "earlier": earlier,
        "health_port": HEALTH_PORT,
        "peers_port": PEERS_PORT,
        "http_port": HTTP_PORT,
        "prometheus": release.has_prometheus,
        "management": config.management_networks,
        "log_connections": config.haproxy.log_connections,
        "stats": {
            "vip": config.stats.vip,
            "port": config.stats.port,
            "users": [{"name": user, "hash": stats_hashes[user]} for user in users],
            "admins": [user for user in users if config.stats.users[user].role is Role.ADMIN],
        },
        "services": [_service(name, service, release) for name, service in sorted(config.services.items())],
    }
