"""A node for the guest tests: a temporary root with fake commands, on which the applier runs."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.unit.guest.fork_server import systemctl
from tests.unit.guest.processes import HERE, Endpoint, ForkServer, python
from tests.unit.guest.sets import NODE, STAGING, Item, Parts, public, signed_set

COMMANDS = (
    "vmware-rpctool",
    "systemctl",
    "systemd-tmpfiles",
    "haproxy",
    "keepalived",
    "iptables-restore",
    "ip6tables-restore",
    "iptables-save",
    "ip6tables-save",
    "ip",
    "rpm",
    "tdnf",
    "groupadd",
    "useradd",
    "chpasswd",
    "chage",
    "journalctl",
    "sshd",
)


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary directory, in memory where that is available, because these tests use many files."""
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="lbstack-guest-", dir=memory if memory.is_dir() else None))
    try:
        yield base
    finally:
        shutil.rmtree(base)


class Host:
    """A node below a temporary root."""

    def __init__(self, base: Path, fork_server: ForkServer, endpoint: Endpoint) -> None:
        self.fork_server = fork_server
        self.base, self.root, self.fakes = base, base / "root", base / "fakes"
        self.output = ""
        self.calls = self.lost = 0
        self.python = "/bin/true"  # the interpreter that checks the applier of a new set; "" is the real one
        self.answers: dict[str, str] = {}  # command → output, for commands that need not be started
        self.endpoint = endpoint

    def clone(self, base: Path) -> Host:
        """A copy of this node as it is now."""
        base.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", f"{self.base}/.", str(base)], check=True)  # keeps owners and links
        copy = Host(base, self.fork_server, self.endpoint)
        copy.python, copy.answers = self.python, self.answers
        return copy

    # Building

    def build(self) -> Host:
        """Create the files of a node that cloud-init has configured, with no set installed."""
        me = f"{os.geteuid()}:{os.getegid()}"
        network = "76:76" if os.geteuid() == 0 else me
        self.put("/etc/passwd", f"root:x:{me}:root:/root:/bin/bash\nsystemd-network:x:{network}::/:/bin/false\n")
        self.put("/etc/group", f"root:x:{me.split(':')[1]}:\nsystemd-network:x:{network.split(':')[1]}:\n")
        self.put("/etc/shadow", "root:!changeme:0:0:90:7:::\n")
        self.put("/etc/hostname", "PhotonLB-01\n")
        self.put("/etc/lbstack/stack.pub", public().decode())
        self.put("/etc/systemd/network/99-dhcp-en.network", "[Match]\nName=e*\n[Network]\nDHCP=yes\n")
        self.put("/proc/sys/net/ipv4/ip_nonlocal_bind", "0\n")
        self.put("/proc/net/if_inet6", "")
        self.put("/sys/class/net/eth0/carrier", "1\n")
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
        """Write a file of the node."""
        target = self.at(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)
        return target

    def at(self, path: str) -> Path:
        """The real path of a guest path."""
        return self.root / path.lstrip("/")

    def make(
        self,
        mark: str = "a",
        changes: Mapping[str, Item | str | None] | None = None,
        node: str = NODE,
        append: Mapping[str, str] | None = None,
        **about: object,
    ) -> Parts:
        """Make a signed set for this node; see ``sets.signed_set``."""
        return signed_set(mark, changes, node, append, self.endpoint.port, **about)

    # Actions

    def give(self, parts: Parts | None, encoding: str = "gzip+base64") -> None:
        """Put a set into guestinfo; None empties guestinfo."""
        for name in ("userdata", "userdata.encoding"):
            (self.fakes / f"guestinfo.{name}").unlink(missing_ok=True)
        if parts is not None:
            self.give_text(parts.userdata(), encoding)

    def give_text(self, text: str, encoding: str) -> None:
        """Put any userdata into guestinfo."""
        data = text.encode()
        if encoding.startswith("gz"):
            data = gzip.compress(data, mtime=0)
        if encoding:
            data = base64.b64encode(data)
            (self.fakes / "guestinfo.userdata.encoding").write_text(encoding)
        (self.fakes / "guestinfo.userdata").write_bytes(data)

    def stage(self, parts: Parts) -> None:
        """Write a set where cloud-init writes it at the first boot."""
        self.put(f"{STAGING}/manifest.json", parts.manifest.decode(), 0o600)
        self.put(f"{STAGING}/manifest.sig", parts.signature.decode() + "\n", 0o600)
        for path, text in parts.files.items():
            self.put(f"{STAGING}/files{path}", text, 0o600)

    def environment(self) -> dict[str, str]:
        """The environment of a run: its PATH has only the fake commands."""
        return {"PATH": str(self.base / "bin"), "FAKES": str(self.fakes), "ROOT": str(self.root), "LANG": "C"}

    def run(self, *argv: str, kill_at: int = 0, power: bool = False, file_limit: int = 0) -> int:
        """Run the program on this node; return its exit code and store its output."""
        request = self.request(argv) | {"kill_at": kill_at, "power": power, "file_limit": file_limit}
        self.endpoint.file = self.fakes / "serving"
        return self.store(self.fork_server.ask(request))

    def walk(self, fork_server: ForkServer, *argv: str, step: int) -> Iterator[tuple[int, frozenset[tuple[int, int]]]]:
        """Run it and stop before every ``step``-th call; yield the call's number and those of unsynced files."""
        answer = fork_server.ask(self.request(argv) | {"step": step})
        while "code" not in answer:
            yield answer["call"], frozenset((device, file) for device, file in answer["unsynced"])
            self.endpoint.file = self.fakes / "serving"  # another node may have run meanwhile
            answer = fork_server.exchange("")
        self.store(answer)

    def request(self, argv: Sequence[str]) -> dict[str, object]:
        """The request to the fork server for a run of the program."""
        return {
            "argv": ["--root", str(self.root), *argv],
            "env": self.environment(),
            "stdout": str(self.base / "stdout"),
            "stderr": str(self.base / "stderr"),
            "python": self.python,
            "answers": self.answers,
        }

    def store(self, answer: Mapping[str, int]) -> int:
        """Store the results of a run; return its exit code."""
        self.calls, self.lost = answer["calls"], answer["lost"]
        self.output = (self.base / "stderr").read_text() + (self.base / "stdout").read_text()
        return int(answer["code"])

    def boot(self) -> int:
        """Boot, not for the first time: the applier runs, systemd starts the services, the verification runs."""
        self.go_down()
        self.start_firewall()
        code = self.run("prepare")
        output = self.output
        self.start_services()
        code = max(code, self.run("verify"))
        self.output = output + self.output
        return code

    def go_down(self) -> None:
        """Shut down and power on: only the state on disk remains, and nothing is started yet."""
        shutil.rmtree(self.at("/run"), ignore_errors=True)
        for state in (*self.fakes.glob("unit.*"), *self.fakes.glob("filter.*")):
            state.unlink()
        self.put("/proc/sys/net/ipv4/ip_nonlocal_bind", "0\n")
        (self.fakes / "loaded").write_text(self.dropins())  # systemd reads them at its start

    def start_firewall(self) -> None:
        """Load the live rules like ``iptables.service``, unless a test has it fail."""
        fails = (self.fakes / "iptables.service.fails").exists()
        for tool, path in (("iptables", "ip4save"), ("ip6tables", "ip6save")):
            live = self.at(f"/etc/systemd/scripts/{path}")
            if live.exists() and not fails:
                shutil.copy(live, self.fakes / f"filter.{tool}-restore")
        (self.fakes / "unit.iptables.service").write_text("failed\n" if fails else "active\n")

    def start_services(self) -> None:
        """Start the services like systemd after ``prepare``."""
        for unit in ("haproxy.service", "keepalived.service"):
            with (self.fakes / "log").open("a") as log:
                log.write(f"systemctl start {unit}\n")
            systemctl(["start", unit], self.root, self.fakes)

    def install(self, mark: str = "a") -> Parts:
        """Run a successful first boot; return the set that the node serves."""
        parts = self.make(mark)
        self.give(parts)
        assert self.run("boot") == 0, self.output
        self.forget()
        return parts

    # State

    def forget(self) -> None:
        """Empty the commands' log."""
        (self.fakes / "log").write_text("")

    def log(self) -> list[str]:
        """The commands that were run, in order, with their arguments."""
        return (self.fakes / "log").read_text().splitlines()

    def ran(self, start: str) -> list[str]:
        """The commands in the log that begin with this text."""
        return [line for line in self.log() if line.startswith(start)]

    def positions(self, *starts: str) -> list[int]:
        """The index in the log of the first command with each of these beginnings."""
        log = self.log()
        return [next(i for i, line in enumerate(log) if line.startswith(start)) for start in starts]

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.at(path).read_text(encoding="utf-8")

    def status(self) -> dict[str, object]:
        """The node's status, as the applier wrote it."""
        return dict(json.loads(self.read("/run/lbstack/status.json")))

    def has_run(self, start: str) -> bool:
        """Whether a command that begins with this text was run."""
        return bool(self.ran(start))

    def enabled(self) -> set[str]:
        """The units that systemd starts at boot."""
        return {path.name[len("enabled.") :] for path in self.fakes.glob("enabled.*")}

    def dropins(self) -> str:
        """The text of the live drop-ins."""
        return "".join(path.read_text() for path in sorted(self.at("/etc/systemd/system").glob("*.d/*.conf")))

    def loaded(self) -> bool:
        """Whether systemd has loaded the current drop-ins."""
        return (self.fakes / "loaded").read_text() == self.dropins()

    def warnings(self) -> list[str]:
        """The warnings in its status."""
        return list(json.loads(self.read("/run/lbstack/status.json"))["warnings"])

    def error(self) -> str:
        """The error in its status."""
        return str(self.status()["error"])

    def journal(self) -> dict[str, object]:
        """The applier's journal."""
        return dict(json.loads(self.read("/var/lib/lbstack/journal.json")))

    def has(self, parts: Parts) -> bool:
        """Whether the live files are exactly those of a set."""
        return not self.differing(parts)

    def differing(self, parts: Parts) -> list[str]:
        """The paths of the set's files whose live content, owner or mode differs."""
        wrong = []
        users = {row.split(":")[0]: int(row.split(":")[2]) for row in self.read("/etc/passwd").splitlines()}
        for entry in json.loads(parts.manifest)["files"]:
            file = self.at(entry["path"])
            info = file.lstat() if file.is_file() and not file.is_symlink() else None
            uid = users[entry["owner"].split(":")[0]]
            alike = info is not None and (info.st_mode & 0o7777, info.st_uid) == (int(entry["mode"], 8), uid)
            if not alike or file.read_text(encoding="utf-8") != parts.files[entry["path"]]:
                wrong.append(entry["path"])
        return wrong

    def leftovers(self) -> list[str]:
        """Temporary files, which must not exist after a finished run."""
        return [
            str(path)
            for path in self.root.rglob("*")
            if (path.name.endswith(".lbstack-new") or path.name in ("new", "new-link")) and "/check/" not in str(path)
        ]
