"""Separate what other products put on the pair's VMs from what somebody took off or overwrote.

Tags, custom attributes, text added to the notes and another datastore are left alone by `up`
(``deploy/foreign.py``), so they are a footnote. A missing tag of the stack, or notes without the stack's marker, are
drift.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lbstack.engine.record import project_of, stack_of
from lbstack.engine.values import lookup
from lbstack.facts.names import ANNOTATION, ATTRIBUTES, DATASTORE, ELSEWHERE, TAGS, VIRTUAL_MACHINE, marker
from lbstack.review.resources import Resource

HANDLED = frozenset({*ELSEWHERE, ANNOTATION, TAGS})
"""Properties of a VM that are judged here, by their values, and nowhere else."""


def footnotes_of(resource: Resource, own_tags: Mapping[str, str]) -> Iterator[str]:
    """What others put on a VM, a phrase each; nothing for what is no VM, or was not looked at.

    Args:
        resource: The VM.
        own_tags: Id → name of the tags that are the stack's own.
    """
    if resource.kind != VIRTUAL_MACHINE or resource.seen is None:
        return
    tags = [tag for tag in _list(resource.seen, TAGS) if tag not in own_tags]
    attributes = lookup(resource.seen, ATTRIBUTES)
    if tags:
        yield _count(len(tags), "tag")
    if isinstance(attributes, Mapping) and attributes:
        yield _count(len(attributes), "custom attribute")
    note, mark = str(lookup(resource.seen, ANNOTATION) or ""), marker_of(resource)
    if mark in note and note.strip() != mark:
        yield "text in the notes"
    if lookup(resource.old, DATASTORE) not in (None, lookup(resource.seen, DATASTORE)):
        yield "a move to another datastore"


def missing_tags(resource: Resource, own_tags: Mapping[str, str]) -> list[str]:
    """The names of the stack's own tags that a VM had after the last deployment and has no more."""
    if resource.kind != VIRTUAL_MACHINE or resource.seen is None:
        return []
    seen = _list(resource.seen, TAGS)
    return sorted(own_tags[tag] for tag in _list(resource.old, TAGS) if tag in own_tags and tag not in seen)


def marker_is_gone(resource: Resource) -> bool:
    """Whether the notes of a VM do not contain the stack's marker any more."""
    if resource.kind != VIRTUAL_MACHINE or resource.seen is None:
        return False
    return marker_of(resource) not in str(lookup(resource.seen, ANNOTATION) or "")


def marker_of(resource: Resource) -> str:
    """The notes by which this VM's stack recognises it."""
    return marker(project_of(resource.urn), stack_of(resource.urn))


def _list(properties: Mapping[str, object] | None, name: str) -> list[str]:
    value = lookup(properties, name)
    return [str(item) for item in value] if isinstance(value, list) else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
