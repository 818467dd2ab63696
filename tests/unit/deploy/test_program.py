"""The whole program as a black box: what it asks of the engine, for which configuration."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lbstack.deploy import pair, recorded
from lbstack.deploy.program import OUTPUTS
from lbstack.deploy.site import Site
from lbstack.facts import limits
from lbstack.facts.names import VIRTUAL_MACHINE as VM_TYPE
from lbstack.nodes import course, gate, health, seen, waits
from lbstack.vcenter import pin
from lbstack.vcenter.marks import Marks
from tests.guestinfo import set_files
from tests.unit.deploy import sites
from tests.unit.deploy.conftest import FAKE_HASH, Program, is_secret, plain
from tests.unit.deploy.support import CATEGORY, FOLDER, PAIR, PROVIDER, RULE, TAG, VM, changed_placement, refused

POST_VIPS = ["192.168.6.122", "192.168.6.123", "192.168.6.124"]


def test_the_lab_stack_makes_exactly_these_resources(program: Program) -> None:
    run = program()
    made = [(resource.type, resource.name) for resource in run.resources if resource.type != "pulumi:pulumi:Stack"]
    # Sorted: what does not depend on each other comes in any order; the nodes' own order is the next tests' matter.
    assert sorted(made) == sorted(
        [
            (PROVIDER, "vcenter"),
            (PAIR, "pair"),
            (FOLDER, "pair-folder"),
            (CATEGORY, "pair-tags"),
            (TAG, "pair-tag-load-balancer"),
            (VM, "pair-node2"),
            (VM, "pair-node1"),
            (RULE, "pair-rule"),
        ]
    )


def test_a_node_carries_every_rendered_file_of_its_own(program: Program) -> None:
    run = program()
    for name, suffix in (("PhotonLB-01", "node1"), ("PhotonLB-02", "node2")):
        staged = set(set_files(plain(run.one(VM, f"pair-{suffix}").inputs["extraConfig"])))
        assert staged == set(run.exports["files"][name])
        assert "/etc/haproxy/haproxy.cfg" in staged


def test_the_standby_comes_first_and_the_master_depends_on_it(program: Program) -> None:
    run = program()
    first, second = run.of_type(VM)
    assert (first.name, second.name) == ("pair-node2", "pair-node1")
    assert any("pair-node2" in urn for urn in second.request.dependencies)
    assert not any("pair-node1" in urn for urn in first.request.dependencies)


@pytest.mark.parametrize(
    ("stack", "protected"),
    [({}, False), ({"lifecycle": "production"}, True), ({"lifecycle": "production", "protect": False}, False)],
)
def test_production_is_protected_unless_it_reports_otherwise(
    program: Program, stack: dict[str, Any], *, protected: bool
) -> None:
    assert {node.request.protect for node in program(stack=stack).of_type(VM)} == {protected}


def test_secrets_are_secret(program: Program, signing_key: str) -> None:
    run = program()
    for node in run.of_type(VM):
        assert is_secret(node.inputs["extraConfig"])
    provider = run.one(PROVIDER, "vcenter")
    assert "fake-password" not in json.dumps({**provider.inputs, "password": None})
    assert is_secret(provider.inputs["password"])
    visible = json.dumps(run.exports)
    assert FAKE_HASH not in visible
    assert "$6$" not in visible
    assert signing_key.splitlines()[1] not in visible
    for resource in run.resources:
        in_clear = {key: value for key, value in resource.inputs.items() if not is_secret(value)}
        assert "$6$" not in json.dumps(in_clear)


def test_a_run_that_waits_for_its_nodes_collects_its_garbage(program: Program) -> None:
    assert program().collecting


def test_the_rule_can_be_preferred_or_off(program: Program, lab_values: dict[str, Any]) -> None:
    preferred = program(stack=changed_placement(lab_values, antiAffinity="preferred"))
    assert preferred.one(RULE, "pair-rule").inputs["mandatory"] is False
    assert not program(stack=changed_placement(lab_values, antiAffinity="off")).of_type(RULE)


def test_without_folder_and_tags_none_is_made(program: Program, lab_values: dict[str, Any]) -> None:
    run = program(stack=changed_placement(lab_values, folder=None, createFolder=None, tags=None))
    assert not run.of_type(FOLDER) + run.of_type(TAG) + run.of_type(CATEGORY)
    assert "folder" not in run.one(VM, "pair-node1").inputs


def test_an_existing_folder_is_used_and_not_made(program: Program, lab_values: dict[str, Any]) -> None:
    run = program(stack=changed_placement(lab_values, folder="balancers/prod", createFolder=False))
    assert not run.of_type(FOLDER)
    assert run.one(VM, "pair-node1").inputs["folder"] == "balancers/prod"


def test_a_resource_pool_by_name_takes_the_place_of_the_clusters_own(
    program: Program, lab_values: dict[str, Any]
) -> None:
    run = program(stack=changed_placement(lab_values, resourcePool="balancers"))
    assert run.one(VM, "pair-node1").inputs["resourcePoolId"] == "resgroup-9"


def test_the_exports_are_the_promised_ones(program: Program) -> None:
    run = program()
    exports = run.exports
    assert run.outputs == {name: value for name, value in exports.items() if name != "files"}  # in the state once
    assert set(exports) == {
        "vips",
        "stats_url",
        "service_urls",
        "nodes",
        "files",
        "config_hash",
        "horizon_settings",
        "lifecycle",
    }
    assert set(OUTPUTS) == set(exports)  # what the stack takes over from its component
    assert exports["lifecycle"] == "lab"
    assert exports["vips"] == dict(zip(("stats", "horizon", "appvol"), POST_VIPS, strict=True))
    assert exports["stats_url"] == "http://192.168.6.122:8404/stats"
    assert exports["service_urls"] == {
        "horizon": "https://horizon.lab.example/",
        "appvol": "https://appvol.lab.example/",
    }
    assert exports["horizon_settings"]["appvol"] == {"Manager1": "appvol.lab.example:443"}
    lines = exports["horizon_settings"]["horizon"]["locked.properties"].splitlines()
    assert "balancedHost=horizon.lab.example" in lines
    assert "portalHost.1=192.168.6.123" in lines
    assert exports["nodes"]["PhotonLB-02"] == {
        "address": "192.168.6.121",
        "uuid": "pair-node2-id",
        "part": "preferred standby",
    }
    assert exports["config_hash"] in exports["files"]["PhotonLB-01"]["/etc/haproxy/haproxy.cfg"]


def test_every_name_by_which_users_or_gateways_come_is_in_the_settings(
    program: Program, lab_values: dict[str, Any]
) -> None:
    services = json.loads(json.dumps(lab_values["services"]))
    services["horizon"] |= {"aliases": ["desktop.lab.example", "uag01.lab.example"], "port": 8443}
    text = program(stack={"services": services}).exports["horizon_settings"]["horizon"]["locked.properties"]
    names = ["192.168.6.123", "desktop.lab.example", "uag01.lab.example"]
    named = [f"{name}:8443" for name in ("horizon.lab.example", *names)]
    hosts = [f"portalHost.{number}={name}" for number, name in enumerate([*names, *named], start=1)]
    assert text.splitlines() == ["checkOrigin=true", "balancedHost=horizon.lab.example", *hosts]


def test_a_run_warns_of_what_goes_wrong_although_it_is_valid(program: Program, lab_values: dict[str, Any]) -> None:
    servers = [{"name": f"uag{number}", "address": f"192.168.6.13{number}"} for number in (1, 2)]
    both = {
        name: {"kind": "tcp", "vip": "192.168.6.125", "port": port, "servers": servers}
        for name, port in (("login", 443), ("blast", 8443))
    }
    warnings = program(stack={"services": lab_values["services"] | both}).warnings
    assert any("chooses a client's server for itself" in warning for warning in warnings), warnings
    both["blast"] = both["blast"] | {"vip": "192.168.6.126"}
    warnings = program(stack={"services": lab_values["services"] | both}).warnings
    assert not any("chooses a client's server for itself" in warning for warning in warnings), warnings


def test_only_a_change_of_what_a_first_boot_reads_replaces_a_node(program: Program, lab_values: dict[str, Any]) -> None:
    def trigger(stack: dict[str, Any]) -> Any:
        return program(stack=stack).one(VM, "pair-node1").inputs["replaceTrigger"]

    renamed = [{**lab_values["nodes"][0], "name": "PhotonLB-11"}, lab_values["nodes"][1]]
    services = {**lab_values["services"]}
    services["horizon"] = {**services["horizon"], "timeouts": {"connect": "7s"}}
    before = trigger({})
    assert trigger({"services": services}) == before
    assert trigger({"nodes": renamed}) != before


def test_every_problem_comes_at_once(program: Program, lab_values: dict[str, Any]) -> None:
    nodes = [{**lab_values["nodes"][0], "address": "10.0.0.1", "cpus": "two"}, lab_values["nodes"][1]]
    text = refused(
        program,
        stack={"nodes": nodes, "vrrp": {"routerId": 300}, "typo": {}},
        secrets={"statsHash-admin": "in the clear"},
        clear=("vsphere:password", "lbstack:signingKey"),
    )
    for part in (
        "nodes[0].address",
        "nodes[0].cpus",
        "vrrp.routerId",
        "typo",
        "statsHash-admin",
        "vsphere:password",
        "signingKey",
    ):
        assert part in text
    assert "in the clear" not in text
    assert "fake-password" not in text


def test_another_vcenter_is_refused_before_anything_is_asked_of_it(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pin, "instance_uuid", lambda _server, **_: "00000000-1111-2222-3333-444444444444")
    text = refused(program)
    assert "placement.vcenterUuid" in text
    assert "00000000-1111-2222-3333-444444444444" in text


def test_misses_in_vcenter_name_what_was_looked_for_and_what_there_is(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lbstack.deploy.lookups.names", lambda *_: ["windows (iso)"])
    clusters = [sites.entry((sites.CLUSTER[0], name), name, sites.HOSTS) for name in ("Compute-B", "Compute-A")]
    network = sites.entry(("Network", "network-2"), "VM Network 2", sites.NETWORKS)
    site = Site(sites.tree([*clusters, network], without=["DC0_C0", "VM Network"]))
    text = refused(program, site=site, missing={"getContentLibraryItem": "item not found"})
    assert (
        "placement.cluster: there is no cluster 'DC0_C0' in datacenter 'DC0'. There is: Compute-A, Compute-B." in text
    )
    assert "placement.network: there is no network 'VM Network' in datacenter 'DC0'. There is: VM Network 2." in text
    assert "image.item: there is no library item 'photon-hw13_uefi-3.0' in library 'photon'." in text
    assert "windows (iso)" in text


def test_an_item_of_another_type_is_refused(program: Program) -> None:
    text = refused(program, answers={"getContentLibraryItem": {"id": "item-1", "type": "iso"}})
    assert "image.item" in text
    assert "type 'iso'" in text


def test_what_cannot_be_listed_is_still_a_message(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from lbstack.vcenter.inventory import NotListed  # noqa: PLC0415

    def no_list(*_: object) -> list[str]:
        raise NotListed("no permission")

    monkeypatch.setattr("lbstack.deploy.lookups.names", no_list)
    text = refused(program, missing={"getContentLibrary": "library 'photon' not found"})
    assert "library 'photon' was not found (library 'photon' not found)" in text
    assert "no permission" in text


def test_a_switched_off_gate_is_reported_in_the_preview(program: Program) -> None:
    assert any("rollout.gate is false" in line for line in program(preview=True).warnings)


GATED = {"rollout": {"gate": True}}
OLD_SET = "0" * 64


def let_nodes_answer(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, health.Answer], *, inside: bool = True
) -> list[str]:
    asked: list[str] = []

    def ask(target: health.Target) -> health.Answer:
        asked.append(f"{target.name} {target.address}:{target.port}")
        return answers[target.name]

    monkeypatch.setattr(health, "ask", ask)
    monkeypatch.setattr(health.Target, "may_be_asked", lambda _target: inside)
    monkeypatch.setattr(limits, "serving_s", lambda **_: 0.0)
    monkeypatch.setattr(course, "READY_S", 0.0)
    monkeypatch.setattr(waits, "STEADY_S", 0.0)
    monkeypatch.setattr(seen, "SILENCE_S", 0.0)
    return asked


def test_who_is_standby_is_asked_and_goes_first(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = program().exports["config_hash"]
    let_nodes_answer(
        monkeypatch,
        {
            "PhotonLB-01": health.Answer(wanted, "backup", can="live"),
            "PhotonLB-02": health.Answer(wanted, "master", can="live"),
        },
    )
    run = program(stack=GATED)
    assert [node.name for node in run.of_type(VM)] == ["pair-node1", "pair-node2"]
    assert run.one(RULE, "pair-rule").inputs["virtualMachineIds"] == ["pair-node1-id", "pair-node2-id"]


@pytest.mark.parametrize(
    ("earlier", "gates"),
    [
        (recorded.Recorded(), 0),
        (recorded.Recorded(known=False), 2),
        (recorded.Recorded({(VM_TYPE, "pair-node1"): {}}), 2),
        (recorded.Recorded(creating=frozenset({VM_TYPE})), 2),
    ],
    ids=["new", "nobody knows", "its VMs were moved", "a creation was killed"],
)
def test_only_a_pair_that_neither_vcenter_nor_the_state_knows_is_made_without_asking_again(
    program: Program, monkeypatch: pytest.MonkeyPatch, earlier: recorded.Recorded, gates: int
) -> None:
    nobody = health.Answer(error="no answer")
    let_nodes_answer(monkeypatch, {"PhotonLB-01": nobody, "PhotonLB-02": nobody})
    opened: list[object] = []
    monkeypatch.setattr(gate, "require_open", lambda *_: opened.append(_))
    monkeypatch.setattr(gate, "require_serving", lambda *_: None)
    program(stack=GATED, state=earlier)
    assert len(opened) == gates


def test_of_a_half_made_pair_the_missing_node_is_made_first(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = health.Answer(error="no answer")
    let_nodes_answer(monkeypatch, {"PhotonLB-01": nobody, "PhotonLB-02": nobody})
    monkeypatch.setattr(gate, "require_serving", lambda *_: None)
    half = Site(sites.tree(), {"PhotonLB-02": Marks("", 2, 2048, {}, moref="vm-2")})
    for site, first in ((Site(sites.tree()), "pair-node2"), (half, "pair-node1")):
        run = program(stack=GATED, site=site, state=recorded.Recorded(known=False))
        assert run.of_type(VM)[0].name == first


def test_a_first_node_that_does_not_serve_its_set_leaves_the_second_untouched(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = let_nodes_answer(
        monkeypatch,
        {
            "PhotonLB-01": health.Answer(OLD_SET, "master", can="live"),
            "PhotonLB-02": health.Answer(OLD_SET, "backup", can="live"),
        },
    )
    text = refused(program, stack=GATED)
    assert "PhotonLB-01 was left untouched: its peer PhotonLB-02 does not serve set" in text
    assert "PhotonLB-02 192.168.6.121:8405" in asked


def test_a_new_pair_passes_the_gate_while_nobody_serves_and_has_to_serve_in_the_end(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = health.Answer(error="no answer")
    answers = {"PhotonLB-01": nobody, "PhotonLB-02": nobody}
    let_nodes_answer(monkeypatch, answers)
    text = refused(program, stack=GATED)
    assert "PhotonLB-01 does not serve set" in text
    assert "left untouched" not in text
    wanted = program().exports["config_hash"]
    monkeypatch.setattr(gate, "may_touch", lambda *_, **__: True)
    answers["PhotonLB-01"] = health.Answer(wanted, "master", can="live")
    assert "PhotonLB-02 does not serve set" in refused(program, stack=GATED)
    answers["PhotonLB-02"] = health.Answer(wanted, "backup", can="live")
    run = program(stack=GATED)
    assert len(run.of_type(VM)) == 2
    assert run.exports["config_hash"] == wanted


def test_a_runner_that_could_hear_nobody_makes_and_changes_no_vm(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = health.Answer(error="no answer")
    let_nodes_answer(monkeypatch, {"PhotonLB-01": nobody, "PhotonLB-02": nobody}, inside=False)
    made: list[str] = []
    monkeypatch.setattr(pair.LoadBalancerPair, "_make_folder", lambda _self: made.append("a folder"))
    assert "Nothing was touched: neither node answers" in refused(program, stack=GATED)
    assert made == []


def test_the_run_remembers_in_its_second_gate_who_was_alive_in_the_first(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = program().exports["config_hash"]
    answers = {
        "PhotonLB-01": health.Answer(OLD_SET, "master", can="live"),
        "PhotonLB-02": health.Answer(OLD_SET, "backup", can="live"),
    }
    let_nodes_answer(monkeypatch, answers)
    real, opened = gate.require_open, []

    def open_and_fall_silent(node: health.Target, *arguments: Any) -> None:
        real(node, *arguments)
        opened.append(node.name)
        for name in answers:  # the first is being rebooted, and this runner's questions to the second are lost
            answers[name] = health.Answer(error="no answer")

    monkeypatch.setattr(gate, "require_open", open_and_fall_silent)
    text = refused(program, stack=GATED)
    assert opened == ["PhotonLB-02"]
    assert f"PhotonLB-01 was left untouched: its peer PhotonLB-02 does not serve set {wanted[:12]}" in text


def test_the_nodes_are_asked_while_the_provider_is_at_work_and_not_after_the_end(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = program().exports["config_hash"]
    let_nodes_answer(
        monkeypatch,
        {
            "PhotonLB-01": health.Answer(wanted, "master", can="live"),
            "PhotonLB-02": health.Answer(wanted, "backup", can="live"),
        },
    )
    calls: list[str] = []
    monkeypatch.setattr(course.Watch, "start", lambda _self: calls.append("start"))
    monkeypatch.setattr(course.Watch, "stop", lambda _self: calls.append("stop"))
    program(stack=GATED)
    assert calls == ["start", "stop"]


@pytest.mark.parametrize("packages", [{}, {"upgrade": True}, {"generation": 1}], ids=str)
def test_a_node_is_given_the_time_that_its_packages_may_take(
    program: Program, monkeypatch: pytest.MonkeyPatch, packages: dict[str, object]
) -> None:
    upgrade = bool(packages)
    found: list[float | None] = []
    wanted = program().exports["config_hash"]
    real = limits.serving_s
    let_nodes_answer(
        monkeypatch,
        {
            "PhotonLB-01": health.Answer(wanted, "master", can="live"),
            "PhotonLB-02": health.Answer(wanted, "backup", can="live"),
        },
    )
    monkeypatch.setattr(limits, "serving_s", real)
    monkeypatch.setattr(course, "READY_S", limits.READY_S)
    monkeypatch.setattr(gate, "require_open", lambda *arguments: found.append(arguments[3].timeout_s))
    monkeypatch.setattr(gate, "require_serving", lambda *arguments: found.append(arguments[3].timeout_s))
    program(stack=GATED | {"packages": packages})
    assert found == [limits.READY_S, real(upgrade=upgrade), real(upgrade=upgrade)]


def test_a_preview_asks_each_node_once_what_it_can_do_and_waits_for_none(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = health.Answer(error="no answer")
    asked = let_nodes_answer(monkeypatch, dict.fromkeys(("PhotonLB-01", "PhotonLB-02"), silent))
    run = program(stack=GATED, preview=True)
    assert [node.name for node in run.of_type(VM)] == ["pair-node2", "pair-node1"]
    assert sorted(asked) == ["PhotonLB-01 192.168.6.120:8405", "PhotonLB-02 192.168.6.121:8405"]
