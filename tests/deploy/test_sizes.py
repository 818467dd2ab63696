"""A pair as large as one may be, in as many guestinfo values as it needs: deployed, and changed in place.

The engine passes the configuration in one environment variable, which has room for 200 services of 12 servers whose
names are short.
"""

from __future__ import annotations

from lbstack.render import keys
from tests.deploy.harness import Config, Harness

SERVICES, SERVERS = 200, 12
NODES = ("PhotonLB-01", "PhotonLB-02")
SIGNED = {f"{keys.PREFIX}{name}" for name in ("hash", "head", "signature")}
PIECES = f"{keys.PREFIX}{keys.CONFIG}."


def many(config: Config) -> None:
    """200 services of 12 servers, in a network with room for their VIPs."""
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


def test_a_pair_as_large_as_one_may_be_is_deployed_and_changed_in_place(pair: Harness) -> None:
    with pair.edited(many):
        pair.up().ok()
        before = {node: pair.guestinfo(node) for node in NODES}
        for held in before.values():
            assert max(map(len, held.values())) <= keys.VALUE_LIMIT
            assert sum(len(key) + len(value) + keys.LINE for key, value in held.items()) < keys.VMX_LIMIT
        text = pair.set_files(NODES[0])["/etc/haproxy/haproxy.cfg"]
        assert sum(line.startswith("    server ") for line in text.splitlines()) >= SERVICES * SERVERS
        pair.preview("--expect-no-changes").ok()
    with pair.edited(one_timeout):
        pair.up().ok()
        for node, held in before.items():
            after = pair.guestinfo(node)
            changed = {key for key in held | after if held.get(key) != after.get(key)}
            assert changed >= SIGNED
            assert all(key.startswith(PIECES) for key in changed - SIGNED)
