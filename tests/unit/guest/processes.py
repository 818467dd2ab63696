"""The processes next to a node of the guest tests: the fork server that runs the program, and the health endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parents[2] / "cloudinit" / "guest" / "lbstack-apply"


def python() -> str:
    """The interpreter of the guest program; the variable LBSTACK_GUEST_PYTHON selects another one."""
    return os.environ.get("LBSTACK_GUEST_PYTHON", sys.executable)


def program_text() -> str:
    """The program's source."""
    return PROGRAM.read_text(encoding="utf-8")


class ForkServer:
    """The process that runs the program; see ``fork_server.py``."""

    def __init__(self) -> None:
        argv = [python(), str(HERE / "fork_server.py"), str(PROGRAM)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: dict[str, object]) -> dict[str, Any]:
        """Request a run; return its result, or where it stopped."""
        return self.exchange(json.dumps(request))

    def exchange(self, line: str) -> dict[str, Any]:
        """Send one line and return the answer."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.read()  # until the end: answers about a run that a test did not follow to its end
        self.process.stdout.close()
        self.process.wait(timeout=10)


class Endpoint:
    """HAProxy's health endpoint: reports the hash of the haproxy.cfg with which HAProxy was last started."""

    def __init__(self) -> None:
        self.file = Path("/nonexistent")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Stop the server."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def handler(endpoint) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        """The class that handles requests."""

        class Health(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served = endpoint.file.read_text().strip() if endpoint.file.exists() else ""
                body = json.dumps({"hash": served, "vrrp": "backup"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Health
