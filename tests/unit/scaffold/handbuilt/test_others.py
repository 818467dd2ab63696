"""`lbstack import` of restated public configurations for other uses: what becomes a service, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbstack.config.credentials import Secrets
from lbstack.config.undecided import MARK
from lbstack.offline.stack import PLACEHOLDER_HASH
from lbstack.render.files import render_pair
from lbstack.scaffold.handbuilt.ledger import Verdict
from lbstack.stackfile.load import load_config
from tests.unit.scaffold.handbuilt.support import OTHERS, decided, entry, imported, of, raw_of

# Fixture → the services of the stack file with kind and port, and the frontends that are left out.
EXPECTED: dict[str, tuple[dict[str, tuple[str, int | None]], set[str]]] = {
    "acme": ({}, {"front"}),
    "directory": (
        {"ldap": ("tcp", 389), "ldaps": ("tcp", 636), "gc": ("tcp", 3268), "gc-3269": ("tcp", 3269)},
        set(),
    ),
    "exchange-offload": ({}, {"mail"}),
    "exchange-passthrough": (
        {"exchange-https": ("tcp", 443), "exchange-smtp": ("tcp", 25)},
        {"exchange-imaps"},
    ),
    "galera": ({"galera-write": ("tcp", 3306), "galera-read": ("tcp", 3307)}, set()),
    "gateway-nat": ({"print-ok": ("tcp", 9101)}, {"print"}),
    "horizon-three": ({"route-443": ("horizon", None)}, set()),
    "kernel-balancing": ({"web": ("tcp", 80)}, set()),
    "kubernetes-8443": ({}, {"kube-apiserver"}),
    "kubernetes-rke2": ({"rke2-api": ("tcp", 6443), "rke2-join": ("tcp", 9345)}, set()),
    "openshift-readyz": ({"api": ("tcp", 6443)}, set()),
    "openshift-upi": (
        {
            "api": ("tcp", 6443),
            "machine-config": ("tcp", 22623),
            "ingress-http": ("tcp", 80),
            "ingress-https": ("tcp", 443),
        },
        set(),
    ),
    "openstack": (
        {"dashboard_cluster": ("tcp", 443), "galera_cluster": ("tcp", 3306), "keystone": ("tcp", 5000)},
        set(),
    ),
    "rabbitmq": ({"amqp": ("tcp", 5672)}, set()),
    "redis": ({"redis": ("tcp", 6379)}, set()),
    "remote-desktop": ({"rdp": ("tcp", 3389)}, {"admin-ssh"}),
    "sni-routing": ({}, {"tls"}),
    "sso-controllers": ({"psc-443": ("tcp", 443), "psc-389": ("tcp", 389)}, {"psc-2012"}),
    "templates": ({"b": ("tcp", 8001)}, {"a", "c"}),
    "uag-shared-table": (
        {"gateway-443": ("tcp", 443), "gateway-8443": ("tcp", 8443), "gateway-4172": ("tcp", 4172)},
        set(),
    ),
    "web-cookie": ({"web": ("tcp", 80)}, set()),
}


def test_there_are_fifteen_and_more() -> None:
    assert set(EXPECTED) == set(OTHERS)
    assert len(EXPECTED) >= 15


@pytest.mark.parametrize("name", OTHERS)
def test_what_can_be_expressed_is_a_service_and_the_rest_is_left_out_with_a_reason(tmp_path: Path, name: str) -> None:
    made = imported(name)
    services = raw_of(made, tmp_path)["services"]
    found = (
        {each: (raw["kind"], raw.get("port")) for each, raw in services.items()} if isinstance(services, dict) else {}
    )
    assert (found, set(made.report.left_out)) == EXPECTED[name]
    assert all(made.report.left_out.values())


@pytest.mark.parametrize("name", OTHERS)
def test_with_every_decision_taken_the_stack_file_is_valid_and_renders(tmp_path: Path, name: str) -> None:
    config = load_config(decided(raw_of(imported(name), tmp_path)))
    render_pair(config, Secrets("", dict.fromkeys(config.stats.users, PLACEHOLDER_HASH), None))


def test_backup_servers_wait_in_maintenance_and_a_weight_of_zero_drains(tmp_path: Path) -> None:
    write = raw_of(imported("galera"), tmp_path)["services"]["galera-write"]["servers"]
    assert [server.get("state", "ready") for server in write] == ["ready", "maintenance", "maintenance"]
    assert entry(imported("galera"), "haproxy.cfg", "server db2 10.60.0.12:3306").verdict is Verdict.NOT_EXPRESSED
    sessions = raw_of(imported("remote-desktop"), tmp_path)["services"]["rdp"]["servers"]
    assert [server.get("state", "ready") for server in sessions] == ["ready", "drain"]
    api = raw_of(imported("kubernetes-rke2"), tmp_path)["services"]["rke2-api"]["servers"]
    assert api[2]["state"] == "maintenance"


def test_a_servers_name_becomes_a_decision_with_that_name(tmp_path: Path) -> None:
    servers = raw_of(imported("templates"), tmp_path)["services"]["b"]["servers"]
    assert "the IPv4 address of b2.example.com" in servers[1]["address"]
    assert servers[2] == {"name": "b3-x", "address": "10.97.0.13"}


def test_times_become_those_of_a_stack_file(tmp_path: Path) -> None:
    api = raw_of(imported("openshift-readyz"), tmp_path)["services"]["api"]
    assert api["timeouts"] == {"connect": "10s", "tunnel": "1d"}
    assert api["healthPath"] == "/readyz"
    nat = raw_of(imported("gateway-nat"), tmp_path)["services"]["print-ok"]
    assert nat["timeouts"] == {"connect": "500ms", "tunnel": "1d"}
    assert nat["healthInterval"] == "3s"


def test_the_nodes_network_and_managers_are_taken_and_routes_are_not(tmp_path: Path) -> None:
    made = imported("gateway-nat")
    assert raw_of(made, tmp_path)["network"] == {
        "cidr": "10.98.0.0/24",
        "gateway": "10.98.0.1",
        "dns": ["10.98.0.53", "10.98.0.54"],
        "ntp": ["ntp.example.com"],
        "searchDomains": ["example.com"],
    }
    assert entry(made, "10-eth0.network", "Gateway 10.98.0.254").verdict is Verdict.NOT_EXPRESSED
    assert entry(made, "10-eth0.network", "Address 10.99.0.2/24").verdict is Verdict.NOT_EXPRESSED
    other = raw_of(imported("kubernetes-rke2"), tmp_path)
    assert other["managementNetworks"] == ["10.40.0.0/16"]
    assert other["vrrp"]["profile"] == "fast"


def test_connections_that_the_default_memory_does_not_carry_get_more_of_it(tmp_path: Path) -> None:
    raw = raw_of(imported("uag-shared-table"), tmp_path)
    assert raw["haproxy"] == {"maxconn": 60000}
    assert {node["memoryMiB"] for node in raw["nodes"]} == {3584}


def test_a_service_that_is_open_to_few_is_left_out_rather_than_opened_to_all() -> None:
    why = imported("remote-desktop").report.left_out["admin-ssh"]
    assert "must not be open to more than today" in why


def test_a_vip_that_nothing_of_the_stack_file_has_is_named() -> None:
    made = imported("kernel-balancing")
    assert entry(made, "keepalived.conf", "10.95.0.6").verdict is Verdict.NOT_EXPRESSED
    assert "# today: no such page\n" in made.stack_file


def test_managers_networks_that_overlap_are_one(tmp_path: Path) -> None:
    accept = "-A INPUT -s {} -p tcp --dport 22 -j ACCEPT\n"
    rules = "*filter\n" + "".join(accept.format(network) for network in ("10.1.0.9", "10.0.0.0/8", "192.0.2.7/32"))
    made = of(tmp_path / "node1", haproxy__cfg="global\n daemon\n", ip4save=f"{rules}COMMIT\n")
    assert raw_of(made, tmp_path)["managementNetworks"] == ["10.0.0.0/8", "192.0.2.7/32"]


def test_a_login_without_a_password_is_not_taken_for_a_login(tmp_path: Path) -> None:
    """The one word may be the password."""
    made = of(tmp_path / "node1", haproxy__cfg="listen stats\n bind :8404\n mode http\n stats auth hunter2\n")
    assert raw_of(made, tmp_path)["stats"]["users"] == {"admin": {"role": "admin"}}
    assert "hunter2" not in made.stack_file + made.report.text()


def test_what_another_distribution_calls_its_interface_is_not_taken(tmp_path: Path) -> None:
    made = imported("horizon-three")
    assert "interface" not in raw_of(made, tmp_path)["network"]
    assert entry(made, "node1/keepalived.conf", "interface ens160").verdict is Verdict.OURS


@pytest.mark.parametrize(
    ("port", "why"), [("22", "SSH"), ("8405", "health endpoint"), ("70000", "no single IPv4 port")]
)
def test_a_port_that_no_service_can_have_leaves_it_out(tmp_path: Path, port: str, why: str) -> None:
    text = f"listen a\n bind 10.0.0.1:{port}\n server s 10.0.0.9:{port}\nlisten stats\n bind :{port}\n stats enable\n"
    made = of(tmp_path / "node1", haproxy__cfg=text)
    assert why in made.report.left_out["a"]
    assert "port" not in raw_of(made, tmp_path)["stats"]


@pytest.mark.parametrize(("route", "gateway"), [("", "10.1.0.1"), ("Destination=10.9.0.0/16\n", "")])
def test_the_gateway_of_a_route_of_its_own_is_not_the_nodes_gateway(tmp_path: Path, route: str, gateway: str) -> None:
    network = f"[Match]\nName=eth0\n[Network]\nAddress=10.1.0.2/24\n[Route]\n{route}Gateway=10.1.0.1\n"
    made = of(tmp_path / "node1", haproxy__cfg="global\n daemon\n", eth__network=network)
    found = raw_of(made, tmp_path)["network"]["gateway"]
    assert found == gateway if gateway else found.startswith(MARK)
