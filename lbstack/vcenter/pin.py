"""Check that this is the vCenter that the stack was made for.

One anonymous request, no login: every vCenter returns its instance UUID in ``RetrieveServiceContent``. The stack file
pins the expected one (``docs/adr/0002-pin-the-vcenter.md``). This module changes nothing and does not use Pulumi.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from xml.etree import ElementTree as ET

from lbstack.problems import LbstackError
from lbstack.vcenter import tls

ANSWER_TIMEOUT_S = 15.0  # a vCenter under load answers this call in well under a second
MAX_ANSWER_BYTES = 1 << 20
RETRIEVE_SERVICE_CONTENT = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>'
    b'<RetrieveServiceContent xmlns="urn:vim25">'
    b'<_this type="ServiceInstance">ServiceInstance</_this>'
    b"</RetrieveServiceContent></Body></Envelope>"
)


class VcenterError(LbstackError):
    """The vCenter cannot be asked, or is another one."""


class OtherVcenter(VcenterError):
    """A vCenter answers, and it is not the one that the stack was made for."""


def instance_uuid(server: str, *, verify: bool = True) -> str:
    """Ask a vCenter for its instance UUID.

    Args:
        server: Host name or address, with ``:port`` where it is not 443, as in ``vsphere:vsphereServer``.
        verify: Whether its certificate is checked against this machine's trust store.

    Returns:
        The UUID in lower case.

    Raises:
        VcenterError: It cannot be reached, is not trusted, or is no vCenter.
    """
    context = tls.context(verify=verify)
    request = urllib.request.Request(
        f"https://{server}/sdk",
        data=RETRIEVE_SERVICE_CONTENT,
        headers={"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '"urn:vim25/6.5"'},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S, context=context) as response:  # noqa: S310
            body = response.read(MAX_ANSWER_BYTES)
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise VcenterError(
                f"vsphere:vsphereServer: the certificate of {server} is not trusted ({reason.verify_message}). "
                "Trust its CA on this machine (SSL_CERT_FILE, or the system's trust store); only a lab sets "
                "vsphere:allowUnverifiedSsl."
            ) from error
        raise VcenterError(
            f"vsphere:vsphereServer: no vCenter answers at {server} within {ANSWER_TIMEOUT_S:.0f} s ({reason}). "
            "Check the address, the port and the way from this machine to it."
        ) from error
    try:
        found = ET.fromstring(body).findtext(".//{urn:vim25}instanceUuid")  # noqa: S314 - size-limited, no DTD needed
    except ET.ParseError:
        found = None
    if not found:
        raise VcenterError(
            f"vsphere:vsphereServer: what answers at {server} is no vCenter (an ESXi host has no instance UUID). "
            "Content libraries need a vCenter; set its address."
        )
    return found.lower()


def require_vcenter(server: str, expected_uuid: str, *, verify: bool = True) -> None:
    """Refuse to work with any vCenter but the one that the stack was made for.

    Raises:
        OtherVcenter: Another vCenter answers.
        VcenterError: None does.
    """
    found = instance_uuid(server, verify=verify)
    if found != expected_uuid.lower():
        raise OtherVcenter(
            f"placement.vcenterUuid: this stack was made for the vCenter {expected_uuid.lower()}, but {server} is "
            f"{found}. Nothing was read or changed there. If the stack is meant to move, destroy it at the old "
            "vCenter first; if the pin is wrong, set placement.vcenterUuid to the UUID that this vCenter answered."
        )
