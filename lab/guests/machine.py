"""One guest: systemd-nspawn over an image, connected to the lab's network.

A machine corresponds to one VM. Its root is an overlay that survives power-offs; its NIC is a port of the lab's switch;
its guestinfo is a read-only directory. All its processes are in one control group, and its mounts are in a namespace of
their own, so it can be frozen, counted and ended as a whole, and a killed starter leaves nothing behind. The names of
control groups begin with the lab's prefix; by that machines are found again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lab.errors import LabError
from lab.guests import realtime
from lab.guests.container import OPTIONS, PARTS, SUPERVISOR, environment_of_nspawn, inside
from lab.guests.groups import END_S, SUPERVISORS, control_groups, end_group, forget, members, populated
from lab.home.limits import OPEN_FILES, may_raise_limits, open_files
from lab.network.network import Network
from lab.system.waiting import until

GUESTINFO = "/run/guestinfo"  # where a guest sees its keys; lab/guests/files/root knows this path
ENVIRONMENT = "environment"
SHUTDOWN_S = 60.0  # keepalived and HAProxy take a second each; systemd gives a stuck unit 90
INIT_S = 10.0
RUN_S = 60.0
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1): poweroff.target
GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Machine:
    """One guest.

    Args:
        name: The VM's name.
        network: The lab's network; it is up.
        own: The machine's directory: root, guestinfo, console.
        lower: The directories that its root lies over, uppermost first.
    """

    name: str
    network: Network
    own: Path
    lower: tuple[Path, ...]

    @property
    def console(self) -> Path:
        """What the guest wrote on its console, all boots."""
        return self.own / "console.log"

    @cached_property
    def group(self) -> Path:
        """The control group of all its processes."""
        return control_groups() / f"{self.network.prefix}{self.network.node_role(self.name)}"

    @property
    def running(self) -> bool:
        """Whether anything of it runs."""
        return populated(self.group)

    def give(self, guestinfo: Mapping[str, str]) -> None:
        """Set its guestinfo, also while it runs; keys that are not given are gone afterwards.

        Args:
            guestinfo: Key, such as ``guestinfo.userdata``, → value.
        """
        place = self.own / "guestinfo"
        place.mkdir(parents=True, exist_ok=True)
        variables = ["VMX_GUESTINFO=1"]
        for key, value in guestinfo.items():
            _replace(place / key, value)
            variables.append(f"VMX_{key.upper().replace('.', '_')}={value}")
        _replace(place / ENVIRONMENT, "\n".join(variables) + "\n")
        for file in place.iterdir():
            if file.name not in guestinfo and file.name != ENVIRONMENT:
                file.unlink()

    def power_on(self) -> None:
        """Boot it: for the first time from a fresh root, later from the one that it left.

        Raises:
            LabError: It runs already, or does not come up; with the last of its console.
        """
        if self.running:
            raise LabError(f"{self.name} is powered on already.")
        for part in (*PARTS, "guestinfo"):
            (self.own / part).mkdir(parents=True, exist_ok=True)
        namespace = self.network.node_port(self.name)
        self.group.mkdir(exist_ok=True)
        with self.console.open("ab") as console:
            subprocess.run(
                self._command(namespace),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                check=True,
                env=environment_of_nspawn(),
            )
        try:
            until(self._init, INIT_S, f"{self.name} to boot")
        except LabError as error:
            self.power_off()
            last = "\n".join(self.console.read_text(errors="replace").splitlines()[-5:])
            raise LabError(f"{error}. Its console:\n{last}") from error

    def _command(self, namespace: Path) -> list[str]:
        limit = [f"--rlimit=RLIMIT_NOFILE={OPEN_FILES}"] if open_files() == OPEN_FILES else []
        return [
            # Nobody's child: a guest outlives who started it, as a VM does.
            *("setsid", "--fork", *inside(self.group, self.lower, self.own)),
            *(() if may_raise_limits() else (sys.executable, "-I", "-S", realtime.__file__)),
            *(SUPERVISOR, "--quiet", f"--directory={self.own / 'root'}", f"--machine={self.group.name}"),
            *(*OPTIONS, f"--network-namespace-path={namespace}"),
            f"--bind-ro={self.own / 'guestinfo'}:{GUESTINFO}",
            *limit,
            *("--boot", "--console=pipe", "--kill-signal=SIGRTMIN+3"),
        ]

    def power_off(self) -> None:
        """Take the power away: the cable first, because a namespace goes on answering for a dead guest."""
        self.network.remove_node(self.name)
        if self.group.exists():
            end_group(self.group)

    def shut_down(self) -> None:
        """Ask it to power itself off and wait until it has.

        Raises:
            LabError: It does not within ``SHUTDOWN_S``.
        """
        self.ask_to_shut_down()
        until(lambda: not self.running, SHUTDOWN_S, f"{self.name} to shut down")
        self.power_off()

    def ask_to_shut_down(self) -> None:
        """Ask it to power itself off, and return at once; when it has, ``running`` is false."""
        init = self._init()
        if init:
            os.kill(init, POWER_OFF)

    def freeze(self) -> None:
        """Stop all its processes where they are, as a suspended VM's; its kernel goes on answering ARP."""
        (self.group / "cgroup.freeze").write_text("1", encoding="ascii")

    def thaw(self) -> None:
        """Let a frozen machine go on; returns when it does.

        Raises:
            LabError: Its processes stay where they are.
        """
        (self.group / "cgroup.freeze").write_text("0", encoding="ascii")
        events = self.group / "cgroup.events"
        until(lambda: "frozen 0" in events.read_text(encoding="ascii"), END_S, f"{self.name} to go on", every_s=0.005)

    @property
    def frozen(self) -> bool:
        """Whether it was frozen."""
        try:
            return (self.group / "cgroup.freeze").read_text(encoding="ascii").strip() == "1"
        except FileNotFoundError:
            return False

    def destroy(self) -> None:
        """Power it off and throw its root away."""
        self.power_off()
        if self.own.exists():
            shutil.rmtree(self.own)

    def run(self, *command: str, limit_s: float = RUN_S) -> subprocess.CompletedProcess[str]:
        """Run a program inside the guest, whatever its exit code.

        Raises:
            LabError: It is powered off.
        """
        return subprocess.run(
            [
                "nsenter",
                f"--target={self.init()}",
                "--all",
                "env",
                "-i",
                f"PATH={GUEST_PATH}",
                "LC_ALL=C.UTF-8",
                *command,
            ],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )

    def init(self) -> int:
        """Its process 1, by this machine's number.

        Raises:
            LabError: It is powered off.
        """
        init = self._init()
        if init is None:
            raise LabError(f"{self.name} is powered off.")
        return init

    def _init(self) -> int | None:
        """The guest's process 1, by this machine's number: the supervisor's child that is number 1 in the guest.

        For a moment the supervisor has another child, which makes the guest's namespaces and is in none of them.
        """
        for pid in members(self.group):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == SUPERVISOR:
                    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
                    return next((int(child) for child in children if _is_init(child)), None)
        return None


