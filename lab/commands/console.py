"""Output and options that all commands of the lab share."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lab.home.state import Paths

TABLE_WIDTH = 140  # columns, where no terminal reports its width

StateOption = Annotated[
    Path, typer.Option("--state", metavar="DIR", help="The lab's directory; each one is a lab of its own.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print data instead of tables.")]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def wide(console: Console) -> Console:
    """The console for a table: as wide as the terminal, and wide enough for its columns where there is none."""
    return console if console.is_terminal else Console(width=TABLE_WIDTH)


def progress(line: str) -> None:
    """A line of the lab's own."""
    err.print(f"{elapsed()} {line}", highlight=False, markup=False)


def show(line: str) -> None:
    """A line of Pulumi's; its dots are left out, the stopwatch in front of our own lines is enough."""
    if line.lstrip().startswith("@ "):
        return
    err.print(f"        {line}", highlight=False, markup=False, style="dim")


def clock() -> Callable[[], str]:
    """A stopwatch that starts now."""
    start = time.monotonic()
    return lambda: f"{time.monotonic() - start:6.1f}s"


elapsed = clock()


def paths_of(state: Path) -> Paths:
    """The lab in a directory."""
    return Paths(state.expanduser().absolute())
