"""The lab's own secrets: made once, kept in files that only their owner can read, shown only on request.

No secret is ever passed in a command line, or written to a log or into the checkout.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from passlib.hash import sha512_crypt  # type: ignore[import-untyped]

from lab.home.state import Paths, write_private
from lbstack.config.credentials import new_signing_key

PASSWORD_BYTES = 12  # 96 random bits, 16 characters
# The scheme's own default. HAProxy computes the hash for every request to its statistics page, so more would cost
# every look at it; the passwords are random.
CRYPT_ROUNDS = 5000
ROOT = "root"


@dataclass(frozen=True, repr=False)
class Credentials:
    """Everything secret that a lab is set up with; its repr shows nothing.

    Args:
        directory: Where they are kept.
    """

    directory: Path

    def __repr__(self) -> str:
        return "Credentials(...)"

    @property
    def passphrase_file(self) -> Path:
        """What encrypts the secrets in stack file and state."""
        return self.directory / "passphrase"

    @property
    def ssh_key(self) -> Path:
        """The private key for root on the nodes."""
        return self.directory / "id_ed25519"

    @property
    def ssh_public_key(self) -> str:
        """Its public half, one line."""
        return self.ssh_key.with_suffix(".pub").read_text(encoding="ascii").strip()

    @property
    def vcenter_password_file(self) -> Path:
        """The file that holds the vCenter's password, without a line feed."""
        return self.directory / "vcenter-password"

    @property
    def vcenter_password(self) -> str:
        """The password of the vCenter's user with the role, who is the stack."""
        return self.vcenter_password_file.read_text(encoding="ascii")

    @property
    def administrator_password(self) -> str:
        """The password of the vCenter's administrator, who is the lab itself."""
        return self._administrator_file.read_text(encoding="ascii")

    @property
    def _administrator_file(self) -> Path:
        return self.directory / "vcenter-administrator-password"

    @property
    def signing_key(self) -> str:
        """The stack's signing key, PEM."""
        return (self.directory / "signing-key.pem").read_text(encoding="ascii")

    def password(self, user: str) -> str:
        """The plain password of ``root`` on the nodes or of a user of the statistics page."""
        return self._password_file(user).read_text(encoding="ascii")

    def password_hash(self, user: str) -> str:
        """The same as a ``$6$`` hash."""
        return self._password_file(user).with_suffix(".hash").read_text(encoding="ascii")

    def passwords(self) -> dict[str, str]:
        """Every plain password by what it is for, to be shown to the lab's owner on request."""
        return {file.name: file.read_text(encoding="ascii") for file in sorted(self.directory.glob("*-password"))}

    def _password_file(self, user: str) -> Path:
        return self.directory / (f"{ROOT}-password" if user == ROOT else f"stats-{user}-password")

    def forget(self, user: str) -> None:
        """Forget a password; ``ensure`` makes another one, which the stack file has to be given."""
        for file in (self._password_file(user), self._password_file(user).with_suffix(".hash")):
            file.unlink(missing_ok=True)

    def ensure(self, stats_users: Iterable[str]) -> None:
        """Make what is missing and leave what is there."""
        _once(self.passphrase_file, _random)
        _once(self.vcenter_password_file, _random)
        _once(self._administrator_file, _random)
        _once(self.directory / "signing-key.pem", new_signing_key)
        for user in (ROOT, *stats_users):
            file = self._password_file(user)
            _once(file, _random)
            if not file.with_suffix(".hash").exists():
                write_private(file.with_suffix(".hash"), _crypt(self.password(user)))
        if not self.ssh_key.with_suffix(".pub").exists():
            private, public = _ssh_key()
            write_private(self.ssh_key, private)
            write_private(self.ssh_key.with_suffix(".pub"), public)


def credentials_of(paths: Paths) -> Credentials:
    """The credentials of a lab."""
    return Credentials(paths.secrets)


def _once(path: Path, make: Callable[[], str]) -> None:
    if not path.exists():
        write_private(path, make())


def _random() -> str:
    return secrets.token_urlsafe(PASSWORD_BYTES)


def _crypt(password: str) -> str:
    return str(sha512_crypt.using(rounds=CRYPT_ROUNDS).hash(password))


def _ssh_key() -> tuple[str, str]:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    return private.decode(), f"{public.decode()} lab\n"
