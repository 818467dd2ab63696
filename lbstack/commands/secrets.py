"""The commands that make secrets: `lbstack hash-password` and `lbstack signing-key`."""

from __future__ import annotations

import sys
from getpass import getpass

import typer
from passlib.hash import sha512_crypt  # type: ignore[import-untyped]

from lbstack.config.credentials import new_signing_key
from lbstack.problems import LbstackError

app = typer.Typer()

# SHA-crypt's default. HAProxy hashes the password of every request to its statistics page, so more is no gain there
# (the limit is credentials.MAX_STATS_ROUNDS).
HASH_ROUNDS = 5000


MAX_PASSWORD_BYTES = 4096  # libpass refuses more, so that no one can be kept busy with a password of megabytes


@app.command("hash-password")
def hash_password() -> None:
    """Make the hash of a password for `pulumi config set --secret statsHash-<login>` or rootPasswordHash.

    Asks twice without showing what is typed; from a pipe it reads one line. Prints the hash and nothing else.
    """
    typer.echo(sha512_crypt.using(rounds=HASH_ROUNDS).hash(_password()))


def _password() -> bytes:
    """Read a password; bytes, because what is hashed is what a browser or a console will send."""
    if sys.stdin is None:  # `<&-`; Python then has no stream at all
        raise LbstackError("Standard input is closed. Type the password at a terminal, or pipe it in.")
    if sys.stdin.isatty():
        typed = getpass("Password: ")
        if getpass("Once more: ") != typed:
            raise LbstackError("The two passwords differ. Nothing was made; try again.")
        password = typed.encode(errors="surrogateescape")
    else:
        password, _, rest = sys.stdin.buffer.read().partition(b"\n")
        if rest:
            raise LbstackError("Standard input has more than one line. Pipe one password in, on one line.")
        password = password.removesuffix(b"\r")
    if not password:
        raise LbstackError("The password is empty. Type one, or pipe one in.")
    if b"\0" in password:
        raise LbstackError("The password has a NUL character, which no login can carry. Choose another one.")
    if len(password) > MAX_PASSWORD_BYTES:
        raise LbstackError(f"The password has more than {MAX_PASSWORD_BYTES} bytes. Choose a shorter one.")
    return password


@app.command("signing-key")
def signing_key() -> None:
    """Make the key that signs what the nodes get, for `pulumi config set --secret signingKey`.

    Prints an RSA private key in PEM and nothing else. Make one for each stack. A running node accepts nothing that is
    signed with another key, unless a set has told it that one: docs/runbooks/signing-key.md.
    """
    typer.echo(new_signing_key(), nl=False)
