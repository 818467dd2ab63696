"""Join the parts of a set that are in guestinfo keys of their own: the inverse of ``parts.py``.

Nothing is verified but what a reader has to know: whether the pieces of a part are all there and of this set. Whether
the set is the stack's own is for the node to decide, which has the public key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lbstack.render import keys

MAX_OPENED = 4 << 20  # bytes; a part has some 100 kB, so more is a decompression bomb
MAX_PIECES = keys.VMX_LIMIT // keys.PIECE + 1
GZIP_WINDOW = 31  # zlib's code for gzip's header and the largest window


@dataclass(frozen=True)
class Joined:
    """A set as it is in its own keys.

    Args:
        head: The manifest; empty where there is none that can be read.
        files: Guest path → content, of every part that is whole.
        read: The keys that were read.
        unreadable: Key → value of what cannot be read, or is of another set.
    """

    head: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    read: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)


def joined(held: Mapping[str, str]) -> Joined:
    """Join what is in a VM's guestinfo.

    Args:
        held: Guestinfo key → value.
    """
    own = {key: value for key, value in held.items() if keys.is_of_set(key)}
    if not own:
        return Joined()
    head = _text(own.get(keys.HEAD, ""))
    lines = _lines(head)
    if lines is None:
        return Joined(unreadable=own)
    read = {keys.HEAD, keys.SIGNATURE} & own.keys()
    files: dict[str, str] = {}
    for line in lines:
        pieces = [keys.piece(str(line.get("name")), number) for number in range(_count(line))]
        content = _part("".join(own.get(key, "") for key in pieces), str(line.get("sha256")))
        if content is not None:
            files |= content
            read.update(pieces)
    if own.get(keys.HASH) == _hash(head):
        read.add(keys.HASH)
    return Joined(head, files, frozenset(read), {key: value for key, value in own.items() if key not in read})


def _text(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (ValueError, binascii.Error):
        return ""


def _lines(head: str) -> list[dict[str, Any]] | None:
    """The manifest's lines about the parts; None where it is no manifest of a set in parts."""
    try:
        lines = json.loads(head)["parts"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return lines if isinstance(lines, list) and all(isinstance(line, dict) for line in lines) else None


def _hash(head: str) -> str:
    return str(json.loads(head).get("hash", ""))


def _count(line: Mapping[str, Any]) -> int:
    count = line.get("count")
    return count if isinstance(count, int) and 0 < count <= MAX_PIECES else 0


def _part(text: str, digest: str) -> dict[str, str] | None:
    try:
        packed = base64.b64decode(text, validate=True)
        if hashlib.sha256(packed).hexdigest() != digest:
            return None
        unpacker = zlib.decompressobj(GZIP_WINDOW)
        data = unpacker.decompress(packed, MAX_OPENED)
        files = None if unpacker.unconsumed_tail else json.loads(data)
    except (ValueError, binascii.Error, zlib.error, RecursionError):
        return None
    return {str(path): str(content) for path, content in files.items()} if isinstance(files, dict) else None
