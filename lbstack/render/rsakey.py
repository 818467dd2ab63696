"""Read a signing key, and write the public part that the nodes verify with."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


def load_key(pem: str) -> RSAPrivateKey:
    """Return the signing key."""
    # config/credentials.py has checked the key; a second check takes 0.1 s for each node.
    key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, RSAPrivateKey):
        raise TypeError("the signing key is not an RSA key; stackfile.load refuses it beforehand")
    return key


def public_pem(pem: str | None) -> str:
    """Return the public part of a signing key as PEM, which the applier passes to openssl; empty where there is none.

    Args:
        pem: The signing key.
    """
    if not pem:
        return ""
    return load_key(pem).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
