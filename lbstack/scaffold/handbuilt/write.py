"""Write the results of an import: both files or none, each whole or not at all, and never over another file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lbstack.engine.stack import STACK_FILE
from lbstack.problems import ConfigError, Problem

SOURCE = "where the import writes"


def require_free(stack_file: Path, report: Path | None) -> None:
    """Refuse places that are taken or of no use, before anything is read.

    Args:
        stack_file: Where the stack file is to be.
        report: Where the report is to be, if anywhere.

    Raises:
        ConfigError: There are problems; it holds all of them.
    """
    problems = []
    if not STACK_FILE.fullmatch(stack_file.name):
        problems.append(Problem(str(stack_file), "is no name of a stack file", "Give --out Pulumi.<stack>.yaml."))
    places = [stack_file] if report is None else [stack_file, report]
    for place in places:
        if place.exists() or place.is_symlink():
            remedy = "Give another name, or move it away; nothing is overwritten."
            problems.append(Problem(str(place), "exists", remedy))
        elif not place.absolute().parent.is_dir():
            problems.append(Problem(str(place), "is in a directory that does not exist", "Make the directory first."))
    if report is not None and report.absolute() == stack_file.absolute():
        problems.append(Problem(str(report), "is the stack file's place", "Give the report another name."))
    if problems:
        raise ConfigError(problems, SOURCE)


def write(contents: Mapping[Path, str]) -> None:
    """Write the files.

    Args:
        contents: Place → text; none of the places exists.

    Raises:
        ConfigError: A file cannot be written, or has come into being meanwhile; none of the others is left.
    """
    made: list[Path] = []
    for place, text in contents.items():
        try:
            _create(place, text)
        except OSError as error:
            for other in made:
                other.unlink(missing_ok=True)
            taken = isinstance(error, FileExistsError)
            what = "exists" if taken else f"cannot be written ({error.strerror})"
            raise ConfigError([Problem(str(place), what, "Give another place; nothing was written.")], SOURCE) from None
        made.append(place)


def _create(place: Path, text: str) -> None:
    """Make a file in one step that fails where there is one."""
    handle, name = tempfile.mkstemp(dir=place.absolute().parent, prefix=f".{place.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.link(temporary, place)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
