"""The live view, from answers that are made up here: what is reported, and what is found."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from lbstack.config.models import StackConfig
from lbstack.nodes import status, tables
from lbstack.nodes.health import Answer, Target
from tests.goldens.cases import load, post

WANTED, OLD = "a" * 64, "b" * 64
ONE, TWO = "PhotonLB-01", "PhotonLB-02"
STATS, HORIZON, APPVOL = "192.168.6.122", "192.168.6.123", "192.168.6.124"
GOOD = {ONE: Answer(WANTED, "master", applied="ok"), TWO: Answer(WANTED, "backup", applied="ok")}
HELD = {STATS: ONE, HORIZON: ONE, APPVOL: ONE}
ABOUT = {
    node: {
        "apply": "ok",
        "haproxy": "2.6.15",
        "keepalived": "2.2.7",
        "workers": "1 of 8",
        "edits": "0 restore",
    }
    for node in (ONE, TWO)
}
DEAD = Answer(error="no answer from http://192.168.6.121:8405/health (timed out)")


@pytest.fixture(scope="module")
def config() -> StackConfig:
    raw = post()
    raw["services"]["appvol"]["servers"][1]["state"] = "drain"
    raw["image"]["release"] = "4.0"
    return load(raw)[0]


def look(
    config: StackConfig,
    *,
    answers: dict[str, Answer] | None = None,
    held: dict[str, str] | None = None,
    down: tuple[str, ...] = (),
    wanted: str = WANTED,
    quiesced: tuple[str, ...] = (),
    silent: tuple[str, ...] = (),
    told: dict[str, dict[str, str]] | None = None,
) -> status.Status:
    """The status that these answers make."""
    answers, held = answers or GOOD, HELD if held is None else held

    def ask(target: Target) -> Answer:
        return answers[target.name]

    def fetch(address: str, path: str) -> Any:
        if path == "/health":
            return {"node": held[address]} if address in held else None
        if path == "/node":
            node = next(node.name for node in config.nodes if str(node.address) == address)
            return (ABOUT if told is None else told).get(node)
        name, _, question = path.removeprefix("/services/").partition("/")
        if name in silent:
            return None
        servers = config.services[name].servers
        if question == "usable":
            return {server.name: int(server.name not in quiesced) for server in servers}
        return {server.name: [int(server.name not in down), 3] for server in servers}

    return status.look(config, wanted, ask=ask, fetch=fetch)


def test_a_pair_that_is_well_has_no_findings(config: StackConfig) -> None:
    seen = look(config)
    assert seen.healthy
    assert seen.nodes[0].vips == (STATS, HORIZON, APPVOL)
    assert seen.nodes[1].vips == ()
    assert [server.state for server in seen.nodes[1].services["appvol"]] == ["up", "drain"]
    assert seen.as_dict()["healthy"] is True


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"answers": GOOD | {TWO: DEAD}}, f"{TWO} does not serve: no answer from"),
        ({"answers": GOOD | {TWO: DEAD}}, "`managementNetworks`"),
        ({"answers": GOOD | {TWO: Answer(WANTED, "master")}}, "Both nodes report that they are master."),
        ({"answers": GOOD | {ONE: Answer(WANTED, "backup")}}, "No node is master."),
        ({"answers": GOOD | {TWO: Answer(OLD, "backup")}}, f"{TWO} serves set {OLD[:12]}, the deployed one is"),
        (
            {"answers": GOOD | {TWO: Answer(OLD, "backup", applied=f"refused {WANTED[:12]}: line 7")}},
            f"Its report: refused {WANTED[:12]}: line 7.",
        ),
        ({"answers": GOOD | {TWO: Answer(OLD, "backup")}, "wanted": ""}, "The nodes serve different sets: "),
        ({"answers": GOOD | {ONE: Answer(WANTED, "master", applied="fell-back x: y")}}, "did not take its last set"),
        ({"held": {STATS: ONE, HORIZON: ONE}}, f"Nobody answers for {APPVOL}."),
        ({"held": HELD | {APPVOL: TWO}}, f"The VIPs are on both nodes: {ONE} and {TWO}."),
        ({"down": ("Horizon_Connection_Server_02",)}, "horizon: Horizon_Connection_Server_02 is down."),
    ],
)
def test_what_is_not_as_it_should_be_is_found(config: StackConfig, changes: dict[str, Any], finding: str) -> None:
    seen = look(config, **changes)
    assert not seen.healthy
    assert any(finding in each for each in seen.findings), seen.findings


def test_a_server_that_takes_no_new_clients_is_quiesced_and_nobodys_finding(config: StackConfig) -> None:
    seen = look(config, quiesced=("Horizon_Connection_Server_02",))
    assert [server.state for server in seen.nodes[0].services["horizon"]] == ["up", "quiesced"]
    assert seen.healthy


def test_servers_of_which_a_node_says_nothing_are_unknown_and_not_down(config: StackConfig) -> None:
    seen = look(config, silent=("horizon",))
    assert {(server.state, server.connections) for server in seen.nodes[0].services["horizon"]} == {("unknown", None)}
    assert (
        "horizon: the state of Horizon_Connection_Server_01 is unknown: the node did not answer for it."
        in seen.findings
    )
    console = Console(width=140, file=io.StringIO())
    tables.show(seen, console)
    assert "None" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_where_haproxy_cannot_tell_both_apart_down_is_shown_as_either(config: StackConfig) -> None:
    old = config.model_copy(update={"image": config.image.model_copy(update={"release": "3.0"})})
    seen = look(old, down=("Horizon_Connection_Server_02",))
    assert any("Horizon_Connection_Server_02 is down or quiesced" in each for each in seen.findings)


def test_a_drained_server_that_is_down_is_nobodys_finding(config: StackConfig) -> None:
    assert look(config, down=("AppVolumes_Manager_02",)).healthy


def test_a_person_reads_it_as_tables(config: StackConfig) -> None:
    console = Console(width=140, file=io.StringIO())
    tables.show(look(config, down=("Horizon_Connection_Server_02",)), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{ONE}  192.168.6.120  master  {STATS}, {HORIZON}, {APPVOL}  {WANTED[:12]} (deployed)" in text
    assert "down, 3 connections" in text
    assert "horizon: Horizon_Connection_Server_02 is down." in text


def test_nobody_at_an_address_is_nothing_and_no_exception() -> None:
    assert status.get("127.0.0.1", "/health") is None


def changed(node: str, **values: str) -> dict[str, dict[str, str]]:
    """What the nodes tell, one of them otherwise."""
    return ABOUT | {node: ABOUT[node] | values}


@pytest.mark.parametrize(
    ("report", "state"),
    [
        ("ok", "applied"),
        ("trial", "applying"),
        (f"applying {WANTED[:12]}", "applying"),
        (f"waiting {WANTED[:12]}: 8 of 8 old workers", "waiting"),
        (f"refused {WANTED[:12]}: line 7", "failed"),
        ("failed: no whole set", "failed"),
        (f"fell-back {WANTED[:12]}: VRRP is fault", "fell-back"),
        ("unknown", "unknown"),
        ("okay", "unknown"),
    ],
)
def test_every_phase_of_the_applier_is_one_of_a_few_states(config: StackConfig, report: str, state: str) -> None:
    seen = look(config, told=changed(ONE, apply=report))
    assert seen.nodes[0].about.state.value == state
    assert seen.nodes[0].about.error == report.partition(": ")[2]


def test_versions_old_workers_and_edited_files_are_data_and_a_table(config: StackConfig) -> None:
    seen = look(config, told=changed(TWO, edits="7 keep /etc/a /etc/b", workers="8 of 8"))
    data = seen.as_dict()["nodes"][1]["about"]
    assert data == {
        "state": "applied",
        "error": "",
        "haproxy": "2.6.15",
        "keepalived": "2.2.7",
        "old_workers": 8,
        "most_workers": 8,
        "edits": {"number": 7, "kept": True, "paths": ("/etc/a", "/etc/b")},
    }
    assert json.loads(json.dumps(seen.as_dict(), default=str))["nodes"][1]["about"]["state"] == "applied"
    assert seen.healthy
    assert f"Edited on the node, to be kept: 7 files of {TWO}: /etc/a, /etc/b and 5 more." in seen.warnings
    assert any(each.startswith(f"{TWO} has 8 old workers of HAProxy, as many as there may") for each in seen.warnings)
    console = Console(width=140, file=io.StringIO())
    tables.show(seen, console)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "applied 2.6.15 2.2.7 8 of 8 7" in text


def test_an_edited_file_that_is_restored_is_said_to_be(config: StackConfig) -> None:
    seen = look(config, told=changed(ONE, edits="1 restore /etc/haproxy/haproxy.cfg"))
    where = f"1 file of {ONE}: /etc/haproxy/haproxy.cfg."
    expected = f"Edited on the node, to be restored at the next change or boot: {where}"
    assert seen.warnings == (expected,)


def test_different_versions_on_the_nodes_are_a_warning_and_unknown_ones_are_not(config: StackConfig) -> None:
    seen = look(config, told=changed(TWO, haproxy="2.6.16"))
    assert seen.warnings == (f"The nodes have different versions of HAProxy: 2.6.15 on {ONE} and 2.6.16 on {TWO}.",)
    assert look(config, told=changed(TWO, haproxy="unknown")).warnings == ()


@pytest.mark.parametrize("told", [{}, {ONE: {}, TWO: {"workers": "many", "edits": "-1 restore", "apply": "strange"}}])
def test_what_a_node_of_an_earlier_release_does_not_tell_is_unknown(
    config: StackConfig, told: dict[str, dict[str, str]]
) -> None:
    seen = look(config, told=told)
    for node in seen.nodes:
        assert (node.about.haproxy, node.about.old_workers, node.about.edits) == ("unknown", None, None)
    console = Console(width=140, file=io.StringIO())
    tables.show(seen, console)
    assert "unknown of" not in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_node_that_waits_for_an_old_worker_is_not_told_to_be_rebooted(config: StackConfig) -> None:
    waiting = Answer(OLD, "backup", applied=f"waiting {WANTED[:12]}: 8 of 8 old workers")
    seen = look(config, answers=GOOD | {TWO: waiting})
    assert any("It takes the deployed one in by itself." in each for each in seen.findings)


def test_why_a_set_was_not_taken_is_shown(config: StackConfig) -> None:
    console = Console(width=140, file=io.StringIO())
    tables.show(look(config, told=changed(ONE, apply=f"refused {WANTED[:12]}: haproxy refuses line 7")), console)
    assert f"{ONE}, on its last set: haproxy refuses line 7" in console.file.getvalue()  # type: ignore[attr-defined]
