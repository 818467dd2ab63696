"""Find the place of the pair in vCenter: the ids that its VMs are made from, and the folders that have to be made.

The whole inventory is asked for once (``vcenter/tree.py``), and names are resolved here: a name that is not there, is
there twice or does not fit the others is an error with what there is, and all of them are reported at once. What the
provider would only refuse in the middle of a deployment is looked at, too. Nothing is created or changed.
One module because each name is resolved within what another one has resolved to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from lbstack.config.models import Image, Placement
from lbstack.deploy import recorded as state
from lbstack.deploy.image import find_item
from lbstack.deploy.lookups import LookUps
from lbstack.deploy.recorded import Recorded
from lbstack.deploy.sdk import vsphere
from lbstack.deploy.site import Site, elsewhere, look
from lbstack.deploy.tags import TagIds, find_tags
from lbstack.facts.names import FOLDER, VIRTUAL_MACHINE, marker
from lbstack.problems import ConfigError, Problem
from lbstack.vcenter.inventory import listing
from lbstack.vcenter.login import Login
from lbstack.vcenter.marks import Marks
from lbstack.vcenter.tree import Entry

BY_PATH = "Write as much of the end of its path as tells it from the others."
PAIR_FOLDER = "pair-folder"  # the resource of the pair's own folder
VM_RESOURCE = "pair-node"  # the resource of a VM, with its position in `nodes` behind it


@dataclass(frozen=True)
class PlacementIds:
    """The ids of everything that a VM needs.

    Args:
        make_folders: Resource → path of the folders that the stack makes or has made, the outer ones first.
        tags: Ids of tags that the stack uses without making them.
        marks: Node → what stands on its VM, without nodes whose VM is not there.
        moved: The same of nodes whose VM the stack has made and somebody has moved or renamed.
        new: Whether the stack has certainly no VM: none is in its folder, and none is recorded.
    """

    datacenter_id: str
    cluster_id: str
    resource_pool_id: str
    datastore_id: str
    network_id: str
    image_id: str
    make_folders: Mapping[str, str] = field(default_factory=dict)
    tags: TagIds = field(default_factory=TagIds)
    marks: Mapping[str, Marks] = field(default_factory=dict)
    moved: Mapping[str, Marks] = field(default_factory=dict)
    new: bool = False


class Resolver:
    """Resolves the names of a placement in an inventory and collects what is wrong with them.

    Args:
        site: What vCenter holds.
        placement: The names.
        recorded: Gives what the stack's state holds; asked at most once, because that takes a third of a second.
        marker: The notes by which the stack recognises its own VMs.
    """

    def __init__(self, site: Site, placement: Placement, recorded: Callable[[], Recorded], marker: str) -> None:
        self.tree = site.tree
        self.marks = site.marks
        self.marker = marker
        self.placement = placement
        self.problems: list[Problem] = []
        self._recorded = recorded
        self._state: Recorded | None = None

    @property
    def recorded(self) -> Recorded:
        """What the stack's state holds."""
        self._state = self._state or self._recorded()
        return self._state

    def resolve(self) -> dict[str, str]:
        """Key → id of everything that was found: datacenter, cluster, pool, datastore, network."""
        place = self.placement
        datacenter = self.one("placement.datacenter", "datacenter", place.datacenter)
        if datacenter is None:
            return {}
        cluster = self.one("placement.cluster", "cluster", place.cluster, datacenter)
        found = {
            "datacenter": datacenter,
            "cluster": cluster,
            "datastore": self.one("placement.datastore", "datastore", place.datastore, datacenter, cluster),
            "network": self.network(datacenter, cluster),
        }
        ids = {key: entry.id for key, entry in found.items() if entry}
        if place.resource_pool and not cluster:
            if not self.tree.named("resource pool", place.resource_pool, datacenter):
                self.miss("placement.resourcePool", "resource pool", place.resource_pool, datacenter)
        elif cluster and place.resource_pool:
            if pool := self.pool(place.resource_pool, datacenter, cluster):
                ids["pool"] = pool.id
        elif cluster and (root := cluster.target("resourcePool")):
            ids["pool"] = root[1]
        if place.folder and not place.create_folder:
            self.folder(datacenter)
        return ids

    def one(
        self, path: str, kind: str, wanted: str, within: Entry | None = None, cluster: Entry | None = None
    ) -> Entry | None:
        """The one object that a name means; of several, those that the cluster has come first."""
        found = self.tree.named(kind, wanted, within)
        if not found:
            self.miss(path, kind, wanted, within)
            return None
        if cluster and (attached := cluster.targets(kind)):
            of_cluster = [entry for entry in found if entry.reference in attached]
            if not of_cluster:
                there = [self.tree.path(entry) for entry in self.tree.all(kind) if entry.reference in attached]
                what = f"{kind} {wanted!r} ({self.paths(found)}) is on no host of the cluster {cluster.name!r}"
                self.problems.append(Problem(path, what, listing(there)))
                return None
            found = of_cluster
        return self.only(path, kind, wanted, found, BY_PATH)

    def only(self, path: str, kind: str, wanted: str, found: Sequence[Entry], remedy: str) -> Entry | None:
        """The one of the candidates; several are a problem that names them."""
        if len(found) == 1:
            return found[0]
        what = f"{kind} {wanted!r} is ambiguous: {self.paths(found)}"
        self.problems.append(Problem(path, what, remedy))
        return None

    def miss(self, path: str, kind: str, wanted: str, within: Entry | None) -> None:
        """Report a name that is not there."""
        if kind == "datastore" and (clusters := self.tree.named("datastore cluster", wanted, within)):
            members = [entry.name for cluster in clusters for entry in self.tree.members(cluster)]
            what = (
                f"{wanted!r} is a datastore cluster, and the provider deploys library items to single datastores only"
            )
            remedy = "Name one of its members, from which Storage DRS may move the VMs at any time."
            self.problems.append(Problem(path, what, f"{remedy} {listing(members)}"))
            return
        where = f" in datacenter {self.placement.datacenter!r}" if within else ""
        there = sorted(entry.name for entry in self.tree.all(kind, within))
        self.problems.append(Problem(path, f"there is no {kind} {wanted!r}{where}", listing(there)))

    def paths(self, found: Sequence[Entry]) -> str:
        """Candidates in a sentence."""
        return ", ".join(self.tree.path(entry) for entry in found)

    def network(self, datacenter: Entry, cluster: Entry | None) -> Entry | None:
        """The port group; ``networkSwitch`` tells several of one name apart."""
        place, path = self.placement, "placement.network"
        found = self.tree.named("network", place.network, datacenter)
        if cluster and (attached := cluster.targets("network")):
            found = [entry for entry in found if entry.reference in attached] or found
        if place.network_switch and found:
            on_switch = [entry for entry in found if self.tree.switch_of(entry) == place.network_switch]
            if not on_switch:
                switches = sorted({self.tree.switch_of(entry) for entry in found})
                what = f"network {place.network!r} is on no switch {place.network_switch!r}"
                self.problems.append(Problem("placement.networkSwitch", what, listing(switches)))
                return None
            found = on_switch
        if len(found) > 1:
            candidates = ", ".join(f"{self.tree.path(each)} on {self.tree.switch_of(each)}" for each in found)
            what = f"network {place.network!r} is ambiguous: {candidates}"
            remedy = "Name its switch in placement.networkSwitch, or its path here where folders tell them apart."
            self.problems.append(Problem(path, what, remedy))
            return None
        return (
            self.one(path, "network", place.network, datacenter, cluster) if not found else self.on(cluster, found[0])
        )

    def on(self, cluster: Entry | None, network: Entry) -> Entry | None:
        """A network that the cluster's hosts have."""
        attached = cluster.targets("network") if cluster else ()
        if not attached or network.reference in attached:
            return network
        return self.one("placement.network", "network", self.tree.path(network), None, cluster)

    def pool(self, wanted: str, datacenter: Entry, cluster: Entry) -> Entry | None:
        """The resource pool; it has to be one of the cluster."""
        path = "placement.resourcePool"
        found = self.tree.named("resource pool", wanted, datacenter)
        own = [entry for entry in found if entry.target("owner") == cluster.reference]
        if own:
            return self.only(path, "resource pool", wanted, own, BY_PATH)
        there = [
            entry for entry in self.tree.all("resource pool", datacenter) if entry.target("owner") == cluster.reference
        ]
        remedy = listing([self.tree.path(entry) for entry in there])
        if not found:
            self.problems.append(
                Problem(path, f"there is no resource pool {wanted!r} in cluster {cluster.name!r}", remedy)
            )
            return None
        what = f"resource pool {wanted!r} is one of another cluster ({self.paths(found)}), not of {cluster.name!r}"
        self.problems.append(Problem(path, what, f"Both VMs would run there, and their rule would not. {remedy}"))
        return None

    def folder(self, datacenter: Entry) -> None:
        """Look for a folder that has to exist."""
        wanted = (self.placement.folder or "").strip("/")
        root = f"{self.tree.path(datacenter)}/vm"
        if self.tree.at(f"{root}/{wanted}") is not None:
            return
        there = [self.tree.path(each).removeprefix(f"{root}/") for each in self.tree.all("folder", datacenter)]
        there = [each for each in there if not each.startswith("/")]
        what = f"there is no folder {wanted!r} in datacenter {self.placement.datacenter!r}"
        self.problems.append(Problem("placement.folder", what, f"{listing(there)} placement.createFolder makes it."))

    def make_folders(self, datacenter: Entry) -> dict[str, str]:
        """Resource → path of the folders that the stack makes: what is missing, and what it has made before."""
        if not self.placement.folder or not self.placement.create_folder:
            return {}
        root, parts = f"{self.tree.path(datacenter)}/vm", self.placement.folder.strip("/").split("/")
        # An outer folder is named after its place in the path: the names are identity in the state.
        wanted = {f"{PAIR_FOLDER}-{depth}": "/".join(parts[:depth]) for depth in range(1, len(parts))}
        wanted[PAIR_FOLDER] = "/".join(parts)
        there = {path for path in wanted.values() if self.tree.at(f"{root}/{path}") is not None}
        if not there:
            return wanted
        if not self.recorded.known:  # as if the innermost were its own: a state must not lose it by mistake
            return {name: path for name, path in wanted.items() if path not in there or name == PAIR_FOLDER}
        own = {name: str(outputs.get("path", "")).strip("/") for name, outputs in self.recorded.named(FOLDER).items()}
        self.nested(own, wanted[PAIR_FOLDER])
        return {name: path for name, path in wanted.items() if path not in there or own.get(name) == path}

    def nested(self, own: Mapping[str, str], wanted: str) -> None:
        """Report a folder that would become one inside or around itself: vCenter cannot do either in one run."""
        before = own.get(PAIR_FOLDER, wanted)
        if before != wanted and (wanted.startswith(f"{before}/") or wanted in own.values()):
            what = f"the stack's own folder {before!r} cannot become {wanted!r}, because one is inside the other"
            remedy = "Choose a folder beside it, deploy, and go on from there; or keep the old one."
            self.problems.append(Problem("placement.folder", what, remedy))

    def occupied(self) -> None:
        """Report VMs that have a node's name in its folder and are not the stack's."""
        unmarked = {node: each.moref for node, each in self.marks.items() if self.marker not in each.annotation}
        if not unmarked or not self.recorded.known or VIRTUAL_MACHINE in self.recorded.creating:
            return  # of a creation that was killed the reports speak
        own = {str(outputs.get("moid", "")) for outputs in self.recorded.named(VIRTUAL_MACHINE).values()}
        for node, machine in unmarked.items():
            if machine not in own:
                what = f"a VM {node!r} that this stack has not made is in the folder already ({machine})"
                remedy = "Rename the node, or move, rename or delete that VM in vCenter (`govc vm.destroy NAME`)."
                self.problems.append(Problem("placement.folder", what, remedy))

    @property
    def new(self) -> bool:
        """Whether the stack has certainly no VM, nor one that somebody has moved."""
        return not self.marks and self.recorded.without_machines

    def absent(self, nodes: Sequence[str]) -> dict[str, str]:
        """Node → UUID of its VM, of those that the stack has made and that are not where they should be."""
        missing = {f"{VM_RESOURCE}{number}": node for number, node in enumerate(nodes, 1) if node not in self.marks}
        if not missing or not self.recorded.known:
            return {}
        own = self.recorded.named(VIRTUAL_MACHINE)
        return {node: str(own[name]["uuid"]) for name, node in missing.items() if own.get(name, {}).get("uuid")}


