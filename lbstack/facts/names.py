"""What the program and the review of it have to agree on: marks, paths of the guest, and the provider's known noise.

Imports nothing, so that a report need not load what renders files (a third of a second).
"""

from __future__ import annotations

from collections.abc import Mapping

# What the provider reports as changed although nobody changed it. The program tells the engine to ignore these,
# because each would reboot a node for nothing; a preview leaves them out of its drift.
PROVIDER_NOISE: Mapping[str, str] = {
    "eptRviMode": "pulumi/pulumi-vsphere#472, hashicorp/terraform-provider-vsphere#1902",
    "hvMode": "pulumi/pulumi-vsphere#472, hashicorp/terraform-provider-vsphere#2193 and #2202",
    "syncTimeWithHost": "pulumi/pulumi-vsphere#472",
}


def marker(project: str, stack: str) -> str:
    """The VM annotation by which a stack knows its own VMs."""
    return f"lbstack: managed by Pulumi, stack {project}/{stack}; changes made by hand are drift"


VIRTUAL_MACHINE = "vsphere:index/virtualMachine:VirtualMachine"
RULE = "vsphere:index/computeClusterVmAntiAffinityRule:ComputeClusterVmAntiAffinityRule"
PROVIDER = "pulumi:providers:vsphere"
STACK = "pulumi:pulumi:Stack"
PAIR = "lbstack:index:LoadBalancerPair"
GET_NETWORK = "vsphere:index/getNetwork:getNetwork"
