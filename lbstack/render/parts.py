"""Put a node's files into parts, and each part into as many guestinfo values as it needs.

A part is compressed once: gzip of one JSON object, guest path → content, then base64, cut into pieces. The manifest
has the number of its pieces, the digest of its compressed bytes and the paths of its files, and is signed: a set of
which one piece is missing, old or of another set is not installed.

What is equal on both nodes comes first in the object and is a block of its own, and so is the applier, which a first
boot gets in its userdata too: each is compressed once in a run (``deflate.py``).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lbstack.facts.releases import NEW_KEY
from lbstack.render import keys
from lbstack.render.deflate import gzip
from lbstack.render.files import File, RenderedPair
from lbstack.render.paths import APPLIER, PROGRAM_DIRECTORY


@dataclass(frozen=True)
class Part:
    """One part of a node's set.

    Args:
        name: One of ``keys.PARTS``.
        paths: The guest paths of its files.
        packed: Its compressed bytes.
    """

    name: str
    paths: tuple[str, ...]
    packed: bytes

    @property
    def values(self) -> dict[str, str]:
        """Guestinfo key → piece."""
        text = base64.b64encode(self.packed).decode()
        cuts = range(0, len(text), keys.PIECE)
        return {keys.piece(self.name, number): text[at : at + keys.PIECE] for number, at in enumerate(cuts)}

    @property
    def line(self) -> dict[str, object]:
        """What the manifest has about it."""
        return {
            "name": self.name,
            "count": len(self.values),
            "sha256": hashlib.sha256(self.packed).hexdigest(),
            "files": list(self.paths),
        }


def parts_of(pair: RenderedPair, node_name: str) -> tuple[Part, ...]:
    """Return the parts of one node's set, in the order of ``keys.PARTS``.

    Args:
        pair: The rendered files of both nodes.
        node_name: Which node.
    """
    files = pair.nodes[node_name]
    common = common_of(pair, node_name)
    wanted: dict[str, Callable[[str], bool]] = {keys.CONFIG: lambda path: not fixed(path), keys.PROGRAMS: fixed}
    return tuple(_part(name, [path for path in files if wanted[name](path)], files, common) for name in keys.PARTS)


def fixed(path: str) -> bool:
    """Whether a file does not depend on the stack file."""
    return path.startswith(f"{PROGRAM_DIRECTORY}/") or path == NEW_KEY


def common_of(pair: RenderedPair, node_name: str) -> set[str]:
    """Return the paths of the files that are the same on all nodes."""
    files = pair.nodes[node_name]
    return {path for path in files if all(each.get(path) == files[path] for each in pair.nodes.values())}


def _part(name: str, paths: Sequence[str], files: Mapping[str, File], common: Collection[str]) -> Part:
    ordered = sorted(paths, key=lambda path: (path not in common, path))
    blocks = [block.encode() for block in _blocks(ordered, files, common)]
    return Part(name, tuple(sorted(paths)), gzip(*blocks))


def _blocks(ordered: Sequence[str], files: Mapping[str, File], common: Collection[str]) -> Iterator[str]:
    """Yield the JSON object in blocks, each compressed on its own."""
    text = "{"
    shared = True
    for number, path in enumerate(ordered):
        if shared and path not in common:
            yield text
            text, shared = "", False
        text += f"{',' if number else ''}{json.dumps(path)}:"
        content = json.dumps(files[path].content)
        if path == APPLIER:
            yield text
            yield content
            text = ""
        else:
            text += content
    yield f"{text}}}\n"
