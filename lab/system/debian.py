"""Install the Debian packages that the make targets need: listed first, then installed with apt, as root.

Standard library only, because ``lab.bootstrap`` runs it on a machine without any packages. Nothing is removed or
upgraded, and only the packages of the table below are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PURPOSES = ("lab", "down", "unit", "test", "check", "bench")
EVERYTHING = frozenset(PURPOSES)
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"  # Debian keeps daemons where a plain user's PATH does not look
APT_LOCK_TIMEOUT_S = 300  # a fresh machine often updates itself in its first minutes
APT_OPTIONS = ("-o", f"DPkg::Lock::Timeout={APT_LOCK_TIMEOUT_S}")


class NotPossible(Exception):
    """This machine cannot do it as it is; the message names the remedy. Exit code 2."""


def log(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def search_path() -> str:
    """Where programs are looked for: ``PATH`` and the places of daemons."""
    return f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}"


@dataclass(frozen=True)
class Package:
    """A Debian package that some purpose needs.

    Args:
        name: Its name in Debian 12.
        reason: What it is needed for, for the person who is asked to trust apt.
        programs: It is there when all of these are found.
        module: It is there when this Python module is found.
        path: It is there when this path exists.
        purposes: The purposes that need it.
        essential: Without it the purpose fails; else only some tests are skipped.
    """

    name: str
    reason: str
    programs: tuple[str, ...] = ()
    module: str = ""
    path: str = ""
    purposes: frozenset[str] = EVERYTHING
    essential: bool = True

    @property
    def installed(self) -> bool:
        """Whether what it brings is there, no matter who put it there."""
        if self.module and find_spec(self.module) is None:
            return False
        if self.path and not Path(self.path).exists():
            return False
        return all(shutil.which(program, path=search_path()) for program in self.programs)


_DEPLOYS = frozenset({"lab", "test", "bench"})
_TESTS = frozenset({"test"})
PACKAGES: tuple[Package, ...] = (
    Package("ca-certificates", "TLS to the package registries", path="/etc/ssl/certs/ca-certificates.crt"),
    Package("python3", "runs everything here", programs=("python3",)),
    Package("python3-venv", "makes the virtual environment that uv is installed with", module="ensurepip"),
    Package("qemu-utils", "qemu-img: makes the OVA's disk", programs=("qemu-img",), purposes=_DEPLOYS),
    Package("mmdebstrap", "makes the image that guests boot from", programs=("mmdebstrap",),
            purposes=_DEPLOYS, essential=False),
    Package("debian-archive-keyring", "the signatures of the guests' packages",
            path="/usr/share/keyrings/debian-archive-keyring.gpg", purposes=_DEPLOYS, essential=False),
    Package("iproute2", "ip: the guests' network", programs=("ip",), purposes=_DEPLOYS,
            essential=False),
    Package("systemd-container", "systemd-nspawn: guests that boot", programs=("systemd-nspawn",), purposes=_DEPLOYS,
            essential=False),
    Package("iputils-arping", "arping: who answers for an address", programs=("arping",), purposes=_TESTS,
            essential=False),
    Package("chromium", "takes the picture of a report in the README", programs=("chromium",), purposes=_TESTS,
            essential=False),
    Package("jq", "the filters of .ci/publish, which GitHub's gh runs by itself", programs=("jq",), purposes=_TESTS,
            essential=False),
    Package("openssh-client", "ssh: logs in to guests", programs=("ssh",), purposes=_TESTS, essential=False),
    Package("openssl", "checks signatures as a node does", programs=("openssl",),
            purposes=frozenset({"unit", "test"}), essential=False),
)  # fmt: skip


def privilege() -> tuple[str, ...] | None:
    """What to put before a command that needs root: nothing, sudo where it asks no password, None without either."""
    if os.geteuid() == 0:
        return ()
    if (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        return ("sudo", "-n")
    return None


def missing_packages(purpose: str) -> list[Package]:
    """The Debian packages that this purpose needs and this machine lacks."""
    return [package for package in PACKAGES if purpose in package.purposes and not package.installed]


def install_packages(purpose: str) -> None:
    """Install the missing Debian packages, after printing which, why and how.

    Raises:
        NotPossible: Root or apt is needed and not at hand, or apt failed.
    """
    missing = missing_packages(purpose)
    if not missing:
        return
    width = max(len(package.name) for package in missing)
    table = "\n".join(f"  {package.name:<{width}}  {package.reason}" for package in missing)
    names = [package.name for package in missing]
    command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(names)}"
    prefix = privilege()
    if prefix is None or not shutil.which("apt-get"):
        if not any(package.essential for package in missing):
            log(f"Not installed here, so what needs them is left out:\n{table}")
            return
        why = "installing them needs root" if prefix is None else "there is no apt-get on this machine"
        raise NotPossible(
            f"These packages are needed, and {why}:\n{table}\n"
            f"Run once as root (names are Debian's):\n  {command}\nAfterwards no root is needed for this."
        )
    log(f"Installing Debian packages with apt, as root:\n{table}")
    for arguments in (("update", "-q"), ("install", "-y", "-q", "--no-install-recommends", *names)):
        run_apt(prefix, arguments)
    left = missing_packages(purpose)
    if left:
        raise NotPossible(f"apt installed {', '.join(p.name for p in left)}, and still its programs are not found.")


def run_apt(prefix: tuple[str, ...], arguments: Sequence[str]) -> None:
    """Run apt-get without questions, its output kept for the case that it fails."""
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    command = [*prefix, *environment, "apt-get", *APT_OPTIONS, *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode != 0:
        tail = "\n".join(f"  {line}" for line in result.stdout.strip().splitlines()[-15:])
        raise NotPossible(
            f"apt-get {arguments[0]} failed (exit code {result.returncode}):\n{tail}\n"
            "Look at the network, the disk (`df -h /`) and /etc/apt/sources.list, then run the same target again."
        )
