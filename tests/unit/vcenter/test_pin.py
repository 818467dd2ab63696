"""The guard against a real TLS server on loopback that answers as a vCenter does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from lbstack.vcenter.pin import VcenterError, instance_uuid, require_vcenter
from tests.vcenters import SERVICE_CONTENT, answering

UUID = "8c1f0e2a-7d34-4c8e-9b1a-5f6e3d2c1b0a"
OTHER = "00000000-1111-2222-3333-444444444444"


@contextmanager
def vcenter(body: str, authority: trustme.CA) -> Iterator[str]:
    with answering(lambda _: body, authority) as stub:
        yield stub.server
    for request in stub.requests:
        assert (request.method, request.path, request.login) == ("POST", "/sdk", None)
        assert "RetrieveServiceContent" in request.body


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority = trustme.CA()
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    return authority


def test_the_right_vcenter_is_accepted_whatever_the_case_of_its_uuid(authority: trustme.CA) -> None:
    with vcenter(SERVICE_CONTENT.format(uuid=UUID.upper()), authority) as server:
        assert instance_uuid(server) == UUID
        require_vcenter(server, UUID.upper())


def test_another_vcenter_is_refused_and_both_are_named(authority: trustme.CA) -> None:
    with vcenter(SERVICE_CONTENT.format(uuid=OTHER), authority) as server, pytest.raises(VcenterError) as refusal:
        require_vcenter(server, UUID)
    for part in (UUID, OTHER, server, "placement.vcenterUuid"):
        assert part in str(refusal.value)


@pytest.mark.parametrize("body", ["", "<html>", "<a/>", SERVICE_CONTENT.format(uuid="")])
def test_something_else_that_answers_is_no_vcenter(authority: trustme.CA, body: str) -> None:
    with vcenter(body, authority) as server, pytest.raises(VcenterError, match="is no vCenter"):
        instance_uuid(server)


def test_an_untrusted_certificate_is_refused_with_the_remedy(authority: trustme.CA) -> None:
    with vcenter(SERVICE_CONTENT.format(uuid=UUID), trustme.CA()) as server:
        with pytest.raises(VcenterError, match="SSL_CERT_FILE"):
            instance_uuid(server)
        assert instance_uuid(server, verify=False) == UUID


def test_nobody_there_is_reported_within_the_time_out() -> None:
    with pytest.raises(VcenterError, match=r"no vCenter answers at 127\.0\.0\.1:1 "):
        instance_uuid("127.0.0.1:1")
