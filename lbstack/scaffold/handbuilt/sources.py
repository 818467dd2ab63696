"""Find and read the files of a hand-built pair: one directory for each node, with copies of its files.

A file is known by its name, wherever below the directory it is. What is not known is listed, so that nobody believes it
was read. Links and other special files are not followed or opened.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from lbstack.problems import ConfigError, Problem

SOURCE = "the files of the hand-built pair"
MAX_BYTES = 1 << 18  # such a file has some kilobytes; a quarter of a megabyte is another file
MAX_FILES = 500  # copies of some files; a directory with more is the node's own file system
NODES = 2


class Kind(StrEnum):
    """What a file configures."""

    HAPROXY = "haproxy.cfg"
    KEEPALIVED = "keepalived.conf"
    FIREWALL = "ip4save"
    FIREWALL6 = "ip6save"
    NETWORK = ".network"
    KERNEL = "sysctl"


NAMES = (
    (re.compile(r"haproxy\.cfg"), Kind.HAPROXY),
    (re.compile(r"keepalived\.conf"), Kind.KEEPALIVED),
    (re.compile(r"ip4save|iptables|rules\.v4"), Kind.FIREWALL),
    (re.compile(r"ip6save|ip6tables|rules\.v6"), Kind.FIREWALL6),
    (re.compile(r".+\.network"), Kind.NETWORK),
    (re.compile(r"sysctl\.conf|[0-9]{2}-.+\.conf"), Kind.KERNEL),
)
ONCE = (Kind.HAPROXY, Kind.KEEPALIVED, Kind.FIREWALL, Kind.FIREWALL6)


@dataclass(frozen=True)
class Source:
    """One file.

    Args:
        kind: What it configures.
        node: Whose it is: 0 or 1, in the order of the directories.
        name: Its path as messages show it.
        text: Its content.
    """

    kind: Kind
    node: int
    name: str
    text: str


@dataclass(frozen=True)
class Sources:
    """All files.

    Args:
        files: Those that are known by their names.
        unread: Paths of all others.
    """

    files: tuple[Source, ...]
    unread: tuple[str, ...]

    def of(self, kind: Kind) -> tuple[Source, ...]:
        """The files of a kind, the first node's first."""
        return tuple(file for file in self.files if file.kind is kind)


def read(directories: Sequence[Path]) -> Sources:
    """Read the files of one or two nodes.

    Args:
        directories: One directory for each node.

    Raises:
        ConfigError: There are problems; it holds all of them.
    """
    problems: list[Problem] = []
    files: list[Source] = []
    unread: list[str] = []
    if len(directories) > NODES:
        problems.append(Problem(str(directories[NODES]), "is a third node", "A pair has two: give two directories."))
    for node, directory in enumerate(directories[:NODES]):
        found: dict[Kind, Path] = {}
        for path, kind in _found(directory, problems):
            if kind is None:
                unread.append(str(path))
            elif kind in ONCE and kind in found:
                remedy = f"A node has one {kind}: leave the one that counts."
                problems.append(Problem(str(path), f"is a second {kind} of this node, beside {found[kind]}", remedy))
            else:
                found[kind] = path
                text = _text(path, problems)
                if text is not None:
                    files.append(Source(kind, node, _shown(path, directory, directories), text))
    if not problems and not any(file.kind is Kind.HAPROXY for file in files):
        where = " and ".join(map(str, directories))
        remedy = "Copy /etc/haproxy/haproxy.cfg of a node there: the services are in it."
        problems.append(Problem(where, "has no haproxy.cfg", remedy))
    if problems:
        raise ConfigError(problems, SOURCE)
    return Sources(tuple(files), tuple(unread))


def _found(directory: Path, problems: list[Problem]) -> Iterator[tuple[Path, Kind | None]]:
    """Yield every file below a directory, sorted, with what it is."""
    if not directory.is_dir():
        what = "is a file" if directory.exists() else "does not exist"
        remedy = "Give a directory with copies of one node's files, such as haproxy.cfg and keepalived.conf."
        problems.append(Problem(str(directory), what, remedy))
        return
    count = 0
    unreadable: list[OSError] = []
    for parent, directories, names in os.walk(directory, onerror=unreadable.append):
        directories.sort()
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                remedy = "Give a directory with copies of the files, not the node's file system."
                problems.append(Problem(str(directory), f"has more than {MAX_FILES} files", remedy))
                return
            path = Path(parent, name)
            ordinary = path.is_file() and not path.is_symlink()
            yield path, next((kind for form, kind in NAMES if ordinary and form.fullmatch(name)), None)
    problems.extend(
        Problem(str(error.filename), f"cannot be read ({error.strerror})", "Let this user read it.")
        for error in unreadable
    )


def _shown(path: Path, directory: Path, directories: Sequence[Path]) -> str:
    """The file's name in messages: below its directory's own name, where that tells the nodes apart."""
    names = [each.name for each in directories]
    if not all(names) or len(set(names)) < len(names):
        return str(path)
    return str(Path(directory.name, path.relative_to(directory)))


def _text(path: Path, problems: list[Problem]) -> str | None:
    """The content of a file; None where there is a problem."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        problems.append(Problem(str(path), f"cannot be read ({error.strerror})", "Let this user read it."))
        return None
    if len(content) > MAX_BYTES:
        problems.append(Problem(str(path), f"has more than {MAX_BYTES} bytes", "Give the configuration file itself."))
        return None
    if b"\0" in content:
        remedy = "Give the text file; what Windows calls Unicode has to be saved as UTF-8."
        problems.append(Problem(str(path), "is not text: it has a NUL byte", remedy))
        return None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        remedy = "Save it as UTF-8, for example with `iconv -f latin1 -t utf-8`."
        problems.append(Problem(f"{path}:{line}", f"is not UTF-8 (byte {error.start})", remedy))
        return None
    if not text.strip():
        problems.append(Problem(str(path), "is empty", "Copy it again, or leave it out."))
        return None
    return text.replace("\r\n", "\n").replace("\r", "\n")
