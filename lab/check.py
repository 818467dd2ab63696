"""Every checker of the project in one run: `make check`; with ``--fix`` only the formatters, which then write.

A checker that is missing is a failure, not a pass. All of them run, so one run shows everything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.golang import GO_ENVIRONMENT, ensure_go
from lab.state import CHECKOUT
from lbstack.problems import LbstackError

GUEST = CHECKOUT / "cloudinit" / "guest"
GUEST_PYTHON = "3.7"  # Photon 3.0's python3
SHELL_MARKS = ("#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash")
PYTHON_MARK = "#!/usr/bin/python3"


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


def checks(files: Sequence[Path], go: str) -> Iterator[Check]:
    """Every checker with what it looks at."""
    yield Check("ruff", ("ruff", "check"))
    yield Check("ruff format", ("ruff", "format", "--check"))
    yield Check("mypy", ("mypy",))
    shell = [str(path) for path in files if path.suffix == ".sh" or first_line(path).startswith(SHELL_MARKS)]
    yield Check("shellcheck", ("shellcheck", "--external-sources", *shell))
    yaml = [str(path) for path in files if path.suffix in (".yaml", ".yml") and "goldens" not in path.parts]
    yield Check("yamllint", ("yamllint", "--strict", *yaml))
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
    try:
        go = str(ensure_go(print).program)
    except LbstackError as error:
        print(error, file=sys.stderr)
        return 2
    chosen = fixes if "--fix" in arguments else checks
    results = [passes(check) for check in chosen(tracked(), go)]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
