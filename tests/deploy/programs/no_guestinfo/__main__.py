"""A VM from the lab's library without guestinfo: what a set that never arrived looks like to the provider."""

import pulumi
import pulumi_vsphere as vsphere

WAIT_MIN = 1  # the shortest that the provider knows

config = pulumi.Config("vsphere")
vcenter = vsphere.Provider(
    "vcenter",
    vsphere_server=config.require("vsphereServer"),
    user=config.require("user"),
    password=config.require_secret("password"),
)
invoke = pulumi.InvokeOptions(provider=vcenter)
datacenter = vsphere.get_datacenter(name="DC0", opts=invoke)
cluster = vsphere.get_compute_cluster(name="DC0_C0", datacenter_id=datacenter.id, opts=invoke)
datastore = vsphere.get_datastore(name="LocalDS_0", datacenter_id=datacenter.id, opts=invoke)
network = vsphere.get_network(name="VM Network", datacenter_id=datacenter.id, opts=invoke)
library = vsphere.get_content_library(name="photon", opts=invoke)
item = vsphere.get_content_library_item(name="photon-hw13_uefi-3.0", library_id=library.id, type="ovf", opts=invoke)
vsphere.VirtualMachine(
    "silent",
    name="silent",
    resource_pool_id=cluster.resource_pool_id,
    datastore_id=datastore.id,
    guest_id="other3xLinux64Guest",
    firmware="efi",
    network_interfaces=[{"network_id": network.id}],
    disks=[{"label": "disk0", "size": 16}],
    clone={"template_uuid": item.id},
    wait_for_guest_net_timeout=WAIT_MIN,
    opts=pulumi.ResourceOptions(provider=vcenter),
)
