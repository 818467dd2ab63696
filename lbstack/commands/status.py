"""`lbstack status`: the live view of a pair."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Annotated

import typer
from rich.console import Console

from lbstack.commands.options import StackArgument
from lbstack.config.models import StackConfig
from lbstack.engine import run as engine
from lbstack.engine.stack import Stack, find_stack
from lbstack.nodes import status as live
from lbstack.nodes import tables
from lbstack.nodes.status import Status
from lbstack.problems import LbstackError
from lbstack.stackfile.load import load_file
from lbstack.vcenter.hosts import hosts_of
from lbstack.vcenter.login import LOGIN_VARIABLES, Login
from lbstack.vcenter.pin import require_vcenter

app = typer.Typer()

TABLE_WIDTH = 140  # columns, where no terminal reports its width


@app.command("status")
def status(
    stack: StackArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of tables.")] = False,  # noqa: FBT002
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,  # noqa: FBT002
    every: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How often --watch asks.")] = 2.0,
) -> None:
    """Ask the nodes of a stack: who has which VIP, which set they serve, how they see their servers.

    It has to run inside `managementNetworks`. vCenter is asked for the VMs' hosts; both on one host is a warning. Exit
    code 0: all is well; 1: something is not, and the last lines show what; 2: the stack file is wrong. With --watch the
    code is that of the last look.
    """
    found = find_stack(stack)
    config, wanted = load_file(found.file), _deployed_set(found)
    hosts, unknown = _hosts(found, config)  # asked once: they change seldom, and a login every two seconds is too many
    healthy = True
    try:
        while True:
            seen = live.with_hosts(live.look(config, wanted), hosts, unknown)
            healthy = seen.healthy
            _show_status(seen, as_json=as_json, clear=watch)
            if not watch:
                break
            time.sleep(every)
    except KeyboardInterrupt:
        if not watch:
            raise
    if not healthy:
        raise typer.Exit(1)


def _deployed_set(found: Stack) -> str:
    """The set that was deployed by the state; empty, with a message, where the state cannot be read."""
    try:
        # Named, because the engine means the selected stack otherwise.
        return engine.quick(found, "stack", "output", "config_hash", "--stack", found.name).strip()
    except LbstackError as error:
        reason = str(error).partition("\n")[0]
        typer.echo(f"Which set was deployed is not known, so the nodes are only compared: {reason}", err=True)
        return ""


def _hosts(found: Stack, config: StackConfig) -> tuple[dict[str, str], str]:
    """On which hosts the VMs run, by the stack's own vCenter; else why that is not known."""
    try:
        nodes = json.loads(engine.quick(found, "stack", "output", "nodes", "--json", "--stack", found.name))
        login = _login(found)
        require_vcenter(login.server, config.placement.vcenter_uuid, verify=login.verify)
        hosts = hosts_of(login, {name: str(node["uuid"]) for name, node in nodes.items()})
    except (LbstackError, ValueError, AttributeError, KeyError, TypeError) as error:
        return {}, str(error).partition("\n")[0] or type(error).__name__
    hidden = [name for name, host in hosts.items() if not host]
    return hosts, f"vCenter does not show that of {' and '.join(hidden)}." if hidden else ""


def _login(found: Stack) -> Login:
    """The login of the stack's provider, from the same places."""
    options = [] if found.usual_file else ["--config-file", str(found.file.absolute())]
    shown = engine.quick(found, "config", "--show-secrets", "--json", "--stack", found.name, *options)
    config = {key: str(entry.get("value") or "") for key, entry in json.loads(shown).items()}
    values = {key: config.get(f"vsphere:{key}") or os.environ.get(name, "") for key, name in LOGIN_VARIABLES.items()}
    if missing := [f"vsphere:{key}" for key, value in values.items() if not value]:
        raise LbstackError(f"{' and '.join(missing)} is not set, nor the provider's variable for it.")
    unverified = config.get("vsphere:allowUnverifiedSsl") == "true"
    return Login(values["vsphereServer"], values["user"], values["password"], verify=not unverified)


def _show_status(seen: Status, *, as_json: bool, clear: bool) -> None:
    if as_json:  # one line for each look, so that a program can read them one by one
        typer.echo(json.dumps(seen.as_dict(), indent=None if clear else 1, default=str))
        return
    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    if clear and console.is_terminal:
        console.clear()
    tables.show(seen, console)
