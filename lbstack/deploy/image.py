"""Find the item of the content library that the VMs are made from. The SOAP API does not know libraries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pulumi

from lbstack.config.models import Image
from lbstack.deploy.sdk import vsphere
from lbstack.problems import Problem
from lbstack.vcenter.inventory import Login, NotListed, listing, names

OVF_ITEM = "ovf"  # the type that a content library gives to an imported OVA or OVF


class Library:
    """Looks up the item with the provider, and collects what is wrong."""

    def __init__(self, provider: vsphere.Provider, login: Login, image: Image) -> None:
        self.options = pulumi.InvokeOptions(provider=provider)
        self.login = login
        self.image = image
        self.problems: list[Problem] = []

    async def item(self) -> str:
        """The id of the item; empty where there is a problem."""
        image = self.image
        library = await self.find("image.library", "library", "getContentLibrary", {"name": image.library})
        if library is None:
            return ""
        # The provider asks for a type and then ignores it, so the answer's type is checked here.
        arguments = {"name": image.item, "libraryId": str(library["id"]), "type": OVF_ITEM}
        item = await self.find("image.item", "library item", "getContentLibraryItem", arguments)
        if item is None:
            return ""
        if item["type"] != OVF_ITEM:
            what = f"{image.item!r} in library {image.library!r} is an item of type {item['type']!r}, no OVF template"
            remedy = "Import the Photon OVA with `govc library.import` and name that item."
            self.problems.append(Problem("image.item", what, remedy))
        return str(item["id"])

    async def find(self, path: str, kind: str, function: str, arguments: Mapping[str, str]) -> Mapping[str, Any] | None:
        """One look-up; None and a problem when it fails."""
        token = f"vsphere:index/{function}:{function}"
        try:
            found: Mapping[str, Any] = await pulumi.runtime.invoke_async(token, dict(arguments), self.options)
        except Exception as error:  # noqa: BLE001 - the engine raises a bare Exception with the provider's message
            self.problems.append(await asyncio.to_thread(self.explain, path, kind, arguments["name"], str(error)))
            return None
        return found

    def explain(self, path: str, kind: str, name: str, message: str) -> Problem:
        """A message with what was looked for and what exists."""
        where = f" in library {self.image.library!r}" if kind == "library item" else ""
        reason = message.split("failed:", 1)[-1].strip()
        try:
            found = names(self.login, kind, self.image.library)
        except NotListed as error:
            return Problem(
                path,
                f"{kind} {name!r} was not found{where} ({reason})",
                f"What there is could not be listed ({error}); check the name and what {self.login.user} may see.",
            )
        same = [entry for entry in found if entry in (name, f"{name} ({OVF_ITEM})")]
        if len(same) > 1:
            return Problem(
                path, f"{kind} {name!r} is ambiguous: {len(same)} have this name{where}", "Rename all but one."
            )
        if same:
            return Problem(
                path,
                f"{kind} {name!r} is there, but could not be read ({reason})",
                f"Check the permissions of {self.login.user} on it.",
            )
        return Problem(path, f"there is no {kind} {name!r}{where}", listing(found))
