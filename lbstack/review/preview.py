"""``lbstack preview``: run the engine twice, query the nodes at the same time, and make one report of it.

The two runs go at the same time: ``preview`` shows what the stack file changes, ``preview --refresh --run-program``
reads vCenter first and shows what drifted and what `up --refresh` would do about it. Neither writes a state or takes a
lock. Where a run fails, the report shows the engine's message and a remedy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from lbstack.engine import backend, events, run
from lbstack.engine.errors import EngineFailed
from lbstack.engine.events import Event, Progress, Run
from lbstack.engine.stack import Stack
from lbstack.nodes.about import NODE_PATH, About, get, read
from lbstack.nodes.health import Answer, Target, ask
from lbstack.review import build
from lbstack.review.failures import report_of
from lbstack.review.report import Report

PLAN = ("preview",)
LOOK = ("preview", "--refresh", "--run-program")
Asked = tuple[Mapping[str, Answer], Mapping[str, About]]
"""Node → its health, and node → what it tells besides."""
ROLLOUT, NODES = "lbstack:rollout", "lbstack:nodes"


def preview(stack: Stack, progress: Progress, timeout_s: float) -> Report:
    """Make the report; never raises for what the engine could not do.

    Args:
        stack: The stack that is meant.
        progress: Receives lines for a person who waits.
        timeout_s: How long each run of the engine may take, in seconds.
    """
    try:
        planned, looked, asked, left = _run_both(stack, progress, timeout_s)
        answers, told = asked or (None, None)
        return build.build(stack.name, planned, looked, answers, [str(step) for step in left], told=told)
    except EngineFailed as error:
        return report_of(stack.name, error)


def _run_both(
    stack: Stack, progress: Progress, timeout_s: float
) -> tuple[Run, Run, Asked | None, Sequence[backend.Pending]]:
    run.program()  # a missing program is reported once, not by every thread
    with ThreadPoolExecutor(4) as pool:
        asked: list[Future[Asked | None]] = []

        def ask_nodes(event: Event) -> None:
            """Ask while the engine works: its first event lists the nodes."""
            config = events.config_of(event)
            if config and not asked:
                asked.append(pool.submit(asked_of, config))

        recorded = pool.submit(_recorded, stack)
        plan = pool.submit(
            run.run,
            stack,
            *PLAN,
            progress=_labelled("changes", progress),
            notice=ask_nodes,
            timeout_s=timeout_s,
        )
        look = pool.submit(run.run, stack, *LOOK, progress=_labelled("drift", progress), timeout_s=timeout_s)
        _first_failure(plan, look, recorded)
        answers = asked[0].result() if asked else asked_of(plan.result().config)
        return plan.result(), look.result(), answers, recorded.result()


def _recorded(stack: Stack) -> Sequence[backend.Pending]:
    backend.require_unlocked(stack)
    return backend.pending(stack)


def _first_failure(plan: Future[Run], look: Future[Run], recorded: Future[Sequence[backend.Pending]]) -> None:
    """Raise what a person has to repair first: a stack that is not there, then a lock, then the rest."""
    plan.exception()
    look.exception()
    failed = [future.exception() for future in (plan, look)]
    for error in failed:
        if error is not None:
            raise error
    plan.result().require_success()
    recorded.result()
    look.result().require_success()


def _labelled(label: str, progress: Progress) -> Progress:
    return lambda line: progress(f"{label}: {line.partition(': ')[2] or line}")


def answers_of(config: Mapping[str, str]) -> Mapping[str, Answer] | None:
    """What each node reports about its health; None where the stack sets that this runner cannot reach them.

    Args:
        config: The stack's configuration, as the engine read it.
    """
    targets = _targets_of(config)
    if not targets:
        return None
    with ThreadPoolExecutor(len(targets)) as pool:
        return dict(zip((target.name for target in targets), pool.map(ask, targets), strict=True))


def asked_of(config: Mapping[str, str]) -> Asked | None:
    """What each node reports about its health, and what it tells besides; None where the nodes are not asked.

    Args:
        config: The stack's configuration, as the engine read it.
    """
    targets = _targets_of(config)
    if not targets:
        return None
    with ThreadPoolExecutor(2 * len(targets)) as pool:
        words = [pool.submit(get, target.address, NODE_PATH) for target in targets]
        answers = list(pool.map(ask, targets))
        told = [read(future.result(), answer.applied) for future, answer in zip(words, answers, strict=True)]
    names = [target.name for target in targets]
    return dict(zip(names, answers, strict=True)), dict(zip(names, told, strict=True))


def _targets_of(config: Mapping[str, str]) -> list[Target]:
    """The nodes that may be asked; none where the stack sets that this runner cannot reach them."""
    try:
        if json.loads(config.get(ROLLOUT) or "{}").get("gate") is False:
            return []
        return [Target(str(node["name"]), str(node["address"])) for node in json.loads(config.get(NODES) or "[]")]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
