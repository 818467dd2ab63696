"""A pair as large as one may be: 200 services of 12 servers, in as many guestinfo values as they need."""

from __future__ import annotations

from lbstack.render import keys
from tests.deploy.harness import Config, Harness

SERVICES, SERVERS = 200, 12
NODES = ("PhotonLB-01", "PhotonLB-02")
SIGNED = {f"{keys.PREFIX}{name}" for name in ("hash", "head", "signature")}


def many(config: Config) -> None:
    """200 services of 12 servers, in a network with room for their VIPs; their names are short.

    The engine passes the configuration in one environment variable, which has room for 125 of these services where the
    servers' names are as long as the post's.
    """
    config["lbstack:network"]["cidr"] = "192.168.0.0/16"
    config["lbstack:services"] = {
        f"d{number}": {
            "kind": "tcp",
            "port": 443,
            "vip": f"192.168.8.{1 + number}",
            "servers": [{"name": f"s{index}", "address": f"10.9.{number}.{1 + index}"} for index in range(SERVERS)],
        }
        for number in range(SERVICES)
    }


def one_timeout(config: Config) -> None:
    """The same with one other value."""
    many(config)
    config["lbstack:services"]["d7"]["timeouts"] = {"tunnel": "2h"}


def test_two_hundred_services_of_twelve_servers_are_deployed_and_changed_in_place(pair: Harness) -> None:
    with pair.edited(many):
        pair.up().ok()
        before = {node: pair.guestinfo(node) for node in NODES}
        for held in before.values():
            assert max(map(len, held.values())) <= keys.VALUE_LIMIT
            assert sum(len(key) + len(value) + keys.LINE for key, value in held.items()) < keys.VMX_LIMIT
            assert keys.piece(keys.CONFIG, 1) in held
        text = pair.set_files(NODES[0])["/etc/haproxy/haproxy.cfg"]
        assert text.count("\n    server s") == SERVICES * SERVERS
        pair.preview("--expect-no-changes").ok()
    with pair.edited(one_timeout):
        pair.up().ok()
        for node, held in before.items():
            after = pair.guestinfo(node)
            changed = {key for key in held | after if held.get(key) != after.get(key)}
            assert changed - SIGNED <= {keys.piece(keys.CONFIG, number) for number in range(len(held))}
            assert changed >= SIGNED
