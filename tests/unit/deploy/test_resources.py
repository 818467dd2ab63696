"""Every input and every option of every resource, in full: what is not expected here is a change for somebody's VMs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import Any

import pytest

from lbstack.deploy import recorded
from lbstack.deploy.site import Site
from lbstack.vcenter import pin
from lbstack.vcenter.login import Login
from lbstack.vcenter.marks import Marks
from tests.guestinfo import metadata
from tests.unit.deploy import sites
from tests.unit.deploy.conftest import Program, Recorded, Run, plain
from tests.unit.deploy.support import CATEGORY, FOLDER, PAIR, PROVIDER, RULE, TAG, VM, changed_placement, refused

# Of a registration: how the program and the engine communicate, or what `inputs` holds already.
NOT_OPTIONS = {
    "type",
    "name",
    "object",
    "acceptSecrets",
    "acceptResources",
    "supportsPartialValues",
    "supportsResultReporting",
    "propertyDependencies",
    "sourcePosition",
    "stackTrace",
    "deleteBeforeReplaceDefined",
}
STACK_URN = "urn:pulumi:lab::lbstack::pulumi:pulumi:Stack::lbstack-lab"
PAIR_URN = "urn:pulumi:lab::lbstack::pulumi:pulumi:Stack$lbstack:index:LoadBalancerPair::pair"
PROVIDER_REFERENCE = "urn:pulumi:lab::lbstack::pulumi:pulumi:Stack$pulumi:providers:vsphere::vcenter::vcenter-id"
# The mocks name a child after its parent's type alone.
CHILD_URN = "urn:pulumi:lab::lbstack::lbstack:index:LoadBalancerPair${}::{}"
VERSION = importlib.metadata.version("pulumi-vsphere")

EVERYTHING_OF_OTHERS = [
    "annotation",
    "customAttributes",
    "datastoreId",
    "eptRviMode",
    "hvMode",
    "syncTimeWithHost",
    "tags",
]

NODES = (
    {"name": "PhotonLB-01", "address": "192.168.6.120", "cpus": 4, "memoryMiB": 4096, "diskGiB": 20},
    {"name": "PhotonLB-02", "address": "192.168.6.121", "cpus": 3, "memoryMiB": 3072, "diskGiB": 24},
)


@pytest.fixture
def run(program: Program) -> Run:
    """A stack whose two nodes have nothing in common that could be taken for the other's."""
    return program(stack={"nodes": list(NODES)})


def options(resource: Recorded) -> dict[str, Any]:
    """What was asked of the engine besides the inputs; what was left out is not here."""
    found: dict[str, Any] = {}
    for descriptor, value in resource.request.ListFields():
        empty = hasattr(value, "ListFields") and not value.ListFields()  # such as `hooks`, which the SDK always sends
        if descriptor.json_name in NOT_OPTIONS or empty:
            continue
        found[descriptor.json_name] = (
            dict(value) if hasattr(value, "items") else sorted(value) if hasattr(value, "append") else value
        )
    return found


def child(**more: Any) -> dict[str, Any]:
    """The options that every resource of the pair has."""
    return {"custom": True, "parent": PAIR_URN, "provider": PROVIDER_REFERENCE, "version": VERSION, **more}


def test_the_provider_gets_the_stacks_login_and_nothing_else(run: Run) -> None:
    provider = run.one(PROVIDER, "vcenter")
    assert plain(provider.inputs) == {
        "vsphereServer": "vcenter.lab.example",
        "user": "lbstack@vsphere.local",
        "password": "fake-password",
        "allowUnverifiedSsl": "false",
    }
    assert options(provider) == {"custom": True, "parent": STACK_URN, "version": VERSION}


def test_the_pair_has_the_explicit_provider_and_shows_what_it_is_for(run: Run) -> None:
    pair = run.one(PAIR, "pair")
    assert pair.inputs == {"lifecycle": "lab"}
    assert options(pair) == {"parent": STACK_URN, "providers": {"vsphere": PROVIDER_REFERENCE}}


