"""Redact texts: replace every password hash and private key.

Outputs, previews and reports show files only after this. Only the secrets are replaced, wherever they are. The rest of
the line stays, so that a diff still shows which login changed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report redacts texts without loading the renderer
    from lbstack.render.files import File, RenderedPair

REDACTED = "<redacted>"

PASSWORD_HASH = re.compile(r"\$(?:[0-9]|2[abxy]|y|gy|7|sha1|argon2[a-z]*)\$[^\s:'\"]+")
"""A password hash in the crypt(3) form of any scheme, although a stack accepts only ``$6$``."""

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
"""A private key in PEM, also one whose line ends are written as ``\\n`` or whose end was cut off."""


def redact(text: str) -> str:
    """Return the text with ``<redacted>`` in place of every password hash and private key."""
    return PASSWORD_HASH.sub(REDACTED, PRIVATE_KEY.sub(REDACTED, text))


def redact_files(files: Mapping[str, File]) -> dict[str, str]:
    """Return path → redacted content, in the same order."""
    return {path: redact(file.content) for path, file in files.items()}


def redact_pair(pair: RenderedPair) -> dict[str, dict[str, str]]:
    """Return node name → path → redacted content."""
    return {node: redact_files(files) for node, files in pair.nodes.items()}


DIGEST_DIGITS = 8  # 32 bits: enough to distinguish two versions of a secret
CONTEXT = b"lbstack report digest 1"


@dataclass(frozen=True, repr=False)
class Redactor:
    """Redacts texts; with a key, each secret is replaced by a digest of it.

    Args:
        key: A secret that stays the same for the stack: its signing key. Without it there are no digests.
    """

    key: str = ""

    def __repr__(self) -> str:
        return f"Redactor({'with a key' if self.key else 'without a key'})"

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        return PASSWORD_HASH.sub(self._replace, PRIVATE_KEY.sub(self._replace, text))

    def hidden(self, text: str) -> str:
        """Return the replacement of a whole text that must not be shown.

        Args:
            text: The text.
        """
        if not self.key:
            return REDACTED
        derived = hmac.digest(self.key.encode(), CONTEXT, hashlib.sha256)
        digest = hmac.new(derived, text.encode(), hashlib.sha256).hexdigest()[:DIGEST_DIGITS]
        return f"{REDACTED[:-1]}:{digest}>"

    def _replace(self, found: re.Match[str]) -> str:
        return self.hidden(found[0])
