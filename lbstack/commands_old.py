"""The commands of ``lbstack``. Typer reads their arguments; what they do is in the modules that they call."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lbstack.problems import LbstackError

if TYPE_CHECKING:  # loaded by the commands that need them
    from collections.abc import Callable

    from lbstack.engine.record import State
    from lbstack.engine.stack import Stack
    from lbstack.nodes.status import Status
    from lbstack.review.report import Report

# SHA-crypt's default. HAProxy hashes the password of every request to its statistics page, so more is no gain there
# (credentials.MAX_STATS_ROUNDS says how much is too much).
HASH_ROUNDS = 5000
MAX_PASSWORD_BYTES = 4096  # libpass refuses more, so that no one can be kept busy with a password of megabytes
TABLE_WIDTH = 140  # columns, where no terminal says how many there are
SCHEMA_FILE = Path("stack.schema.json")

app = typer.Typer(
    name="lbstack",
    help="The load-balancer pair for VMware Horizon and App Volumes as code.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would show passwords.
    pretty_exceptions_enable=False,
)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors of use are printed here, all others are raised."""
    try:
        app(args=arguments, prog_name="lbstack")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0


@app.callback()
def _lbstack() -> None:
    """The load-balancer pair for VMware Horizon and App Volumes as code."""


@app.command("hash-password")
def hash_password() -> None:
    """Make the hash of a password for `pulumi config set --secret statsHash-<login>` or rootPasswordHash.

    Asks twice without showing what is typed; from a pipe it reads one line. Prints the hash and nothing else.
    """
    from passlib.hash import sha512_crypt  # type: ignore[import-untyped]  # noqa: PLC0415 - only for this

    typer.echo(sha512_crypt.using(rounds=HASH_ROUNDS).hash(_password()))


def _password() -> bytes:
    """Read a password; bytes, because what is hashed is what a browser or a console will send."""
    if sys.stdin is None:  # `<&-`; Python then has no stream at all
        raise LbstackError("Standard input is closed. Type the password at a terminal, or pipe it in.")
    if sys.stdin.isatty():
        typed = getpass("Password: ")
        if getpass("Once more: ") != typed:
            raise LbstackError("The two passwords differ. Nothing was made; try again.")
        password = typed.encode(errors="surrogateescape")
    else:
        password, _, rest = sys.stdin.buffer.read().partition(b"\n")
        if rest:
            raise LbstackError("Standard input has more than one line. Pipe one password in, on one line.")
        password = password.removesuffix(b"\r")
    if not password:
        raise LbstackError("The password is empty. Type one, or pipe one in.")
    if b"\0" in password:
        raise LbstackError("The password has a NUL character, which no login can carry. Choose another one.")
    if len(password) > MAX_PASSWORD_BYTES:
        raise LbstackError(f"The password has more than {MAX_PASSWORD_BYTES} bytes. Choose a shorter one.")
    return password


@app.command("signing-key")
def signing_key() -> None:
    """Make the key that signs what the nodes get, for `pulumi config set --secret signingKey`.

    Prints an RSA private key in PEM and nothing else. Make one for each stack, and a new one only together with new
    VMs: a running node accepts nothing that is signed with another key.
    """
    from lbstack.config.credentials import new_signing_key  # noqa: PLC0415 - the other commands start faster without

    typer.echo(new_signing_key(), nl=False)


@app.command("schema")
def schema(
    check: Annotated[bool, typer.Option("--check", help="Only compare the file; exit code 2 when it is old.")] = False,  # noqa: FBT002
    write: Annotated[bool, typer.Option("--write", help="Write the file.")] = False,  # noqa: FBT002
    file: Annotated[Path, typer.Option(help="The file.")] = SCHEMA_FILE,
) -> None:
    """Print the JSON Schema of a stack file, write it, or compare it with the file."""
    from lbstack.stackfile import schema as stack_schema  # noqa: PLC0415 - the other commands start faster without the models

    if check and write:
        raise LbstackError("--check and --write exclude each other. Give one of them.")
    if write:
        stack_schema.write(file)
    elif check:
        stack_schema.require_fresh(file)
    else:
        typer.echo(stack_schema.text(), nl=False)


StackArgument = Annotated[
    str, typer.Argument(metavar="STACK", help="Name of the stack, or the path of its Pulumi.<stack>.yaml.")
]


