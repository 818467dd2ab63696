"""Find the tags that the stack uses without making them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from lbstack.config.choices import TagCreation
from lbstack.config.models import Tags
from lbstack.deploy.lookups import LookUps


@dataclass(frozen=True)
class TagIds:
    """Ids of what has to exist already.

    Args:
        category: Of the category; empty where the stack makes it.
        tags: Name → id; without the tags that the stack makes.
    """

    category: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


async def find_tags(ask: LookUps, wanted: Tags | None) -> TagIds:
    """Look up what ``create`` leaves out; what is missing is then among the problems of ``ask``."""
    if wanted is None or wanted.create is TagCreation.ALL:
        return TagIds()
    name = wanted.category
    category = await ask.find("placement.tags.category", "tag category", "getTagCategory", {"name": name})
    if category is None or wanted.create is not TagCreation.NONE:
        return TagIds(str(category["id"]) if category else "")
    identity = str(category["id"])
    answers = await asyncio.gather(
        *(
            ask.find(
                f"placement.tags.names[{index}]",
                "tag",
                "getTag",
                {"name": tag, "categoryId": identity},
                wanted.category,
            )
            for index, tag in enumerate(wanted.names)
        )
    )
    found = {tag: str(answer["id"]) for tag, answer in zip(wanted.names, answers, strict=True) if answer}
    return TagIds(identity, found)
