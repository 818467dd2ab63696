"""A TLS server on loopback that answers as a test tells it, in the place of a vCenter that is not the lab's."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import trustme

POLL_S = 0.01
OK = http.HTTPStatus.OK
SERVICE_CONTENT = (
    '<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    '<RetrieveServiceContentResponse xmlns="urn:vim25"><returnval><about><name>VMware vCenter Server</name>'
    "<instanceUuid>{uuid}</instanceUuid></about></returnval></RetrieveServiceContentResponse>"
    "</soapenv:Body></soapenv:Envelope>"
)


@dataclass(frozen=True)
class Request:
    """What somebody asked.

    Args:
        method: GET, POST and so on.
        path: The path, query included.
        body: What came with it.
        login: The header ``Authorization``, if there was one.
    """

    method: str
    path: str
    body: str
    login: str | None


@dataclass
class Stub:
    """The server.

    Args:
        server: ``address:port``, as ``vsphere:vsphereServer`` has it.
        requests: Everything that it was asked, in order.
    """

    server: str = ""
    requests: list[Request] = field(default_factory=list)


@contextmanager
def answering(
    answer: Callable[[Request], str], authority: trustme.CA, status: Callable[[Request], int] = lambda _: OK
) -> Iterator[Stub]:
    """Serve for the length of a block.

    Args:
        answer: Gives the body of the answer to a request.
        authority: Signs the server's certificate.
        status: Gives the status of the answer; OK unless given.
    """
    stub = Stub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0)).decode()
            stub.requests.append(Request(self.command, self.path, body, self.headers["Authorization"]))
            self.send_response(status(stub.requests[-1]))
            self.end_headers()
            self.wfile.write(answer(stub.requests[-1]).encode())

        do_GET = do_POST = respond  # noqa: N815 - the library's names

        def log_message(self, *_: object) -> None:
            return

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that breaks the handshake off is what some tests want."""

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    stub.server = f"127.0.0.1:{server.server_port}"
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
