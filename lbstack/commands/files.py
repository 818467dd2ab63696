"""The commands about files, without the engine: `lbstack schema`, `lbstack render` and `lbstack check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lbstack.commands.options import StackArgument
from lbstack.engine.stack import find_stack
from lbstack.offline import stack as offline
from lbstack.offline.check import check_stack
from lbstack.offline.directory import write_files
from lbstack.problems import ConfigError, LbstackError
from lbstack.stackfile import schema as stack_schema

app = typer.Typer()

SCHEMA_FILE = Path("stack.schema.json")


@app.command("schema")
def schema(
    check: Annotated[bool, typer.Option("--check", help="Only compare the file; exit code 2 when it is old.")] = False,  # noqa: FBT002
    write: Annotated[bool, typer.Option("--write", help="Write the file.")] = False,  # noqa: FBT002
    file: Annotated[Path, typer.Option(help="The file.")] = SCHEMA_FILE,
) -> None:
    """Print the JSON Schema of a stack file, write it, or compare it with the file."""
    if check and write:
        raise LbstackError("--check and --write exclude each other. Give one of them.")
    if write:
        stack_schema.write(file)
    elif check:
        stack_schema.require_fresh(file)
    else:
        typer.echo(stack_schema.text(), nl=False)


@app.command("render")
def render(
    stack: StackArgument,
    node: Annotated[str | None, typer.Option(help="Only the files of this node.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write them there instead of printing them.")] = None,
) -> None:
    """Show every file of every node, as the stack file makes them. Asks no vCenter and decrypts nothing."""
    found = find_stack(stack)
    nodes = offline.only_node(offline.load_offline(found.file).shown, node)
    if out is None:
        typer.echo(offline.listing(nodes), nl=False)
    else:
        count = write_files(nodes, out)
        typer.echo(f"{count} files in {out}", err=True)
    typer.echo(offline.NOT_DECRYPTED, err=True)


@app.command("check")
def check(
    stack: StackArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of text.")] = False,  # noqa: FBT002
) -> None:
    """Check a stack file, then what it renders to with every checker that is installed here.

    Exit code 0: nothing is wrong; 1: a checker refuses a file; 2: the stack file itself is wrong.
    """
    file = find_stack(stack).file
    try:
        outcome = check_stack(file)
    except ConfigError as error:
        if as_json:
            problems = [vars(problem) for problem in error.problems]
            typer.echo(json.dumps({"ok": False, "problems": problems}, indent=1))
        raise
    typer.echo(json.dumps(outcome.as_data(), indent=1) if as_json else outcome.text())
    if not outcome.ok:
        raise typer.Exit(1)
