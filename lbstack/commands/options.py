"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

StackArgument = Annotated[
    str, typer.Argument(metavar="STACK", help="Name of the stack, or the path of its Pulumi.<stack>.yaml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as data.")]
TimeoutOption = Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How long the engine may take.")]
