"""``lbstack up``: run the engine's own `up`, and report what it did, from its events.

It is `pulumi up` and no more: the program's checks and the gate decide. A run that fails is reported with what was done
until then and on which node. Nothing is rolled back; the same command continues from there.
"""

from __future__ import annotations

from lbstack.engine import run as engine
from lbstack.engine.errors import EngineFailed
from lbstack.engine.events import Progress
from lbstack.engine.stack import Stack
from lbstack.review import applied
from lbstack.review.failures import failure_of
from lbstack.review.preview import answers_of
from lbstack.review.report import Report


def up(stack: Stack, progress: Progress, timeout_s: float) -> Report:
    """Deploy a stack, and report what was done.

    Args:
        stack: The stack that is meant.
        progress: Receives lines for a person who waits.
        timeout_s: How long it may take, in seconds; then the engine is asked to end after the steps it has begun.
    """
    run = engine.run(stack, "up", "--yes", "--skip-preview", progress=progress, timeout_s=timeout_s)
    failure = None
    try:
        run.require_success()
    except EngineFailed as error:
        failure = failure_of(error)
    return applied.build(stack.name, run, failure, answers_of(run.config))
