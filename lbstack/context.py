"""From the configuration to the values that the templates in ``cloudinit/`` write out.

Every rule about what a file says is here, in Python; the templates only loop. Nothing here reads a file, and nothing
about one node gets into the values for ``haproxy.cfg``, which has to be the same on both.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from types import MappingProxyType

from lbstack.config.choices import Profile, Role, ServerState
from lbstack.config.models import Node, Service, StackConfig
from lbstack.facts.kinds import (
    KINDS,
    HealthCheck,
    KindTimeouts,
    ServiceKind,
    derived_maxconn,
    descriptor_limit,
    duration_ms,
)
from lbstack.facts.ports import HEALTH_PORT, HTTP_PORT, HTTPS_PORT, PEERS_PORT, SSH_PORT
from lbstack.facts.releases import NEW_KEY, OLD_KEY, RELEASES, Release

PROGRAMS = "/usr/local/lib/lbstack"
STATE_MAP = "/run/lbstack/state.map"
TRACK_FILE = "/run/lbstack/haproxy.down"
ADMIN_SOCKET = "/run/haproxy/admin.sock"
SYSCTL_FILE = "/etc/sysctl.d/55-keepalived.conf"


PRIORITIES = (254, 246)
"""VRRP priorities of the preferred master and the standby. The nearer to 255, the shorter the wait before a backup
takes over from a master that says goodbye (skew, RFC 5798 6.1); 8 apart, so that two never think they have won."""

ADVERT_INTERVALS_S: Mapping[Profile, str] = MappingProxyType({Profile.SAFE: "1", Profile.FAST: "0.25"})
"""Seconds between adverts; three missed ones make a new master. Below 0.25 s a busy machine loses its role."""

PREEMPT_DELAY_S = 60
"""How long a returning preferred master waits: two health checks of every server, so that it knows who is up."""

GARP_REFRESH_S = 60
"""Gratuitous ARP is repeated this often: a VM that was suspended learns within a minute where the VIPs are."""

REALTIME_PRIORITY = 50
"""Scheduling priority of keepalived's VRRP process among real-time ones: the middle of 1 to 99."""

REALTIME_LIMIT_US = 1_000_000
"""CPU time in microseconds that it may take without a pause before the kernel kills it. A VM that was suspended wakes
up to every advert that came meanwhile; with keepalived's own limit of 10 ms it was killed over 30 s of them, just as
its peer had stepped down, and nobody served for three adverts (measured with 2.2.7; tests/rehearsal/test_acts.py)."""

HARD_STOP_AFTER = "10h"
"""Horizon asks its clients to log in again after ten hours by default, so no session of an old worker is older."""

RESERVED_CONNECTIONS = 100
"""Kept from each service, so that the statistics page and the health endpoint answer although one of them is full.
Several together may still use up the node; then its peer's word counts (``gate.alive``)."""

REDIRECT_CONNECTIONS = 1000
"""At a time, for each port 80: a redirect takes one round trip, so this is thousands of users in a second."""

STICK_ENTRIES = "100k"
"""Clients that a service remembers; a Horizon pod ends at 12,000 sessions, and an entry takes about 100 bytes."""

CONNTRACK_PER_CONNECTION = 4
"""A connection is two flows (client and server side), and a closed flow is remembered for two minutes."""

CONNTRACK_FLOOR = 65_536
"""The kernel's own default on a machine of this size."""

DAY_S = 86_400
MS_PER_S = 1000

Values = dict[str, object]


@dataclass(frozen=True)
class ServerView:
    """One ``server`` line; ``id`` and ``state`` are words at its end, or empty."""

    name: str
    address: IPv4Address
    id: str
    state: str


@dataclass(frozen=True)
class ServiceView:
    """One service as ``haproxy.cfg.j2`` writes it."""

    name: str
    title: str
    vip: IPv4Address
    port: int
    redirect: str
    persistence: str
    persist_when_down: bool
    conditional_check: bool
    left_alone: tuple[int, ...]
    health: HealthCheck
    timeouts: KindTimeouts
    servers: tuple[ServerView, ...]


