"""Runs of the real engine, recorded in the lab and cut down to what a report reads; guestinfo is filled in here.

The recorded events hold no secret: the engine shows none. What its calls carried is made from the golden case of the
post's environment, which is the lab's too.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lbstack.config.credentials import Secrets
from lbstack.engine.events import Event, Run
from lbstack.facts.names import VIRTUAL_MACHINE
from lbstack.render.files import RenderedPair, render_pair
from lbstack.render.pack import guestinfo
from tests.goldens.cases import cases

RECORDED = Path(__file__).parent / "recorded"
MASTER, STANDBY = "PhotonLB-01", "PhotonLB-02"
NODES = {"pair-node1": MASTER, "pair-node2": STANDBY}
Edit = Callable[[dict[str, Any]], None]


def urn(resource: str) -> str:
    """The engine's name of a VM."""
    return f"urn:pulumi:lab::lbstack::lbstack:index:LoadBalancerPair${VIRTUAL_MACHINE}::{resource}"


def case() -> tuple[Any, Secrets]:
    """The post's configuration and secrets."""
    found = cases()["post-3.0-r3"]
    return found.config, found.secrets


def extra_config(secrets: Secrets | None = None, pair: RenderedPair | None = None) -> dict[str, dict[str, str]]:
    """Node → its guestinfo."""
    if secrets is None and pair is None:
        return {node: dict(values) for node, values in _usual_extra_config().items()}
    return _extra_config(secrets, pair)


@cache
def _usual_extra_config() -> dict[str, dict[str, str]]:
    """Made once: signing and packing it takes its time, and most tests want the same."""
    return _extra_config(None, None)


def _extra_config(secrets: Secrets | None, pair: RenderedPair | None) -> dict[str, dict[str, str]]:
    config, usual = case()
    used = secrets or usual
    rendered = pair or render_pair(config, used)
    return {node: guestinfo(config, rendered, node, used) for node in rendered.nodes}


def recorded(name: str, edit: Edit | None = None) -> list[Event]:
    """The events of one recording; every VM's step may be edited."""
    events = [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]
    for event in events:
        for kind in ("resourcePreEvent", "resOutputsEvent"):
            if edit and kind in event and event[kind]["metadata"]["type"] == VIRTUAL_MACHINE:
                edit(event[kind]["metadata"])
    return events


def run(
    events: list[Event],
    deployed: Mapping[str, Mapping[str, str]] | None = None,
    wanted: Mapping[str, Mapping[str, str]] | None = None,
    seen: Mapping[str, Mapping[str, str]] | None = None,
    key: str = "the stack's signing key",
) -> Run:
    """A run with these events; with guestinfo it has the calls that carried it, too."""
    calls: list[Event] = []
    if key:
        config = {"lbstack:signingKey": key}
        calls.append({"method": "/pulumirpc.LanguageRuntime/Run", "request": {"config": config}})
    for resource, node in NODES.items():
        about = {"urn": urn(resource), "type": VIRTUAL_MACHINE}
        if seen is not None and deployed is not None:
            calls.append(
                {
                    "method": "/pulumirpc.ResourceProvider/Read",
                    "request": about | {"properties": {"extraConfig": dict(deployed[node])}},
                    "response": {"id": "x", "properties": {"extraConfig": dict(seen[node])}},
                }
            )
        if wanted is not None:
            calls.append(
                {
                    "method": "/pulumirpc.ResourceProvider/Check",
                    "request": about | {"olds": {"extraConfig": dict(deployed[node])} if deployed else None},
                    "response": {"inputs": {"extraConfig": dict(wanted[node])}},
                }
            )
    return Run("preview", 0, 1.0, copy.deepcopy(events), calls)
