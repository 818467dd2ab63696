"""``python -m lab``: the lab's commands, their help, and their exit codes.

Exit codes: 0 done; 1 the answer is no (status, doctor, an incomplete down); 2 the command could not be done.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from lab.acts import answers
from lab.acts.scene import Scene
from lab.commands import acts
from lab.commands.console import JsonOption, StateOption, err, out, paths_of, progress, show, wide
from lab.errors import RUN, LabError
from lab.home import certificates
from lab.home.credentials import credentials_of
from lab.home.state import DEFAULT_STATE, read_record
from lab.running import doctor, lifecycle, status
from lab.system.cache import cache_directory
from lab.toolchain import tools
from lab.vcenter import server
from lbstack.problems import LbstackError

FOLLOW_POLL_S = 0.3
WATCH_S = 2.0
LOG_LINES = 200
COLOURS = {doctor.Verdict.OK: "green", doctor.Verdict.LIMITED: "yellow", doctor.Verdict.MISSING: "red"}

app = typer.Typer(
    name="lab",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A vSphere that fits on one machine: the real Pulumi engine and vSphere provider on a simulated vCenter.",
)
app.add_typer(acts.app)


@app.command()
def up(
    state: StateOption = DEFAULT_STATE,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The vCenter's port; without it any free one will do.")
    ] = None,
    *,
    deploy: Annotated[
        bool, typer.Option("--deploy/--no-deploy", help="Without it vCenter is ready and `pulumi up` is left to you.")
    ] = True,
    guests: Annotated[
        bool, typer.Option("--guests/--no-guests", help="Without them nothing boots and nothing serves.")
    ] = True,
) -> None:
    """Deploy the pair and let it serve: build what is missing, start the simulated vCenter, run `pulumi up`.

    Every VM that is powered on boots as a guest on this machine, in a network of the lab's own. Repeat it at will.
    """
    paths = paths_of(state)
    lifecycle.up(paths, port=port, progress=progress, show=show, deploy=deploy, guests=guests)
    record = read_record(paths)
    rehearsed = record is not None and record.guests
    if not deploy:
        progress("Done")
        out.print(f"Next: `{RUN} exec -- pulumi up`, `make lab-down`", highlight=False)
        return
    if rehearsed:
        progress("Waiting until both nodes are ready and every service answers through its VIP")
        scene = Scene(paths)
        scene.wait_until_whole(lifecycle.SERVING_S)
        progress("The pair serves")
        answers.show(answers.ask_all(scene), wide(out))
        acting = f"`{RUN} fail haproxy master`, `{RUN} roll`, "
    else:
        progress("Done")
        status.show(status.look(paths), out)
        acting = f"`{RUN} exec -- pulumi preview --diff`, "
    out.print(f"\nNext: `make lab-status`, {acting}`make lab-down`", highlight=False)


@app.command()
def build() -> None:
    """Build the tools that are missing here (Pulumi, its Python host, the vSphere plugin, the simulated vCenter)."""
    tools.ensure_tools(progress)


@app.command()
def down(state: StateOption = DEFAULT_STATE) -> None:
    """Destroy the pair, stop the simulated vCenter, remove the lab's directory. Works on half-started labs too."""
    if not lifecycle.down(paths_of(state), progress=progress, show=show):
        raise typer.Exit(1)


@app.command(name="status")
def status_command(
    state: StateOption = DEFAULT_STATE,
    *,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,
    show_passwords: Annotated[
        bool, typer.Option("--show-passwords", help="Also print the passwords that this lab made for itself.")
    ] = False,
) -> None:
    """Show the simulated vCenter, its VMs with their guests and ports, the stack's outputs, and the pair itself.

    Exit code 1 unless everything is up. `lbstack status` shows the last part for any stack.
    """
    paths = paths_of(state)
    while True:
        with lifecycle.readable_errors(paths):
            found = status.look(paths)
            passwords = credentials_of(paths).passwords() if show_passwords and found.exists else {}
        if as_json:
            data = json.dumps(found.as_dict() | ({"passwords": passwords} if passwords else {}), default=str)
            out.print(data, highlight=False, markup=False) if watch else out.print_json(data)
        else:
            if watch and out.is_terminal:
                out.clear()
            status.show(found, wide(out))
            for name, password in passwords.items():
                out.print(f"{name:<32} {password}", highlight=False, markup=False)
        if not watch:
            break
        time.sleep(WATCH_S)
    if not found.healthy:
        raise typer.Exit(1)