@app.command("render")
def render(
    stack: StackArgument,
    node: Annotated[str | None, typer.Option(help="Only the files of this node.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write them there instead of printing them.")] = None,
) -> None:
    """Show every file of every node, as the stack file makes them. Asks no vCenter and decrypts nothing."""
    from lbstack import offline
    from lbstack.engine import stack as project  # noqa: PLC0415 - the other commands start faster without the models

    found = project.find_stack(stack)
    nodes = offline.only_node(offline.load_offline(found.file).shown, node)
    if out is None:
        typer.echo(offline.listing(nodes), nl=False)
    else:
        count = offline.write_files(nodes, out)
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
    import json  # noqa: PLC0415 - only for this

    from lbstack.check import check_stack  # noqa: PLC0415 - the other commands start faster without the models
    from lbstack.engine import stack as project  # noqa: PLC0415
    from lbstack.problems import ConfigError  # noqa: PLC0415

    file = project.find_stack(stack).file
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


MarkdownOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the report there as Markdown, fit for a comment.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the report as data.")]
TimeoutOption = Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How long the engine may take.")]
PREVIEW_TIMEOUT_S = 300.0  # a preview takes seconds; a vCenter that is slow on every call takes a minute or two
UP_TIMEOUT_S = 3000.0  # two nodes, each with the gate's five minutes and a reboot or a first boot; one of them hangs
DESTROY_TIMEOUT_S = 900.0  # two VMs are gone in seconds; a vCenter under load may queue its tasks


@app.command("preview")
def preview(
    stack: StackArgument,
    *,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = PREVIEW_TIMEOUT_S,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit code 1 when there is drift.")] = False,
    fail_on_change: Annotated[
        bool, typer.Option("--fail-on-change", help="Exit code 1 when `up` would change something.")
    ] = False,
) -> None:
    """Say what a deployment would change in which file on which node, and what has drifted in vCenter.

    Exit code 0: the report tells, whatever it tells; 1: it tells what --fail-on-drift or --fail-on-change asks about;
    2: it cannot tell, and says why. Changes nothing.
    """
    from lbstack.engine import stack as project  # noqa: PLC0415 - the other commands start faster
    from lbstack.review import preview as previewing  # noqa: PLC0415

    _require_writable(markdown)
    report = _told(stack, lambda: previewing.preview(project.find_stack(stack), _progress, timeout))
    _show(report, markdown, as_json=as_json)
    if (report.drift and fail_on_drift) or (report.changing and fail_on_change):
        raise typer.Exit(1)


@app.command("up")
def up(
    stack: StackArgument,
    markdown: MarkdownOption = None,
    as_json: JsonOption = False,  # noqa: FBT002
    timeout: TimeoutOption = UP_TIMEOUT_S,
) -> None:
    """Deploy a stack as `pulumi up --yes` does, and report what was done, also where it failed half-way.

    Exit code 0: it is deployed; 2: it failed, and the report says after what. When the time is up, or on Ctrl-C, the
    engine ends the steps that it has begun.
    """
    from lbstack.engine import stack as project  # noqa: PLC0415 - the other commands start faster
    from lbstack.review import up as deploying  # noqa: PLC0415

    _require_writable(markdown)
    report = _told(stack, lambda: deploying.up(project.find_stack(stack), _progress, timeout), applied=True)
    _show(report, markdown, as_json=as_json)


def _told(stack: str, make: Callable[[], Report], *, applied: bool = False) -> Report:
    """A report, whatever is wrong: where nothing tells what failed, an older one would be taken for today's."""
    from lbstack.review import failures  # noqa: PLC0415 - the other commands start faster

    try:
        return make()
    except LbstackError as error:
        return failures.report_of(stack, error, applied=applied)


def _show(report: Report, markdown: Path | None, *, as_json: bool) -> None:
    """Print a report and write it; exit code 2 where it says that something failed."""
    import json  # noqa: PLC0415 - only for this

    from lbstack.review import markdown as report_markdown  # noqa: PLC0415 - the other commands start faster
    from lbstack.review import text as report_text

    if markdown is not None:
        _write(markdown, report_markdown.markdown_of(report))
    if as_json:
        typer.echo(json.dumps(report.as_data(), indent=1))
    else:
        typer.echo(report_text.text_of(report), nl=False, err=report.failure is not None)
    if report.failure:
        raise typer.Exit(2)


