"""The program registers what the kept state records: names, types, parents, inputs, outputs.

A quick look without the engine; ``tests/deploy/test_compatibility.py`` has the engine compare the same state.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests import kept_state
from tests.kept_state import URNS, Deployment
from tests.unit.deploy import sites
from tests.unit.deploy.conftest import LOOK_UPS, Program, Run, plain
from tests.unit.deploy.support import PAIR, PROVIDER, VM

# What the engine adds to the inputs of a provider.
OF_THE_ENGINE = {"__internal", "version"}
# The ids that the mocks answer with, by the names of the placeholders in the kept state.
IDS = {
    "server": "vcenter.lab.example",
    "datacenter": sites.DATACENTER[1],
    "cluster": sites.CLUSTER[1],
    "pool": sites.ROOT_POOL[1],
    "datastore": sites.DATASTORE[1],
    "network": sites.NETWORK[1],
    "image": LOOK_UPS["getContentLibraryItem"]["id"],
    "folder": "pair-folder-id",
    "category": "pair-tags-id",
    "tag-load-balancer": "pair-tag-load-balancer-id",
    "tag-horizon": "pair-tag-horizon-id",
    "rule": "pair-rule-id",
    **{f"node{number}": f"pair-node{number}-id" for number in (1, 2)},
    **{f"node{number}-{part}": f"{part} {number}" for number in (1, 2) for part in ("object", "mac")},
}


@pytest.fixture
def run(program: Program, lab_values: dict[str, Any]) -> Run:
    """The program with the kept stack file."""
    values = kept_state.values()
    values["placement"] = values["placement"] | {"vcenterUuid": lab_values["placement"]["vcenterUuid"]}
    config = kept_state.config()
    login = {"user": config["vsphere:user"], "password": kept_state.secrets()["vsphere:password"]}
    return program(stack=values, secrets=kept_state.program_secrets(), vsphere=login)


@pytest.fixture(scope="module")
def kept() -> Deployment:
    """The kept state with the ids of the mocks."""
    return kept_state.filled(IDS)


def recorded_inputs(kept: Deployment, kind: str, name: str) -> dict[str, Any]:
    """The inputs of a resource in the kept state, without what provider and engine added."""
    (found,) = [
        resource
        for urn, resource in kept_state.resources(kept).items()
        if (resource["type"], urn.rpartition("::")[2]) == (kind, name)
    ]
    return {key: value for key, value in kept_state.given(found.get("inputs", {})).items() if key not in OF_THE_ENGINE}


def test_the_kept_state_holds_the_listed_resources_only(kept: Deployment) -> None:
    assert sorted(kept_state.resources(kept)) == sorted(URNS)


def test_every_resource_has_the_type_the_name_and_the_parent_of_the_kept_state(run: Run, kept: Deployment) -> None:
    recorded = {
        (resource["type"], urn.rpartition("::")[2], resource["parent"].rpartition("::")[2])
        for urn, resource in kept_state.resources(kept).items()
        if urn != URNS[0]
    }
    registered = [(each.type, each.name, each.request.parent.rpartition("::")[2]) for each in run.resources]
    stack = [each for each in registered if each[0] == "pulumi:pulumi:Stack"]
    assert sorted(set(registered) - set(stack)) == sorted(recorded)


def test_no_vm_of_the_release_before_is_replaced(run: Run) -> None:
    before = kept_state.filled(IDS, kept_state.BEFORE)
    for name in ("pair-node1", "pair-node2"):
        recorded, present = recorded_inputs(before, kept_state.VIRTUAL_MACHINE, name), plain(run.one(VM, name).inputs)
        for key in ("guestinfo.metadata", "guestinfo.metadata.encoding"):
            assert present["extraConfig"][key] == recorded["extraConfig"][key]
        same = ("replaceTrigger", "name", "clone", "firmware", "efiSecureBootEnabled", "disks", "networkInterfaces")
        assert {key: present[key] for key in same} == {key: recorded[key] for key in same}
        assert set(recorded) <= set(present)


def test_every_resource_has_the_inputs_of_the_kept_state(run: Run, kept: Deployment) -> None:
    compared = set()
    for resource in run.resources:
        if resource.type == "pulumi:pulumi:Stack":
            continue
        inputs = plain(resource.inputs)
        assert inputs == recorded_inputs(kept, resource.type, resource.name), resource.name
        compared.add(resource.type)
    assert {PAIR, PROVIDER, kept_state.VIRTUAL_MACHINE, kept_state.RULE} < compared


def test_the_stack_and_the_pair_have_the_outputs_of_the_kept_state(run: Run, kept: Deployment) -> None:
    assert run.exports == kept_state.stack_outputs(kept)
    assert plain(run.outputs) == kept_state.resources(kept)[f"{kept_state.PAIR}::pair"]["outputs"]
