"""Hypothesis strategies of stack configurations, for the tests of configuration and rendering.

``configurations()`` gives the content of a stack file (camelCase, plain values), which is always valid.
``secrets_for(raw)`` gives its secrets, and ``stacks()`` gives both, loaded. ``values.py`` has the single values.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import strategies as st

from lbstack.config.credentials import ROOT_HASH, SIGNING_KEY, STATS_PREFIX, Secrets
from lbstack.config.fields import MAX_MEMORY_MIB, MIN_MEMORY_MIB
from lbstack.config.models import StackConfig
from lbstack.facts.kinds import KINDS, derived_maxconn
from lbstack.facts.ports import RESERVED_PORTS
from lbstack.facts.releases import RELEASES
from lbstack.stackfile.load import load
from tests.keys import fido_key, signing_key, ssh_keys
from tests.values import (
    DIGITS,
    LETTERS,
    crypt_hashes,
    domains,
    durations,
    identifiers,
    labels,
    server_names,
    service_names,
    user_names,
    vsphere_names,
    vsphere_paths,
)

Raw = dict[str, Any]

# The pair's network is inside one of these: all three private ones and a public one.
NETWORKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")
# Servers behind the gateway; it overlaps none of NETWORKS.
ROUTED = IPv4Network("100.64.0.0/10")
ROUTED_ADDRESSES = st.integers(int(ROUTED[1]), int(ROUTED[-2])).map(lambda number: str(IPv4Address(number)))
RELEASES_WITH_FIDO = ("4.0", "5.0")


def _optionally(draw: st.DrawFn, target: Raw, key: str, values: st.SearchStrategy[Any]) -> None:
    """Add a key that has a default, or leave it out."""
    if draw(st.booleans()):
        target[key] = draw(values)


def _placement(draw: st.DrawFn) -> Raw:
    placement: Raw = {
        "vcenterUuid": str(draw(st.uuids())),
        **{key: draw(vsphere_paths()) for key in ("datacenter", "cluster", "datastore", "network")},
    }
    _optionally(draw, placement, "resourcePool", st.none() | vsphere_paths())
    _optionally(draw, placement, "folder", vsphere_paths())
    if "folder" in placement:
        _optionally(draw, placement, "createFolder", st.booleans())
    _optionally(draw, placement, "antiAffinity", st.sampled_from(["mandatory", "preferred", "off"]))
    names = st.lists(vsphere_names(), min_size=1, max_size=3, unique=True)
    _optionally(draw, placement, "tags", st.fixed_dictionaries({"category": vsphere_names(), "names": names}))
    return placement


def _image(draw: st.DrawFn) -> Raw:
    firmware = draw(st.sampled_from(["efi", "bios"]))
    return {
        "library": draw(vsphere_names()),
        "item": draw(vsphere_names()),
        "release": draw(st.sampled_from(sorted(RELEASES))),
        "firmware": firmware,
        "secureBoot": draw(st.booleans()) if firmware == "efi" else False,
    }


def _cidr(draw: st.DrawFn) -> IPv4Network:
    outer = IPv4Network(draw(st.sampled_from(NETWORKS)))
    prefix = draw(st.integers(max(outer.prefixlen, 16), 29))
    base = int(outer.network_address) + draw(st.integers(0, 2 ** (prefix - outer.prefixlen) - 1)) * 2 ** (32 - prefix)
    return IPv4Network((base, prefix))


def _network(draw: st.DrawFn, cidr: IPv4Network, gateway: str) -> Raw:
    network: Raw = {"cidr": str(cidr), "gateway": gateway}
    network["dns"] = draw(st.lists(ROUTED_ADDRESSES, min_size=1, max_size=3, unique=True))
    _optionally(draw, network, "ntp", st.lists(ROUTED_ADDRESSES | domains(), max_size=3, unique_by=str.lower))
    _optionally(draw, network, "searchDomains", st.lists(domains(), max_size=3, unique_by=str.lower))
    interfaces = identifiers(LETTERS, LETTERS + DIGITS + "_-", 15).filter(lambda n: n not in ("lo", "all", "default"))
    _optionally(draw, network, "interface", interfaces)
    return network


def _node(draw: st.DrawFn, name: str, address: str) -> Raw:
    node: Raw = {"name": name, "address": address}
    _optionally(draw, node, "cpus", st.integers(1, 64))
    memory = st.integers(MIN_MEMORY_MIB // 4, MAX_MEMORY_MIB // 4).map(lambda steps: 4 * steps)
    _optionally(draw, node, "memoryMiB", memory)
    _optionally(draw, node, "diskGiB", st.integers(16, 63_488))
    return node


def _servers(draw: st.DrawFn, inside: Iterator[str]) -> list[Raw]:
    names = draw(st.lists(server_names(), min_size=1, max_size=4, unique_by=str.lower))
    routed = draw(st.sets(st.integers(int(ROUTED[1]), int(ROUTED[-2])), min_size=len(names), max_size=len(names)))
    servers: list[Raw] = []
    for name, number in zip(names, sorted(routed), strict=True):
        near = next(inside, None) if draw(st.booleans()) else None
        servers.append({"name": name, "address": near or str(IPv4Address(number))})
        _optionally(draw, servers[-1], "state", st.sampled_from(["ready", "drain", "maintenance"]))
    servers[draw(st.integers(0, len(servers) - 1))].pop("state", None)  # ready, which is the default
    return servers


def _service(draw: st.DrawFn, vip: str, taken: set[tuple[str, int]], inside: Iterator[str]) -> Raw:
    """A service whose ports are free on its VIP; its kind is tcp where the ports of the other kinds are in use."""
    kinds = [name for name, kind in KINDS.items() if kind.redirects and not {(vip, 80), (vip, 443)} & taken]
    kind = draw(st.sampled_from([*kinds, "tcp"]))
    service: Raw = {"kind": kind, "vip": vip, "servers": _servers(draw, inside)}
    free = st.integers(1, 65_535).filter(lambda port: port not in (80, *RESERVED_PORTS) and (vip, port) not in taken)
    if kind == "tcp":
        service["port"] = draw(free)
    else:
        _optionally(draw, service, "port", st.none() | st.just(443) | free)
    taken.update((vip, port) for port in KINDS[kind].ports(service.get("port")))
    _optionally(draw, service, "fqdn", st.none() | domains(2))
    paths = st.text(LETTERS + DIGITS + "._~+,=:@/?&-", max_size=40).map("/".__add__)
    _optionally(draw, service, "healthPath", st.none() | (st.just("/favicon.ico") if kind == "horizon" else paths))
    horizon = kind == "horizon"
    _optionally(draw, service, "healthInterval", st.none() | durations(30_000 if horizon else 1000, 600_000))
    _optionally(draw, service, "persistence", st.none() | durations(60_000, 86_400_000))
    if draw(st.booleans()):
        timeouts: Raw = {}
        _optionally(draw, timeouts, "connect", durations(100, 60_000))
        _optionally(draw, timeouts, "client", durations(1000, 86_400_000))
        _optionally(draw, timeouts, "server", durations(1000, 86_400_000))
        _optionally(draw, timeouts, "tunnel", durations(3_600_000 if horizon else 60_000, 86_400_000))
        service["timeouts"] = timeouts
    return service


def _services(draw: st.DrawFn, vips: list[str], stats: tuple[str, int], inside: Iterator[str]) -> dict[str, Raw]:
    taken = {stats}
    services: dict[str, Raw] = {}
    names_of_vips: dict[str, str] = {}
    for name in draw(st.lists(service_names(), min_size=1, max_size=4, unique_by=str.lower)):
        service = _service(draw, draw(st.sampled_from(vips)), taken, inside)
        fqdn = service.get("fqdn")
        if fqdn and names_of_vips.setdefault(fqdn.lower(), service["vip"]) != service["vip"]:
            del service["fqdn"]  # a name belongs to one VIP
        services[name] = service
    return services


def _management(draw: st.DrawFn) -> list[str]:
    """Disjoint networks: each in its own /8."""
    firsts = draw(st.lists(st.sampled_from([10, 20, 100, 172, 192, 203]), min_size=1, max_size=3, unique=True))
    networks = []
    for first in firsts:
        prefix = draw(st.integers(8, 32))
        number = (first << 24) + draw(st.integers(0, 2**24 - 1))
        networks.append(str(IPv4Network((number, prefix), strict=False)))
    return networks


def _access(draw: st.DrawFn, release: str) -> Raw:
    pool = [*ssh_keys(), *([fido_key()] if release in RELEASES_WITH_FIDO else [])]
    keys = draw(st.lists(st.sampled_from(pool), max_size=3, unique=True))
    return {"sshKeys": [f"{key}{draw(st.sampled_from(['', ' operations', ' a b-c_d@example.com']))}" for key in keys]}


@st.composite
def configurations(draw: st.DrawFn) -> Raw:
    """Every valid content of a stack file, without secrets."""
    cidr = _cidr(draw)
    vip_count = draw(st.integers(1, 3 if cidr.prefixlen == 29 else 5))
    hosts = draw(st.permutations(range(1, min(cidr.num_addresses - 1, 40))))
    offset = draw(st.integers(0, max(0, cidr.num_addresses - 42)))
    addresses = [str(cidr[host + offset]) for host in hosts]
    gateway, first, second, *rest = addresses
    vips, inside = rest[:vip_count], iter(rest[vip_count:])
    names = draw(st.lists(labels(), min_size=2, max_size=2, unique_by=str.lower))
    nodes = [_node(draw, name, address) for name, address in zip(names, (first, second), strict=True)]
    stats: Raw = {"vip": draw(st.sampled_from(vips))}
    _optionally(draw, stats, "port", st.integers(1, 65_535).filter(lambda port: port not in RESERVED_PORTS))
    roles = st.fixed_dictionaries({}, optional={"role": st.sampled_from(["viewer", "admin"])})
    stats["users"] = draw(st.dictionaries(user_names(), roles, min_size=1, max_size=3))
    image = _image(draw)
    raw: Raw = {
        "lifecycle": draw(st.sampled_from(["lab", "production"])),
        "placement": _placement(draw),
        "image": image,
        "network": _network(draw, cidr, gateway),
        "nodes": nodes,
        "vrrp": {"routerId": draw(st.integers(1, 255))},
        "services": _services(draw, vips, (stats["vip"], stats.get("port", 8404)), inside),
        "stats": stats,
        "managementNetworks": _management(draw),
        "access": _access(draw, image["release"]),
    }
    _optionally(draw, raw["vrrp"], "profile", st.sampled_from(["safe", "fast"]))
    _optionally(draw, raw["vrrp"], "preemption", st.booleans())
    _add_optional_sections(draw, raw)
    return raw


def _add_optional_sections(draw: st.DrawFn, raw: Raw) -> None:
    versions = st.dictionaries(
        st.sampled_from(["haproxy", "keepalived"]), identifiers(DIGITS, LETTERS + DIGITS + "._+~^-", 20)
    )
    repository = domains().map(lambda host: f"https://{host}:8443/photon")
    packages = {"repository": repository, "versions": versions, "upgrade": st.booleans()}
    _optionally(draw, raw, "packages", st.fixed_dictionaries({}, optional=packages))
    limit = derived_maxconn(min(node.get("memoryMiB", 2048) for node in raw["nodes"]))
    haproxy = {"maxconn": st.none() | st.integers(500, limit), "logConnections": st.booleans()}
    _optionally(draw, raw, "haproxy", st.fixed_dictionaries({}, optional=haproxy))
    _optionally(draw, raw, "rollout", st.fixed_dictionaries({}, optional={"gate": st.booleans()}))
    _optionally(draw, raw, "protect", st.sampled_from([None, True, False, "lifecycle"]))


@st.composite
def secrets_for(draw: st.DrawFn, raw: Raw) -> dict[str, str]:
    """The secrets that a configuration needs, with or without root's hash."""
    secrets = {SIGNING_KEY: signing_key()}
    secrets |= {f"{STATS_PREFIX}{user}": draw(crypt_hashes()) for user in raw["stats"]["users"]}
    if not raw["access"]["sshKeys"] or draw(st.booleans()):
        secrets[ROOT_HASH] = draw(crypt_hashes())
    return secrets


@st.composite
def stacks(draw: st.DrawFn) -> tuple[StackConfig, Secrets]:
    """A loaded configuration with its secrets."""
    raw = draw(configurations())
    return load(raw, draw(secrets_for(raw)))
