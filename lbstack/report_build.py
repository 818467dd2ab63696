"""Builds the report of a preview from what two runs of the engine said, and from nothing else.

Nothing is rendered again and no vCenter is asked: the files are those that the engine was given, decoded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lbstack import filediff, impact
from lbstack.contents import Opened, Redactor
from lbstack.engine import Run
from lbstack.gate import Answer
from lbstack.known import PROVIDER_NOISE
from lbstack.report import Change, Drift, FileDiff, Report, verdict_of
from lbstack.stateview import (
    PROVIDER,
    RULE,
    VIRTUAL_MACHINE,
    Guestinfo,
    Resource,
    guestinfo_of,
    lookup,
    networks_of,
    opened,
    outputs_of,
    redactor_of,
    resources_of,
)

EXTRA_CONFIG = "extraConfig"
MEMBERS = "virtualMachineIds"
# The engine's property → a reader's word.
WORDS = {
    "numCpus": "CPUs",
    "numCoresPerSocket": "cores per socket",
    "memory": "memory (MiB)",
    "networkInterfaces": "network",
    "powerState": "power",
    "annotation": "annotation",
    "virtualMachineIds": "members",
    "enabled": "rule",
}
KINDS = {RULE: "anti-affinity rule", "vsphere:index/folder:Folder": "folder", "vsphere:index/tag:Tag": "tag"}
SECRET = "a secret"  # noqa: S105 - what is said in its place


@dataclass(frozen=True, repr=False)
class _View:
    """Both runs, side by side.

    Args:
        planned: What the stack file would change.
        looked: What vCenter has, and what `up --refresh` would do.
        planned_info: The VMs' guestinfo in the first run.
        looked_info: The same in the second.
        redactor: Takes secrets out.
        names: Ids of vCenter → names: the VMs' and the network's.
    """

    planned: Mapping[str, Resource]
    looked: Mapping[str, Resource]
    planned_info: Mapping[str, Guestinfo]
    looked_info: Mapping[str, Guestinfo]
    redactor: Redactor
    names: Mapping[str, str]


def build(stack: str, planned: Run, looked: Run, answers: Mapping[str, Answer] | None = None) -> Report:
    """Build the report.

    Args:
        stack: The stack's name.
        planned: A successful run of ``preview``.
        looked: A successful run of ``preview --refresh``.
        answers: What each node said about itself; None where they were not asked.
    """
    resources = resources_of(looked)
    names = {str(lookup(item.old, "uuid")): item.label for item in resources.values() if item.kind == VIRTUAL_MACHINE}
    view = _View(
        resources_of(planned),
        resources,
        guestinfo_of(planned),
        guestinfo_of(looked),
        redactor_of(planned, looked),
        names | networks_of(planned) | networks_of(looked),
    )
    drift, noise = _drift(view)
    deployed, wanted = _sets(view)
    files = _files(view, deployed, wanted)
    changes = _changes(view)
    addresses = _addresses(planned)
    impacts, holder = impact.of_nodes(
        [resource for resource in view.planned.values() if resource.kind == VIRTUAL_MACHINE],
        files,
        list(addresses),
        answers,
    )
    verdict, outcome = verdict_of(drift, files, changes, impacts)
    return Report(
        stack=stack,
        verdict=verdict,
        outcome=outcome,
        drift=tuple(drift),
        noise=tuple(noise),
        files=files,
        services=filediff.service_changes(_contents(deployed), _contents(wanted)),
        changes=tuple(changes),
        nodes=tuple(impacts),
        holder=holder,
        warnings=tuple(_warnings(view, (planned, looked), deployed, wanted, files)),
        seconds=round(max(planned.seconds, looked.seconds), 1),
    )


def _addresses(run: Run) -> dict[str, str]:
    """Node name → address, in the order of the stack file."""
    try:
        nodes = json.loads(run.config.get("lbstack:nodes", "[]"))
        return {str(node["name"]): str(node["address"]) for node in nodes}
    except (ValueError, KeyError, TypeError):
        return {}


# -- files -----------------------------------------------------------------------------------------------------------


def _sets(view: _View) -> tuple[dict[str, Opened], dict[str, Opened]]:
    """Node → its set as deployed and as wanted."""
    deployed: dict[str, Opened] = {}
    wanted: dict[str, Opened] = {}
    for urn, resource in view.planned.items():
        if resource.kind != VIRTUAL_MACHINE:
            continue
        info = view.planned_info.get(urn, Guestinfo())
        if resource.old is not None:
            deployed[resource.label] = opened(info.deployed, view.redactor)
        if resource.operations != ["delete"]:
            wanted[resource.label] = opened(info.wanted, view.redactor)
    return deployed, wanted


def _contents(sets: Mapping[str, Opened]) -> dict[str, Mapping[str, str]]:
    return {node: held.files for node, held in sets.items()}


def _files(view: _View, deployed: Mapping[str, Opened], wanted: Mapping[str, Opened]) -> tuple[FileDiff, ...]:
    """What changes in which file; from the stack's output where the engine's calls could not be read."""
    before, after = _contents(deployed), _contents(wanted)
    if not any(before.values()) and not any(after.values()):
        old, new = outputs_of(view.planned, "files")
        before, after = _as_files(old), _as_files(new)
    first = not any(before.values())
    return filediff.compare(before, after, contents=not first)


def _as_files(output: Any) -> dict[str, Mapping[str, str]]:
    if not isinstance(output, dict):
        return {}
    return {str(node): dict(files) for node, files in output.items() if isinstance(files, dict)}


# -- drift -----------------------------------------------------------------------------------------------------------


def _drift(view: _View) -> tuple[list[Drift], list[str]]:
    found: list[Drift] = []
    noise: dict[str, None] = {}
    for urn, resource in sorted(view.looked.items(), key=lambda item: (item[1].label, item[0])):
        if resource.kind.startswith("pulumi:") or not resource.looked:
            continue
        where = _where(resource)
        if resource.missing:
            text = "It was deployed and is not in vCenter any more."
            found.append(Drift(where, "missing", text, _remedy(view, resource, "")))
            continue
        for path in sorted(resource.drifted):
            name = path.partition(".")[0].partition("[")[0]
            if resource.kind == VIRTUAL_MACHINE and name in PROVIDER_NOISE:
                noise[f"{name} ({PROVIDER_NOISE[name]})"] = None
            elif name != EXTRA_CONFIG:
                found.append(_property(view, resource, path, name))
        if any(path.startswith(EXTRA_CONFIG) for path in resource.drifted):
            found.append(_guestinfo(view, urn, resource))
        power = lookup(resource.old, "powerState"), lookup(resource.seen, "powerState")
        if "powerState" not in resource.drifted and None not in power and power[0] != power[1]:
            found.append(_property(view, resource, "powerState", "powerState"))
    return found, list(noise)


def _where(resource: Resource) -> str:
    if resource.kind == VIRTUAL_MACHINE:
        return resource.label
    return (
        f"{KINDS.get(resource.kind, resource.kind.rpartition(':')[2])} {lookup(resource.old, 'name') or resource.name}"
    )


def _property(view: _View, resource: Resource, path: str, name: str) -> Drift:
    path = name if name == MEMBERS else path
    old, seen = (_show(_named(view, lookup(side, path))) for side in (resource.old, resource.seen))
    word = WORDS.get(name, path)
    if resource.kind == RULE and name == "enabled":
        text = f"The rule is switched {_on(seen)} in vCenter; deployed: {_on(old)}."
    elif name == "powerState":
        text = f"The VM is powered {seen} in vCenter; deployed: {old}."
    else:
        text = f"{word}: {seen} in vCenter; deployed: {old}."
    return Drift(_where(resource), word, text, _remedy(view, resource, name))


def _named(view: _View, value: object) -> object:
    """Ids of vCenter with the names that a person knows them by."""
    if isinstance(value, list):
        return ", ".join(str(_named(view, item)) for item in value)
    return view.names.get(value, value) if isinstance(value, str) else value


def _on(value: str) -> str:
    return "on" if value == "true" else "off"


def _guestinfo(view: _View, urn: str, resource: Resource) -> Drift:
    info = view.looked_info.get(urn, Guestinfo())
    before = opened(info.deployed, view.redactor).files
    after = opened(info.seen, view.redactor).files
    files = filediff.compare({resource.label: before}, {resource.label: after})
    keys = sorted(path.partition('["')[2].rstrip('"]') for path in resource.drifted if path.startswith(EXTRA_CONFIG))
    if files:
        text = f"{len(files)} {'file differs' if len(files) == 1 else 'files differ'} from what was deployed."
    else:
        text = (
            f"{', '.join(filter(None, keys)) or 'It'} differs in its encoding or in what is not shown, not in a file."
        )
    text += " The node takes nothing in that is not signed with the stack's key."
    return Drift(resource.label, "guestinfo", text, _remedy(view, resource, EXTRA_CONFIG), files)


def _remedy(view: _View, resource: Resource, name: str) -> str:
    """What `up` would do about it, as the engine's second run tells."""
    after = view.looked.get(resource.urn)
    plain = view.planned.get(resource.urn)
    operations = after.operations if after else []
    known = plain is not None and bool(plain.operations) and (not name or name in plain.differing)
    if resource.missing:
        if "create" in operations:
            return "`pulumi up --refresh` makes it again; without --refresh `up` does not see it."
        return "`pulumi up --refresh` does not make it again, because the stack file has it no more."
    if "replace" in operations:
        return "`pulumi up --refresh` destroys it and makes it again."
    if after and name in after.differing:
        how = impact.words_of(after)
        tail = "plain `up` writes it too." if known else "without --refresh `up` does not see it."
        return f"`pulumi up --refresh` puts it back{how}; {tail}"
    if name == "powerState":
        return "`pulumi up` does nothing about it: switch the VM on in vCenter."
    return "`pulumi up` does nothing about it: put it back in vCenter, or take it into the stack file."


