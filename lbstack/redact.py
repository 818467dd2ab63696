"""What may be shown of a file: everything but password hashes and private keys.

Outputs, previews and reports show files through here and in no other way. Only the secrets are taken out, wherever they
stand; a line that holds one stays, so that a diff still shows which login changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report takes secrets out of texts without rendering any
    from lbstack.render import File, RenderedPair

REDACTED = "<redacted>"

PASSWORD_HASH = re.compile(r"\$(?:[0-9]|2[abxy]|y|gy|7|sha1|argon2[a-z]*)\$[^\s:'\"]+")
"""A password hash in the crypt(3) form of any scheme, although only ``$6$`` is accepted as input."""

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
"""A private key in PEM, also one whose line ends are written as ``\\n`` or whose end was cut off."""


def redact(text: str) -> str:
    """Return the text with ``<redacted>`` in the place of every password hash and every private key."""
    return PASSWORD_HASH.sub(REDACTED, PRIVATE_KEY.sub(REDACTED, text))


def redact_files(files: Mapping[str, File]) -> dict[str, str]:
    """Return path → what may be shown of the file, in the same order."""
    return {path: redact(file.content) for path, file in files.items()}


def redact_pair(pair: RenderedPair) -> dict[str, dict[str, str]]:
    """Return node name → path → what may be shown of the file."""
    return {node: redact_files(files) for node, files in pair.nodes.items()}
