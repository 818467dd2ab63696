"""Sets in guestinfo keys of their own, as the program sends them, and ways to alter them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json

from tests.unit.guest.host import Host
from tests.unit.guest.sets import Parts

PIECE = 400  # characters; small, so that a part has several pieces
PROGRAMS = "/usr/local/lib/lbstack/"


def keys_of(parts: Parts) -> dict[str, str]:
    """The keys and values of a set, below ``guestinfo.lbstack.``."""
    split = {
        "config": {path: text for path, text in parts.files.items() if not path.startswith(PROGRAMS)},
        "programs": {path: text for path, text in parts.files.items() if path.startswith(PROGRAMS)},
    }
    listed, values = [], {"hash": parts.hash}
    for name, files in split.items():
        packed = gzip.compress(json.dumps(files, sort_keys=True).encode(), mtime=0)
        text = base64.b64encode(packed).decode()
        pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
        values |= {f"{name}.{number}": piece for number, piece in enumerate(pieces)}
        digest = hashlib.sha256(packed).hexdigest()
        listed.append({"name": name, "count": len(pieces), "sha256": digest, "files": sorted(files)})
    signed = Parts(parts.hash, parts.manifest, b"", parts.files).alter(parts=listed)
    parts.manifest, parts.signature = signed.manifest, signed.signature
    return values | {"head": base64.b64encode(signed.manifest).decode(), "signature": signed.signature.decode()}


def give(host: Host, values: dict[str, str]) -> None:
    """Put keys into guestinfo, and take others of that kind away."""
    for path in host.fakes.glob("guestinfo.lbstack.*"):
        path.unlink()
    for name, value in values.items():
        (host.fakes / f"guestinfo.lbstack.{name}").write_text(value)
