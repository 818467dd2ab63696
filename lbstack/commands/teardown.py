"""The commands that destroy lab stacks: `lbstack destroy` and `lbstack sweep`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from lbstack.commands.options import StackArgument, TimeoutOption
from lbstack.commands.progress import progress
from lbstack.engine.record import State
from lbstack.engine.stack import Stack, find_stack
from lbstack.facts import limits
from lbstack.problems import LbstackError
from lbstack.stackfile.load import load_file
from lbstack.teardown import destroy as teardown
from lbstack.teardown import sweep as sweeping

app = typer.Typer()

DESTROY_TIMEOUT_S = limits.DESTROY_S


YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("destroy")
def destroy(
    stack: StackArgument,
    yes: YesOption = False,  # noqa: FBT002
    remove: Annotated[bool, typer.Option("--remove", help="Drop the empty stack's record too.")] = False,  # noqa: FBT002
    timeout: TimeoutOption = DESTROY_TIMEOUT_S,
) -> None:
    """Destroy a lab stack. Any other stack is refused with the reason, and nothing is changed.

    Its stack file and its state must have `lifecycle: lab`, nothing in the state may be protected, the vCenter has to
    be the pinned one, and the VMs have to carry the stack's own marker. A stack that is gone already is no error.
    """
    found = find_stack(stack)
    state = teardown.inspect(found, progress)
    if state is None:
        typer.echo(f"There is no stack {found.name} where the states are kept: it is gone already.")
        return
    if state.deployed and not yes:
        names = ", ".join(str((item.get("outputs") or {}).get("name")) for item in state.machines) or "no VM"
        _confirm(
            f"This destroys {len(state.deployed)} resources of stack {found.name}, {names} among them.", found.name
        )
    _destroy(found, state, timeout, remove=remove)


def _destroy(found: Stack, state: State, timeout_s: float, *, remove: bool) -> None:
    gone = teardown.destroy(found, state, progress, timeout_s)
    if remove:
        teardown.remove(found)
    what = (
        f"{gone.resources} resources of {found.name} destroyed" if gone.resources else f"{found.name} is empty already"
    )
    typer.echo(f"{what}{', its record removed' if remove else ''}.")


def _confirm(question: str, answer: str) -> None:
    if not sys.stdin or not sys.stdin.isatty():
        raise LbstackError(f"{question} Nothing was done: there is no terminal to ask. Give --yes if it is meant.")
    typer.echo(question)
    if typer.prompt("Type the stack's name to go on", default="", show_default=False) != answer:
        raise LbstackError("That is not its name. Nothing was done.")


@app.command("sweep")
def sweep(
    stack: StackArgument,
    prefix: Annotated[
        str | None,
        typer.Option(help="Sweep all stacks whose names begin so; they share this stack file (lab-pr-)."),
    ] = None,
    destroy_them: Annotated[bool, typer.Option("--destroy", help="Destroy those that have expired.")] = False,  # noqa: FBT002
    timeout: TimeoutOption = DESTROY_TIMEOUT_S,
) -> None:
    """List lab stacks with their age, and destroy those that are older than their time to live.

    The time to live is `lbstack:lab: {ttlHours: N}` in the stack file; it counts from the last deployment. Exit code 1:
    some have expired and were not destroyed; 2: some could not be looked at or were refused, which keeps no other.
    """
    found = find_stack(stack)
    config = load_file(found.file)
    stacks = sweeping.stacks_like(found, prefix) if prefix else [found]
    left = refused = 0
    for one in stacks:
        try:
            age = sweeping.age_of(one, config, datetime.now(UTC))
            word = "expired" if age.expired else "nothing deployed" if not age.deployed else "alive"
            typer.echo(f"{age.stack}: {word}, {age.hours:.1f} of {age.ttl_hours} hours, {age.deployed} resources")
            state = teardown.inspect(one, progress) if age.expired and destroy_them else None
            if state:
                _destroy(one, state, timeout, remove=prefix is not None)
            left += age.expired and not destroy_them
        except LbstackError as error:  # one that cannot be read or is refused keeps no other from being swept
            refused += 1
            typer.echo(f"{one.name}: {error}", err=True)
    if not stacks:
        typer.echo(f"There is no stack whose name begins with {prefix}.")
    if refused:
        raise typer.Exit(2)
    if left:
        raise typer.Exit(1)
