"""Collect what two runs of the engine report about each resource: one without reading vCenter, one after reading it.

The first (``preview``) compares the stack file with the last deployment. The second (``preview --refresh``) reads
vCenter first, so it shows what exists and what `up --refresh` would do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lbstack.engine.events import Run
from lbstack.engine.values import Properties, lookup, unwrap
from lbstack.facts.names import GET_NETWORK, GET_TAG, STACK, TAG, VIRTUAL_MACHINE
from lbstack.render.redact import Redactor
from lbstack.render.unpack import Opened, open_guestinfo

SIGNING_KEY = "lbstack:signingKey"
QUIET = ("same", "refresh", "read")
DEFAULTS = "__defaults"  # where the bridge lists the keys whose values are defaults


@dataclass
class Resource:
    """One resource in one run.

    Args:
        urn: The engine's name of it.
        kind: Its type.
        operations: What the engine would do with it, in order, without ``same``.
        differing: The properties because of which.
        keys: Those of them that make a replacement necessary.
        old: Its properties as the last deployment left them.
        new: Its properties as the program sets them.
        seen: Its properties as vCenter has them; None where it was not looked at or is not there.
        looked: Whether the engine looked at it in vCenter.
        drifted: Property path → how, as the engine found it there.
    """

    urn: str
    kind: str
    operations: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    old: Properties | None = None
    new: Properties | None = None
    seen: Properties | None = None
    looked: bool = False
    drifted: dict[str, Any] = field(default_factory=dict)
    protected: bool = False

    @property
    def name(self) -> str:
        """Its name in the program."""
        return self.urn.rpartition("::")[2]

    @property
    def changing(self) -> list[str]:
        """``differing`` without blocks in which nothing but what is empty comes or goes.

        The provider records a block (``clone``, for one) with every key that it knows; the program sends those that it
        sets. Whenever anything else of a VM changes, the engine lists the block as changed too.
        """
        found = []
        for path in self.differing:
            old, new = lookup(self.old, path), lookup(self.new, path)
            if old == new or not _same_block(old, new):  # what looks equal differs in what is not shown: a secret
                found.append(path)
        return found

    @property
    def missing(self) -> bool:
        """Whether it was deployed and is not there any more."""
        return self.looked and self.seen is None

    @property
    def label(self) -> str:
        """What a person calls it: a VM by its name in vCenter."""
        for properties in (self.old, self.new):
            if self.kind == VIRTUAL_MACHINE and properties and properties.get("name"):
                return str(properties["name"])
        return self.name


def _same_block(old: object, new: object) -> bool:
    """Whether two blocks differ in empty values only; what is no block is never the same."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) == 1:
        return _same_block(old[0], new[0])
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return False
    keys = {key for key in {*old, *new} if not str(key).startswith(DEFAULTS)}
    return all(_empty(old.get(key)) == _empty(new.get(key)) for key in keys)


def _empty(value: object) -> object:
    """A value, or None for what is the same to a provider as no value: Go's zero values."""
    if isinstance(value, Mapping):
        kept = {key: _empty(item) for key, item in value.items() if not str(key).startswith(DEFAULTS)}
        return {key: item for key, item in kept.items() if item is not None} or None
    if isinstance(value, list):
        return [_empty(item) for item in value] or None
    return value or None


@dataclass(frozen=True, repr=False)
class Guestinfo:
    """What one VM's guestinfo was, is to be, and is.

    Args:
        deployed: As the last deployment wrote it.
        wanted: As the program sets it.
        seen: As vCenter has it.
    """

    deployed: object = None
    wanted: object = None
    seen: object = None


def resources_of(run: Run) -> dict[str, Resource]:
    """Everything that a run reports about each resource, by URN; from its events alone."""
    found: dict[str, Resource] = {}
    for event in run.events:
        for kind in ("resourcePreEvent", "resOutputsEvent"):
            if kind in event:
                step = event[kind]["metadata"]
                resource = found.setdefault(step["urn"], Resource(step["urn"], step["type"]))
                _take(resource, step, kind)
    return found


def networks_of(run: Run) -> dict[str, str]:
    """The id of each network that the program looked up → its name."""
    return _looked_up(run, GET_NETWORK)


