"""List the names of content libraries and tags in a vCenter for error messages: those that a user could have meant.

Used only after a name was not found, so that a good run does not pay for it. What is in the inventory is in
``tree.py``. No Pulumi.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence

from lbstack.vcenter import rest
from lbstack.vcenter.login import Login

MAX_NAMES = 12  # in one message; the rest is counted


class NotListed(Exception):
    """The list is not available; the message names the reason."""


def names(login: Login, kind: str, parent: str = "") -> Sequence[str]:
    """List the names of one kind of thing.

    Args:
        login: The vCenter.
        kind: ``library``, ``library item``, ``tag category`` or ``tag``.
        parent: The library whose items are meant, or the category whose tags are.

    Returns:
        The names, sorted.

    Raises:
        NotListed: When the vCenter does not answer as it should.
    """
    try:
        if kind == "library":
            return sorted(entry["name"] for entry in _libraries(login))
        if kind == "library item":
            return sorted(f"{entry['name']} ({entry['type']})" for entry in _items(login, parent))
        if kind == "tag category":
            return sorted(entry["name"] for entry in _categories(rest.connect(login)))
        return sorted(_tags(login, parent))
    except Exception as error:  # whatever went wrong, the message that needs the list must still come out
        raise NotListed(str(error)) from error


def listing(found: Sequence[str]) -> str:
    """The names in a sentence, such as: There is: a, b, c and 4 more."""
    if not found:
        return "There is none that this user may see."
    more = len(found) - MAX_NAMES
    return f"There is: {', '.join(found[:MAX_NAMES])}{f' and {more} more' if more > 0 else ''}."


def _libraries(login: Login) -> list[dict[str, str]]:
    session = rest.connect(login)
    return [session.named("content/library", key) for key in session.read("content/library")]


def _items(login: Login, library: str) -> list[dict[str, str]]:
    session = rest.connect(login)
    for key in session.read("content/library"):
        if session.named("content/library", key)["name"] == library:
            found = session.read(f"content/library/item?library_id={urllib.parse.quote(key)}")
            return [session.named("content/library/item", item) for item in found]
    return []


def _categories(session: rest.Rest) -> list[dict[str, str]]:
    return [session.named(rest.CATEGORY, key) for key in session.read(rest.CATEGORY)]


def _tags(login: Login, category: str) -> list[str]:
    session = rest.connect(login)
    for entry in _categories(session):
        if entry["name"] == category:
            return [session.named(rest.TAG, key)["name"] for key in session.tags_of(entry["id"])]
    return []
