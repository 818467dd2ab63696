"""Run a node's HAProxy in a sandbox, with servers behind it and clients in front of it."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lbstack.config.credentials import Secrets
from lbstack.config.models import StackConfig
from lbstack.facts.ports import PEERS_PORT
from lbstack.render.files import File, render_pair
from lbstack.render.paths import ADMIN_SOCKET, CHECK_PROGRAM, HAPROXY_CFG
from lbstack.render.values import vips
from tests.goldens.cases import PASSWORDS, Raw, load, post
from tests.native.sandbox import Sandbox, sandbox

INSIDE = "/tmp/inside.py"
BACKENDS = "/tmp/backends"
LIMIT_S = 15.0
POLL_S = 0.05
MAXCONN = 500
CLIENTS = ("192.168.6.50", "192.168.6.51", "192.168.6.52", "192.168.6.53")
MANAGER, OUTSIDER = "192.168.6.241", "192.168.6.200"
QUICK = "1s"  # interval of health checks in tests; the numbers of rise and fall are the product's


def eventually(what: str, condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Wait for a condition and return its value.

    Args:
        what: The condition in words, for the error.
        condition: Returns a true value once it is met.
        limit_s: Longest wait in seconds.

    Raises:
        AssertionError: It was not met in time.
    """
    end = time.monotonic() + limit_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not happen within {limit_s} s"
        time.sleep(POLL_S)


def on(release: str, raw: Raw | None = None) -> Raw:
    """A configuration on a release, with few connections, because this machine's limit of open files may be low."""
    raw = raw or post()
    raw["image"] = raw["image"] | {"release": release}
    raw["haproxy"] = raw.get("haproxy", {}) | {"maxconn": MAXCONN}
    return raw


def hurried(config: StackConfig, persistence: str | None = None) -> StackConfig:
    """The configuration with more frequent health checks, and a shorter persistence, than its rules allow."""
    update = {"health_interval": QUICK} | ({"persistence": persistence} if persistence else {})
    services = {name: service.model_copy(update=update) for name, service in config.services.items()}
    return config.model_copy(update={"services": services})


def basic(user: str) -> str:
    """The HTTP header that logs a user in."""
    return "Authorization: Basic " + base64.b64encode(f"{user}:{PASSWORDS[user]}".encode()).decode()


@dataclass
class Node:
    """The first node of a pair in a sandbox."""

    box: Sandbox
    config: StackConfig
    config_hash: str
    haproxy: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """Its own address."""
        return str(self.config.nodes[0].address)

    def start_haproxy(self) -> None:
        """Start HAProxy like its unit and wait until it answers."""
        log = self.box.root.parent.parent / "haproxy.log"
        with log.open("a") as output:
            self.haproxy = self.box.start(
                *("haproxy", "-Ws", "-f", HAPROXY_CFG, "-p", "/run/haproxy.pid"),
                output=output,
            )
        try:
            eventually("an answer of HAProxy", lambda: self.check() == 0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from error

    def workers(self) -> list[str]:
        """Process ids of HAProxy's workers inside the sandbox."""
        master = self.box.must("cat", "/run/haproxy.pid").split()[0]
        return self.box.run("pgrep", "-P", master).stdout.split()

    def check(self) -> int:
        """Exit code of keepalived's check of HAProxy."""
        return self.box.run(CHECK_PROGRAM, self.address, str(PEERS_PORT)).returncode

    def runtime(self, command: str) -> str:
        """Send a command to the runtime socket and return the answer."""
        script = (
            "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.settimeout(5)\n"
            "s.connect(sys.argv[2])\ns.sendall(sys.argv[1].encode()+b'\\n')\n"
            "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())"
        )
        return self.box.must("python3", "-c", script, command, ADMIN_SOCKET)

    def servers(self, backend: str) -> dict[str, str]:
        """Server name → state, from the statistics."""
        rows = [line.split(",") for line in self.runtime("show stat").splitlines() if line]
        state = rows[0].index("status")
        return {row[1]: row[state] for row in rows[1:] if row[0] == backend and row[1] not in ("FRONTEND", "BACKEND")}

    def fetch(self, source: str, url: str, *headers: str, method: str = "GET") -> dict[str, Any]:
        """Send one request from an address of the sandbox."""
        answer: dict[str, Any] = json.loads(
            self.box.must("python3", INSIDE, "fetch", source, method, url, *headers).splitlines()[-1]
        )
        return answer

    def health(self) -> dict[str, str]:
        """The health endpoint's answer."""
        answer: dict[str, str] = json.loads(self.fetch(self.address, f"http://{self.address}:8405/health")["body"])
        return answer

    def set_health(self, server: str, status: int) -> None:
        """Make a server answer its health check with this status."""
        self.box.must("sh", "-c", f"echo {status} >{BACKENDS}/{server}")

    def start_servers(self, service: str, port: int = 443) -> dict[str, subprocess.Popen[str]]:
        """Start an HTTPS server for each server of a service; each returns its own name."""
        self.box.must("mkdir", "-p", BACKENDS)
        if self.box.run("test", "-e", f"{BACKENDS}/server.pem").returncode:
            self.box.must(
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=server"),
                *("-keyout", f"{BACKENDS}/key", "-out", f"{BACKENDS}/certificate"),
            )
            self.box.must("sh", "-c", f"cat {BACKENDS}/key {BACKENDS}/certificate >{BACKENDS}/server.pem")
        started = {}
        for server in self.config.services[service].servers:
            self.box.run("ip", "address", "add", f"{server.address}/24", "dev", "eth0")
            self.set_health(server.name, 200)
            started[server.name] = self.start_server(server.name, str(server.address), port)
        for server in self.config.services[service].servers:
            self.await_server(str(server.address), port)
        return started

    def await_server(self, address: str, port: int = 443) -> None:
        """Wait until a server answers."""
        eventually("an answer of the server", lambda: "status" in self.fetch(address, f"https://{address}:{port}/"))

    def start_server(self, name: str, address: str, port: int = 443) -> subprocess.Popen[str]:
        """Start one HTTPS server."""
        return self.box.start("python3", INSIDE, "backend", name, address, str(port), BACKENDS)


@contextmanager
def serving(
    image: str,
    raw: Raw,
    *,
    extra: Mapping[str, File] | None = None,
    start: bool = True,
    persistence: str | None = None,
) -> Iterator[Node]:
    """Create the first node of a configuration; the sandbox has its address, all VIPs and the clients' addresses."""
    config: StackConfig
    secrets: Secrets
    config, secrets = load(raw)
    config = hurried(config, persistence)
    pair = render_pair(config, secrets)
    node = config.nodes[0]
    prefix = config.network.cidr.prefixlen
    files = dict(pair.nodes[node.name]) | {INSIDE: File((Path(__file__).parent / "inside.py").read_text())}
    addresses = [f"{node.address}/{prefix}", *(f"{vip}/32" for vip in vips(config))]
    addresses += [f"{client}/32" for client in (*CLIENTS, MANAGER, OUTSIDER)]
    with sandbox(
        image,
        files | dict(extra or {}),
        interface=config.network.interface,
        addresses=addresses,
        environment={"NODE": node.name, "NODE_ADDRESS": str(node.address)},
    ) as box:
        served = Node(box, config, pair.config_hash)
        if start:
            served.start_haproxy()
        yield served
