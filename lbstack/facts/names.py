"""Names that the Pulumi program and the reports share: the VMs' annotation, type tokens, and known provider noise.

The module imports nothing of the package, so that a report need not load the renderer (a third of a second).
"""

from __future__ import annotations

from collections.abc import Mapping

# Properties that the provider reports as changed although they were not. The program makes the engine ignore them,
# because each would reboot a node needlessly; a preview leaves them out of its drift. Values: the upstream issues.
PROVIDER_NOISE: Mapping[str, str] = {
    "eptRviMode": "pulumi/pulumi-vsphere#472, hashicorp/terraform-provider-vsphere#1902",
    "hvMode": "pulumi/pulumi-vsphere#472, hashicorp/terraform-provider-vsphere#2193 and #2202",
    "syncTimeWithHost": "pulumi/pulumi-vsphere#472",
}

REBOOT_FLAG, NET_WAIT = "extraConfigRebootRequired", "waitForGuestNetTimeout"
HOW_ALONE = (REBOOT_FLAG, NET_WAIT)
"""Properties of a VM that tell the provider how to change it; a change of these alone touches no VM."""

ATTRIBUTES, DATASTORE, ANNOTATION, TAGS = "customAttributes", "datastoreId", "annotation", "tags"
ELSEWHERE = (ATTRIBUTES, DATASTORE)
"""Properties of a VM that the engine always ignores: backup, monitoring and inventory products write custom attributes,
Storage vMotion and Storage DRS change the datastore. Notes and tags are ignored where the marker, or the stack's own
tags, are as they should be."""
OF_FOLDERS = (ATTRIBUTES, TAGS)
"""The same of a folder: the stack sets neither."""
MADE_BY_US = "Made by lbstack"  # the description of a tag category, and of a tag in a category of others


def marker(project: str, stack: str) -> str:
    """Return the VM annotation by which a stack recognises its own VMs.

    Args:
        project: Name of the Pulumi project.
        stack: Name of the stack.
    """
    return f"lbstack: managed by Pulumi, stack {project}/{stack}; changes made by hand are drift"


VIRTUAL_MACHINE = "vsphere:index/virtualMachine:VirtualMachine"
RULE = "vsphere:index/computeClusterVmAntiAffinityRule:ComputeClusterVmAntiAffinityRule"
PROVIDER = "pulumi:providers:vsphere"
STACK = "pulumi:pulumi:Stack"
PAIR = "lbstack:index:LoadBalancerPair"
GET_NETWORK = "vsphere:index/getNetwork:getNetwork"
TAG, FOLDER = "vsphere:index/tag:Tag", "vsphere:index/folder:Folder"
GET_TAG = "vsphere:index/getTag:getTag"
