"""Look up the ids that a VM is made from, by their names in vCenter.

Every name that is not found is an error with the existing names, and all of them are reported at once. The look-ups run
at the same time, because a preview waits for them. Nothing is created or changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from lbstack.config.choices import TagCreation
from lbstack.config.models import Image, Placement
from lbstack.deploy.sdk import vsphere
from lbstack.problems import ConfigError, Problem
from lbstack.vcenter.inventory import NotListed, listing, names
from lbstack.vcenter.login import Login

OUTSIDE_DATACENTERS = ("datacenter", "library", "library item", "tag category", "tag")
OVF_ITEM = "ovf"  # the type that a content library gives to an imported OVA or OVF


@dataclass(frozen=True)
class PlacementIds:
    """The ids of everything that a VM needs."""

    datacenter_id: str
    cluster_id: str
    resource_pool_id: str
    datastore_id: str
    network_id: str
    image_id: str
    tag_category_id: str | None = None
    """Of a category that the stack does not make itself."""
    tag_ids: Mapping[str, str] = field(default_factory=dict)
    """Name → id, of tags that the stack does not make itself."""


@dataclass(frozen=True)
class _Wanted:
    """One look-up: where the name was configured, the kind in words, the provider's function and its arguments."""

    path: str
    kind: str
    function: str
    arguments: Mapping[str, str]

    @property
    def token(self) -> str:
        return f"vsphere:index/{self.function}:{self.function}"


class _Finder:
    """Runs look-ups and collects the misses."""

    def __init__(self, provider: vsphere.Provider, login: Login, placement: Placement, image: Image) -> None:
        self.options = pulumi.InvokeOptions(provider=provider)
        self.login = login
        self.placement = placement
        self.image = image
        self.problems: list[Problem] = []

    async def find(self, wanted: _Wanted) -> Mapping[str, Any] | None:
        """One look-up; None and a problem when it fails."""
        try:
            found: Mapping[str, Any] = await pulumi.runtime.invoke_async(
                wanted.token, dict(wanted.arguments), self.options
            )
        except Exception as error:  # noqa: BLE001 - the engine raises a bare Exception with the provider's message
            self.problems.append(await asyncio.to_thread(self.explain, wanted, str(error)))
            return None
        return found

    def explain(self, wanted: _Wanted, message: str) -> Problem:
        """A message with what was looked for and what exists."""
        name = wanted.arguments.get("name") or wanted.arguments["path"]
        within = None if wanted.kind in OUTSIDE_DATACENTERS else self.placement.datacenter
        where = f" in datacenter {within!r}" if within else ""
        where = f" in library {self.image.library!r}" if wanted.kind == "library item" else where
        category = self.placement.tags.category if self.placement.tags else ""
        where = f" in category {category!r}" if wanted.kind == "tag" else where
        reason = message.split("failed:", 1)[-1].strip()
        try:
            found = names(self.login, wanted.kind, within, category if wanted.kind == "tag" else self.image.library)
        except NotListed as error:
            return Problem(
                wanted.path,
                f"{wanted.kind} {name!r} was not found{where} ({reason})",
                f"What there is could not be listed ({error}); check the name and what {self.login.user} may see.",
            )
        if any(entry in (name, f"{name} ({OVF_ITEM})") for entry in found):
            return Problem(
                wanted.path,
                f"{wanted.kind} {name!r} is there, but could not be read ({reason})",
                f"Check the permissions of {self.login.user} on it.",
            )
        return Problem(wanted.path, f"there is no {wanted.kind} {name!r}{where}", listing(found))

    async def resolve(self) -> PlacementIds:
        """All look-ups: the two roots first, then everything below them, side by side."""
        place, image = self.placement, self.image
        datacenter, library = await asyncio.gather(
            self.find(_Wanted("placement.datacenter", "datacenter", "getDatacenter", {"name": place.datacenter})),
            self.find(_Wanted("image.library", "library", "getContentLibrary", {"name": image.library})),
        )
        below: dict[str, _Wanted] = {}
        if datacenter:
            inside = {"datacenterId": datacenter["id"]}
            below["cluster"] = _Wanted(
                "placement.cluster", "cluster", "getComputeCluster", {"name": place.cluster, **inside}
            )
            below["datastore"] = _Wanted(
                "placement.datastore", "datastore", "getDatastore", {"name": place.datastore, **inside}
            )
            below["network"] = _Wanted("placement.network", "network", "getNetwork", {"name": place.network, **inside})
            if place.resource_pool:
                below["pool"] = _Wanted(
                    "placement.resourcePool",
                    "resource pool",
                    "getResourcePool",
                    {"name": place.resource_pool, **inside},
                )
            if place.folder and not place.create_folder:
                path = f"/{place.datacenter}/vm/{place.folder.strip('/')}"
                below["folder"] = _Wanted("placement.folder", "folder", "getFolder", {"path": path})
        if library:
            # The provider asks for a type and then ignores it, so the answer's type is checked here.
            below["item"] = _Wanted(
                "image.item",
                "library item",
                "getContentLibraryItem",
                {"name": image.item, "libraryId": library["id"], "type": OVF_ITEM},
            )
        if place.tags and place.tags.create is not TagCreation.ALL:
            below["category"] = _Wanted(
                "placement.tags.category", "tag category", "getTagCategory", {"name": place.tags.category}
            )
        found = dict(zip(below, await asyncio.gather(*map(self.find, below.values())), strict=True))
        category = found.get("category")
        tags = await self.tags(category) if category else {}
        item = found.get("item")
        if item and item["type"] != OVF_ITEM:
            self.problems.append(
                Problem(
                    "image.item",
                    f"{image.item!r} in library {image.library!r} is an item of type {item['type']!r}, no OVF template",
                    "Import the Photon OVA with `govc library.import` and name that item.",
                )
            )
        cluster = found.get("cluster")
        if self.problems or not datacenter or not cluster:
            raise ConfigError(self.problems, f"what was looked up in the vCenter {self.login.server}")
        ids = {key: str(answer["id"]) for key, answer in found.items() if answer}
        return PlacementIds(
            datacenter_id=str(datacenter["id"]),
            cluster_id=ids["cluster"],
            resource_pool_id=ids.get("pool", str(cluster["resourcePoolId"])),
            datastore_id=ids["datastore"],
            network_id=ids["network"],
            image_id=ids["item"],
            tag_category_id=ids.get("category"),
            tag_ids=tags,
        )

    async def tags(self, category: Mapping[str, Any]) -> dict[str, str]:
        """Name → id of the tags that have to exist; their problems are added to the others."""
        wanted = self.placement.tags
        if wanted is None or wanted.create is not TagCreation.NONE:
            return {}
        answers = await asyncio.gather(
            *(
                self.find(
                    _Wanted(
                        f"placement.tags.names[{index}]",
                        "tag",
                        "getTag",
                        {"name": name, "categoryId": str(category["id"])},
                    )
                )
                for index, name in enumerate(wanted.names)
            )
        )
        return {name: str(answer["id"]) for name, answer in zip(wanted.names, answers, strict=True) if answer}


async def find_placement(provider: vsphere.Provider, login: Login, placement: Placement, image: Image) -> PlacementIds:
    """Look everything up.

    Args:
        provider: The explicit provider of this stack's vCenter.
        login: The same vCenter, for listing what there is when something is missing.
        placement: The names.
        image: The content library item.

    Raises:
        ConfigError: Every miss, each with what was looked for and what there is.
    """
    return await _Finder(provider, login, placement, image).resolve()
