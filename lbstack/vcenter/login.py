"""How to reach a vCenter: its address, a user, and whether its certificate is verified."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from lbstack.vcenter import tls

# The variables that the provider itself reads, so that a runner can keep the login out of the stack file.
LOGIN_VARIABLES = {"vsphereServer": "VSPHERE_SERVER", "user": "VSPHERE_USER", "password": "VSPHERE_PASSWORD"}
ANSWER_TIMEOUT_S = 15.0  # a vCenter under load answers in a second or two


@dataclass(frozen=True)
class Login:
    """How to reach a vCenter; its repr shows no password."""

    server: str
    user: str
    password: str
    verify: bool = True

    def __repr__(self) -> str:
        return f"Login(server={self.server!r}, user={self.user!r})"

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS settings of this login: verified unless the stack sets it otherwise."""
        return tls.context(verify=self.verify)