@app.command("status")
def status(
    stack: StackArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of tables.")] = False,  # noqa: FBT002
    watch: Annotated[bool, typer.Option("--watch", help="Go on until interrupted.")] = False,  # noqa: FBT002
    every: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="How often --watch asks.")] = 2.0,
) -> None:
    """Ask the nodes of a stack: who has which VIP, which set they serve, how they see their servers.

    It has to run inside `managementNetworks`. Exit code 0: all is well; 1: something is not, and the last lines say
    what; 2: the stack file is wrong. With --watch the code is that of the last look.
    """
    import time  # noqa: PLC0415 - only for this

    from lbstack.engine import stack as project  # noqa: PLC0415 - the other commands start faster without the models
    from lbstack.nodes import status as live  # noqa: PLC0415
    from lbstack.stackfile.load import load_file  # noqa: PLC0415

    found = project.find_stack(stack)
    config, wanted = load_file(found.file), _deployed_set(found)
    healthy = True
    try:
        while True:
            seen = live.look(config, wanted)
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
    """The set that the state says was deployed; empty, with a word, where the state cannot be read."""
    from lbstack.engine import run as engine  # noqa: PLC0415

    try:
        # Named, because the engine means the selected stack otherwise.
        return engine.quick(found, "stack", "output", "config_hash", "--stack", found.name).strip()
    except LbstackError as error:
        reason = str(error).partition("\n")[0]
        typer.echo(f"Which set was deployed is not known, so the nodes are only compared: {reason}", err=True)
        return ""


def _show_status(seen: Status, *, as_json: bool, clear: bool) -> None:
    import json  # noqa: PLC0415 - only for this

    from rich.console import Console  # noqa: PLC0415

    from lbstack.nodes import status as live  # noqa: PLC0415

    if as_json:  # one line for each look, so that a program can read them one by one
        typer.echo(json.dumps(seen.as_dict(), indent=None if clear else 1, default=str))
        return
    console = Console() if sys.stdout.isatty() else Console(width=TABLE_WIDTH)
    if clear and console.is_terminal:
        console.clear()
    live.show(seen, console)


YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("destroy")
def destroy(
    stack: StackArgument,
    yes: YesOption = False,  # noqa: FBT002
    remove: Annotated[bool, typer.Option("--remove", help="Drop the empty stack's record too.")] = False,  # noqa: FBT002
    timeout: TimeoutOption = DESTROY_TIMEOUT_S,
) -> None:
    """Destroy a lab stack; refuses any other, says why, and touches nothing then.

    Its stack file and its state have to say `lifecycle: lab`, nothing in the state may be protected, the vCenter has to
    be the pinned one, and the VMs have to carry the stack's own marker. A stack that is gone already is no error.
    """
    from lbstack import teardown
    from lbstack.engine import stack as project  # noqa: PLC0415 - the other commands start faster without the models

    found = project.find_stack(stack)
    state = teardown.inspect(found, _progress)
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
    from lbstack import teardown  # noqa: PLC0415

    gone = teardown.destroy(found, state, _progress, timeout_s)
    if remove:
        teardown.remove(found)
    what = (
        f"{gone.resources} resources of {found.name} destroyed" if gone.resources else f"{found.name} is empty already"
    )
    typer.echo(f"{what}{', its record removed' if remove else ''}.")


def _confirm(question: str, answer: str) -> None:
    if not sys.stdin or not sys.stdin.isatty():
        raise LbstackError(f"{question} Nothing was done: there is no terminal to ask. Say --yes if it is meant.")
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
    from datetime import UTC, datetime  # noqa: PLC0415 - only for this

    from lbstack import teardown
    from lbstack.engine import stack as project  # noqa: PLC0415
    from lbstack.stackfile.load import load_file  # noqa: PLC0415

    found = project.find_stack(stack)
    config = load_file(found.file)
    stacks = teardown.stacks_like(found, prefix) if prefix else [found]
    left = refused = 0
    for one in stacks:
        try:
            age = teardown.age_of(one, config, datetime.now(UTC))
            word = "expired" if age.expired else "nothing deployed" if not age.deployed else "alive"
            typer.echo(f"{age.stack}: {word}, {age.hours:.1f} of {age.ttl_hours} hours, {age.deployed} resources")
            state = teardown.inspect(one, _progress) if age.expired and destroy_them else None
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


def _progress(line: str) -> None:
    """A line for a person who waits; on a terminal each takes the place of the one before."""
    if sys.stderr.isatty():
        typer.echo(f"\r\033[K{line}\r", nl=False, err=True)
    else:
        typer.echo(line, err=True)


def _require_writable(file: Path | None) -> None:
    """Refuse a file that cannot be written before anything is done of which it should tell."""
    if file is None:
        return
    place = file if file.exists() else file.parent
    if file.is_dir() or not file.parent.is_dir() or not os.access(place, os.W_OK):
        raise LbstackError(f"--markdown: {file} cannot be written. Nothing was done. Give another file.")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LbstackError(
            f"The report could not be written to {file} ({error.strerror}). Give another file."
        ) from None
