"""The commands of ``lbstack``. Only the module of the command that is run is imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import typer

GROUPS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "secrets": ("hash-password", "signing-key"),
        "files": ("schema", "render", "check"),
        "repository": ("init", "import"),
        "review": ("preview", "up"),
        "status": ("status",),
        "teardown": ("destroy", "sweep"),
    }
)
"""Module in ``lbstack/commands/`` → its commands, in the order in which the help lists them."""


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code. Errors of use are printed here, all others are raised.
    """
    try:
        _app(arguments)(args=list(arguments), prog_name="lbstack")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


def _app(arguments: Sequence[str]) -> typer.Typer:
    """The command line with the named command's group; with all groups where the help or an error needs them."""
    app = typer.Typer(
        name="lbstack",
        no_args_is_help=True,
        add_completion=False,
        # A traceback with local variables would show passwords.
        pretty_exceptions_enable=False,
    )
    app.callback(help="The load-balancer pair for VMware Horizon and App Volumes as code.")(_nothing)
    named = arguments[0] if arguments else ""
    needed = [group for group, commands in GROUPS.items() if named in commands] or list(GROUPS)
    for group in needed:
        app.add_typer(importlib.import_module(f"lbstack.commands.{group}").app)
    return app


def _nothing() -> None:
    """What is run before each command: nothing. Without it a group of one command would take its name away."""
