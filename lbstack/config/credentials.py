"""Check the stack's secrets: their forms, and that those which the configuration needs are set.

No message contains any part of a secret: only its length and the first problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lbstack.config.fields import USER_NAME
from lbstack.config.forms import FormError
from lbstack.config.missing import known
from lbstack.config.models import StackConfig
from lbstack.problems import Problem, nearest, path_of

SIGNING_KEY = "signingKey"
NEXT_SIGNING_KEY = "nextSigningKey"
ROOT_HASH = "rootPasswordHash"
STATS_PREFIX = "statsHash-"
SECRET_KEYS = (SIGNING_KEY, NEXT_SIGNING_KEY, ROOT_HASH)

MIN_KEY_BITS = 2048  # NIST SP 800-131A: shorter RSA keys are disallowed since 2014
NEW_KEY_BITS = 3072  # 128 bits of security (NIST SP 800-57, table 2), which is what SHA-256 has too
MAX_KEY_BITS = 8192  # a node verifies a signature at every boot; longer keys only take longer
# SHA-crypt (Drepper, 2007): at least 1000 rounds, a salt of up to 16 characters, 512 bits in its own base64.
MIN_ROUNDS = 1000
SALT_LIMIT = 16
DIGEST_LENGTH = 86
# HAProxy hashes the password of every request to its statistics page, and the thread serves no other request
# meanwhile (its manual, 12.2, warns of it). Measured with glibc: 5000 rounds, the scheme's default, take 1 to 3 ms,
# 100000 rounds take 50 ms, and the 656000 rounds that some tools use take 0.3 s.
MAX_STATS_ROUNDS = 100_000
# A login shell can wait: 500000 rounds take about a second on one slow core.
MAX_ROOT_ROUNDS = 1_000_000
OTHER_SCHEMES = {
    "$1$": "MD5",
    "$2": "bcrypt",
    "$5$": "SHA-256",
    "$7$": "scrypt",
    "$y$": "yescrypt",
    "$gy$": "gost-yescrypt",
    "$argon2": "Argon2",
    "$pbkdf2": "PBKDF2",
}
SHELL_WORD = re.compile("[A-Za-z0-9_.-]+")  # needs no quotes in a shell command
CRYPT_CHARACTERS = re.compile("[./0-9A-Za-z]*")


@dataclass(frozen=True)
class Secrets:
    """The secrets of a stack. Their ``repr`` shows nothing of them.

    Args:
        signing_key: PEM of the RSA private key that signs the nodes' sets.
        stats_hashes: Login of the statistics page → ``$6$`` hash of the password.
        root_hash: ``$6$`` hash of root's password; None locks the password.
        next_signing_key: PEM of the key that is to follow; the nodes are told its public part. None where none is.
    """

    signing_key: str = field(repr=False)
    stats_hashes: Mapping[str, str] = field(repr=False)
    root_hash: str | None = field(default=None, repr=False)
    next_signing_key: str | None = field(default=None, repr=False)


def new_signing_key() -> str:
    """Create the RSA private key that signs a stack's sets: PEM, PKCS #8, not encrypted."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - few commands create one
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415

    key = rsa.generate_private_key(public_exponent=65537, key_size=NEW_KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def is_secret_key(key: str) -> bool:
    """Return whether a configuration key holds a secret."""
    return key in SECRET_KEYS or key.startswith(STATS_PREFIX)


def collect(secrets: Mapping[str, str]) -> Secrets:
    """Collect the secrets into one object.

    Args:
        secrets: Configuration key → value; ``check`` must have accepted them.
    """
    hashes = {key.removeprefix(STATS_PREFIX): secrets[key] for key in sorted(secrets) if key.startswith(STATS_PREFIX)}
    return Secrets(secrets[SIGNING_KEY], hashes, secrets.get(ROOT_HASH) or None, secrets.get(NEXT_SIGNING_KEY) or None)


def check(config: StackConfig, secrets: Mapping[str, object]) -> Iterator[Problem]:
    """Find every problem of the secrets, alone and in relation to the configuration.

    Args:
        config: The configuration; parts of it may be MISSING.
        secrets: Configuration key → value.

    Yields:
        The problems.
    """
    key = secrets.get(SIGNING_KEY)
    if key is None or key == "":
        yield Problem(SIGNING_KEY, "is missing", f"Set it with `lbstack signing-key | {storing(SIGNING_KEY)}`.")
    else:
        yield from _check_key(SIGNING_KEY, key)
    following = secrets.get(NEXT_SIGNING_KEY)
    if following is not None and following != "":
        yield from _check_key(NEXT_SIGNING_KEY, following)
        if key == following:
            what = f"is the same key as {SIGNING_KEY}"
            yield Problem(NEXT_SIGNING_KEY, what, f"{_remove(NEXT_SIGNING_KEY)} The change of the key is done then.")
    root_hash = secrets.get(ROOT_HASH)
    if root_hash is not None and root_hash != "":
        yield from _check_hash(ROOT_HASH, root_hash, MAX_ROOT_ROUNDS)
    elif known(config.access.ssh_keys) and not config.access.ssh_keys:
        yield Problem(
            "access.sshKeys",
            "is empty, and there is no rootPasswordHash, so nobody could log in to the nodes",
            f"List a public key, or set the hash of a password: {_how_to_set(ROOT_HASH)}.",
        )
    yield from _check_stats(config, secrets)
    for name in secrets:
        if not is_secret_key(name):
            yield Problem(path_of([name]), "is not a known secret", _remove(name))


def _check_stats(config: StackConfig, secrets: Mapping[str, object]) -> Iterator[Problem]:
    users = config.stats.users
    hashes = {
        name.removeprefix(STATS_PREFIX): value for name, value in secrets.items() if name.startswith(STATS_PREFIX)
    }
    for user, value in hashes.items():
        name = f"{STATS_PREFIX}{user}"
        if known(users) and user not in users:
            near = nearest(user, users)
            guess = f" Did you mean {path_of([STATS_PREFIX + near])}?" if near else ""
            yield Problem(path_of([name]), "belongs to no login in stats.users", f"{_remove(name)}{guess}")
        elif value != "":
            yield from _check_hash(name, value, MAX_STATS_ROUNDS)
    for user in users:
        if hashes.get(user, "") == "" and _is_login(user):
            name = f"{STATS_PREFIX}{user}"
            yield Problem(path_of([name]), "is missing", f"Set it: {_how_to_set(name)}.")


def _is_login(user: str) -> bool:
    """Return whether a login can have a hash; the rules refuse other logins."""
    try:
        USER_NAME.read(user)
    except FormError:
        return False
    return True


def _how_to_set(name: str) -> str:
    return f"`lbstack hash-password | {storing(name)}`"


def storing(name: str) -> str:
    """Return the command that stores a secret, safe to paste into a shell.

    Args:
        name: The secret's configuration key.
    """
    return f"pulumi config set --secret {_for_a_shell(name)}"


def _remove(name: str) -> str:
    return f"Remove it with `pulumi config rm {_for_a_shell(name)}`."


def _for_a_shell(name: str) -> str:
    return name if SHELL_WORD.fullmatch(name) else "<key>"


def _check_key(name: str, key: object) -> Iterator[Problem]:
    try:
        _read_key(key)
    except _Unusable as reason:
        remedy = f"Create one (RSA, {NEW_KEY_BITS} bits) with `lbstack signing-key | {storing(name)}`."
        yield Problem(name, f"{reason} (not shown here)", remedy)


def _check_hash(name: str, value: object, most_rounds: int) -> Iterator[Problem]:
    try:
        _read_hash(value, most_rounds)
    except _Unusable as reason:
        remedy = f"Store a SHA-512 crypt hash ($6$…) from `lbstack hash-password`: {_how_to_set(name)}."
        yield Problem(path_of([name]), f"{reason} (not shown here)", remedy)


class _Unusable(Exception):
    """The first problem of a secret, without any part of the secret."""


def _read_key(key: object) -> None:
    # Imported here: a preview that refuses a stack file needs no cryptography.
    from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    if not isinstance(key, str):
        raise _Unusable("is not a string")
    if "PUBLIC KEY" in key or key.startswith("ssh-"):
        raise _Unusable(f"is a public key of {len(key)} characters, but has to be a private key")
    if "-----BEGIN" not in key:
        raise _Unusable(f"is a string of {len(key)} characters without the line -----BEGIN PRIVATE KEY-----")
    try:
        # The library's own check takes 0.15 s for 3072 bits in every preview. The trial signature below takes 2 ms.
        loaded = load_pem_private_key(key.encode(errors="replace"), password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise _Unusable("is encrypted with a passphrase, which nobody could enter") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _Unusable(f"is a PEM text of {len(key)} characters without a readable private key") from None
    if not isinstance(loaded, RSAPrivateKey):
        raise _Unusable("is not an RSA private key; the oldest image can verify only RSA signatures")
    if not MIN_KEY_BITS <= loaded.key_size <= MAX_KEY_BITS:
        raise _Unusable(f"is an RSA key of {loaded.key_size} bits, outside {MIN_KEY_BITS} to {MAX_KEY_BITS}")
    try:
        loaded.public_key().verify(loaded.sign(b"lbstack", PKCS1v15(), SHA256()), b"lbstack", PKCS1v15(), SHA256())
    except (ValueError, InternalError, InvalidSignature):
        raise _Unusable("is an RSA key with inconsistent parts") from None


def _read_hash(value: object, most_rounds: int) -> None:
    if not isinstance(value, str):
        raise _Unusable("is not a string")
    length = f"a string of {len(value)} characters"
    if any(character.isspace() for character in value):
        raise _Unusable(f"is {length} with spaces or line breaks")
    for prefix, scheme in OTHER_SCHEMES.items():
        if value.startswith(prefix):
            raise _Unusable(f"is a hash made with {scheme}, not with SHA-512 crypt")
    if not value.startswith("$6$"):
        raise _Unusable(f"is {length} that does not begin with $6$; if it is a plain password, change that password")
    parts = value.removeprefix("$6$").split("$")
    if parts[0].startswith("rounds="):
        _read_rounds(parts.pop(0).removeprefix("rounds="), most_rounds)
    _read_salt_and_digest(parts)


def _read_rounds(rounds: str, most_rounds: int) -> None:
    if not re.fullmatch("[1-9][0-9]{3,8}", rounds):
        raise _Unusable(f"has an invalid number of rounds for SHA-crypt (at least {MIN_ROUNDS}, no leading zero)")
    if int(rounds) > most_rounds:
        raise _Unusable(f"has more than {most_rounds} rounds, so that each login would keep a node busy")


def _read_salt_and_digest(parts: list[str]) -> None:
    if len(parts) != 2:  # noqa: PLR2004 - salt and digest
        raise _Unusable(f"has {len(parts)} parts after its scheme instead of salt and digest")
    salt, digest = parts
    if not 1 <= len(salt) <= SALT_LIMIT:
        raise _Unusable(f"has a salt of {len(salt)} characters, outside 1 to {SALT_LIMIT}")
    if len(digest) != DIGEST_LENGTH:
        raise _Unusable(f"has a digest of {len(digest)} characters instead of {DIGEST_LENGTH}")
    for part, text in (("salt", salt), ("digest", digest)):
        if not CRYPT_CHARACTERS.fullmatch(text):
            raise _Unusable(f"has a character in its {part} other than ./0-9A-Za-z")
