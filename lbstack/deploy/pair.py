"""``LoadBalancerPair``: exactly two VMs, their folder, their tags and their anti-affinity rule.

It receives finished values (configuration, rendered files, ids) and decides nothing about their content. The roll that
it receives (``roll.py``) decides the order in which the VMs are changed, and what each waits for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from lbstack.config.choices import AntiAffinity, TagCreation
from lbstack.config.models import Node, StackConfig
from lbstack.deploy import outputs
from lbstack.deploy.foreign import foreign
from lbstack.deploy.manner import Manner, Way
from lbstack.deploy.placement import PlacementIds
from lbstack.deploy.roll import Dependencies, Roll
from lbstack.deploy.sdk import vsphere
from lbstack.facts.limits import GUEST_NET_MIN
from lbstack.facts.names import MADE_BY_US, NET_WAIT, OF_FOLDERS, REBOOT_FLAG, marker
from lbstack.render.keys import METADATA

# Position in `nodes` → suffix of the resource's name. These names are identity in the state: for life.
SUFFIXES = ("node1", "node2")
# The largest module of the SDK: imported here, so where this module is imported (program.py: while the plugin
# starts), and not when the first VM is about to be registered and everything waits for it.
_VirtualMachine = vsphere.VirtualMachine


@dataclass(frozen=True)
class PairArgs:
    """What the pair is made from.

    Args:
        config: The validated configuration.
        place: The ids of datastore, network, resource pool and image.
        manners: Node name → its guestinfo, and how its VM is changed to it.
        files: Node name → path → content with every secret redacted.
        config_hash: Hash of the set that both nodes are to serve.
    """

    config: StackConfig
    place: PlacementIds
    manners: Mapping[str, Manner]
    files: Mapping[str, Mapping[str, str]]
    config_hash: str


class LoadBalancerPair(pulumi.ComponentResource):
    """Two load balancers that share VIPs.

    Outputs: ``vips``, ``stats_url``, ``service_urls``, ``nodes``, ``config_hash``, ``horizon_settings``, ``lifecycle``.
    The stack exports ``files`` too (``exports``).
    """

    def __init__(self, name: str, args: PairArgs, roll: Roll, opts: pulumi.ResourceOptions | None = None) -> None:
        # Recorded before the first VM is made: outputs are only after the last.
        super().__init__("lbstack:index:LoadBalancerPair", name, {"lifecycle": outputs.lifecycle(args.config)}, opts)
        self._name = name
        self._args = args
        config = args.config
        if not config.rollout.gate:
            pulumi.log.warn(
                "lbstack:rollout.gate is false: the nodes are not asked, so the second is changed whether or not the "
                "first serves again.",
                self,
            )
        if config.protected:
            # The engine's own message asks to edit the program; a user of a stack file needs the key.
            pulumi.log.info(
                "The VMs are protected. A change that replaces them (image, address, name) is refused until "
                "lbstack:protect is false, which may stand in the same change.",
                self,
            )
        self._folder = self._make_folder()
        self._tags = self._make_tags()
        first, second = roll.order
        virtual_machines = {first: self._make_node(first, roll.before_first(self))}
        virtual_machines[second] = self._make_node(second, roll.before_second(virtual_machines[first], self))
        self._make_rule([virtual_machines[index] for index in sorted(virtual_machines)])

        self.vips = outputs.vips(config)
        self.stats_url = outputs.stats_url(config)
        self.service_urls = outputs.service_urls(config)
        self.horizon_settings = outputs.horizon_settings(config)
        self.config_hash = roll.served(virtual_machines[second], self)
        self.files = {node: dict(files) for node, files in args.files.items()}
        uuids = {node.name: virtual_machines[index].id for index, node in enumerate(config.nodes)}
        self.nodes = outputs.nodes(config, uuids)
        # The files stand among the stack's outputs; here they would be in the state twice.
        self.register_outputs({name: value for name, value in self.exports.items() if name != "files"})

    @property
    def exports(self) -> dict[str, object]:
        """The stack's outputs, by name."""
        return {
            "vips": self.vips,
            "stats_url": self.stats_url,
            "service_urls": self.service_urls,
            "nodes": self.nodes,
            "files": self.files,
            "config_hash": self.config_hash,
            "horizon_settings": self.horizon_settings,
            "lifecycle": outputs.lifecycle(self._args.config),
        }

    def _child(self, **options: object) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, **options)  # type: ignore[arg-type]

    def _make_folder(self) -> pulumi.Input[str] | None:
        placement = self._args.config.placement
        if not placement.folder or not placement.create_folder:
            return placement.folder
        made: list[vsphere.Folder] = []
        for resource, path in self._args.place.make_folders.items():
            options = self._child(depends_on=made[-1:] or None, ignore_changes=sorted(OF_FOLDERS))
            datacenter = self._args.place.datacenter_id
            made.append(vsphere.Folder(resource, path=path, type="vm", datacenter_id=datacenter, opts=options))
        innermost = made and list(self._args.place.make_folders.values())[-1] == placement.folder
        return made[-1].path if innermost else placement.folder

    def _make_tags(self) -> list[pulumi.Input[str]] | None:
        tags, place = self._args.config.placement.tags, self._args.place
        if not tags:
            return None
        if tags.create is TagCreation.NONE:
            return [place.tags.tags[name] for name in tags.names]
        if tags.create is TagCreation.TAGS:
            category_id: pulumi.Input[str] = place.tags.category
            # By its description the stack knows the tag as its own when the stack file names it no more.
            description: str | None = MADE_BY_US
        else:
            category = vsphere.TagCategory(
                f"{self._name}-tags",
                name=tags.category,
                cardinality="MULTIPLE",
                associable_types=["VirtualMachine"],
                description=MADE_BY_US,
                opts=self._child(),
            )
            category_id, description = category.id, None
        return [
            vsphere.Tag(
                f"{self._name}-tag-{tag}",
                name=tag,
                category_id=category_id,
                description=description,
                opts=self._child(),
            ).id
            for tag in tags.names
        ]

    def _make_node(self, index: int, depends_on: Dependencies | None) -> vsphere.VirtualMachine:
        config, place = self._args.config, self._args.place
        node: Node = config.nodes[index]
        manner = self._args.manners[node.name]
        guestinfo = manner.guestinfo
        vips = dict.fromkeys(outputs.vips(config).values())  # a VIP may carry several services
        note = marker(pulumi.get_project(), pulumi.get_stack())
        marks = self._args.place.marks.get(node.name)
        others = foreign(node, marks, note, config.placement.tags, guestinfo)
        return _VirtualMachine(
            f"{self._name}-{SUFFIXES[index]}",
            name=node.name,
            annotation=others.annotation,
            resource_pool_id=place.resource_pool_id,
            datastore_id=place.datastore_id,
            folder=self._folder,
            tags=[*(self._tags or ()), *others.kept] if self._tags or others.kept else None,
            num_cpus=node.cpus,
            memory=node.memory_mib,
            firmware=config.image.firmware.value,
            efi_secure_boot_enabled=config.image.secure_boot,
            enable_logging=True,  # the provider's default is off, and then there is no vmware.log for support
            clone={"template_uuid": place.image_id},
            disks=[
                {"label": "disk0", "size": node.disk_gib, "unit_number": 0, "thin_provisioned": True},
            ],
            network_interfaces=[{"network_id": place.network_id, "adapter_type": "vmxnet3"}],
            extra_config=pulumi.Output.secret(dict(guestinfo)),
            # It overwrites the provider's own answer, so it is false only where nothing else needs a VM without power,
            # or where there is no VM yet, which a killed engine may give its set again.
            extra_config_reboot_required=manner.reboot,
            # Only a first boot reads the metadata (its instance-id is constant), so a change of it needs a new VM.
            replace_trigger=hashlib.sha256(guestinfo[METADATA].encode()).hexdigest(),
            # A VIP may move to this node while the provider waits for the node's own address.
            ignored_guest_ips=list(vips),
            # The gate waits for what the nodes serve, which says more; so those of a new pair boot side by side.
            wait_for_guest_net_timeout=0 if config.rollout.gate else GUEST_NET_MIN,
            opts=self._child(
                depends_on=depends_on,
                protect=config.protected,
                delete_before_replace=True,  # both would have the same address
                ignore_changes=sorted({*others.ignored, *self._unsaid(manner)}),
                replace_on_changes=["extraConfig"] if manner.way is Way.REPLACE else None,
                additional_secret_outputs=["extraConfig"],
            ),
        )

    def _unsaid(self, manner: Manner) -> tuple[str, ...]:
        """What says how a VM is changed: one that has its guestinfo already is not changed for the sake of these.

        Where only the peer has to be changed, a run was cut short, and the engine may send this one its set again.
        """
        if manner.way is not Way.NOTHING:
            return ()
        cut_short = any(each.way is Way.LIVE for each in self._args.manners.values())
        return (NET_WAIT,) if cut_short else (NET_WAIT, REBOOT_FLAG)

    def _make_rule(self, virtual_machines: list[vsphere.VirtualMachine]) -> None:
        wish = self._args.config.placement.anti_affinity
        if wish is AntiAffinity.OFF:
            return
        vsphere.ComputeClusterVmAntiAffinityRule(
            f"{self._name}-rule",
            # Rule names are unique in a cluster, so the nodes' names are part of it.
            name="lbstack " + " ".join(node.name for node in self._args.config.nodes),
            compute_cluster_id=self._args.place.cluster_id,
            virtual_machine_ids=[machine.id for machine in virtual_machines],
            enabled=True,  # set explicitly: without it, a rule that somebody switched off would stay off
            mandatory=wish is AntiAffinity.MANDATORY,
            # A renamed rule of VMs that are gone cannot be changed in place; two of one name cannot be side by side.
            opts=self._child(replace_on_changes=["name"], delete_before_replace=True),
        )
