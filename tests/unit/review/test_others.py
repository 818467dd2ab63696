"""What others put on a VM is a footnote; what they took off is drift; a block that only gains nulls is no change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lbstack.facts.names import VIRTUAL_MACHINE, marker
from lbstack.review.impact import action_of
from lbstack.review.others import footnotes_of, marker_is_gone, missing_tags
from lbstack.review.report import Action
from lbstack.review.resources import Resource

URN = f"urn:pulumi:lab::lbstack::lbstack:index:LoadBalancerPair${VIRTUAL_MACHINE}::pair-node1"
MARKER = marker("lbstack", "lab")
OWN = {"id-own": "load-balancer"}
DEPLOYED: dict[str, Any] = {"annotation": MARKER, "tags": ["id-own"], "customAttributes": {}, "datastoreId": "ds-1"}


def machine(**seen: Any) -> Resource:
    return Resource(URN, VIRTUAL_MACHINE, old=DEPLOYED, seen=DEPLOYED | seen, looked=True)


@pytest.mark.parametrize(
    ("seen", "phrases"),
    [
        ({}, []),
        ({"tags": ["id-own", "id-a"]}, ["1 tag"]),
        ({"tags": ["id-a", "id-own", "id-b"]}, ["2 tags"]),
        ({"customAttributes": {"101": "yesterday"}}, ["1 custom attribute"]),
        ({"annotation": MARKER + "\nbackup"}, ["text in the notes"]),
        ({"annotation": MARKER + "\n"}, []),
        ({"datastoreId": "ds-2"}, ["a move to another datastore"]),
    ],
)
def test_what_others_put_on_a_vm_is_a_footnote(seen: dict[str, Any], phrases: list[str]) -> None:
    resource = machine(**seen)
    assert list(footnotes_of(resource, OWN)) == phrases
    assert not marker_is_gone(resource)
    assert missing_tags(resource, OWN) == []


@pytest.mark.parametrize("annotation", ["", "mine now", marker("lbstack", "other")])
def test_notes_without_the_marker_are_drift(annotation: str) -> None:
    resource = machine(annotation=annotation)
    assert marker_is_gone(resource)
    assert list(footnotes_of(resource, OWN)) == []


def test_a_tag_of_the_stack_that_is_gone_is_drift() -> None:
    assert missing_tags(machine(tags=["id-a"]), OWN) == ["load-balancer"]


def test_of_what_was_not_looked_at_nothing_is_known() -> None:
    resource = Resource(URN, VIRTUAL_MACHINE, old=DEPLOYED)
    assert (list(footnotes_of(resource, OWN)), missing_tags(resource, OWN), marker_is_gone(resource)) == ([], [], False)


# As the provider of July 2026 records a clone block, and as the program sends it.
RECORDED = {
    "customizationSpec": None,
    "customize": None,
    "linkedClone": False,
    "ovfNetworkMap": None,
    "templateUuid": "item-1",
    "timeout": 30,
}
SENT: dict[str, Any] = {"__defaults": ["timeout"], "templateUuid": "item-1", "timeout": 30}


@pytest.mark.parametrize(
    ("sent", "changing"),
    [(SENT, []), (SENT | {"templateUuid": "item-2"}, ["clone"]), (SENT | {"timeout": 60}, ["clone"])],
)
def test_a_block_that_differs_in_nulls_and_defaults_is_no_change(sent: dict[str, Any], changing: list[str]) -> None:
    resource = Resource(URN, VIRTUAL_MACHINE, differing=["clone"], old={"clone": RECORDED}, new={"clone": sent})
    assert resource.changing == changing


def test_a_block_whose_shown_values_are_equal_differs_in_a_secret() -> None:
    shown = {"extraConfig": {"guestinfo.userdata": "[secret]"}}
    resource = Resource(URN, VIRTUAL_MACHINE, differing=["extraConfig"], old=shown, new=shown)
    assert resource.changing == ["extraConfig"]


@pytest.mark.parametrize("name", ["extraConfigRebootRequired", "waitForGuestNetTimeout"])
def test_what_only_tells_the_provider_how_to_change_a_vm_is_no_change(name: str) -> None:
    resource = Resource(
        URN,
        VIRTUAL_MACHINE,
        operations=["update"],
        differing=[name],
        old=DEPLOYED | {name: 0},
        new=DEPLOYED | {name: 1},
    )
    assert action_of(resource) == (Action.NONE, "")
    assert action_of(replace(resource, differing=[name, "tags"]))[0] is Action.IN_PLACE
