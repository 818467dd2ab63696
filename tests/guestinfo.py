"""Decode the guestinfo of a VM with the standard library only: an independent check of ``lbstack/render/unpack.py``."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping
from typing import Any

USERDATA = "guestinfo.userdata"
METADATA = "guestinfo.metadata"
ENCODING = ".encoding"
HEAD = "#cloud-config\n"


def decoded(values: Mapping[str, str], key: str = USERDATA) -> str:
    """Decode one value like cloud-init.

    Args:
        values: The VM's guestinfo: key → value; a missing encoding means that the value is plain text.
        key: The key of the value.
    """
    encoding = values.get(key + ENCODING, "")
    assert encoding in ("", "base64", "b64", "gzip+base64", "gz+b64"), encoding
    data = values[key].encode()
    if encoding:
        data = base64.b64decode(data, validate=True)
    if encoding.startswith("gz"):
        data = gzip.decompress(data)
    return data.decode()


def document_of(text: str) -> dict[str, Any]:
    """Parse decoded userdata: ``#cloud-config`` and a JSON document."""
    assert text.startswith(HEAD), text[:80]
    return dict(json.loads(text.removeprefix(HEAD)))


def userdata(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the document in a VM's userdata."""
    return document_of(decoded(values))


def metadata(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the document in a VM's metadata."""
    return dict(json.loads(decoded(values, METADATA)))


def written_files(document: Mapping[str, Any]) -> dict[str, str]:
    """Return what ``write_files`` of a userdata document writes: path → content."""
    return {entry["path"]: entry["content"] for entry in document["write_files"]}


def set_files(values: Mapping[str, str]) -> dict[str, str]:
    """Return the files of the set in its own keys: path → content; each part's digest is checked."""
    head = json.loads(base64.b64decode(values["guestinfo.lbstack.head"], validate=True))
    files: dict[str, str] = {}
    for part in head["parts"]:
        text = "".join(values[f"guestinfo.lbstack.{part['name']}.{number}"] for number in range(part["count"]))
        packed = base64.b64decode(text, validate=True)
        assert hashlib.sha256(packed).hexdigest() == part["sha256"], part["name"]
        files |= json.loads(gzip.decompress(packed))
    return files
