"""The live view, from answers that are made up here: what is reported, and what is found."""

from __future__ import annotations

import io
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
) -> status.Status:
    """The status that these answers make."""
    answers, held = answers or GOOD, HELD if held is None else held

    def ask(target: Target) -> Answer:
        return answers[target.name]

    def fetch(address: str, path: str) -> Any:
        if path == "/health":
            return {"node": held[address]} if address in held else None
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
