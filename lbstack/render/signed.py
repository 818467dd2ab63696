"""Write and sign the manifest: the list of a node's files, by which its applier recognises a set of its own stack."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from lbstack.render.files import File
from lbstack.render.parts import Part

FORMAT = 1
"""Format of the manifest; the applier refuses any other."""


def _canonical(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n"


def manifest(config_hash: str, node_name: str, files: Mapping[str, File], parts: Sequence[Part] = ()) -> str:
    """Return the signed list of a node's files: one line of JSON with sorted keys.

    ``FORMAT`` stays where a key is added: an applier ignores keys that it does not know.

    Args:
        config_hash: The set's hash.
        node_name: The node of the set; every other node refuses it.
        files: Guest path → file.
        parts: The parts that the files are sent in.
    """
    return _canonical(
        {
            "format": FORMAT,
            "hash": config_hash,
            "node": node_name,
            "files": [
                {
                    "path": path,
                    "owner": file.owner,
                    "mode": f"{file.mode:04o}",
                    "sha256": hashlib.sha256(file.content.encode()).hexdigest(),
                }
                for path, file in sorted(files.items())
            ],
            "parts": [part.line for part in parts],
        }
    )


def sign(text: str, key: RSAPrivateKey) -> str:
    """Return the RSA PKCS#1 v1.5 signature with SHA-256 of a text, in base64 on one line."""
    return base64.b64encode(key.sign(text.encode(), PKCS1v15(), SHA256())).decode() + "\n"
