"""Run programs in a guest without booting it: a cached root file system with a node's files at their guest paths.

Mounts, network, host name and processes are in namespaces of their own, which all end with one process. All writes go
to a memory file system inside them. So nothing remains, even when the test run is killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from lab.guests.image import ensure_image
from lbstack.render.files import File
from tests.tiers import SYSTEM_PATH, refuse, require

TOOLS = ("root", "unshare", "nsenter", "setpriv", "mount", "ip", "chroot")
LIMIT_S = 60.0
READY = "ready"
PROGRESS = print

# What the applier creates before any of the rendered files is used: HAProxy's user and group, and the runtime files.
USERS = """
getent group haproxy >/dev/null || groupadd -r haproxy
getent passwd haproxy >/dev/null || useradd -r -g haproxy -d /var/lib/haproxy -s /usr/sbin/nologin haproxy
systemd-tmpfiles --create /etc/tmpfiles.d/lbstack.conf
"""

SETUP = r"""
set -eu
image=$1 files=$2 work=$3 interface=$4
mount -t tmpfs -o mode=0755 sandbox "$work"
mkdir "$work/upper" "$work/work" "$work/root"
mount -t overlay -o "lowerdir=$image,upperdir=$work/upper,workdir=$work/work" overlay "$work/root"
cp -a "$files/." "$work/root/"
mount -t proc -o nosuid,nodev,noexec proc "$work/root/proc"
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs "$work/root/sys"
mount --rbind /sys/fs/cgroup "$work/root/sys/fs/cgroup"
mount --rbind /dev "$work/root/dev"
mount -t tmpfs -o mode=0755 run "$work/root/run"
hostname sandbox
ip link set lo up
ip link add "$interface" type veth peer name peer0
ip link set "$interface" up
ip link set peer0 up
echo ready
exec sleep infinity
"""


@dataclass
class Sandbox:
    """A running sandbox; ``sandbox()`` creates it."""

    holder: int
    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return the command line that runs ``arguments`` inside."""
        spaces = f"/proc/{self.holder}/ns"
        return [
            *("nsenter", f"--mount={spaces}/mnt", f"--net={spaces}/net", f"--uts={spaces}/uts"),
            f"--pid={spaces}/pid_for_children",
            *("chroot", str(self.root), *arguments),
        ]

    def start(
        self, *arguments: str, stdin: int = subprocess.DEVNULL, output: int | IO[str] = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start a process inside; it ends with the sandbox at the latest.

        Args:
            arguments: Program and arguments.
            stdin: As for Popen.
            output: Target of standard output and standard error, as for Popen.
        """
        process = subprocess.Popen(
            self.command(arguments),
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=self._environment(),
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, stdin: str = "", limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        """Run a program inside to its end, whatever its exit code."""
        return subprocess.run(
            self.command(arguments),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
            env=self._environment(),
        )

    def must(self, *arguments: str, stdin: str = "") -> str:
        """Run a program that has to succeed; return its output."""
        result = self.run(*arguments, stdin=stdin)
        output = result.stdout + result.stderr
        assert result.returncode == 0, f"{' '.join(arguments)} ended with {result.returncode}:\n{output}"
        return output

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))
        return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/root"} | self.environment


def _write(directory: Path, files: Mapping[str, File]) -> None:
    """Write the files like the applier, except for owners, which exist in the guest only."""
    for path, file in files.items():
        target = directory / path.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.content, encoding="utf-8")
        target.chmod(file.mode)


@contextmanager
def sandbox(
    image: str,
    files: Mapping[str, File],
    *,
    interface: str = "eth0",
    addresses: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Sandbox]:
    """Create a sandbox; skip the test (fail under CI) where this machine cannot create one.

    Args:
        image: A key of ``lab.guests.image.RECIPES``.
        files: Guest path → file.
        interface: The name of its network interface.
        addresses: Addresses of the interface, with prefix lengths.
        environment: Environment variables of programs inside.
    """
    require(*TOOLS)
    root = _image(image)
    scratch = Path(tempfile.mkdtemp(prefix="lbstack-sandbox-"))
    try:
        _write(scratch / "files", files)
        (scratch / "work").mkdir()
        holder = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *("unshare", "--mount", "--propagation", "private", "--net", "--uts", "--pid", "--fork"),
                *("--kill-child", "--", "sh", "-c", SETUP, "sh"),
                *(str(root), str(scratch / "files"), str(scratch / "work"), interface),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PATH])},
        )
        box = Sandbox(holder.pid, scratch / "work" / "root", dict(environment or {}))
        try:
            _wait_ready(holder)
            for address in addresses:
                box.must("ip", "address", "add", address, "dev", interface)
            box.must("sh", "-euc", USERS)
            yield box
        finally:
            holder.kill()
            holder.communicate()
            for process in box.started:
                process.communicate()
    finally:
        shutil.rmtree(scratch)


def _image(name: str) -> Path:
    from lab.errors import LabError  # noqa: PLC0415 - only where a sandbox is really created

    try:
        return ensure_image(name, PROGRESS)
    except LabError as error:
        refuse(str(error))


def _wait_ready(holder: subprocess.Popen[str]) -> None:
    assert holder.stdout is not None
    line = holder.stdout.readline().strip()  # ends at once when the setup fails, since then the pipe is closed
    if line != READY:
        _, output = holder.communicate(timeout=LIMIT_S)
        raise AssertionError(f"the sandbox could not be created: {output}")
