"""The commands that make something to begin with: `lbstack init`, a repository; `lbstack import`, a stack file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lbstack.scaffold import repository, source
from lbstack.scaffold.handbuilt import build, sources
from lbstack.scaffold.handbuilt import write as results

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


@app.command("import")
def import_(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR1 [DIR2]", help="One directory for each node, with copies of its files.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The stack file to make: Pulumi.<stack>.yaml.", show_default=False),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write the report there instead of printing it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as data instead of text.")] = False,  # noqa: FBT002
) -> None:
    """Make a stack file of a hand-built pair's files, and a report about each of their lines.

    It reads haproxy.cfg, keepalived.conf, ip4save, ip6save, *.network and files of kernel settings (sysctl.conf,
    NN-*.conf), by these names, wherever below the directories. Nothing is overwritten, and no password is kept or
    shown. Exit code 0: both are made; 2: they are not, and why.
    """
    results.require_free(out, report)
    made = build.build(sources.read(directories))
    text = json.dumps(made.report.as_data(), indent=1) + "\n" if as_json else made.report.text()
    contents = {report: text} if report else {}
    results.write(contents | {out: made.stack_file})
    if report is None:
        typer.echo(text, nl=False)
    typer.echo(f"{made.report.summary} Next: `lbstack check {shlex.quote(str(out))}`.", err=True)