@dataclass(frozen=True)
class Listener:
    """A port of a VIP that anybody may connect to."""

    vip: IPv4Address
    port: int


_STATE_WORDS: Mapping[ServerState, str] = MappingProxyType(
    # A weight of 0 takes no new clients but keeps known ones (HAProxy's manual, "weight"); a disabled server is in
    # maintenance mode and is not even checked.
    {ServerState.READY: "", ServerState.DRAIN: " weight 0", ServerState.MAINTENANCE: " disabled"}
)


def release_of(config: StackConfig) -> Release:
    """Return what is known of the image's Photon release."""
    return RELEASES[config.image.release]


def maxconn(config: StackConfig) -> int:
    """Return the pair's connection limit: the given one, else what the smaller node's memory carries."""
    return config.haproxy.maxconn or derived_maxconn(min(node.memory_mib for node in config.nodes))


def vips(config: StackConfig) -> tuple[IPv4Address, ...]:
    """Return every VIP once: the anchor (the statistics page's) first, the others sorted."""
    others = {service.vip for service in config.services.values()} - {config.stats.vip}
    return (config.stats.vip, *sorted(others))


def server_ids(names: Iterable[str]) -> dict[str, int]:
    """Return a number for each server name of one backend: it outlives a change of the list's order or length.

    Args:
        names: Unique names.

    Returns:
        Name → a positive 31-bit number. Two names that meet in one number are told apart by the next free one.
    """
    taken: dict[int, str] = {}
    for name in sorted(names):
        number = zlib.crc32(name.encode()) & 0x7FFFFFFF
        while number in taken or number == 0:
            number = (number + 1) & 0x7FFFFFFF
        taken[number] = name
    return {name: number for number, name in taken.items()}


def _health(service: Service, kind: ServiceKind) -> HealthCheck:
    """The kind's check with the service's overrides, no wait longer than the interval itself."""
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


def _timeouts(service: Service, kind: ServiceKind) -> KindTimeouts:
    """The kind's time limits with the service's overrides."""
    given = {key: value for key, value in service.timeouts.model_dump().items() if value is not None}
    return replace(kind.timeouts, **given)


def _redirect(port: int) -> str:
    """What port 80 answers: the same address over HTTPS, with the port where it is not the usual one."""
    if port == HTTPS_PORT:
        return "scheme https"
    return f"location https://%[req.hdr(host),field(1,:)]:{port}%[capture.req.uri]"


def _service(name: str, service: Service, release: Release) -> ServiceView:
    kind = KINDS[service.kind]
    port = kind.service_port(service.port)
    health = _health(service, kind)
    quiesces = health.path is not None and health.quiesced_status is not None
    persist_when_down = quiesces and not release.has_conditional_check
    ids = server_ids(server.name for server in service.servers)
    resting = [server.name for server in service.servers if server.state is ServerState.MAINTENANCE]
    return ServiceView(
        name=name,
        title=kind.title,
        vip=service.vip,
        port=port,
        redirect=_redirect(port) if kind.redirects else "",
        persistence=service.persistence or kind.persistence,
        persist_when_down=persist_when_down,
        conditional_check=quiesces and release.has_conditional_check,
        left_alone=tuple(ids[name] for name in resting) if persist_when_down else (),
        health=health,
        timeouts=_timeouts(service, kind),
        servers=tuple(
            ServerView(
                name=server.name,
                address=server.address,
                id=f" id {ids[server.name]}" if persist_when_down else "",
                state=_STATE_WORDS[server.state],
            )
            for server in service.servers
        ),
    )


