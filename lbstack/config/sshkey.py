"""Read OpenSSH public keys. A refused key is never quoted, because it may be the private one."""

from __future__ import annotations

import binascii

from lbstack.config.forms import FORBIDDEN, FormError
from lbstack.problems import show

MIN_RSA_BITS = 2048  # NIST SP 800-131A: shorter RSA keys are disallowed since 2014
FIDO_TYPES = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")  # OpenSSH 8.2 and later
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa", *FIDO_TYPES)
HINT = "Write the line of the .pub file, such as ssh-ed25519 AAAA… name; create a key with `ssh-keygen -t ed25519`."


def key_type(key: str) -> str:
    """Return the type of a key that ``read_ssh_key`` accepted."""
    return key.split(maxsplit=1)[0]


def key_blob(key: str) -> str:
    """Return the part that identifies a key: type and base64, without the comment."""
    return " ".join(key.split()[:2])


def read_ssh_key(value: object) -> str:
    """Read one line of an ``authorized_keys`` file without options.

    Returns:
        The line without surrounding whitespace.

    Raises:
        FormError: It is a private key, has options or a type that the nodes' OpenSSH refuses, or is damaged.
    """
    if not isinstance(value, str):
        raise FormError(f"is {show(value)}", HINT)
    line = value.strip()
    if "PRIVATE KEY" in line:
        raise FormError(
            "is a private key (not shown here)",
            "Only its owner may have it. If this file has left your machine, create a new key pair. " + HINT,
        )
    if not line:
        raise FormError(f"is {show(line)}", HINT)
    if len(line.splitlines()) > 1:
        raise FormError("has more than one line", "Write one key per list item. " + HINT)
    if any(not " " <= character <= "~" or character in FORBIDDEN for character in line):
        raise FormError(
            "has quotes, control characters or non-ASCII characters", "Use plain words in its comment. " + HINT
        )
    kind, _, rest = line.partition(" ")
    if kind not in KEY_TYPES:
        raise FormError(_wrong_type(kind), f"Accepted types: {', '.join(KEY_TYPES)}. {HINT}")
    _check_blob(kind, rest.split(" ", 1)[0])
    return line


def _wrong_type(kind: str) -> str:
    if kind == "ssh-dss":
        return "is a DSA key, which OpenSSH refuses since 7.0"
    if "-cert-v0" in kind:
        return "is a certificate, not a key"
    return "does not begin with a key type (options before a key are not supported)"


def _check_blob(kind: str, blob: str) -> None:
    # Imported here, because the start of a preview needs it nowhere else.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415

    if not blob:
        raise FormError("ends after the key type", HINT)
    try:
        key = load_ssh_public_key(f"{kind} {blob}".encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, binascii.Error):
        raise FormError(f"begins with {kind}, but the rest is not such a key, or is incomplete", HINT) from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < MIN_RSA_BITS:
        raise FormError(f"is an RSA key of {key.key_size} bits, below the limit of {MIN_RSA_BITS}", HINT)
