"""Listing what a vCenter has: whom the password is given to."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator

import pytest
import trustme

from lbstack.vcenter.inventory import NotListed, names
from lbstack.vcenter.login import Login
from tests.vcenters import Request, Stub, answering

PASSWORD = "fake-password"


def one_library(request: Request) -> str:
    """The REST API of a vCenter that has one content library."""
    if request.method == "POST":
        return json.dumps("session")
    return json.dumps(["id-1"] if request.path == "/api/content/library" else {"name": "Images"})


@pytest.fixture
def untrusted() -> Iterator[Stub]:
    """Its certificate is of an authority that this machine does not know."""
    with answering(one_library, trustme.CA()) as stub:
        yield stub


def test_the_tls_of_a_login_is_verified_unless_the_stack_reports_otherwise() -> None:
    verified = Login("vcenter.lab.example", "user", PASSWORD).tls
    assert verified.verify_mode is ssl.CERT_REQUIRED
    assert verified.check_hostname
    assert Login("vcenter.lab.example", "user", PASSWORD, verify=False).tls.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("kind", ["library", "cluster"])
def test_a_vcenter_that_is_not_trusted_gets_no_password(untrusted: Stub, kind: str) -> None:
    with pytest.raises(NotListed, match="CERTIFICATE_VERIFY_FAILED"):
        names(Login(untrusted.server, "user", PASSWORD), kind)
    assert not untrusted.requests


def test_a_stack_that_takes_any_certificate_gets_its_list(untrusted: Stub) -> None:
    assert names(Login(untrusted.server, "user", PASSWORD, verify=False), "library") == ["Images"]
    assert [request.method for request in untrusted.requests if request.login] == ["POST"]


def test_a_login_that_is_printed_shows_no_password() -> None:
    assert PASSWORD not in repr(Login("vcenter.lab.example", "user", PASSWORD))