async def _name_network(provider: vsphere.Provider, placement: Placement, ids: Mapping[str, str]) -> None:
    """Let the engine's events tell the network's name: reports read it there (``review/resources.py``)."""
    arguments = {"name": placement.network, "datacenterId": ids["datacenter"]}
    try:
        await pulumi.runtime.invoke_async(
            "vsphere:index/getNetwork:getNetwork", arguments, pulumi.InvokeOptions(provider=provider)
        )
    except Exception as error:  # noqa: BLE001 - of a name that only its switch tells apart
        pulumi.log.debug(f"the network's name is not in the events: {error}")


async def find_placement(
    provider: vsphere.Provider, login: Login, placement: Placement, image: Image, nodes: Sequence[str] = ()
) -> PlacementIds:
    """Look everything up.

    Args:
        provider: The explicit provider of this stack's vCenter.
        login: The same vCenter.
        placement: The names.
        image: The content library item.
        nodes: The names of the VMs.

    Raises:
        ConfigError: Every miss, each with what was looked for and what there is.
        VcenterError: vCenter refuses the login, or does not answer.
    """
    ask = LookUps(provider, login)

    def below() -> tuple[Resolver, dict[str, str], dict[str, str], dict[str, Marks], bool]:
        mark = marker(pulumi.get_project(), pulumi.get_stack())
        resolver = Resolver(look(login, placement, nodes), placement, state.recorded, mark)
        ids = resolver.resolve()
        datacenter = resolver.tree.get(("Datacenter", ids.get("datacenter", "")))
        folders = resolver.make_folders(datacenter) if datacenter else {}
        resolver.occupied()
        return resolver, ids, folders, elsewhere(login, resolver.absent(nodes)), resolver.new

    (resolver, ids, folders, moved, new), item, tags = await asyncio.gather(
        asyncio.to_thread(below), find_item(ask, image), find_tags(ask, placement.tags)
    )
    if problems := [*resolver.problems, *ask.problems]:
        raise ConfigError(problems, f"what was looked up in the vCenter {login.server}")
    await _name_network(provider, placement, ids)
    return PlacementIds(
        datacenter_id=ids["datacenter"],
        cluster_id=ids["cluster"],
        resource_pool_id=ids["pool"],
        datastore_id=ids["datastore"],
        network_id=ids["network"],
        image_id=item,
        make_folders=folders,
        tags=tags,
        marks=resolver.marks,
        moved=moved,
        new=new,
    )