def tags_of(run: Run) -> dict[str, str]:
    """The id of each tag that is the stack's own → its name: those that it made, and those that it looked up to use."""
    made = [resource for resource in resources_of(run).values() if resource.kind == TAG]
    return _looked_up(run, GET_TAG) | {
        str(identity): str(lookup(resource.old, "name") or resource.name)
        for resource in made
        if (identity := lookup(resource.old, "id"))
    }


def _looked_up(run: Run, token: str) -> dict[str, str]:
    return {
        str(response["return"]["id"]): str(request.get("args", {}).get("name"))
        for _, request, response in _calls(run)
        if request.get("tok") == token and response.get("return", {}).get("id")
    }


def _take(resource: Resource, step: Mapping[str, Any], kind: str) -> None:
    operation = step["op"]
    old, new = step.get("old") or {}, step.get("new") or {}
    resource.protected |= bool(old.get("protect"))
    if operation == "refresh":
        resource.old = resource.old or old.get("outputs")
        if kind == "resOutputsEvent":
            resource.looked = True
            resource.seen = None if step.get("new") is None else new.get("outputs") or {}
            resource.drifted |= step.get("detailedDiff") or dict.fromkeys(step.get("diffs") or ())
        return
    resource.old = resource.old or old.get("outputs") or old.get("inputs")
    resource.new = new.get("inputs") or resource.new
    if operation in QUIET:
        return
    if operation not in resource.operations:
        resource.operations.append(operation)
    resource.differing += [name for name in step.get("diffs") or () if name not in resource.differing]
    resource.keys += [name for name in step.get("keys") or () if name not in resource.keys]


def guestinfo_of(run: Run) -> dict[str, Guestinfo]:
    """URN → guestinfo of every VM, from the calls that the engine made."""
    found: dict[str, dict[str, object]] = {}
    for method, request, response in _calls(run):
        if request.get("type", VIRTUAL_MACHINE) != VIRTUAL_MACHINE or VIRTUAL_MACHINE not in request.get("urn", ""):
            continue
        values = found.setdefault(request["urn"], {})
        if method.endswith("/Check"):
            values["wanted"] = _extra(response.get("inputs")) or _extra(request.get("news"))
            values.setdefault("deployed", _extra(request.get("olds")))
        elif method.endswith("/Read") and request.get("properties"):
            values["deployed"] = _extra(request["properties"])
            values["seen"] = _extra(response.get("properties"))
    return {urn: Guestinfo(**values) for urn, values in found.items()}


def annotations_of(run: Run) -> dict[str, str | None]:
    """URN of every VM that the engine looked up in vCenter → its annotation there; None for one that is gone."""
    return {
        str(request["urn"]): str(response["properties"].get("annotation", "")) if response.get("properties") else None
        for method, request, response in _calls(run)
        if method.endswith("/Read") and VIRTUAL_MACHINE in str(request.get("urn", ""))
    }


def _calls(run: Run) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for call in run.calls:
        if "response" in call:  # each call is recorded when it begins, too, without its answer
            yield str(call["method"]), call.get("request") or {}, call["response"] or {}


def _extra(properties: object) -> object:
    return unwrap(properties.get("extraConfig")) if isinstance(properties, dict) else None


def redactor_of(*runs: Run) -> Redactor:
    """A redactor with the stack's signing key as its key, where the engine could decrypt that."""
    for run in runs:
        for call in run.calls:
            if str(call.get("method", "")).endswith("/Run"):
                key = call["request"].get("config", {}).get(SIGNING_KEY)
                if key:
                    return Redactor(str(key))
    return Redactor()


def opened(values: object, redactor: Redactor) -> Opened:
    """A VM's guestinfo; nothing where there is none."""
    return open_guestinfo(values or {}, redactor)


def outputs_of(resources: Mapping[str, Resource], name: str) -> tuple[Any, Any]:
    """One of the stack's outputs: as it was and as it will be."""
    for resource in resources.values():
        if resource.kind == STACK:
            return (resource.old or {}).get(name), (resource.new or {}).get(name)
    return None, None