# -- changes beside the files ----------------------------------------------------------------------------------------


def _changes(view: _View) -> list[Change]:
    found = []
    for resource in view.planned.values():
        if not resource.operations or resource.kind in ("pulumi:pulumi:Stack", "lbstack:index:LoadBalancerPair"):
            continue
        if resource.kind == PROVIDER:
            found += _provider_changes(resource)
            continue
        operation = next((name for name in ("replace", "create", "delete") if name in resource.operations), "")
        if not operation and any("replace" in name for name in resource.operations):
            operation = "replace"
        if operation in ("create", "delete"):
            found.append(Change(_where(resource), "is made" if operation == "create" else "is removed"))
            continue
        if operation == "replace":
            because = f" because of {', '.join(resource.keys)}" if resource.keys else ""
            found.append(Change(_where(resource), f"is destroyed and made again{because}"))
        found += _property_changes(resource)
    return found


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
        found.append(Change(_where(resource), f"{WORDS.get(name, name)}: {_change(resource, path)}"))
    return found


def _change(resource: Resource, path: str) -> str:
    return f"{_show(lookup(resource.old, path))} → {_show(lookup(resource.new, path))}"


def _show(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    if isinstance(value, Mapping) and "4dabf18193072939515e22adb298388d" in value:
        return SECRET
    if isinstance(value, Mapping | list):
        text = json.dumps(value, sort_keys=True)
        return SECRET if "4dabf18193072939515e22adb298388d" in text else text
    return str(value) or "empty"


# -- warnings --------------------------------------------------------------------------------------------------------


def _warnings(
    view: _View,
    runs: tuple[Run, Run],
    deployed: Mapping[str, Opened],
    wanted: Mapping[str, Opened],
    files: Sequence[FileDiff],
) -> list[str]:
    said: list[str] = []
    for node, held in wanted.items():
        before = deployed.get(node)
        resource = next((item for item in view.planned.values() if item.label == node), None)
        if before and before.public_key and held.public_key and before.public_key != held.public_key:
            kept = not (resource and any("replace" in name for name in resource.operations))
            if kept:
                said.append(
                    f"The signing key changes, but {node} keeps its VM: it refuses every set that is signed with "
                    "another key than the one of its first boot. Replace the VMs, or set the old key again."
                )
    said += impact.hazards(files)
    for resource in view.planned.values():
        endangered = [name for name in resource.operations if "delete" in name or "replace" in name]
        if resource.protected and endangered:
            said.append(
                f"{resource.label} is protected: `up` will refuse to do that. Set `lbstack:protect: false` in the same "
                "change, deploy, and take it out again."
            )
    if files and not view.redactor.key:
        said.append("The signing key was not at hand: a changed secret shows as <redacted> on both sides.")
    changed_sets = any(
        (before := deployed.get(node)) and before.config_hash != held.config_hash for node, held in wanted.items()
    )
    if changed_sets and not files:
        said.append("The sets differ in what is not shown here: a secret, or a file's owner or mode.")
    for run in runs:
        said += [text for text in run.diagnostics("warning") if text not in said]
    return [view.redactor(text) for text in said]
