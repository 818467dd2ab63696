"""Progress on standard error, for a person who waits."""

from __future__ import annotations

import sys

import typer


def progress(line: str) -> None:
    """A line for a person who waits; on a terminal each takes the place of the one before."""
    if sys.stderr.isatty():
        typer.echo(f"\r\033[K{line}\r", nl=False, err=True)
    else:
        typer.echo(line, err=True)
