"""Build the report of a deployment from the events of `up`, whether or not it succeeded.

Only what the engine reports as finished is shown as done. A node that the run did not reach is shown as left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lbstack.engine.events import Run
from lbstack.facts.names import VIRTUAL_MACHINE
from lbstack.nodes.health import Answer
from lbstack.review import filediff, impact
from lbstack.review.build import addresses_of, warnings_of
from lbstack.review.changes import changes_of
from lbstack.review.drift import View
from lbstack.review.report import NOT_ASKED, Action, Failure, NodeImpact, Report, applied_verdict
from lbstack.review.resources import QUIET, Resource, guestinfo_of, networks_of, redactor_of, resources_of
from lbstack.review.sets import contents_of, files_of, sets_of

FINISHED, BROKEN = "resOutputsEvent", "resOpFailedEvent"


def build(stack: str, run: Run, failure: Failure | None = None, answers: Mapping[str, Answer] | None = None) -> Report:
    """Build the report.

    Args:
        stack: The stack's name.
        run: A run of ``up``.
        failure: Why it ended, where it failed.
        answers: What each node reports about itself now; None where they are not asked.
    """
    redactor = redactor_of(run)
    broken, finished = _urns(run, BROKEN), _urns(run, FINISHED)
    everything = resources_of(run)
    done = {urn: item for urn, item in everything.items() if urn in finished and urn not in broken}
    view = View(done, {}, guestinfo_of(run), {}, redactor, networks_of(run))
    deployed, wanted = sets_of(view)
    machines = {urn: item for urn, item in everything.items() if item.kind == VIRTUAL_MACHINE}
    files = files_of(view, deployed, wanted, impact.actions_of(machines.values()))
    changes = changes_of(view)
    names = list(addresses_of(run))
    nodes = _nodes(machines, set(done), broken, names, answers, came_to_end=failure is None)
    touched = [node for node in nodes if node.node in deployed | wanted]
    verdict, outcome = applied_verdict(files, changes, touched, failure)
    return Report(
        stack=stack,
        verdict=redactor(verdict),
        outcome=outcome,
        files=files,
        services=filediff.service_changes(contents_of(deployed), contents_of(wanted)) if deployed else (),
        changes=tuple(changes),
        nodes=tuple(nodes),
        warnings=tuple(redactor(text) for text in warnings_of(run)),
        failure=failure and Failure(failure.kind, redactor(failure.message), failure.remedy),
        seconds=round(run.seconds, 1),
        applied=True,
    )


def _urns(run: Run, kind: str) -> set[str]:
    """Every resource for which the engine reports this about a step that changes something."""
    return {str(step["urn"]) for step in run.steps(kind) if step["op"] not in QUIET}


def _nodes(
    machines: Mapping[str, Resource],
    done: set[str],
    broken: set[str],
    names: Sequence[str],
    answers: Mapping[str, Answer] | None,
    *,
    came_to_end: bool,
) -> list[NodeImpact]:
    """What happened to each node, in the order in which it did; last those that a failed run did not come to."""
    found: list[NodeImpact] = []
    seen = set()

    def state(name: str) -> str:
        return str(answers[name]) if answers and name in answers else NOT_ASKED

    for urn, machine in machines.items():
        action, reason = impact.action_of(machine)
        seen.add(machine.label)
        if urn not in done and not machine.operations:
            continue  # it was looked at, and nothing was to be done with it
        if urn not in done:
            how = "it failed there" if urn in broken else "it was begun and not ended"
            reason = f"{how}: {reason}" if reason else how
        found.append(NodeImpact(len(found) + 1, machine.label, action, reason, "", state(machine.label)))
    if not came_to_end:
        why = "the run ended before it came to it"
        found += [NodeImpact(0, name, Action.NONE, why, "", state(name)) for name in names if name not in seen]
    return found
