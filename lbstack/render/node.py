"""From the configuration to the values of one node's files, all but ``haproxy.cfg``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from types import MappingProxyType

from lbstack.config.choices import Profile
from lbstack.config.models import Node, StackConfig
from lbstack.facts.kinds import KINDS, descriptor_limit, duration_ms
from lbstack.facts.ports import HEALTH_PORT, PEERS_PORT, SSH_PORT
from lbstack.facts.releases import NEW_KEY, OLD_KEY
from lbstack.render.paths import ADMIN_SOCKET, PROGRAM_DIRECTORY, STATE_MAP, SYSCTL_FILE, TRACK_FILE
from lbstack.render.values import Values, maxconn, release_of, timeouts_of, vips

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
CONNTRACK_PER_CONNECTION = 4
"""A connection is two flows (client and server side), and a closed flow is remembered for two minutes."""
CONNTRACK_FLOOR = 65_536
"""The kernel's own default on a machine of this size."""
DAY_S = 86_400
MS_PER_S = 1000


@dataclass(frozen=True)
class OpenPort:
    """A port of a VIP that anybody may connect to."""

    vip: IPv4Address
    port: int


def open_ports(config: StackConfig) -> tuple[OpenPort, ...]:
    """Return every port of every VIP that is open to all, sorted; the statistics page's is not one of them."""
    found = {
        OpenPort(service.vip, port)
        for service in config.services.values()
        for port in KINDS[service.kind].ports(service.port)
    }
    return tuple(sorted(found, key=lambda listener: (listener.vip, listener.port)))


def _longest_silence_s(config: StackConfig) -> int:
    """The longest time that any connection may be silent, in seconds."""
    limits = [
        duration_ms(value)
        for service in config.services.values()
        for value in asdict(timeouts_of(service, KINDS[service.kind])).values()
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
        "listeners": open_ports(config),
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
        "check_program": f"{PROGRAM_DIRECTORY}/lbstack-check",
        "firewall_program": f"{PROGRAM_DIRECTORY}/lbstack-firewall",
        "notify_program": f"{PROGRAM_DIRECTORY}/lbstack-notify",
        "vips_program": f"{PROGRAM_DIRECTORY}/lbstack-vips",
        "apply_program": f"{PROGRAM_DIRECTORY}/lbstack-apply",
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
