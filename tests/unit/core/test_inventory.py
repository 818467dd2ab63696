"""Listing what a vCenter has: whom the password is given to."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import trustme

from lbstack.inventory import Login, NotListed, names

POLL_S = 0.01
PASSWORD = "fake-password"


@dataclass
class Vcenter:
    """A TLS server on loopback that has one content library, and who logged in to it."""

    server: str = ""
    logins: list[str] = field(default_factory=list)


@pytest.fixture
def untrusted() -> Iterator[Vcenter]:
    """Its certificate is of an authority that this machine does not know."""
    vcenter = Vcenter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            vcenter.logins.append(self.headers["Authorization"])
            self.answer("session")

        def do_GET(self) -> None:
            self.answer(["id-1"] if self.path == "/api/content/library" else {"name": "Images"})

        def answer(self, content: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *_: object) -> None:
            return

    class Server(http.server.HTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that breaks the handshake off is what these tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    vcenter.server = f"127.0.0.1:{server.server_port}"
    try:
        yield vcenter
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_tls_of_a_login_is_verified_unless_the_stack_says_otherwise() -> None:
    verified = Login("vcenter.lab.example", "user", PASSWORD).tls
    assert verified.verify_mode is ssl.CERT_REQUIRED
    assert verified.check_hostname
    assert Login("vcenter.lab.example", "user", PASSWORD, verify=False).tls.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("kind", ["library", "cluster"])
def test_a_vcenter_that_is_not_trusted_gets_no_password(untrusted: Vcenter, kind: str) -> None:
    with pytest.raises(NotListed, match="CERTIFICATE_VERIFY_FAILED"):
        names(Login(untrusted.server, "user", PASSWORD), kind)
    assert not untrusted.logins


def test_a_stack_that_takes_any_certificate_gets_its_list(untrusted: Vcenter) -> None:
    assert names(Login(untrusted.server, "user", PASSWORD, verify=False), "library") == ["Images"]
    assert len(untrusted.logins) == 1


def test_a_login_that_is_printed_shows_no_password() -> None:
    assert PASSWORD not in repr(Login("vcenter.lab.example", "user", PASSWORD))
