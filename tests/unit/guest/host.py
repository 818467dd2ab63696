"""A node to test the guest program on: a temporary root, fake commands, a health endpoint, sets to give it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.unit.guest.zygote import systemctl

HERE = Path(__file__).resolve().parent
PROGRAM = HERE.parents[2] / "cloudinit" / "guest" / "lbstack-apply"
STAGING = "/var/lib/lbstack/staging"
SECRET_HASH = "$6$rounds=5000$saltsaltsalt$secretofroot"  # a made-up value in the form of a hash
COMMANDS = (
    "vmware-rpctool",
    "systemctl",
    "systemd-tmpfiles",
    "haproxy",
    "keepalived",
    "iptables-restore",
    "ip6tables-restore",
    "ip",
    "rpm",
    "tdnf",
    "groupadd",
    "useradd",
    "chpasswd",
    "chage",
    "journalctl",
)


def python() -> str:
    """The interpreter for the guest program: set LBSTACK_GUEST_PYTHON to try the oldest."""
    return os.environ.get("LBSTACK_GUEST_PYTHON", sys.executable)


@cache
def key(name: str = "stack") -> rsa.RSAPrivateKey:
    """A signing key; small, since these are tests."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)


def public(of: str = "stack") -> bytes:
    """A signing key's public part as PEM."""
    return (
        key(of).public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


@dataclass(frozen=True)
class Item:
    """A file of a set."""

    content: str
    owner: str = "root:root"
    mode: str = "0644"


@dataclass
class Parts:
    """A signed set in its parts, to be given as it is or bent first."""

    hash: str
    manifest: bytes
    signature: bytes
    files: dict[str, str] = field(default_factory=dict)

    def sign(self, of: str = "stack") -> Parts:
        """Signs the manifest as it is now."""
        raw = key(of).sign(self.manifest, padding.PKCS1v15(), hashes.SHA256())
        self.signature = base64.b64encode(raw)
        return self

    def bend(self, **changes: object) -> Parts:
        """Changes the manifest's fields and signs again: what the key's holder could send."""
        document = json.loads(self.manifest) | changes
        self.manifest = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return self.sign()

    def userdata(self) -> str:
        """The cloud-config that carries the set."""
        contents = {"manifest.json": self.manifest.decode(), "manifest.sig": self.signature.decode()}
        contents |= {f"files{path}": text for path, text in self.files.items()}
        files = [
            {"path": f"{STAGING}/{path}", "owner": "root:root", "permissions": "0600", "content": text}
            for path, text in contents.items()
        ]
        other = {"path": "/etc/lbstack/stack.pub", "content": public().decode()}
        return "#cloud-config\n" + json.dumps({"write_files": [other, *files], "runcmd": []}, indent=1)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory, in memory where that can be had: these tests are much about files."""
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="lbstack-guest-", dir=memory if memory.is_dir() else None))
    try:
        yield base
    finally:
        shutil.rmtree(base)


class Zygote:
    """The process that runs the program, see ``zygote.py``."""

    def __init__(self) -> None:
        argv = [python(), str(HERE / "zygote.py"), str(PROGRAM)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, request: dict[str, object]) -> dict[str, Any]:
        """One run, or its first part when it is to stop on its way."""
        return self.tell(json.dumps(request))

    def tell(self, line: str) -> dict[str, Any]:
        """One line there and one back."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return dict(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """Ends it."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.read()  # to its end: what it still has to say about a run that nobody followed to its end
        self.process.stdout.close()
        self.process.wait(timeout=10)


def program_text() -> str:
    """The program's source."""
    return PROGRAM.read_text(encoding="utf-8")


class Endpoint:
    """HAProxy's health endpoint: answers with the hash that was in haproxy.cfg when it was started last."""

    def __init__(self) -> None:
        self.file = Path("/nonexistent")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self) -> None:
        """Ends it."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def handler(endpoint) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        """The handler of requests."""

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


class Host:
    """A node below a temporary root."""

    def __init__(self, base: Path, zygote: Zygote, endpoint: Endpoint) -> None:
        self.zygote = zygote
        self.base, self.root, self.fakes = base, base / "root", base / "fakes"
        self.said = ""
        self.calls = self.lost = 0
        self.python = "/bin/true"  # checks a new set's own applier; "" is the real one
        self.answers: dict[str, str] = {}  # what commands say that need not be started
        self.endpoint = endpoint

    def clone(self, base: Path) -> Host:
        """A copy of this node as it is now."""
        base.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", f"{self.base}/.", str(base)], check=True)  # keeps owners and links
        copy = Host(base, self.zygote, self.endpoint)
        copy.python, copy.answers = self.python, self.answers
        return copy

    # Building

    def build(self) -> Host:
        """Makes it a node as it is after cloud-init wrote its files, with nothing installed by us."""
        me = f"{os.geteuid()}:{os.getegid()}"
        network = "76:76" if os.geteuid() == 0 else me
        self.put("/etc/passwd", f"root:x:{me}:root:/root:/bin/bash\nsystemd-network:x:{network}::/:/bin/false\n")
        self.put("/etc/group", f"root:x:{me.split(':')[1]}:\nsystemd-network:x:{network.split(':')[1]}:\n")
        self.put("/etc/shadow", "root:!changeme:0:0:90:7:::\n")
        self.put("/etc/hostname", "PhotonLB-01\n")
        self.put("/etc/lbstack/stack.pub", public().decode())
        self.put("/etc/systemd/network/99-dhcp-en.network", "[Match]\nName=e*\n[Network]\nDHCP=yes\n")
        self.put("/proc/sys/net/ipv4/ip_nonlocal_bind", "0\n")
        (self.root / "etc/cloud").mkdir()
        for name in ("sbin", "bin"):
            (self.root / "usr" / name).mkdir(parents=True)
        self.fakes.mkdir()
        commands = self.base / "bin"
        commands.mkdir()
        for name in COMMANDS:
            (commands / name).symlink_to(HERE / "fakes" / "fake")
        openssl = shutil.which("openssl")
        assert openssl, "openssl is needed for these tests: apt-get install openssl"
        (commands / "openssl").symlink_to(openssl)
        (self.fakes / "python").symlink_to(python())
        (self.fakes / "log").touch()
        (self.fakes / "address").write_text("192.168.6.120\n")
        for name in ("haproxy", "keepalived", "iptables-restore"):
            self.put(f"/usr/sbin/{name}", "")
        return self

    def put(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Writes a file of the node."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)
        return place

    def at(self, path: str) -> Path:
        """The real place of a path."""
        return self.root / path.lstrip("/")

    def items(self, mark: str, node: str = "PhotonLB-01", **about: object) -> dict[str, Item]:
        """The files of a set that differs from others by its mark."""
        identity = hashlib.sha256(mark.encode()).hexdigest()
        data = {
            "format": 1,
            "hash": identity,
            "node": node,
            "address": "192.168.6.120",
            "interface": "eth0",
            "vips": ["192.168.6.122"],
            "network_owner": "set",
            "health": {"address": "127.0.0.1", "port": self.endpoint.port},
            "packages": {"install": ["haproxy", "keepalived"], "versions": {}, "upgrade": False, "tdnf_keys": []},
            "binaries": ["/usr/sbin/haproxy", "/usr/sbin/keepalived", "/usr/sbin/iptables-restore"],
            "socket": "/run/lbstack/haproxy.sock",
        } | about
        network = "systemd-network:systemd-network"
        own = "/usr/local/lib/lbstack"
        firewall = (
            '#!/bin/sh\necho "lbstack-firewall ${*:-load}" >>"$FAKES/log"\n'
            'if [ "$1" = --test ]; then\n'
            '    iptables-restore --test "$2/ip4save" && ip6tables-restore --test "$2/ip6save"\n'
            "else\n"
            '    ! /usr/bin/grep -q unloadable "$ROOT"/etc/systemd/scripts/*\n'
            "fi\n"
        )
        keepalived = (
            "# keepalived\nglobal_defs {\n script_user root\n enable_script_security\n}\n"
            f'vrrp_script check {{\n script "{own}/lbstack-check"\n}}\n'
            f"vrrp_instance pair {{\n notify {own}/lbstack-notify\n virtual_ipaddress {{\n  192.168.6.122/24\n }}\n}}\n"
        )
        haproxy = (
            f"# set {identity}\nglobal\n    user haproxy\n    group haproxy\n"
            f'    localpeer "${{NODE}}"\nuserlist stats\n    user admin password {SECRET_HASH}\n'
            'frontend health\n    bind "${NODE_ADDRESS}:8405"\n'
        )
        dropin = f'[Service]\nEnvironment=NODE={node} "NODE_ADDRESS=192.168.6.120"\nLimitNOFILE=65536\n'
        return {
            "/etc/systemd/network/10-static-en.network": Item("[Match]\nName=eth0\n", network),
            "/etc/systemd/network/99-dhcp-en.network": Item("[Match]\nName=e*\n[Network]\nDHCP=no\n", network),
            "/etc/sysctl.d/55-keepalived.conf": Item("# bind VIPs\nnet.ipv4.ip_nonlocal_bind = 1\n"),
            "/etc/systemd/scripts/ip4save": Item("*filter\nCOMMIT\n"),
            "/etc/systemd/scripts/ip6save": Item("*filter\nCOMMIT\n"),
            "/etc/systemd/system/iptables.service": Item("[Service]\n"),
            "/etc/systemd/system/haproxy.service.d/lbstack.conf": Item(dropin),
            "/etc/systemd/system/keepalived.service.d/lbstack.conf": Item("[Service]\nRestart=always\n"),
            "/etc/systemd/system/lbstack-apply.service": Item("[Service]\n"),
            "/etc/systemd/system/lbstack-verify.service": Item("[Service]\n"),
            "/etc/systemd/timesyncd.conf.d/lbstack.conf": Item("[Time]\nNTP=192.168.6.100\n"),
            "/etc/tmpfiles.d/lbstack.conf": Item("d /run/lbstack 0755 root root\n"),
            "/etc/yum.repos.d/photon.repo": Item("[photon]\nbaseurl=https://mirror.example/photon\ngpgcheck=1\n"),
            "/etc/keepalived/keepalived.conf": Item(keepalived, mode="0600"),
            "/etc/haproxy/haproxy.cfg": Item(haproxy, mode="0600"),
            "/etc/lbstack/node.json": Item(json.dumps(data)),
            "/etc/lbstack/root.shadow": Item(f"root:{SECRET_HASH}\n", mode="0600"),
            "/root/.ssh/authorized_keys": Item("ssh-ed25519 AAAA test\n", mode="0600"),
            f"{own}/lbstack-apply": Item("print('lbstack-apply, format 1')\n", mode="0755"),
            f"{own}/lbstack-firewall": Item(firewall, mode="0755"),
            f"{own}/lbstack-check": Item("#!/bin/sh\n", mode="0755"),
            f"{own}/lbstack-notify": Item("#!/bin/sh\n", mode="0755"),
        }

    def make(
        self,
        mark: str = "a",
        changes: Mapping[str, Item | str | None] | None = None,
        node: str = "PhotonLB-01",
        append: Mapping[str, str] | None = None,
        **about: object,
    ) -> Parts:
        """A signed set; ``changes`` replaces files (None leaves one out), ``append`` adds lines to some."""
        items = self.items(mark, node, **about)
        for path, item in (changes or {}).items():
            if item is None:
                del items[path]
            elif isinstance(item, str):
                items[path] = Item(item, items[path].owner, items[path].mode) if path in items else Item(item)
            else:
                items[path] = item
        for path, text in (append or {}).items():
            items[path] = Item(items[path].content + text, items[path].owner, items[path].mode)
        listed = [
            {"path": p, "owner": i.owner, "mode": i.mode, "sha256": hashlib.sha256(i.content.encode()).hexdigest()}
            for p, i in sorted(items.items())
        ]
        identity = hashlib.sha256(mark.encode()).hexdigest()
        document = {"format": 1, "hash": identity, "node": node, "files": listed}
        manifest = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return Parts(identity, manifest, b"", {path: item.content for path, item in items.items()}).sign()

    # Doing

    def give(self, parts: Parts | None, encoding: str = "gzip+base64") -> None:
        """Puts a set into guestinfo, or takes away what is there."""
        for name in ("userdata", "userdata.encoding"):
            (self.fakes / f"guestinfo.{name}").unlink(missing_ok=True)
        if parts is not None:
            self.give_text(parts.userdata(), encoding)

    def give_text(self, text: str, encoding: str) -> None:
        """Puts any userdata into guestinfo."""
        data = text.encode()
        if encoding.startswith("gz"):
            data = gzip.compress(data, mtime=0)
        if encoding:
            data = base64.b64encode(data)
            (self.fakes / "guestinfo.userdata.encoding").write_text(encoding)
        (self.fakes / "guestinfo.userdata").write_bytes(data)

    def stage(self, parts: Parts) -> None:
        """Leaves a set where cloud-init does at first boot."""
        self.put(f"{STAGING}/manifest.json", parts.manifest.decode(), 0o600)
        self.put(f"{STAGING}/manifest.sig", parts.signature.decode() + "\n", 0o600)
        for path, text in parts.files.items():
            self.put(f"{STAGING}/files{path}", text, 0o600)

    def environment(self) -> dict[str, str]:
        """What a run sees: the fake commands and nothing else on its PATH."""
        return {"PATH": str(self.base / "bin"), "FAKES": str(self.fakes), "ROOT": str(self.root), "LANG": "C"}

    def run(self, *argv: str, kill_at: int = 0, power: bool = False, file_limit: int = 0) -> int:
        """Runs the program on this node; returns its exit code, and keeps what it said."""
        request = self.request(argv) | {"kill_at": kill_at, "power": power, "file_limit": file_limit}
        self.endpoint.file = self.fakes / "serving"
        return self.ended(self.zygote.ask(request))

    def walk(self, zygote: Zygote, *argv: str, step: int) -> Iterator[tuple[int, frozenset[tuple[int, int]]]]:
        """Runs it and stops before every ``step``-th call; gives the call's number and those of unsynced files."""
        answer = zygote.ask(self.request(argv) | {"step": step})
        while "code" not in answer:
            yield answer["call"], frozenset((device, file) for device, file in answer["unsynced"])
            self.endpoint.file = self.fakes / "serving"  # others may have run meanwhile
            answer = zygote.tell("")
        self.ended(answer)

    def request(self, argv: Sequence[str]) -> dict[str, object]:
        """What to ask the process for that runs the program."""
        return {
            "argv": ["--root", str(self.root), *argv],
            "env": self.environment(),
            "stdout": str(self.base / "stdout"),
            "stderr": str(self.base / "stderr"),
            "python": self.python,
            "answers": self.answers,
        }

    def ended(self, answer: Mapping[str, int]) -> int:
        """Keeps what a run left to know."""
        self.calls, self.lost = answer["calls"], answer["lost"]
        self.said = (self.base / "stderr").read_text() + (self.base / "stdout").read_text()
        return int(answer["code"])

    def boot(self) -> int:
        """A boot after the first: the applier, then systemd starts the services, then the verification."""
        self.go_down()
        code = self.run("prepare")
        said = self.said
        self.start_services()
        code = max(code, self.run("verify"))
        self.said = said + self.said
        return code

    def go_down(self) -> None:
        """What is left of a node when it goes down and comes up again, before anything is started."""
        shutil.rmtree(self.at("/run"), ignore_errors=True)
        for unit in self.fakes.glob("unit.*"):
            unit.unlink()
        (self.fakes / "loaded").write_text(self.dropins())  # systemd reads them as it starts

    def start_services(self) -> None:
        """What systemd does after ``prepare``."""
        for unit in ("haproxy.service", "keepalived.service"):
            with (self.fakes / "log").open("a") as log:
                log.write(f"systemctl start {unit}\n")
            systemctl(["start", unit], self.root, self.fakes)

    def install(self, mark: str = "a") -> Parts:
        """Makes this a node whose first boot was fine; returns what it serves."""
        parts = self.make(mark)
        self.give(parts)
        assert self.run("boot") == 0, self.said
        self.forget()
        return parts

    # Looking

    def forget(self) -> None:
        """Empties the commands' log."""
        (self.fakes / "log").write_text("")

    def log(self) -> list[str]:
        """The commands that were run, in order, with their words."""
        return (self.fakes / "log").read_text().splitlines()

    def ran(self, start: str) -> list[str]:
        """Those that begin so."""
        return [line for line in self.log() if line.startswith(start)]

    def read(self, path: str) -> str:
        """A file's text."""
        return self.at(path).read_text(encoding="utf-8")

    def status(self) -> dict[str, object]:
        """What the node says about itself."""
        return dict(json.loads(self.read("/run/lbstack/status.json")))

    def has_run(self, start: str) -> bool:
        """Whether a command that begins so was run."""
        return bool(self.ran(start))

    def enabled(self) -> set[str]:
        """The units that systemd starts at boot."""
        return {path.name[len("enabled.") :] for path in self.fakes.glob("enabled.*")}

    def dropins(self) -> str:
        """The text of the live drop-ins."""
        return "".join(path.read_text() for path in sorted(self.at("/etc/systemd/system").glob("*.d/*.conf")))

    def loaded(self) -> bool:
        """Whether systemd has read the drop-ins as they are now."""
        return (self.fakes / "loaded").read_text() == self.dropins()

    def warnings(self) -> list[str]:
        """The warnings in its status."""
        return list(json.loads(self.read("/run/lbstack/status.json"))["warnings"])

    def error(self) -> str:
        """The error in its status."""
        return str(self.status()["error"])

    def journal(self) -> dict[str, object]:
        """The program's own truth."""
        return dict(json.loads(self.read("/var/lib/lbstack/journal.json")))

    def has(self, parts: Parts) -> bool:
        """Whether the live files are exactly those of a set."""
        return not self.differing(parts)

    def differing(self, parts: Parts) -> list[str]:
        """The set's files that are not live as they should be."""
        wrong = []
        users = {row.split(":")[0]: int(row.split(":")[2]) for row in self.read("/etc/passwd").splitlines()}
        for entry in json.loads(parts.manifest)["files"]:
            place = self.at(entry["path"])
            info = place.lstat() if place.is_file() and not place.is_symlink() else None
            uid = users[entry["owner"].split(":")[0]]
            alike = info is not None and (info.st_mode & 0o7777, info.st_uid) == (int(entry["mode"], 8), uid)
            if not alike or place.read_text(encoding="utf-8") != parts.files[entry["path"]]:
                wrong.append(entry["path"])
        return wrong

    def leftovers(self) -> list[str]:
        """Files that a finished run leaves nowhere."""
        return [
            str(path)
            for path in self.root.rglob("*")
            if (path.name.endswith(".lbstack-new") or path.name in ("new", "new-link")) and "/check/" not in str(path)
        ]
