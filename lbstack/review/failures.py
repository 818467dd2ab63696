"""Turn a failure into a report, so that there is always one, which replaces the report before it."""

from __future__ import annotations

from lbstack.engine.errors import EngineFailed
from lbstack.problems import LbstackError
from lbstack.render.redact import redact
from lbstack.review import report
from lbstack.review.report import Failure, Report

INPUT = "input"
"""The kind of a failure that needed no engine to be seen: no such stack, for example."""


def failure_of(error: LbstackError) -> Failure:
    """A failure as a report may show it, without secrets that a message has quoted."""
    if isinstance(error, EngineFailed):
        return Failure(error.kind, redact(error.message), redact(error.remedy))
    return Failure(INPUT, redact(str(error)), "")


def report_of(stack: str, error: LbstackError, *, applied: bool = False) -> Report:
    """The report of what could not begin.

    Args:
        stack: What its user called the stack.
        error: Why it could not.
        applied: Whether it was to be a deployment; else a preview.
    """
    failure = failure_of(error)
    if not applied:
        return report.failed(stack, failure)
    verdict, outcome = report.applied_verdict((), (), (), failure)
    return Report(stack, verdict, outcome, failure=failure, applied=True)
