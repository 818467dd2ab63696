"""Write the rendered files into a directory, and remove only what an earlier run of the same wrote there.

The directory has a list of what was written to it (``.lbstack-render``). What is not in the list is somebody else's: it
is neither removed nor overwritten, and nothing is written or removed through a symbolic link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from lbstack.problems import LbstackError
from lbstack.render.files import File

Nodes = Mapping[str, Mapping[str, File]]

LIST = ".lbstack-render"  # marks the directory, and lists the files that are `lbstack render`'s own
SHOWN = 10  # files that are in the way


def write_files(nodes: Nodes, directory: Path) -> int:
    """Write every file below ``directory/<node>/``, and the list of modes and owners to ``<node>.files``.

    Args:
        nodes: What to write.
        directory: A new or empty directory, or one that this function created; of its earlier files those that are not
            written again are removed.

    Returns:
        The number of written files.

    Raises:
        LbstackError: The directory has other content where files are to be written, or cannot be written.
    """
    contents = _contents(nodes)
    try:
        own = _own(directory)
        _require_free(directory, own, contents)
        directory.mkdir(parents=True, exist_ok=True)
        # First, so that what a run leaves that is killed here is known as its own.
        _write_list(directory, {*own, *contents})
        for path in sorted(own - set(contents)):
            _remove(directory, path)
        for path, text in contents.items():
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        _write_list(directory, set(contents))
    except OSError as error:
        reason = f"{error.strerror} ({error.filename})"
        raise LbstackError(f"The files could not be written to {directory}: {reason}. Give another --out.") from error
    return sum(len(files) for files in nodes.values())


def _contents(nodes: Nodes) -> dict[str, str]:
    """Path below the directory → content."""
    contents = {}
    for node, files in nodes.items():
        contents[f"{node}.files"] = "".join(f"{file.mode:04o} {file.owner} {path}\n" for path, file in files.items())
        contents |= {f"{node}/{path.removeprefix('/')}": file.content for path, file in files.items()}
    return contents


def _own(directory: Path) -> set[str]:
    """What is this program's own in the directory.

    Raises:
        LbstackError: It has content, and was not made by this program.
    """
    if not directory.exists() or not any(directory.iterdir()):
        return set()
    marker = directory / LIST
    if not marker.is_file() or marker.is_symlink():
        raise LbstackError(
            f"{directory} is not empty and was not created by `lbstack render`. Nothing was written; "
            "give a new directory."
        )
    listed = marker.read_text(encoding="utf-8", errors="replace").splitlines()
    return {path for path in listed or _listed_by_nodes(directory) if _is_below(path)}


def _listed_by_nodes(directory: Path) -> list[str]:
    """The same for a directory of an older version, whose marker is empty: its lists of modes and owners tell."""
    found = []
    for listing in sorted(directory.glob("*.files")):
        node = listing.name.removesuffix(".files")
        lines = [line.split(" ", 2) for line in listing.read_text(encoding="utf-8", errors="replace").splitlines()]
        found += [listing.name, *(f"{node}/{line[-1].removeprefix('/')}" for line in lines if len(line) > 2)]  # noqa: PLR2004
    return found


def _is_below(path: str) -> bool:
    """Whether a listed path is one below the directory; a list may have been edited."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts


def _require_free(directory: Path, own: set[str], paths: Mapping[str, str]) -> None:
    """Refuse to overwrite what is somebody else's.

    Raises:
        LbstackError: Something is in the way; with what.
    """
    foreign = [path for path in paths if _in_the_way(directory, path, own)]
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise LbstackError(
            f"In {directory} is something that `lbstack render` did not write, where it has to: "
            f"{', '.join(foreign[:SHOWN])}{more}. Nothing was written; move that away, or give a new directory."
        )


def _in_the_way(directory: Path, path: str, own: set[str]) -> bool:
    target = directory / path
    for part in _parents(directory, path):
        if part.is_symlink() or (part.exists() and not part.is_dir()):
            return True
    if target.is_symlink() or target.is_dir():
        return True
    return target.exists() and path not in own


def _parents(directory: Path, path: str) -> Sequence[Path]:
    """The directories between the directory and a file in it, the innermost first."""
    return [directory / parent for parent in PurePosixPath(path).parents if parent.parts]


def _remove(directory: Path, path: str) -> None:
    """Remove a file, and the directories that are empty without it."""
    target, parents = directory / path, _parents(directory, path)
    if any(parent.is_symlink() for parent in parents) or (target.is_dir() and not target.is_symlink()):
        return
    target.unlink(missing_ok=True)
    for parent in parents:
        with suppress(OSError):  # it is not empty, or gone
            parent.rmdir()


def _write_list(directory: Path, paths: set[str]) -> None:
    text = "".join(f"{path}\n" for path in sorted(paths))
    (directory / LIST).write_text(text, encoding="utf-8")