def haproxy_values(config: StackConfig, stats_hashes: Mapping[str, str], config_hash: str) -> Values:
    """Return what ``haproxy.cfg.j2`` writes; nothing in it is about one node.

    Args:
        config: The validated configuration.
        stats_hashes: Login → ``$6$`` hash, one for each login of the statistics page.
        config_hash: The set's hash, 64 hexadecimal digits.
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
        "hard_stop_after": HARD_STOP_AFTER,
        "stick_entries": STICK_ENTRIES,
        "admin_socket": ADMIN_SOCKET,
        "state_map": STATE_MAP,
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


def listeners(config: StackConfig) -> tuple[Listener, ...]:
    """Return every port of every VIP that is open to all, sorted; the statistics page's is not one of them."""
    found = {
        Listener(service.vip, port)
        for service in config.services.values()
        for port in KINDS[service.kind].ports(service.port)
    }
    return tuple(sorted(found, key=lambda listener: (listener.vip, listener.port)))


def _longest_silence_s(config: StackConfig) -> int:
    """The longest time that any connection may be silent, in seconds."""
    limits = [
        duration_ms(value)
        for service in config.services.values()
        for value in asdict(_timeouts(service, KINDS[service.kind])).values()
    ]
    return -(-max(limits, default=0) // MS_PER_S)


def node_values(config: StackConfig, index: int) -> Values:
    """Return what the templates of one node write, all but ``haproxy.cfg.j2``.

    Args:
        config: The validated configuration.
        index: 0 for the preferred master, 1 for the standby.
    """
    node, peer = config.nodes[index], config.nodes[1 - index]
    anchor, *others = vips(config)
    limit = maxconn(config)
    return {
        "node": node,
        "peer": peer,
        "interface": config.network.interface,
        "prefix_length": config.network.cidr.prefixlen,
        "gateway": config.network.gateway,
        "dns": config.network.dns,
        "ntp": config.network.ntp,
        "search_domains": config.network.search_domains,
        "router_id": config.vrrp.router_id,
        "priority": PRIORITIES[index],
        "advert_interval_s": ADVERT_INTERVALS_S[config.vrrp.profile],
        "preemption": config.vrrp.preemption,
        "preempt_delay_s": PREEMPT_DELAY_S,
        "garp_refresh_s": GARP_REFRESH_S,
        "rt_priority": REALTIME_PRIORITY,
        "rt_limit_us": REALTIME_LIMIT_US,
        "anchor_vip": anchor,
        "other_vips": others,
        "listeners": listeners(config),
        "management": config.management_networks,
        "stats": config.stats,
        "ssh_port": SSH_PORT,
        "health_port": HEALTH_PORT,
        "peers_port": PEERS_PORT,
        "conntrack_max": max(limit * CONNTRACK_PER_CONNECTION, CONNTRACK_FLOOR),
        "conntrack_established_s": max(_longest_silence_s(config) * 2, DAY_S),
        "descriptor_limit": descriptor_limit(limit),
        "state_map": STATE_MAP,
        "track_file": TRACK_FILE,
        "sysctl_file": SYSCTL_FILE,
        "check_program": f"{PROGRAMS}/lbstack-check",
        "firewall_program": f"{PROGRAMS}/lbstack-firewall",
        "notify_program": f"{PROGRAMS}/lbstack-notify",
        "vips_program": f"{PROGRAMS}/lbstack-vips",
        "apply_program": f"{PROGRAMS}/lbstack-apply",
        "ssh_keys": config.access.ssh_keys,
    }


def node_json(config: StackConfig, node: Node, config_hash: str) -> Values:
    """Return ``/etc/lbstack/node.json``: what the applier has to know of its own set."""
    release = release_of(config)
    return {
        "format": 1,
        "hash": config_hash,
        "node": node.name,
        "address": str(node.address),
        "interface": config.network.interface,
        "vips": [str(vip) for vip in vips(config)],
        "network_owner": release.network_owner,
        "health": {"address": str(node.address), "port": HEALTH_PORT},
        "socket": ADMIN_SOCKET,
        "packages": {
            "install": ["haproxy", "keepalived"],
            "versions": dict(config.packages.versions),
            "upgrade": config.packages.upgrade,
            "tdnf_keys": [OLD_KEY, NEW_KEY],
        },
        "binaries": list(release.binaries.all()),
    }
