"""What a deployment changes besides the files."""

from __future__ import annotations

from lbstack.engine.values import lookup
from lbstack.facts.names import ANNOTATION, HOW_ALONE, PAIR, PROVIDER, PROVIDER_NOISE, STACK, TAG, TAGS, VIRTUAL_MACHINE
from lbstack.review.drift import EXTRA_CONFIG, WORDS, View, show, where
from lbstack.review.others import marker_of
from lbstack.review.report import Change
from lbstack.review.resources import Resource

# What a reader learns from the files and from what happens to each node.
SAID_ELSEWHERE = (*PROVIDER_NOISE, *HOW_ALONE, "replaceTrigger")


def changes_of(view: View) -> list[Change]:
    """What a deployment changes besides the files."""
    found = []
    for resource in view.planned.values():
        if not resource.operations or resource.kind in (STACK, PAIR):
            continue
        if resource.kind == PROVIDER:
            found += _provider_changes(resource)
            continue
        operation = next((name for name in ("replace", "create", "delete") if name in resource.operations), "")
        if not operation and any("replace" in name for name in resource.operations):
            operation = "replace"
        if operation in ("create", "delete"):
            found.append(Change(where(resource), "is made" if operation == "create" else "is removed"))
            continue
        if operation == "replace":
            because = f" because of {', '.join(resource.keys)}" if resource.keys else ""
            found.append(Change(where(resource), f"is destroyed and made again{because}"))
        found += _property_changes(view, resource)
    return [Change(change.where, view.redactor(change.text)) for change in found]


def _provider_changes(resource: Resource) -> list[Change]:
    """What changes in how vCenter is reached; never the password itself."""
    shown = [name for name in resource.differing if name != "password"]
    found = [Change("vCenter login", f"{name}: {_change(resource, name)}") for name in shown]
    if "password" in resource.differing:
        found.append(Change("vCenter login", "the password"))
    return found


def _property_changes(view: View, resource: Resource) -> list[Change]:
    found: dict[str, None] = {}
    for path in resource.changing:
        name = path.partition(".")[0].partition("[")[0]
        if name == EXTRA_CONFIG or (resource.kind == VIRTUAL_MACHINE and name in SAID_ELSEWHERE):
            continue
        if name == ANNOTATION and resource.kind == VIRTUAL_MACHINE and _keeps_marker(resource):
            continue  # others added to the notes, and the change leaves that there
        text = _tags(view, resource) if name == TAGS else f"{WORDS.get(name, name)}: {_change(resource, path)}"
        found[text] = None  # of a list the engine names each item
    return [Change(where(resource), text) for text in found]


def _keeps_marker(resource: Resource) -> bool:
    notes = [str(lookup(side, ANNOTATION) or "") for side in (resource.old, resource.new)]
    return all(marker_of(resource) in note for note in notes)


def _tags(view: View, resource: Resource) -> str:
    """What happens to tags, which have no order. Those that are made in the same run have no id yet."""
    old, new = (_ids(lookup(side, TAGS)) for side in (resource.old, resource.new))
    made = {
        item.name.rpartition("-tag-")[2]
        for item in view.planned.values()
        if item.kind == TAG and "create" in item.operations
    }
    attached = sorted({view.names[tag] for tag in new - old if tag in view.names} | made)
    detached = sorted(view.names.get(tag, tag) for tag in old - new)
    words = [f"{', '.join(names)} {verb}" for names, verb in ((attached, "attached"), (detached, "taken off")) if names]
    return f"tags: {' and '.join(words) or 'they change'}"


def _ids(value: object) -> set[str]:
    return {str(item) for item in value} if isinstance(value, list) else set()


def _change(resource: Resource, path: str) -> str:
    return f"{show(lookup(resource.old, path))} → {show(lookup(resource.new, path))}"
