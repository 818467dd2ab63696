"""The lab's own certificate authority and the certificate of the simulated vCenter.

Every client verifies the vCenter against this CA (``SSL_CERT_FILE``), as it would a real one; the provider's
``allowUnverifiedSsl`` stays off.
"""

from __future__ import annotations

from pathlib import Path

from lab.home.state import Paths, write_private

NAMES = ("127.0.0.1", "localhost")


def ca_file(paths: Paths) -> Path:
    """The CA's certificate."""
    return paths.tls / "ca.pem"


def server_certificate(paths: Paths) -> Path:
    """The vCenter's certificate chain."""
    return paths.tls / "vcenter.pem"


def server_key(paths: Paths) -> Path:
    """The private key of the vCenter's certificate."""
    return paths.tls / "vcenter.key"


def ensure(paths: Paths) -> None:
    """Make CA and certificate unless there are any. The CA's own key is never written: it signs this once."""
    if server_key(paths).exists():
        return
    import trustme  # noqa: PLC0415 - only here, once in a lab's life

    authority = trustme.CA(organization_name="lab")
    certificate = authority.issue_cert(*NAMES)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    write_private(ca_file(paths), authority.cert_pem.bytes().decode())
    write_private(server_certificate(paths), chain.decode())
    # The key last: it is what is looked for above, so a killed run starts over with a set that fits together.
    write_private(server_key(paths), certificate.private_key_pem.bytes().decode())
