"""Find the item of the content library that the VMs are made from."""

from __future__ import annotations

from lbstack.config.models import Image
from lbstack.deploy.lookups import OVF_ITEM, LookUps
from lbstack.problems import Problem


async def find_item(ask: LookUps, image: Image) -> str:
    """The id of the item; empty where there is a problem, which is then among those of ``ask``."""
    library = await ask.find("image.library", "library", "getContentLibrary", {"name": image.library})
    if library is None:
        return ""
    # The provider asks for a type and then ignores it, so the answer's type is checked here.
    arguments = {"name": image.item, "libraryId": str(library["id"]), "type": OVF_ITEM}
    item = await ask.find("image.item", "library item", "getContentLibraryItem", arguments, image.library)
    if item is None:
        return ""
    if item["type"] != OVF_ITEM:
        what = f"{image.item!r} in library {image.library!r} is an item of type {item['type']!r}, no OVF template"
        remedy = "Import the Photon OVA with `govc library.import` and name that item."
        ask.problems.append(Problem("image.item", what, remedy))
    return str(item["id"])
