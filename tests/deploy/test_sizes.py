"""Pairs as large as one may be, in as many guestinfo values as they need: deployed, and changed in place.

The engine passes the configuration in one environment variable. That has room for 200 services of 12 servers whose
names are short, or for 110 with names as long as the post's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lbstack.render import keys
from tests.deploy.harness import Config, Harness

SERVERS = 12
NODES = ("PhotonLB-01", "PhotonLB-02")
SIGNED = {f"{keys.PREFIX}{name}" for name in ("hash", "head", "signature")}

Service = Callable[[int], dict[str, Any]]


def short(number: int) -> dict[str, Any]:
    """A service whose servers have short names."""
    servers = [{"name": f"s{index}", "address": f"10.9.{number}.{1 + index}"} for index in range(SERVERS)]
    return {"kind": "tcp", "port": 443, "servers": servers}


def long(number: int) -> dict[str, Any]:
    """A service whose servers have names as long as the post's."""
    names = [f"Horizon_Connection_Server_{index:02}" for index in range(SERVERS)]
    servers = [{"name": name, "address": f"10.100.{number}.{1 + index}"} for index, name in enumerate(names)]
    return {"kind": "horizon", "fqdn": f"desktop-{number}.lab.example", "servers": servers}


@pytest.mark.parametrize(("count", "service", "pieces"), [(200, short, 1), (110, long, 2)])
def test_a_pair_as_large_as_one_may_be_is_deployed_and_changed_in_place(
    pair: Harness, count: int, service: Service, pieces: int
) -> None:
    def many(config: Config) -> None:
        config["lbstack:network"]["cidr"] = "192.168.0.0/16"  # room for the VIPs
        config["lbstack:services"] = {
            f"d{number}": {"vip": f"192.168.8.{1 + number}", **service(number)} for number in range(count)
        }

    def one_timeout(config: Config) -> None:
        many(config)
        config["lbstack:services"]["d7"]["timeouts"] = {"tunnel": "2h"}

    with pair.edited(many):
        pair.up().ok()
        before = {node: pair.guestinfo(node) for node in NODES}
        for held in before.values():
            assert max(map(len, held.values())) <= keys.VALUE_LIMIT
            assert sum(len(key) + len(value) + keys.LINE for key, value in held.items()) < keys.VMX_LIMIT
            assert sum(key.startswith(f"{keys.PREFIX}{keys.CONFIG}.") for key in held) == pieces
        text = pair.set_files(NODES[0])["/etc/haproxy/haproxy.cfg"]
        assert sum(line.startswith("    server ") for line in text.splitlines()) >= count * SERVERS
        pair.preview("--expect-no-changes").ok()
    with pair.edited(one_timeout):
        pair.up().ok()
        for node, held in before.items():
            after = pair.guestinfo(node)
            changed = {key for key in held | after if held.get(key) != after.get(key)}
            assert changed - SIGNED <= {keys.piece(keys.CONFIG, number) for number in range(pieces + 1)}
            assert changed >= SIGNED
