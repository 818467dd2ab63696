"""Compute the values of one node's files except ``haproxy.cfg``, and the data of its ``node.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from types import MappingProxyType

from lbstack.config.choices import Profile
from lbstack.config.fields import PINNABLE
from lbstack.config.models import Node, StackConfig
from lbstack.facts.kinds import KINDS, descriptor_limit, duration_ms
from lbstack.facts.ports import HEALTH_PORT, PEERS_PORT, SSH_PORT
from lbstack.facts.releases import NEW_KEY, OLD_KEY
from lbstack.render import paths
from lbstack.render.values import Values, maxconn, release_of, timeouts_of, vips

PRIORITIES = (254, 246)
"""VRRP priorities of the preferred master and the standby. The nearer to 255, the shorter is the wait of a backup after
a master has announced that it stops (skew time, RFC 5798, 6.1). They are 8 apart, so that the skew times differ enough
for one of two backups to take over first."""
ADVERT_INTERVALS_S: Mapping[Profile, str] = MappingProxyType({Profile.SAFE: "1", Profile.FAST: "0.25"})
"""Seconds between adverts; after three missed ones the backup becomes master. Below 0.25 s a busy machine would lose
its role."""
PREEMPT_DELAY_S = 60
"""How long a returning preferred master waits: two health checks of every server, so that it knows their states."""
GARP_REFRESH_S = 60
"""Interval of repeated gratuitous ARP: a VM that was suspended learns within a minute which node holds the VIPs."""
REALTIME_PRIORITY = 50
"""Real-time scheduling priority of keepalived's VRRP process: the middle of 1 to 99."""
REALTIME_LIMIT_US = 1_000_000
"""CPU time in microseconds that this process may use without a pause before the kernel kills it. After a suspension it
receives all adverts of that time at once. With keepalived's own limit of 10 ms the kernel killed it on 30 s of adverts,
just when its peer had become backup, and no node served for three adverts (measured with 2.2.7;
tests/rehearsal/test_acts.py)."""
CONNTRACK_PER_CONNECTION = 4
"""A connection is two flows (client side and server side), and a closed flow stays in the table for two minutes."""
CONNTRACK_FLOOR = 65_536
"""The kernel's default on a machine of this size."""
DAY_S = 86_400
MS_PER_S = 1000


@dataclass(frozen=True)
class OpenPort:
    """A port of a VIP that every client may connect to."""

    vip: IPv4Address
    port: int


def open_ports(config: StackConfig) -> tuple[OpenPort, ...]:
    """Return every port of every VIP that is open to all clients, sorted; the statistics page's is not."""
    found = {
        OpenPort(service.vip, port)
        for service in config.services.values()
        for port in KINDS[service.kind].ports(service.port)
    }
    return tuple(sorted(found, key=lambda listener: (listener.vip, listener.port)))


def _longest_inactivity_s(config: StackConfig) -> int:
    """Return the longest time that any connection may be inactive, in seconds."""
    limits = [
        duration_ms(value)
        for service in config.services.values()
        for value in asdict(timeouts_of(service, KINDS[service.kind])).values()
    ]
    return -(-max(limits, default=0) // MS_PER_S)


def node_values(config: StackConfig, index: int) -> Values:
    """Return the values of one node's templates except ``haproxy.cfg.j2``.

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
        "listeners": open_ports(config),
        "management": config.management_networks,
        "stats": config.stats,
        "ssh_port": SSH_PORT,
        "health_port": HEALTH_PORT,
        "peers_port": PEERS_PORT,
        "conntrack_max": max(limit * CONNTRACK_PER_CONNECTION, CONNTRACK_FLOOR),
        "conntrack_established_s": max(_longest_inactivity_s(config) * 2, DAY_S),
        "descriptor_limit": descriptor_limit(limit),
        "state_map": paths.STATE_MAP,
        "server_states": paths.SERVER_STATES,
        "track_file": paths.TRACK_FILE,
        "sysctl_file": paths.SYSCTL_FILE,
        "check_program": paths.CHECK_PROGRAM,
        "firewall_program": paths.FIREWALL_PROGRAM,
        "notify_program": paths.NOTIFY_PROGRAM,
        "vips_program": paths.VIPS_PROGRAM,
        "apply_program": paths.APPLIER,
        "ssh_keys": config.access.ssh_keys,
    }


def node_json(config: StackConfig, node: Node, config_hash: str, next_key: str = "") -> Values:
    """Return the data of ``node.json``: what the applier needs to know of its set.

    Args:
        config: The validated configuration.
        node: One of its nodes.
        config_hash: The set's hash, 64 hexadecimal digits.
        next_key: PEM of the public key that is to follow the one that signs; empty where none is.
    """
    release = release_of(config)
    # Only where they are given: a set without them is the one that it was before there were such keys.
    given = {
        "ca": config.packages.ca,
        "proxy": config.packages.proxy,
        "generation": config.packages.generation,
    }
    source = {name: value for name, value in given.items() if value}
    return {
        "format": 1,
        "hash": config_hash,
        "node": node.name,
        "address": str(node.address),
        "interface": config.network.interface,
        "vips": [str(vip) for vip in vips(config)],
        "network_owner": release.network_owner,
        "health": {"address": str(node.address), "port": HEALTH_PORT},
        "socket": paths.ADMIN_SOCKET,
        "guest_edits": config.rollout.guest_edits.value,
        "packages": {
            "install": list(PINNABLE),
            "versions": dict(config.packages.versions),
            "upgrade": config.packages.upgrade,
            "tdnf_keys": [OLD_KEY, NEW_KEY],
            **source,
        },
        "binaries": list(release.binaries.all()),
        **({"next_key": next_key} if next_key else {}),
    }
