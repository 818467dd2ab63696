"""What may be shown of a file: everything but password hashes and private keys.

Outputs, previews and reports show files through here and in no other way. Only the secrets are taken out, wherever they
stand; a line that holds one stays, so that a diff still shows which login changed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report takes secrets out of texts without rendering any
    from lbstack.render.files import File, RenderedPair

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


DIGEST_DIGITS = 8  # 32 bits: two versions are told apart, and there is nothing more to tell
CONTEXT = b"lbstack report digest 1"


@dataclass(frozen=True, repr=False)
class Redactor:
    """Takes secrets out of texts; with a key each is replaced by its digest.

    Args:
        key: Whatever is secret and stays the same for the stack: its signing key. Empty: no digests.
    """

    key: str = ""

    def __repr__(self) -> str:
        return f"Redactor({'with a key' if self.key else 'without a key'})"

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return PASSWORD_HASH.sub(self._replace, PRIVATE_KEY.sub(self._replace, text))

    def hidden(self, text: str) -> str:
        """What stands in the place of a whole text that is not shown."""
        if not self.key:
            return REDACTED
        derived = hmac.digest(self.key.encode(), CONTEXT, hashlib.sha256)
        digest = hmac.new(derived, text.encode(), hashlib.sha256).hexdigest()[:DIGEST_DIGITS]
        return f"{REDACTED[:-1]}:{digest}>"

    def _replace(self, found: re.Match[str]) -> str:
        return self.hidden(found[0])
