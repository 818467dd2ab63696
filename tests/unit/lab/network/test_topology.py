"""The lab's network is built from the stack file, and what cannot be built is reported at once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.home import stackfile
from lab.network.network import Network, lab_id
from lab.network.topology import Topology
from lab.system.waiting import until

Config = dict[str, Any]


@pytest.fixture
def config() -> Config:
    return copy.deepcopy(stackfile.read(stackfile.SOURCE)["config"])


def test_the_committed_stack_file_is_laid_out_as_the_post_has_it(config: Config) -> None:
    topology = Topology.of(config)
    assert {backend.name: str(backend.address) for backend in topology.backends} == {
        "horizon-01": "192.168.6.113",
        "horizon-02": "192.168.6.114",
        "appvol-01": "192.168.6.118",
        "appvol-02": "192.168.6.119",
    }
    assert [str(vip) for vip in topology.vips] == ["192.168.6.122", "192.168.6.123", "192.168.6.124"]
    assert (str(topology.dns), str(topology.gateway)) == ("192.168.6.100", "192.168.6.1")
    assert (str(topology.management), str(topology.client)) == ("192.168.6.241", "192.168.6.50")
    assert len(topology.clients) == 20


def test_a_server_is_found_by_the_labs_name_and_by_the_stack_files(config: Config) -> None:
    topology = Topology.of(config)
    assert topology.backend("appvol-02") is topology.backend("AppVolumes_Manager_02")
    with pytest.raises(LabError, match="horizon-01, horizon-02, appvol-01, appvol-02"):
        topology.backend("horizon-03")


def test_a_server_of_two_services_is_one_machine_with_both_ports_and_names(config: Config) -> None:
    config["lbstack:services"]["blast"] = {
        "kind": "tcp",
        "vip": "192.168.6.125",
        "port": 8443,
        "fqdn": "blast.lab.example",
        "servers": [{"name": "again", "address": "192.168.6.113"}, {"name": "other", "address": "192.168.6.116"}],
    }
    topology = Topology.of(config)
    both = topology.backend("horizon-01")
    assert both.ports == (443, 8443)
    assert {"horizon.lab.example", "blast.lab.example"} <= set(both.hostnames)
    assert both.server == "Horizon_Connection_Server_01"
    assert topology.backend("blast-02").ports == (8443,)
    assert len(topology.backends) == 5


def test_machines_have_names_in_every_domain(config: Config) -> None:
    config["lbstack:network"]["searchDomains"] = ["Corp.example"]
    records = Topology.of(config).records
    for name in ("photonlb-01", "photonlb-01.lab.example", "photonlb-01.corp.example"):
        assert records[name] == IPv4Address("192.168.6.120")
    assert records["appvol.lab.example"] == IPv4Address("192.168.6.124")


def test_a_service_without_a_name_is_asked_by_its_address(config: Config) -> None:
    del config["lbstack:services"]["horizon"]["fqdn"]
    topology = Topology.of(config)
    assert topology.services[0].hostname == "192.168.6.123"
    assert all("168" not in name.partition(".")[2] for name in topology.records if name != "192.168.6.123")


def test_every_collision_and_every_stranger_is_reported_at_once(config: Config) -> None:
    config["lbstack:nodes"][0]["address"] = "192.168.6.50"
    config["lbstack:nodes"][1]["address"] = "192.168.6.113"
    config["lbstack:stats"]["vip"] = "10.0.0.9"
    with pytest.raises(LabError) as refused:
        Topology.of(config)
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert "10.0.0.9 (a VIP) is not in 192.168.6.0/24" in lines[0]
    assert any("192.168.6.50 is wanted by the lab's client and node PhotonLB-01" in line for line in lines)
    assert any("192.168.6.113 is wanted by node PhotonLB-02 and server Horizon" in line for line in lines)


def test_a_management_network_outside_the_subnet_has_no_station(config: Config) -> None:
    config["lbstack:managementNetworks"] = ["10.9.0.0/16"]
    with pytest.raises(LabError, match=r"None of managementNetworks \(10\.9\.0\.0/16\) lies in 192\.168\.6\.0/24"):
        Topology.of(config)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config.pop("lbstack:nodes"),
        lambda config: config["lbstack:network"].update(cidr="nonsense"),
        lambda config: config["lbstack:network"].update(dns=[]),
        lambda config: config["lbstack:services"]["horizon"].update(kind="unknown"),
        lambda config: config.update({"lbstack:services": None}),
        lambda config: config["lbstack:network"].update(cidr="192.168.6.0/29"),
    ],
    ids=["no nodes", "no network", "no name server", "no kind", "no services", "too small"],
)
def test_a_stack_file_that_is_incomplete_is_an_error_for_people(
    config: Config, spoil: Callable[[Config], object]
) -> None:
    spoil(config)
    with pytest.raises(LabError):
        Topology.of(config)


def test_a_lab_is_known_by_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert lab_id(tmp_path / "a") == lab_id(Path("a")) == lab_id(tmp_path / "b" / ".." / "a")
    assert lab_id(tmp_path / "a") != lab_id(tmp_path / "b")


@pytest.mark.parametrize("identity", ["", "UPPER", "a-b", "123456789", "../x"])
def test_an_identity_that_could_name_something_else_is_refused(identity: str) -> None:
    with pytest.raises(LabError, match="no lab id"):
        Network(identity, None)


def test_roles_follow_place_and_address(config: Config) -> None:
    network = Network("test", Topology.of(config))
    assert network.namespace("PhotonLB-02") == network.namespace("n2") == "lbstest-n2"
    assert network.namespace("horizon-01") == network.namespace("Horizon_Connection_Server_01") == "lbstest-h113"
    assert network.namespace("appvol-02") == "lbstest-a119"
    assert network.namespace("mgmt") == "lbstest-mgmt"
    assert network.node_role("another VM").startswith("v")


def test_waiting_ends_with_the_first_answer_and_shows_what_was_seen_last() -> None:
    answers = iter([0, None, 7])
    assert until(lambda: next(answers), 5, "a number", every_s=0.001) == 7
    with pytest.raises(LabError, match=r"waited 0 s for better days; last seen: nothing"):
        until(list, 0, "better days")


def test_waiting_takes_an_error_for_not_yet_and_reports_the_last_one() -> None:
    def refuse() -> bool:
        raise LabError("not ready")

    started = time.monotonic()
    with pytest.raises(LabError, match="last seen: not ready"):
        until(refuse, 0.05, "it", every_s=0.01)
    assert time.monotonic() - started >= 0.05
