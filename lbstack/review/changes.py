"""What a deployment changes besides the files."""

from __future__ import annotations

from lbstack.engine.values import lookup
from lbstack.facts.names import PAIR, PROVIDER, PROVIDER_NOISE, STACK, VIRTUAL_MACHINE
from lbstack.review.drift import EXTRA_CONFIG, WORDS, View, show, where
from lbstack.review.report import Change
from lbstack.review.resources import Resource


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
        found += _property_changes(resource)
    return [Change(change.where, view.redactor(change.text)) for change in found]


def _provider_changes(resource: Resource) -> list[Change]:
    """What changes in how vCenter is reached; never the password itself."""
    shown = [name for name in resource.differing if name != "password"]
    found = [Change("vCenter login", f"{name}: {_change(resource, name)}") for name in shown]
    if "password" in resource.differing:
        found.append(Change("vCenter login", "the password"))
    return found


def _property_changes(resource: Resource) -> list[Change]:
    found = []
    for path in resource.differing:
        name = path.partition(".")[0].partition("[")[0]
        if name == EXTRA_CONFIG or (resource.kind == VIRTUAL_MACHINE and name in (*PROVIDER_NOISE, "replaceTrigger")):
            continue
        found.append(Change(where(resource), f"{WORDS.get(name, name)}: {_change(resource, path)}"))
    return found


def _change(resource: Resource, path: str) -> str:
    return f"{show(lookup(resource.old, path))} → {show(lookup(resource.new, path))}"
