"""Write a new repository: the program, an example stack file, the workflows, and lbstack as a dependency."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from string import Template

from lbstack import shipped
from lbstack.problems import LbstackError
from lbstack.scaffold.source import WHEELS, Source, version
from lbstack.stackfile import schema

# Files that are those of the product's own checkout, to the byte.
SHIPPED = (
    "__main__.py",
    "Pulumi.yaml",
    "stack.example.yaml",
    ".vscode/settings.json",
    ".github/actionlint.yaml",
    ".github/workflows/deploy.yml",
    ".github/workflows/drift.yml",
    ".github/workflows/lab-destroy.yml",
    ".github/workflows/preview.yml",
    ".ci/publish",
    ".ci/rendered-diff",
)
# Files that only such a repository has; their templates are in ``repository/``, with the suffix ``.in``.
OWN = ("pyproject.toml", "README.md", ".gitignore", ".ci/set-up")
TEMPLATES = Path(__file__).parent / "repository"
PROGRAMS = (".ci/publish", ".ci/rendered-diff", ".ci/set-up")
PLUGIN = "pulumi-vsphere"


def write(directory: Path, source: Source) -> list[Path]:
    """Write the repository: all of it, or nothing.

    It is made next to its place under another name and then renamed, so that a run that is stopped leaves the place as
    it was.

    Args:
        directory: The directory to make; it may exist if it is empty.
        source: Where the repository installs lbstack from.

    Returns:
        The files, relative to the directory.

    Raises:
        LbstackError: The directory is not empty, or cannot be written.
    """
    place = directory.absolute()
    _require_free(place)
    try:
        made = Path(tempfile.mkdtemp(dir=place.parent, prefix=".lbstack-init-"))
    except OSError as error:
        raise LbstackError(f"{place.parent} cannot be written ({error.strerror}). Choose another directory.") from None
    try:
        written = sorted(_fill(made, source))
        made.chmod(0o777 & ~_umask())
        if place.is_dir():  # it is replaced, and keeps whose it is and who may read it
            was = place.stat()
            os.chown(made, was.st_uid, was.st_gid)
            made.chmod(stat.S_IMODE(was.st_mode))
        made.rename(place)
    except OSError as error:
        raise LbstackError(f"{place} cannot be written ({error.strerror}). Nothing was made.") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return written


def _require_free(place: Path) -> None:
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        raise LbstackError(f"{place} is not a directory. Choose another name; nothing was made.")
    if not place.parent.is_dir():
        raise LbstackError(f"There is no directory {place.parent}. Make it first; nothing was made.")
    if place.is_dir() and place.samefile(Path.cwd()):
        raise LbstackError(
            f"{place} is the working directory, which would be replaced. Name a new directory; nothing was made."
        )
    try:
        there = sorted(entry.name for entry in place.iterdir()) if place.is_dir() else []
    except OSError as error:
        raise LbstackError(f"{place} cannot be read ({error.strerror}). Nothing was made.") from None
    if there:
        shown = ", ".join(there[:5]) + (", ..." if len(there) > 5 else "")  # noqa: PLR2004 - enough to recognise it
        raise LbstackError(f"{place} is not empty ({shown}). Choose a new directory; nothing was made.")


def _fill(made: Path, source: Source) -> Iterator[Path]:
    """Write every file; gives its path below the directory."""

    def put(name: str, content: bytes) -> Path:
        file = made / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        if name in PROGRAMS:
            file.chmod(file.stat().st_mode | 0o111 & ~_umask())
        return Path(name)

    for name in SHIPPED:
        yield put(name, shipped.path(name).read_bytes())
    yield put(schema.FILE_NAME, schema.text().encode())
    values = {"version": version(), "source": source.line, "plugin": metadata.version(PLUGIN)}
    for name in OWN:
        template = TEMPLATES / f"{Path(name).name.removeprefix('.')}.in"
        text = Template(template.read_text(encoding="utf-8")).substitute(values)
        yield put(name, text.encode())
    if source.wheel is not None:
        yield put(f"{WHEELS}/{source.wheel.name}", source.wheel.read_bytes())


def _umask() -> int:
    """The process' umask; Python can only read it by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