@pytest.mark.parametrize("index", [0, 1])
def test_every_input_of_each_node_is_what_the_stack_file_sets(run: Run, index: int) -> None:
    wanted = NODES[index]
    inputs = dict(run.one(VM, f"pair-node{index + 1}").inputs)
    guestinfo = plain(inputs.pop("extraConfig"))
    assert set(guestinfo) == {
        "guestinfo.userdata",
        "guestinfo.userdata.encoding",
        "guestinfo.metadata",
        "guestinfo.metadata.encoding",
        *(f"guestinfo.lbstack.{name}" for name in ("hash", "head", "signature", "config.0", "programs.0")),
    }
    assert guestinfo["guestinfo.metadata.encoding"] == "base64"
    assert metadata(guestinfo)["local-hostname"] == wanted["name"]
    assert inputs == {
        "extraConfigRebootRequired": False,
        "name": wanted["name"],
        "annotation": "lbstack: managed by Pulumi, stack lbstack/lab; changes made by hand are drift",
        "resourcePoolId": "resgroup-1",
        "datastoreId": "datastore-1",
        "folder": "lbstack-lab",
        "tags": ["pair-tag-load-balancer-id"],
        "numCpus": wanted["cpus"],
        "memory": wanted["memoryMiB"],
        "firmware": "efi",
        "efiSecureBootEnabled": True,
        "enableLogging": True,
        "clone": {"templateUuid": "item-1"},
        "disks": [{"label": "disk0", "size": wanted["diskGiB"], "unitNumber": 0, "thinProvisioned": True}],
        "networkInterfaces": [{"networkId": "network-1", "adapterType": "vmxnet3"}],
        # By name of service, as the engine sorts keys: stats, appvol, horizon.
        "ignoredGuestIps": ["192.168.6.122", "192.168.6.124", "192.168.6.123"],
        "waitForGuestNetTimeout": 5,
        "replaceTrigger": hashlib.sha256(guestinfo["guestinfo.metadata"].encode()).hexdigest(),
    }


def test_every_option_of_each_node_is_as_decided(run: Run) -> None:
    folder, tag = CHILD_URN.format(FOLDER, "pair-folder"), CHILD_URN.format(TAG, "pair-tag-load-balancer")
    for name, after in (("pair-node2", []), ("pair-node1", [CHILD_URN.format(VM, "pair-node2")])):
        assert options(run.one(VM, name)) == child(
            protect=False,
            deleteBeforeReplace=True,
            ignoreChanges=EVERYTHING_OF_OTHERS,
            additionalSecretOutputs=["extraConfig"],
            dependencies=sorted([folder, tag, *after]),
        )


def test_firmware_and_secure_boot_are_the_stack_files(program: Program, lab_values: dict[str, Any]) -> None:
    image = lab_values["image"] | {"firmware": "bios", "secureBoot": False}
    for node in program(stack={"image": image}).of_type(VM):
        assert (node.inputs["firmware"], node.inputs["efiSecureBootEnabled"]) == ("bios", False)


def test_the_folder_is_one_of_vms_in_the_datacenter(run: Run) -> None:
    folder = run.one(FOLDER, "pair-folder")
    assert folder.inputs == {"path": "lbstack-lab", "type": "vm", "datacenterId": "datacenter-2"}
    assert options(folder) == child(ignoreChanges=["customAttributes", "tags"])


def test_the_tag_and_its_category_take_vms_and_leave_room_for_other_tags(run: Run) -> None:
    category, tag = run.one(CATEGORY, "pair-tags"), run.one(TAG, "pair-tag-load-balancer")
    assert category.inputs == {
        "name": "lbstack-lab",
        "cardinality": "MULTIPLE",
        "associableTypes": ["VirtualMachine"],
        "description": "Made by lbstack",
    }
    assert options(category) == child()
    assert tag.inputs == {"name": "load-balancer", "categoryId": "pair-tags-id"}
    assert options(tag) == child(dependencies=[CHILD_URN.format(CATEGORY, "pair-tags")])


def test_the_rule_keeps_the_nodes_apart_and_is_replaced_when_renamed(run: Run) -> None:
    rule = run.one(RULE, "pair-rule")
    assert rule.inputs == {
        "name": "lbstack PhotonLB-01 PhotonLB-02",
        "computeClusterId": "domain-c1",
        "virtualMachineIds": ["pair-node1-id", "pair-node2-id"],
        "enabled": True,
        "mandatory": False,
    }
    assert options(rule) == child(
        replaceOnChanges=["name"],
        deleteBeforeReplace=True,
        dependencies=[CHILD_URN.format(VM, name) for name in ("pair-node1", "pair-node2")],
    )


