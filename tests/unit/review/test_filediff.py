"""What becomes of services and servers, read from what HAProxy got and gets: each change is one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from lbstack.render.files import render_pair
from lbstack.review.filediff import Files, service_changes
from lbstack.stackfile.load import load
from tests.unit.config.support import REMOVE, Location, put, valid_configuration, valid_secrets

SERVICES: Location = ("services",)
HORIZON: Location = (*SERVICES, "horizon")
FIRST: Location = (*HORIZON, "servers", 0)


def rendered(raw: dict[str, Any]) -> dict[str, Files]:
    """Node → path → content of a configuration."""
    config, secrets = load(raw, valid_secrets())
    pair = render_pair(config, secrets)
    return {node: {path: file.content for path, file in files.items()} for node, files in pair.nodes.items()}


def reported(*changes: tuple[Location, object]) -> tuple[str, ...]:
    """What is reported of these changes to the lab's stack file."""
    raw = valid_configuration()
    before = rendered(raw)
    for location, value in changes:
        put(raw, location, value)
    return service_changes(before, rendered(raw))


@pytest.mark.parametrize(
    ("location", "value", "sentence"),
    [
        (
            (*HORIZON, "vip"),
            "192.168.6.127",
            "service horizon moves from 192.168.6.123:443 to 192.168.6.127:443",
        ),
        (
            (*FIRST, "address"),
            "192.168.6.127",
            "server Horizon_Connection_Server_01 of horizon moves from 192.168.6.113:443 to 192.168.6.127:443",
        ),
        ((*FIRST, "state"), "drain", "server Horizon_Connection_Server_01 of horizon: ready → drain"),
        ((*FIRST, "state"), "maintenance", "server Horizon_Connection_Server_01 of horizon: ready → maintenance"),
        (FIRST, REMOVE, "server Horizon_Connection_Server_01 (192.168.6.113:443) is removed from horizon"),
        (HORIZON, REMOVE, "service horizon on 192.168.6.123:443 is removed"),
    ],
)
def test_a_change_is_one_sentence(location: Location, value: object, sentence: str) -> None:
    assert reported((location, value)) == (sentence,)


def test_what_is_new_is_reported_with_where_it_is() -> None:
    raw = valid_configuration()
    servers = [
        *raw["services"]["horizon"]["servers"],
        {"name": "Horizon_Connection_Server_03", "address": "192.168.6.127"},
    ]
    added = {"kind": "tcp", "vip": "192.168.6.128", "port": 636, "servers": servers[-1:]}
    assert reported(((*HORIZON, "servers"), servers)) == (
        "server Horizon_Connection_Server_03 (192.168.6.127:443) is added to horizon",
    )
    (sentence,) = reported(((*SERVICES, "ldaps"), added))
    assert sentence == "service ldaps is added on 192.168.6.128:636, with 1 server"


def test_a_server_that_goes_to_another_service_is_reported_at_both() -> None:
    raw = valid_configuration()
    both = {name: raw["services"][name]["servers"] for name in ("horizon", "appvol")}
    assert reported(
        ((*HORIZON, "servers"), both["horizon"][1:]),
        ((*SERVICES, "appvol", "servers"), [*both["appvol"], both["horizon"][0]]),
    ) == (
        "server Horizon_Connection_Server_01 (192.168.6.113:443) is added to appvol",
        "server Horizon_Connection_Server_01 (192.168.6.113:443) is removed from horizon",
    )


def test_nothing_is_reported_of_what_stays_and_of_a_first_deployment() -> None:
    assert reported() == ()
    assert service_changes({}, rendered(valid_configuration())) == ()
