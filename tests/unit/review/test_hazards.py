"""What is warned of before a roll: changes in which the two nodes would not receive each other's adverts."""

from __future__ import annotations

from typing import Any

import pytest

from lbstack.render.files import render_pair
from lbstack.review.filediff import Files, compare
from lbstack.review.impact import hazards
from lbstack.stackfile.load import load
from tests.unit.config.support import Location, put, valid_configuration, valid_secrets

ADDRESSES = ("192.168.6.120", "192.168.6.121")
FREE = ("192.168.6.130", "192.168.6.131")
RUNBOOK = "docs/runbooks/vrid.md"


def rendered(raw: dict[str, Any]) -> dict[str, Files]:
    """Node → path → content of a configuration."""
    config, secrets = load(raw, valid_secrets())
    pair = render_pair(config, secrets)
    return {node: {path: file.content for path, file in files.items()} for node, files in pair.nodes.items()}


def warned(*changes: tuple[Location, object]) -> list[str]:
    """What is warned of when these changes of the lab's stack file are rolled out."""
    raw = valid_configuration()
    assert tuple(node["address"] for node in raw["nodes"]) == ADDRESSES
    before = rendered(raw)
    for location, value in changes:
        put(raw, location, value)
    return hazards(compare(before, rendered(raw)))


@pytest.mark.parametrize("index", [0, 1])
def test_another_address_of_a_node_is_warned_of_once_and_named(index: int) -> None:
    (warning,) = warned((("nodes", index, "address"), FREE[index]))
    assert warning.startswith(f"The address of a node changes ({ADDRESSES[index]} → {FREE[index]}): ")
    assert "both hold the VIPs" in warning
    assert RUNBOOK in warning


def test_each_address_that_changes_is_named() -> None:
    warnings = warned(*((("nodes", index, "address"), FREE[index]) for index in (0, 1)))
    assert [warning.partition("(")[2].partition(")")[0] for warning in sorted(warnings)] == [
        f"{old} → {new}" for old, new in zip(ADDRESSES, FREE, strict=True)
    ]


def test_another_address_of_a_node_that_gets_another_name_too_is_seen_by_its_peers_file() -> None:
    (warning,) = warned((("nodes", 1, "name"), "PhotonLB-03"), (("nodes", 1, "address"), FREE[1]))
    assert f"({ADDRESSES[1]} → {FREE[1]})" in warning


@pytest.mark.parametrize(
    ("location", "value", "words"),
    [
        (("vrrp", "routerId"), 99, "The VRRP identity changes"),
        (("stats", "vip"), "192.168.6.140", "The anchor VIP (the one in the advert) changes"),
    ],
)
def test_what_else_the_nodes_must_not_differ_in_is_warned_of(location: Location, value: object, words: str) -> None:
    (warning,) = warned((location, value))
    assert warning.startswith(words)
    assert RUNBOOK in warning


@pytest.mark.parametrize(
    ("location", "value"),
    [
        (("nodes", 1, "name"), "PhotonLB-03"),
        (("services", "horizon", "vip"), "192.168.6.140"),
        (("services", "horizon", "servers", 0, "address"), "192.168.6.140"),
    ],
)
def test_nothing_is_warned_of_where_the_nodes_go_on_hearing_each_other(location: Location, value: object) -> None:
    assert warned((location, value)) == []