def test_each_name_is_looked_up_where_the_stack_file_has_it(program: Program, lab_values: dict[str, Any]) -> None:
    stack = changed_placement(lab_values, resourcePool="balancers", folder="balancers/prod", createFolder=False)
    assert sorted(program(stack=stack).calls) == [
        ("getContentLibrary", {"name": "photon"}),
        ("getContentLibraryItem", {"name": "photon-hw13_uefi-3.0", "libraryId": "library-1", "type": "ovf"}),
        ("getNetwork", {"name": "VM Network", "datacenterId": "datacenter-2"}),
    ]


@pytest.mark.parametrize(
    ("vsphere", "verified"),
    [({}, True), ({"allowUnverifiedSsl": "false"}, True), ({"allowUnverifiedSsl": "true"}, False)],
)
def test_the_vcenters_certificate_is_checked_unless_the_stack_file_reports_otherwise(
    program: Program,
    lab_values: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    vsphere: dict[str, str],
    *,
    verified: bool,
) -> None:
    """By the guard, by the provider and by what lists names after a miss."""
    guarded: list[tuple[str, bool]] = []
    listed: list[tuple[str, bool]] = []

    def instance_uuid(server: str, *, verify: bool = True) -> str:
        guarded.append((server, verify))
        return str(lab_values["placement"]["vcenterUuid"])

    def names(login: Login, *_: object) -> list[str]:
        listed.append((login.server, login.verify))
        return []

    monkeypatch.setattr(pin, "instance_uuid", instance_uuid)
    monkeypatch.setattr("lbstack.deploy.lookups.names", names)
    run = program(vsphere=vsphere)
    assert run.one(PROVIDER, "vcenter").inputs["allowUnverifiedSsl"] == json.dumps(not verified)
    refused(program, vsphere=vsphere, missing={"getContentLibrary": "library not found"})
    assert set(guarded) == set(listed) == {("vcenter.lab.example", verified)}


@pytest.mark.parametrize("create", ["tags", "none"])
def test_a_category_that_has_to_exist_is_looked_up_and_not_made(
    program: Program, lab_values: dict[str, Any], create: str
) -> None:
    tags = {"category": "Environment", "names": ["lab"], "create": create}
    run = program(stack=changed_placement(lab_values, tags=tags))
    assert ("getTagCategory", {"name": "Environment"}) in run.calls
    assert run.of_type(CATEGORY) == []
    made = [(tag.name, plain(tag.inputs)) for tag in run.of_type(TAG)]
    if create == "tags":
        wanted = {"name": "lab", "categoryId": "category-9", "description": "Made by lbstack"}
        assert made == [("pair-tag-lab", wanted)]
    else:
        assert made == []
        assert ("getTag", {"name": "lab", "categoryId": "category-9"}) in run.calls
        assert [node.inputs["tags"] for node in run.of_type(VM)] == [["tag-9"], ["tag-9"]]


def test_a_run_that_could_not_see_the_tags_warns_and_leaves_them_alone(program: Program) -> None:
    marks = {name: Marks("", 2, 2048, {}, moref=f"vm-{name}") for name in ("PhotonLB-01", "PhotonLB-02")}
    run = program(site=Site(sites.tree(), marks), state=recorded.Recorded(known=False))
    assert any("could not be read in vCenter" in warning for warning in run.warnings)
    assert "tags" in options(run.one(VM, "pair-node1"))["ignoreChanges"]


def test_a_folder_of_the_stacks_own_stays_its_resource_and_another_one_is_only_used(
    program: Program, lab_values: dict[str, Any]
) -> None:
    stack = changed_placement(lab_values, folder="balancers/prod", createFolder=True)
    there, own = Site(sites.tree()), {(FOLDER, "pair-folder"): {"path": "balancers/prod"}}
    assert not program(stack=stack, site=there).of_type(FOLDER)
    kept = program(stack=stack, site=there, state=recorded.Recorded(own))
    assert [each.name for each in kept.of_type(FOLDER)] == ["pair-folder"]
    unread = program(stack=stack, site=there, state=recorded.Recorded(known=False))
    assert [each.name for each in unread.of_type(FOLDER)] == ["pair-folder"]  # no state may lose one by mistake
    for run in (kept, unread):
        assert run.one(VM, "pair-node1").inputs["folder"] == "balancers/prod"


