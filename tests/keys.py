"""Keys of the test run. Creating an RSA key is slow, so each key is created once."""

from __future__ import annotations

import base64
import struct
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lbstack.config.credentials import MIN_KEY_BITS


@cache
def signing_key(bits: int = MIN_KEY_BITS) -> str:
    """A signing key of this size in bits: an RSA private key as PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _public_line(key: Any) -> str:
    encoded: bytes = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return encoded.decode()


@cache
def ssh_keys() -> tuple[str, ...]:
    """Public keys of every accepted type except those of FIDO tokens."""
    return (
        *(_public_line(ed25519.Ed25519PrivateKey.generate()) for _ in range(3)),
        *(_public_line(ec.generate_private_key(curve)) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())),
        _public_line(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    )


@cache
def fido_key() -> str:
    """A public key in the format of a FIDO token (OpenSSH's PROTOCOL.u2f: type, key, application)."""
    kind = b"sk-ssh-ed25519@openssh.com"
    point = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind, point, b"ssh:"))
    return f"{kind.decode()} {base64.b64encode(blob).decode()}"
