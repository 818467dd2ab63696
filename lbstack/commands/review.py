"""The commands that report about a deployment: `lbstack preview` and `lbstack up`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lbstack.commands.options import JsonOption, StackArgument, TimeoutOption
from lbstack.commands.progress import progress
from lbstack.engine.stack import find_stack
from lbstack.facts import limits
from lbstack.problems import LbstackError
from lbstack.review import failures
from lbstack.review import markdown as as_markdown
from lbstack.review import preview as previewing
from lbstack.review import text as as_text
from lbstack.review import up as deploying
from lbstack.review.report import Report

app = typer.Typer()

MarkdownOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the report there as Markdown, fit for a comment.")
]


PREVIEW_TIMEOUT_S = limits.LOOK_UPS_S
UP_TIMEOUT_S = limits.UP_S


@app.command("preview")
def preview(
    stack: StackArgument,
    *,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = PREVIEW_TIMEOUT_S,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit code 1 when there is drift.")] = False,
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="Exit code 1 when `up` would change something.")
    ] = False,
) -> None:
    """Show what a deployment would change in which file on which node, and what has drifted in vCenter.

    Exit code 0: the report is complete; 1: it shows what --fail-on-drift or --fail-on-change asks about; 2: it is not
    complete, and shows why. Changes nothing.
    """
    _require_writable(markdown)
    report = _report_even_of_failure(stack, lambda: previewing.preview(find_stack(stack), progress, timeout))
    _show(report, markdown, as_json=as_json)
    if (report.drifting and fail_on_drift) or (report.changing and fail_on_change):
        raise typer.Exit(1)


@app.command("up")
def up(
    stack: StackArgument,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,  # noqa: FBT002
    timeout: TimeoutOption = UP_TIMEOUT_S,
) -> None:
    """Deploy a stack as `pulumi up --yes` does, and report what was done, also where it failed half-way.

    Exit code 0: it is deployed; 2: it failed, and the report shows after what. When the time is up, or on Ctrl-C, the
    engine ends the steps that it has begun.
    """
    _require_writable(markdown)
    report = _report_even_of_failure(stack, lambda: deploying.up(find_stack(stack), progress, timeout), applied=True)
    _show(report, markdown, as_json=as_json)


def _report_even_of_failure(stack: str, make: Callable[[], Report], *, applied: bool = False) -> Report:
    """Make a report, also of a failure: without one, an older report would be taken for today's."""
    try:
        return make()
    except LbstackError as error:
        return failures.report_of(stack, error, applied=applied)


def _show(report: Report, markdown: Path | None, *, as_json: bool) -> None:
    """Print a report and write it; exit code 2 where it shows a failure."""
    if markdown is not None:
        _write(markdown, as_markdown.markdown_of(report))
    if as_json:
        typer.echo(json.dumps(report.as_data(), indent=1))
    else:
        typer.echo(as_text.text_of(report), nl=False, err=report.failure is not None)
    if report.failure:
        raise typer.Exit(2)


def _require_writable(file: Path | None) -> None:
    """Refuse a file that cannot be written before anything is done that it should report."""
    if file is None:
        return
    place = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(place, os.W_OK):
        raise LbstackError(f"--markdown: {file} cannot be written. Nothing was done. Give another file.")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LbstackError(
            f"The report could not be written to {file} ({error.strerror}). Give another file."
        ) from None
