"""Builds the report of a preview from what two runs of the engine said, and from nothing else.

Nothing is rendered again and no vCenter is asked: the files are those that the engine was given, decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lbstack import filediff, impact
from lbstack.backend import Pending
from lbstack.drift import EXTRA_CONFIG, WORDS, View, drift_of, show, where
from lbstack.engine import Run
from lbstack.facts.names import PAIR, PROVIDER, PROVIDER_NOISE, STACK, VIRTUAL_MACHINE
from lbstack.nodes.health import Answer
from lbstack.render.unpack import Opened, only_known
from lbstack.report import Change, FileDiff, Report, verdict_of
from lbstack.stateview import (
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

PENDING = re.compile(r"^\s*\* (\S+), interrupted while (\w+)", re.MULTILINE)


def build(
    stack: str,
    planned: Run,
    looked: Run,
    answers: Mapping[str, Answer] | None = None,
    left: Sequence[str] = (),
) -> Report:
    """Build the report.

    Args:
        stack: The stack's name.
        planned: A successful run of ``preview``.
        looked: A successful run of ``preview --refresh``.
        answers: What each node said about itself; None where they were not asked.
        left: What a killed run left half done, in sentences.
    """
    resources = resources_of(looked)
    names = {str(lookup(item.old, "uuid")): item.label for item in resources.values() if item.kind == VIRTUAL_MACHINE}
    view = View(
        resources_of(planned),
        resources,
        guestinfo_of(planned),
        guestinfo_of(looked),
        redactor_of(planned, looked),
        names | networks_of(planned) | networks_of(looked),
    )
    drift, noise = drift_of(view)
    deployed, wanted = sets_of(view)
    files = files_of(view, deployed, wanted)
    changes = changes_of(view)
    addresses = addresses_of(planned)
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
        services=filediff.service_changes(contents_of(deployed), contents_of(wanted)),
        changes=tuple(changes),
        nodes=tuple(impacts),
        holder=holder,
        warnings=(*left, *_warnings(view, (planned, looked), deployed, wanted, files)),
        seconds=round(max(planned.seconds, looked.seconds), 1),
    )


def addresses_of(run: Run) -> dict[str, str]:
    """Node name → address, in the order of the stack file."""
    try:
        nodes = json.loads(run.config.get("lbstack:nodes", "[]"))
        return {str(node["name"]): str(node["address"]) for node in nodes}
    except (ValueError, KeyError, TypeError):
        return {}


# -- files -----------------------------------------------------------------------------------------------------------


def sets_of(view: View) -> tuple[dict[str, Opened], dict[str, Opened]]:
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


def contents_of(sets: Mapping[str, Opened]) -> dict[str, Mapping[str, str]]:
    """Node → path → content of its set."""
    return {node: held.files for node, held in sets.items()}


def files_of(view: View, deployed: Mapping[str, Opened], wanted: Mapping[str, Opened]) -> tuple[FileDiff, ...]:
    """What changes in which file; from the stack's output where the engine's calls could not be read."""
    after = contents_of(wanted)
    # What the state has may be what somebody wrote, when a refresh has taken it in.
    before = {node: only_known(held, wanted.get(node), view.redactor) for node, held in deployed.items()}
    if not any(before.values()) and not any(after.values()):
        old, new = outputs_of(view.planned, "files")
        before, after = _as_files(old), _as_files(new)
    first = not any(before.values())
    rights = (
        {node: set_.rights for node, set_ in deployed.items()},
        {node: set_.rights for node, set_ in wanted.items()},
    )
    return filediff.compare(before, after, rights, contents=not first)


def _as_files(output: Any) -> dict[str, Mapping[str, str]]:
    if not isinstance(output, dict):
        return {}
    return {str(node): dict(files) for node, files in output.items() if isinstance(files, dict)}


# -- changes beside the files ----------------------------------------------------------------------------------------


def changes_of(view: View) -> list[Change]:
    """What a deployment changes beside the files."""
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


def warnings_of(run: Run) -> list[str]:
    """What the engine and the program warn of; the engine's page about a killed run in a sentence of ours."""
    said = []
    for text in run.diagnostics("warning"):
        if "pending operations from previous deployment" in text:
            said += [str(Pending(urn, doing)) for urn, doing in PENDING.findall(text)]
        else:
            said.append(text)
    return said


# -- warnings --------------------------------------------------------------------------------------------------------


def _warnings(
    view: View,
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
        said.append("The sets differ in what is not shown here: a secret.")
    for run in runs:
        said += [text for text in warnings_of(run) if text not in said]
    return [view.redactor(text) for text in said]
