"""`lbstack init`: a new repository."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lbstack.scaffold import repository, source

app = typer.Typer()


@app.command("init")
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="The directory to make; it may exist if it is empty.")
    ],
    where: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SOURCE",
            help="Where it installs lbstack from: a wheel, or git+URL@REVISION. Without it: where this one is from.",
        ),
    ] = None,
) -> None:
    """Write a repository of your own: the program, an example stack file, the workflows, lbstack as a dependency.

    Nothing is written where DIR is not empty. Exit code 0: it is written; 2: it is not, and why.
    """
    found = source.own() if where is None else source.named(where)
    written = repository.write(directory, found)
    typer.echo(
        f"{len(written)} files in {directory}. Next: `cd {shlex.quote(str(directory))}`, then as in its README.md."
    )
    if found.note:
        typer.echo(found.note, err=True)