def _is_init(process: str) -> bool:
    """Whether a process is number 1 in its own namespace of processes (proc(5): NSpid, the innermost last)."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace")
    numbers = next((line.split() for line in status.splitlines() if line.startswith("NSpid:")), [])
    return numbers[-1:] == ["1"]


def end_all(network: Network, keep: Collection[str] = ()) -> list[str]:
    """End every machine of a lab, no matter who started it.

    Args:
        network: The lab's network; it may be down.
        keep: Names of control groups that go on.

    Returns:
        The names of the control groups that were ended.
    """
    ended = []
    for group in sorted(control_groups().glob(f"{network.prefix}*")):
        if group.name in keep:
            continue
        end_group(group)
        ended.append(group.name)
    for left in SUPERVISORS.glob(f"*/{network.prefix}*"):
        if left.name not in keep:
            forget(left.name)
    return ended


def _replace(file: Path, text: str) -> None:
    scratch = file.with_name(f".{file.name}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)


def machines(network: Network, state: Path, lower: Sequence[Path]) -> dict[str, Machine]:
    """The machines of a lab's nodes, by name.

    Args:
        network: Its network.
        state: The lab's directory; the machines' own are below it.
        lower: The directories of a guest's root (``layers.ensure_layers``).
    """
    return {
        node: Machine(node, network, state / "machines" / network.node_role(node), tuple(lower))
        for node in network.topology.nodes
    }
