"""Build the report of a preview from the events of two runs of the engine, and from nothing else.

Nothing is rendered again and no vCenter is queried: the files are those that the engine received, decoded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from lbstack.engine.backend import Pending
from lbstack.engine.events import Run
from lbstack.engine.values import lookup
from lbstack.facts.names import VIRTUAL_MACHINE
from lbstack.nodes.about import About, notices
from lbstack.nodes.health import Answer
from lbstack.render.unpack import Opened
from lbstack.review import filediff, impact
from lbstack.review.changes import changes_of
from lbstack.review.drift import View, drift_of
from lbstack.review.guests import guests_of
from lbstack.review.noon import noon_of
from lbstack.review.report import FileDiff, Report, verdict_of
from lbstack.review.resources import (
    guestinfo_of,
    networks_of,
    redactor_of,
    resources_of,
    tags_of,
)
from lbstack.review.sets import contents_of, files_of, sets_of

PENDING = re.compile(r"^\s*\* (\S+), interrupted while (\w+)", re.MULTILINE)


def build(
    stack: str,
    planned: Run,
    looked: Run,
    answers: Mapping[str, Answer] | None = None,
    left: Sequence[str] = (),
    *,
    told: Mapping[str, About] | None = None,
) -> Report:
    """Build the report.

    Args:
        stack: The stack's name.
        planned: A successful run of ``preview``.
        looked: A successful run of ``preview --refresh``.
        answers: What each node reported about itself; None where they were not asked.
        left: What a killed run left half done, in sentences.
        told: What each node told about itself besides; None where they were not asked.
    """
    resources = resources_of(looked)
    names = {str(lookup(item.old, "uuid")): item.label for item in resources.values() if item.kind == VIRTUAL_MACHINE}
    own_tags = tags_of(planned) | tags_of(looked)
    view = View(
        resources_of(planned),
        resources,
        guestinfo_of(planned),
        guestinfo_of(looked),
        redactor_of(planned, looked),
        names | networks_of(planned) | networks_of(looked) | own_tags,
        own_tags,
    )
    drift, noise, foreign = drift_of(view)
    deployed, wanted = sets_of(view)
    machines = [item for item in view.planned.values() if item.kind == VIRTUAL_MACHINE]
    files = files_of(view, deployed, wanted, impact.actions_of(machines))
    texts = contents_of(deployed), contents_of(wanted)
    changes = changes_of(view)
    addresses = addresses_of(planned)
    impacts, holder = impact.of_nodes(machines, files, list(addresses), answers)
    guests = guests_of(addresses, answers, told)
    verdict, outcome = verdict_of(drift, files, changes, impacts, guests)
    return Report(
        stack=stack,
        verdict=verdict,
        outcome=outcome,
        drift=tuple(drift),
        noise=tuple(noise),
        foreign=tuple(foreign),
        files=files,
        services=filediff.service_changes(*texts),
        changes=tuple(changes),
        nodes=tuple(impacts),
        holder=holder,
        warnings=(
            *left,
            *notices(list((told or {}).items()), edits=False),
            *_warnings(view, (planned, looked), deployed, wanted, files),
        ),
        noon=noon_of(impacts, files, impact.holder_of(answers), impact.hazards(files), texts),
        guests=guests,
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


# -- changes besides the files ----------------------------------------------------------------------------------------


def warnings_of(run: Run) -> list[str]:
    """What the engine and the program warn of; the engine's page about a killed run in a sentence of ours."""
    output = []
    for text in run.diagnostics("warning"):
        if "pending operations from previous deployment" in text:
            output += [str(Pending(urn, doing)) for urn, doing in PENDING.findall(text)]
        else:
            output.append(text)
    return output


# -- warnings --------------------------------------------------------------------------------------------------------


def _warnings(
    view: View,
    runs: tuple[Run, Run],
    deployed: Mapping[str, Opened],
    wanted: Mapping[str, Opened],
    files: Sequence[FileDiff],
) -> list[str]:
    output: list[str] = []
    for node, held in wanted.items():
        before = deployed.get(node)
        resource = next((item for item in view.planned.values() if item.label == node), None)
        if (
            before
            and before.public_key
            and held.public_key
            and held.public_key not in (before.public_key, before.next_key)
        ):
            kept = not (resource and any("replace" in name for name in resource.operations))
            if kept:
                output.append(
                    f"The signing key changes, but {node} keeps its VM and was not told the new one: it refuses every "
                    "set that is signed with it. Set the old key again and the new one as nextSigningKey "
                    "(docs/runbooks/signing-key.md), or replace the VMs."
                )
    output += impact.hazards(files)
    for resource in view.planned.values():
        endangered = [name for name in resource.operations if "delete" in name or "replace" in name]
        if resource.protected and endangered:
            output.append(
                f"{resource.label} is protected: `up` will refuse to do that. Set `lbstack:protect: false` in the same "
                "change, deploy, and take it out again."
            )
    if files and not view.redactor.key:
        output.append("The signing key was not available: a changed secret shows as <redacted> on both sides.")
    changed_sets = any(
        (before := deployed.get(node)) and before.config_hash != held.config_hash for node, held in wanted.items()
    )
    if changed_sets and not files:
        output.append("The sets differ in what is not shown here: a secret.")
    for run in runs:
        output += [text for text in warnings_of(run) if text not in output]
    return [view.redactor(text) for text in output]
