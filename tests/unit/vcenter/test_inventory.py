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


CATEGORY = "urn:category:GLOBAL"
# Form of the REST API → (where a session is made, what lists a category's tags), as the API's reference has them.
FORMS = {
    "7.0 U2 and later": ("/api/session", "/api/cis/tagging/tag?action=list-tags-for-category"),
    "before 7.0 U2": (
        "/rest/com/vmware/cis/session",
        "/rest/com/vmware/cis/tagging/tag/id:urn%3Acategory%3AGLOBAL?~action=list-tags-for-category",
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_tags_of_a_category_are_listed_in_both_forms_of_the_api(form: str) -> None:
    session, listing = FORMS[form]
    base = session.partition("session")[0].removesuffix("cis/")
    answers = {
        session: "session",
        f"{base}cis/tagging/category": [CATEGORY],
        listing: ["urn:tag"],
    }

    def answer(request: Request) -> str:
        known = {"name": "gold"} if "/tag/" in request.path else {"id": CATEGORY, "name": "backup"}
        found = answers.get(request.path, known)
        return json.dumps(found if base == "/api/" else {"value": found})

    def status(request: Request) -> int:
        return 200 if request.path.startswith(base) else 404

    with answering(answer, trustme.CA(), status) as stub:
        assert names(Login(stub.server, "user", PASSWORD, verify=False), "tag", "backup") == ["gold"]
    asked = [request for request in stub.requests if request.path == listing]
    assert [json.loads(request.body) for request in asked] == [{"category_id": CATEGORY}]
