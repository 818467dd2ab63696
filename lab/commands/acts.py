"""The commands that change a running pair: ``fail``, ``heal``, ``roll``, ``traffic``, ``backend``.

Exit codes are those of all commands: 0 the verdict is good, 1 it is not, 2 the command could not be done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from lab.acts import faults, roll
from lab.acts.evidence import vouches
from lab.acts.scene import Scene
from lab.acts.stage import RATE, SESSIONS, Verdict
from lab.commands.console import JsonOption, StateOption, out, paths_of, progress, show, wide
from lab.errors import LabError
from lab.home.state import DEFAULT_STATE
from lab.servers import farm
from lab.servers.farm import ACTIONS, Control
from lab.traffic.traffic import LONGEST_S, Plan, Traffic

app = typer.Typer()
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name, or `master` or `standby`.")]


def _scene(state: Path) -> Scene:
    """The lab in a directory, which is up.

    Raises:
        LabError: There is none, it has no guests, or it is down.
    """
    scene = Scene(paths_of(state))
    scene.require_up()
    return scene


def _print(verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        out.print_json(json.dumps(verdict.as_dict()))
    else:
        for line in verdict.lines():
            out.print(line, highlight=False, markup=False)
    if not verdict.passed:
        raise typer.Exit(1)


@app.command()
def fail(
    what: Annotated[str, typer.Argument(metavar="|".join(faults.ACTS), help="What befalls it.")],
    node: NodeArgument,
    state: StateOption = DEFAULT_STATE,
    *,
    seconds: Annotated[
        float, typer.Option(min=0, max=600, help="Undo the fault after this many seconds; 0 leaves it to `heal`.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Let something happen to a node under traffic; print what happened and whether the pair got over it."""
    _print(faults.fail(_scene(state), what, node, progress, seconds=seconds), as_json=as_json)


@app.command()
def heal(state: StateOption = DEFAULT_STATE, *, as_json: JsonOption = False) -> None:
    """Undo every injected fault; wait until one has every VIP, both are ready and every service answers."""
    _print(faults.heal(_scene(state), progress), as_json=as_json)


@app.command(name="roll")
def roll_command(
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="For example lbstack:services.horizon.timeouts.tunnel=2h."),
    ] = None,
    state: StateOption = DEFAULT_STATE,
    *,
    rate: Annotated[float, typer.Option(min=1, max=500, help="Requests in a second.")] = RATE,
    sessions: Annotated[int, typer.Option(min=0, max=200, help="Established sessions held meanwhile.")] = SESSIONS,
    untouched: Annotated[
        bool, typer.Option("--untouched", help="The change leaves the nodes alone; touching one fails.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Change the lab's stack file and run `pulumi up` under traffic; without --set one timeout changes."""
    pairs = []
    for change in changes or []:
        path, equals, value = change.partition("=")
        if not (path and equals):
            raise LabError(f"--set {change}: it takes PATH=VALUE, such as lbstack:vrrp.profile=fast.")
        pairs.append((path, value))
    scene = _scene(state)
    verdict = roll.roll(scene, progress, show, changes=pairs, rate=rate, sessions=sessions, touches=not untouched)
    _print(verdict, as_json=as_json)


@app.command()
def traffic(
    state: StateOption = DEFAULT_STATE,
    *,
    seconds: Annotated[float, typer.Option(min=1, max=LONGEST_S, help="For how long.")] = 10,
    rate: Annotated[float, typer.Option(min=1, max=500, help="Requests in a second, all services together.")] = 50,
    sessions: Annotated[int, typer.Option(min=0, max=200, help="Long-lived sessions besides them.")] = SESSIONS,
    file: Annotated[Path | None, typer.Option(help="Where every attempt is recorded.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask every service through its VIP for a while; print what was refused, late or lost."""
    scene = _scene(state)
    record = (file or scene.paths.root / "traffic" / "by-hand.jsonl").absolute()
    ca_file = farm.ca_file(scene.paths.root)
    plan = Plan.of(scene.network, ca_file, rate=rate, sessions=sessions, seconds=seconds)
    progress(f"{rate:g} requests/s for {seconds:g} s from {len(plan.clients)} clients, recorded in {record}")
    with Traffic(plan, record) as running:
        report = running.wait()
    if as_json:
        out.print_json(json.dumps(report.as_dict()))
    else:
        for line in report.lines():
            out.print(line, highlight=False, markup=False)
    if report.failures() or report.lost_sessions() or not vouches(report, rate, seconds):
        raise typer.Exit(1)


@app.command()
def backend(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Such as horizon-01; without it all are shown.")] = "",
    action: Annotated[str, typer.Argument(metavar="[" + "|".join(ACTIONS) + "]", help="What happens to it.")] = "",
    *,
    state: StateOption = DEFAULT_STATE,
    as_json: JsonOption = False,
) -> None:
    """Show the servers behind the VIPs and who probes them; or disable, enable, kill, start one."""
    scene = _scene(state)
    control = Control(scene.paths.root)
    if name and not action:
        raise LabError(f"What shall happen to {name}? One of: {', '.join(ACTIONS)}.")
    if name:
        # By either of its names; one that nobody has is reported with those that there are.
        control.set(scene.network.topology.backend(name).name, action)
    servers = control.show()
    if as_json:
        out.print_json(
            json.dumps([vars(server) | {"probes": [vars(each) for each in server.probes]} for server in servers])
        )
        return
    table = Table("server", "address", "state", "connections", "requests", "probed by", box=None, pad_edge=False)
    for server in servers:
        probes = ", ".join(f"{each.source} ({each.count})" for each in server.probes)
        table.add_row(
            server.name, server.address, server.state, str(server.connections), str(server.requests), probes or "nobody"
        )
    wide(out).print(table)
