"""What the tests of the program share: the engine's names of the resources, changed stacks, refused runs."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest

from tests.unit.deploy.conftest import Program

VM = "vsphere:index/virtualMachine:VirtualMachine"
RULE = "vsphere:index/computeClusterVmAntiAffinityRule:ComputeClusterVmAntiAffinityRule"
FOLDER = "vsphere:index/folder:Folder"
TAG, CATEGORY = "vsphere:index/tag:Tag", "vsphere:index/tagCategory:TagCategory"
PAIR, PROVIDER = "lbstack:index:LoadBalancerPair", "pulumi:providers:vsphere"


def changed_placement(lab_values: dict[str, Any], **changes: object) -> dict[str, Any]:
    kept = {key: value for key, value in lab_values["placement"].items() if changes.get(key, value) is not None}
    return {"placement": kept | {key: value for key, value in changes.items() if value is not None}}


def refused(program: Program, **arguments: Any) -> str:
    with pytest.raises(pulumi.RunError) as refusal:
        program(**arguments)
    return str(refusal.value)