@app.command(name="exec", context_settings={"ignore_unknown_options": True})
def exec_command(
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="For example: pulumi preview --diff")],
    state: StateOption = DEFAULT_STATE,
) -> None:
    """Run a command in the lab's environment: its Pulumi, its stack and stack file, its CA, govc logged in."""
    paths = paths_of(state)
    with lifecycle.readable_errors(paths):
        record = read_record(paths)
        if record is None:
            raise LabError(f"There is no lab at {paths.root}. `make lab` makes one.")
        workspace = lifecycle.workspace_of(paths, tools.ensure_tools(progress), record)
        environment = workspace.environment(record)
        if record.guests:
            Scene(paths).require_up()
        if server.running(paths) is None:
            progress("The lab's vCenter does not run; `make lab` starts it")
        program = shutil.which(command[0], path=environment["PATH"])
        if program is None:
            raise LabError(f"{command[0]} is not found, neither among the lab's programs nor on PATH.")
    sys.stdout.flush()
    # With guests it runs on the management station, where vCenter, the nodes and the lab's name server answer.
    arguments = [*workspace.station, program, *command[1:]] if workspace.station else command
    os.execve(arguments[0] if workspace.station else program, arguments, environment)  # noqa: S606 - the person's own command, no shell wanted


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="vcenter, pulumi, agent, backends, wire or forward.")] = "",
    *,
    state: StateOption = DEFAULT_STATE,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until interrupted.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many of the last lines of each.")] = LOG_LINES,
) -> None:
    """Show what the programs of this lab printed: vCenter, Pulumi, the agent that boots guests, the servers."""
    directory = paths_of(state).logs
    files = sorted(file for file in directory.glob("*.log") if name in ("", file.stem))
    if not files:
        raise LabError(f"There is no log {name + ' ' if name else ''}in {directory}. `make lab` makes one.")
    positions: dict[Path, int] = {}
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        positions[file] = file.stat().st_size
        for line in text.splitlines()[-lines:]:
            out.print(f"{file.stem:<8} {line}", highlight=False, markup=False)
    while follow:
        time.sleep(FOLLOW_POLL_S)
        for file in files:
            if file.exists() and file.stat().st_size > positions[file]:
                with file.open("rb") as stream:
                    stream.seek(positions[file])
                    fresh = stream.read()
                positions[file] += len(fresh)
                for line in fresh.decode(errors="replace").splitlines():
                    out.print(f"{file.stem:<8} {line}", highlight=False, markup=False)


@app.command(name="doctor")
def doctor_command(state: StateOption = DEFAULT_STATE, *, as_json: JsonOption = False) -> None:
    """Print what this machine can and cannot do for the lab; exit code 1 where `make lab` would not work."""
    paths = paths_of(state)
    with lifecycle.readable_errors(paths):
        findings = doctor.examine(paths)
    if as_json:
        out.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        table = Table("", "what", "found", "remedy", box=None, pad_edge=False)
        for finding in findings:
            mark = f"[{COLOURS[finding.verdict]}]{finding.verdict}[/]"
            table.add_row(mark, finding.name, finding.found, finding.remedy)
        Console(width=None if sys.stdout.isatty() else 200).print(table)
    if any(finding.verdict is doctor.Verdict.MISSING for finding in findings):
        raise typer.Exit(1)


@app.command(name="ca")
def ca_command(state: StateOption = DEFAULT_STATE) -> None:
    """Print the path of the lab's CA certificate, for other programs that talk to its vCenter."""
    out.print(str(certificates.ca_file(paths_of(state))), highlight=False)


def main() -> NoReturn:
    """Run a command; whatever is raised for a person is printed as it is."""
    try:
        app(prog_name="python -m lab")
    except LbstackError as error:
        err.print(str(error), highlight=False, markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("interrupted; the same command goes on from here")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence and the rest goes to a file
        log = cache_directory() / "logs" / "lab-crash.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(traceback.format_exc(), encoding="utf-8")
        err.print(
            f"This is a mistake of the lab itself: {type(error).__name__}: {error}", highlight=False, markup=False
        )
        err.print(f"Please report it with {log}. `make lab-down` and `make lab` start over.", highlight=False)
        sys.exit(2)
    sys.exit(0)
