"""Run every checker of the project: `make check`; with ``--fix`` only the formatters, which then write.

A missing checker is a failure, not a pass. All of them run, so that one run shows everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.system.cache import CHECKOUT, cache_directory
from lab.toolchain.golang import GO_ENVIRONMENT, Build, Go, Progress, ensure_go
from lab.toolchain.programs import Program
from lbstack.problems import LbstackError

GUEST = CHECKOUT / "cloudinit" / "guest"
GUEST_PYTHON = "3.7"  # Photon 3.0's python3
SHELL_MARKS = ("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash")
PYTHON_MARK = "#!/usr/bin/python3"
GITHUB = CHECKOUT / ".github"
# No lab needs it, so it is not among the lab's programs; it is pinned and built as they are.
ACTIONLINT = Program(
    "actionlint",
    "actionlint",
    "toolchain/actionlint",
    "github.com/rhysd/actionlint/cmd/actionlint",
    "github.com/rhysd/actionlint",
    minutes=0.2,
)


@dataclass(frozen=True)
class Check:
    """One checker.

    Args:
        name: What the table calls it.
        command: What runs.
        directory: Where.
        quiet: It fails when it prints anything (gofmt lists files and exits 0).
    """

    name: str
    command: tuple[str, ...]
    directory: Path = CHECKOUT
    quiet: bool = False


def tracked() -> list[Path]:
    """The project's files: those that git knows; in a checkout without git everything but caches."""
    result = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return [CHECKOUT / name for name in result.stdout.split("\0") if name and (CHECKOUT / name).is_file()]
    hidden = {".git", ".venv", ".lab"}
    return [
        path
        for path in CHECKOUT.rglob("*")
        if path.is_file() and not any(part in hidden or part.endswith("_cache") for part in path.parts)
    ]


def first_line(path: Path) -> str:
    """A file's first line; empty for what is no text."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip()
    except UnicodeDecodeError:
        return ""


def go_modules(files: Sequence[Path]) -> list[Path]:
    """The directories of Go modules that hold sources of our own."""
    return sorted(path.parent for path in files if path.name == "go.mod" and any(path.parent.glob("**/*.go")))


def ensure_actionlint(go: Go, progress: Progress) -> Path:
    """The checker of workflows; built where the cache does not have it.

    Raises:
        ToolchainError: It cannot be built; names the reason and the remedy.
    """
    program = ACTIONLINT.place(go) / ACTIONLINT.name
    if program.exists():
        os.utime(program.parent)  # in use: the cache drops what nobody has used for a month
        return program
    program.parent.mkdir(parents=True, exist_ok=True)
    log = cache_directory() / "logs" / f"build-{ACTIONLINT.name}.log"
    build = Build(ACTIONLINT.title, ACTIONLINT.directory, ACTIONLINT.package, ACTIONLINT.linker_flags(), log)
    with tempfile.TemporaryDirectory(dir=program.parent, prefix=".new-") as scratch:
        made = Path(scratch) / ACTIONLINT.name
        build.run(go, made, Path(scratch), progress)
        made.replace(program)
    return program


def workflow_checks(files: Sequence[Path], actionlint: Path) -> Iterator[Check]:
    """What looks at the workflows: their form and their scripts, then what a stranger could do with them."""
    workflows = [str(path) for path in files if path.parent == GITHUB / "workflows"]
    configured = ("-config-file", str(GITHUB / "actionlint.yaml"))
    yield Check("actionlint", (str(actionlint), "-no-color", *configured, *workflows))
    # Its questions to GitHub (is a pinned commit that tag's?) need the network and a token.
    yield Check("zizmor", ("zizmor", "--offline", "--no-progress", "--strict-collection", *workflows))


def checks(files: Sequence[Path], go: str, actionlint: Path) -> Iterator[Check]:
    """Every checker with what it looks at."""
    yield Check("ruff", ("ruff", "check"))
    yield Check("ruff format", ("ruff", "format", "--check"))
    yield Check("mypy", ("mypy",))
    yield Check("import-linter", ("lint-imports", "--no-cache"))
    # A template (``.in``) is no script yet.
    scripts = [path for path in files if path.suffix != ".in"]
    shell = [str(path) for path in scripts if path.suffix == ".sh" or first_line(path).startswith(SHELL_MARKS)]
    yield Check("shellcheck", ("shellcheck", "--external-sources", *shell))
    yaml = [str(path) for path in files if path.suffix in (".yaml", ".yml") and "goldens" not in path.parts]
    yield Check("yamllint", ("yamllint", "--strict", *yaml))
    yield from workflow_checks(files, actionlint)
    guest = [str(path) for path in files if GUEST in path.parents and first_line(path).startswith(PYTHON_MARK)]
    yield Check(
        f"vermin (Python {GUEST_PYTHON})", ("vermin", "--no-tips", f"-t={GUEST_PYTHON}-", "--violations", *guest)
    )
    sources = [str(path) for path in files if path.suffix == ".go"]
    yield Check("gofmt", (str(Path(go).with_name("gofmt")), "-l", *sources), quiet=True)
    for module in go_modules(files):
        yield Check(f"go vet {module.relative_to(CHECKOUT)}", (go, "vet", "./..."), directory=module)


def fixes(files: Sequence[Path], go: str) -> Iterator[Check]:
    """The formatters, writing."""
    yield Check("ruff format", ("ruff", "format"))
    sources = [str(path) for path in files if path.suffix == ".go"]
    yield Check("gofmt", (str(Path(go).with_name("gofmt")), "-w", *sources))


def passes(check: Check) -> bool:
    """Run a checker and print how it ended; its own words only where it fails."""
    started = time.monotonic()
    try:
        result = subprocess.run(
            check.command,
            cwd=check.directory,
            env=os.environ | GO_ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        good, words = result.returncode == 0 and not (check.quiet and result.stdout.strip()), result.stdout
    except FileNotFoundError:
        good, words = False, f"{check.command[0]} is not installed; `make check` installs it\n"
    print(f"{'ok    ' if good else 'FAILED'} {check.name} ({time.monotonic() - started:.1f} s)", flush=True)
    if not good:
        print(words, flush=True)
    return good


def main(arguments: Sequence[str]) -> int:
    """Run everything; 0 when all is well, 1 when a checker objects, 2 when they cannot be run."""
    files = tracked()
    try:
        go = ensure_go(print)
        if "--fix" in arguments:
            chosen = list(fixes(files, str(go.program)))
        else:
            chosen = list(checks(files, str(go.program), ensure_actionlint(go, print)))
    except LbstackError as error:
        print(error, file=sys.stderr)
        return 2
    results = [passes(check) for check in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
