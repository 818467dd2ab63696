"""TLS settings of a connection to vCenter: the one place where verification is decided."""

from __future__ import annotations

import ssl


def context(*, verify: bool) -> ssl.SSLContext:
    """The TLS settings of a connection to vCenter.

    Args:
        verify: Whether the certificate is checked against this machine's trust store; off only where the stack sets it
            (``vsphere:allowUnverifiedSsl``).
    """
    return ssl.create_default_context() if verify else ssl._create_unverified_context()  # noqa: S323, SLF001
