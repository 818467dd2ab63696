"""Find the stack that a user names: its name, its stack file and the directory of the program.

A stack is named as Pulumi names it, or by the path of its ``Pulumi.<stack>.yaml``. Only names of files are read here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lbstack import shipped
from lbstack.problems import LbstackError, quote

PROJECT_FILE = "Pulumi.yaml"
STACK_FILE = re.compile(r"Pulumi\.(?P<name>[A-Za-z0-9_.-]+)\.ya?ml")
# As the engine restricts them (sdk/go/common/tokens); an organisation and a project may stand before.
STACK_NAME = re.compile(r"(?:[A-Za-z0-9_.-]+/){0,2}(?P<last>[A-Za-z0-9_.-]{1,100})")
CONFIG_FILE_VARIABLE = "PULUMI_OPTION_CONFIG_FILE"  # the engine's own: the option --config-file for every command


@dataclass(frozen=True)
class Stack:
    """One stack.

    Args:
        name: What the engine calls it.
        file: Its stack file, which exists.
        program: The directory of ``Pulumi.yaml``.
    """

    name: str
    file: Path
    program: Path

    @property
    def usual_file(self) -> bool:
        """Whether the engine finds the stack file by itself."""
        usual = self.program / f"Pulumi.{self.name.rpartition('/')[2]}.yaml"
        return usual.exists() and usual.samefile(self.file)


def find_stack(text: str, *, environment: Mapping[str, str] = os.environ, directory: Path | None = None) -> Stack:
    """Find the stack that a person means.

    Args:
        text: A stack's name, or the path of its stack file.
        environment: The variables of this process.
        directory: Where to look; the working directory unless given.

    Raises:
        LbstackError: There is no such stack file, with the names of those that exist; or no repository.
    """
    here = directory or Path.cwd()
    if text.endswith((".yaml", ".yml")):
        return _by_path(here / text)
    named = STACK_NAME.fullmatch(text)
    if not named:
        raise LbstackError(
            f"{quote(text)} is no name of a stack. Give a name (letters, digits, `_`, `.`, `-`) or the path of a "
            "Pulumi.<stack>.yaml."
        )
    program = _program(here)
    other = environment.get(CONFIG_FILE_VARIABLE)
    file = here / other if other else program / f"Pulumi.{named['last']}.yaml"
    if not file.is_file():
        raise LbstackError(_missing(text, file, program, other))
    return Stack(text, file, program)


def _by_path(file: Path) -> Stack:
    if not file.is_file():
        raise LbstackError(f"There is no file {file}. {_listing(file.parent)}")
    named = STACK_FILE.fullmatch(file.name)
    if not named:
        raise LbstackError(f"{file} is no stack file by its name, which has to be Pulumi.<stack>.yaml.")
    return Stack(named["name"], file, _program(file.parent.absolute()))


def _program(here: Path) -> Path:
    """The nearest directory with a project file; else the checkout that this package is part of."""
    for directory in (here, *here.parents):
        if (directory / PROJECT_FILE).is_file():
            return directory
    checkout = shipped.checkout()
    if checkout is None:
        raise LbstackError(
            f"There is no {PROJECT_FILE} in {here} or above it. Change into your repository, or make one with "
            "`lbstack init DIR`."
        )
    return checkout


def _missing(text: str, file: Path, program: Path, variable: str | None) -> str:
    why = f" (set by {CONFIG_FILE_VARIABLE})" if variable else ""
    return (
        f"There is no stack {quote(text)}: no file {file}{why}. {_listing(program)} "
        "A new stack begins with a copy of stack.example.yaml; then `pulumi stack init NAME`."
    )


def _listing(directory: Path) -> str:
    names = sorted(path.name for path in directory.glob("Pulumi.*.y*ml") if STACK_FILE.fullmatch(path.name))
    return f"In {directory} there is: {', '.join(names)}." if names else f"In {directory} there is no stack file."