def test_missing_outer_folders_are_made_before_the_inner_one(program: Program, lab_values: dict[str, Any]) -> None:
    run = program(stack=changed_placement(lab_values, folder="balancers/new/inner", createFolder=True))
    assert [(each.name, each.inputs["path"]) for each in run.of_type(FOLDER)] == [
        ("pair-folder-2", "balancers/new"),
        ("pair-folder", "balancers/new/inner"),
    ]
    assert options(run.one(FOLDER, "pair-folder")) == child(
        dependencies=[CHILD_URN.format(FOLDER, "pair-folder-2")], ignoreChanges=["customAttributes", "tags"]
    )


def test_an_own_folder_cannot_become_one_inside_itself(program: Program, lab_values: dict[str, Any]) -> None:
    stack = changed_placement(lab_values, folder="balancers/prod", createFolder=True)
    text = refused(program, stack=stack, state=recorded.Recorded({(FOLDER, "pair-folder"): {"path": "balancers"}}))
    assert "placement.folder: the stack's own folder 'balancers' cannot become 'balancers/prod'" in text


def test_a_vm_of_a_nodes_name_is_refused_unless_it_is_the_stacks_own(
    program: Program, lab_values: dict[str, Any]
) -> None:
    site = Site(sites.tree(), {"PhotonLB-01": Marks("", 2, 2048, {}, moref="vm-7")})
    assert "a VM 'PhotonLB-01' that this stack has not made" in refused(program, site=site)
    own = recorded.Recorded({(VM, "pair-node1"): {"moid": "vm-7"}})
    assert program(site=site, state=own).of_type(VM)
    assert program(site=site, state=recorded.Recorded(known=False)).of_type(VM)
    killed = recorded.Recorded(creating=frozenset({VM}))
    assert program(site=site, state=killed).of_type(VM)
    marked = Marks(
        "lbstack: managed by Pulumi, stack lbstack/lab; changes made by hand are drift", 2, 2048, {}, moref="vm-7"
    )
    assert program(site=Site(sites.tree(), {"PhotonLB-01": marked})).of_type(VM)


def test_a_datastore_that_no_host_of_the_cluster_has_is_refused(program: Program) -> None:
    elsewhere = sites.entry(("Datastore", "datastore-2"), "LocalDS_0", sites.DATASTORES)
    text = refused(program, site=Site(sites.tree([elsewhere], without=["LocalDS_0"])))
    assert "placement.datastore: datastore 'LocalDS_0' (/DC0/datastore/LocalDS_0) is on no host of the cluster" in text


def test_both_vms_on_one_host_are_warned_of_and_unknown_hosts_are_reported(
    program: Program, lab_values: dict[str, Any]
) -> None:
    together = {"PhotonLB-01": "esx1", "PhotonLB-02": "esx1"}
    assert any("run on the same host, esx1" in line for line in program(on=together).warnings)
    apart = program(on=together | {"PhotonLB-02": "esx2"})
    assert not any("same host" in line for line in apart.warnings)
    assert any("PhotonLB-01 and PhotonLB-02 runs is unknown" in line for line in program().infos)
    off = program(stack=changed_placement(lab_values, antiAffinity="off"), on=together)
    assert not any("same host" in line for line in off.warnings)


def test_a_datastore_cluster_is_refused_with_the_names_of_its_members(
    program: Program, lab_values: dict[str, Any]
) -> None:
    pod = ("StoragePod", "group-p1")
    members = [sites.entry(("Datastore", f"datastore-{n}"), f"member-{n}", pod) for n in (7, 8)]
    site = Site(sites.tree([sites.entry(pod, "Gold", sites.DATASTORES), *members], without=["LocalDS_0"]))
    text = refused(program, site=site, stack=changed_placement(lab_values, datastore="Gold"))
    assert "placement.datastore: 'Gold' is a datastore cluster" in text
    assert "Name one of its members" in text
    assert "There is: member-7, member-8." in text
