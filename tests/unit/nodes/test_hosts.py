"""The hosts in a status: both on one are a warning, and what is unknown is called so."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lbstack.facts.hosts import same_host
from lbstack.nodes import status, tables
from lbstack.nodes.about import About
from lbstack.nodes.status import Node, Status

NODES = tuple(
    Node(name, address, "backup", (), "", "", "", {}, About())
    for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
)
PLAIN = Status("", NODES, {}, ())


@pytest.mark.parametrize(
    ("hosts", "warned"),
    [
        ({"a": "esx1", "b": "esx1"}, True),
        ({"a": "esx1", "b": "esx2"}, False),
        ({"a": "esx1", "b": ""}, False),
        ({"a": "", "b": ""}, False),
        ({}, False),
        ({"a": "esx1"}, False),
    ],
)
def test_only_two_known_nodes_on_one_host_are_warned_of(hosts: dict[str, str], *, warned: bool) -> None:
    assert bool(same_host(hosts)) == warned
    seen = status.with_hosts(PLAIN, hosts, "")
    assert bool(seen.warnings) == warned
    assert seen.healthy  # it works: what follows of a failure is no finding


def test_an_unknown_host_is_null_for_machines_and_a_word_with_its_reason_for_people() -> None:
    seen = status.with_hosts(PLAIN, {"a": "esx1"}, "vCenter does not answer")
    data = seen.as_dict()
    assert data["hosts"] == {"a": "esx1", "b": None}
    assert data["hosts_unknown"] == "vCenter does not answer"
    console = Console(width=140, file=io.StringIO())
    tables.show(seen, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "esx1" in text
    assert "unknown" in text
    assert "The hosts are unknown: vCenter does not answer" in text
