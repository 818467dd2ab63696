"""Guests that boot without a hypervisor: systemd-nspawn over an image, in the lab's network.

A machine is what a VM would be. It has a root of its own, an overlay that outlives power-offs; its NIC is a port of the
lab's switch; its guestinfo is a directory that it sees read-only. All its processes are in one control group and its
mounts in a namespace of their own, so a machine can be frozen, counted and ended as a whole, and leaves nothing when
whoever started it is killed. Names of control groups begin with the lab's prefix: that is how machines are found again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from lab.debian import search_path
from lab.errors import LabError
from lab.limits import OPEN_FILES, open_files
from lab.network import Network
from lab.waiting import until

GUESTINFO = "/run/guestinfo"  # where a guest sees its keys; lab/guest/root knows this path
ENVIRONMENT = "environment"
END_S = 10.0  # a killed control group is empty within milliseconds
SHUTDOWN_S = 60.0  # keepalived and HAProxy take a second each; systemd gives a stuck unit 90
INIT_S = 10.0
RUN_S = 60.0
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1): poweroff.target
SUPERVISOR = "systemd-nspawn"
PROCESSES = "cgroup.procs"  # cgroups(7): the file of a control group that lists its processes
GUEST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPTIONS = (
    "--register=no",
    "--keep-unit",
    # Without these networkd and the packet filter do nothing.
    "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
    # The machine's own name servers are out of a guest's reach, and asking them costs ten seconds a boot.
    "--resolv-conf=off",
)
PARTS = ("upper", "work", "root")  # of a root: START mounts them
TRIAL_S = 30.0  # it takes a fifth of a second on a machine that has nothing else to do
SUPERVISORS = Path("/run/systemd/nspawn")  # where a supervisor has a directory for each machine
NEEDED = ("systemd-nspawn", "setsid", "unshare", "nsenter", "mount", "ip")
START = """
set -eu
group=$1 lower=$2 own=$3
shift 3
echo $$ > "$group/cgroup.procs"
mount -t overlay -o "lowerdir=$lower,upperdir=$own/upper,workdir=$own/work" overlay "$own/root"
exec "$@"
"""


def control_groups() -> Path:
    """Where the second version of control groups is mounted.

    Raises:
        LabError: This machine has none.
    """
    for mount in psutil.disk_partitions(all=True):
        if mount.fstype == "cgroup2":
            return Path(mount.mountpoint)
    raise LabError(
        "There are no control groups of version 2 here; guests need them. Mount them, or use another machine."
    )


def preflight() -> Iterator[str]:
    """What this machine lacks for guests, in words, each with what to do."""
    if os.geteuid() != 0:
        yield "Guests are started as root: run as root."
    missing = [tool for tool in NEEDED if shutil.which(tool, path=search_path()) is None]
    if missing:
        yield f"{', '.join(missing)} not found. On Debian: `apt-get install systemd-container iproute2`."
    try:
        control_groups()
    except LabError as error:
        yield str(error)


def trial(lower: Sequence[Path], place: Path) -> str:
    """Start a program over an image as guests are started: the same mounts, control group and container.

    Args:
        lower: The directories of a guest's root, uppermost first.
        place: An existing directory on the file system that will carry the guests' roots.

    Returns:
        What this machine refuses, in words with a remedy; empty where it refuses nothing.

    Raises:
        LabError: There are no control groups of version 2.
        OSError: Nothing can be written at ``place``.
    """
    group = control_groups() / f"lbs-trial-{os.getpid()}"
    with tempfile.TemporaryDirectory(dir=place, prefix=".trial-") as scratch:
        own = Path(scratch)
        for part in PARTS:
            (own / part).mkdir()
        group.mkdir(exist_ok=True)
        try:
            result = subprocess.run(
                [
                    *_inside(group, lower, own),
                    *(SUPERVISOR, "--quiet", f"--directory={own / 'root'}", f"--machine={group.name}"),
                    *(*OPTIONS, "--private-network", "true"),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TRIAL_S,
                check=False,
                env=_environment(),
            )
            complaint = (result.stderr or result.stdout).strip() if result.returncode != 0 else ""
            failed = result.returncode != 0
        except subprocess.TimeoutExpired:
            failed, complaint = True, f"it did not end within {TRIAL_S:g} s"
        finally:
            _end(group)
    if not failed:
        return ""
    told = "; ".join(line.strip() for line in complaint.splitlines()) or "it ended without a word"
    return (
        f"A container over the guests' image does not start here: {told.rstrip('.')}. Use a machine where "
        "root may mount overlays and start systemd-nspawn (a container itself has to be privileged)."
    )


def _inside(group: Path, lower: Sequence[Path], own: Path) -> list[str]:
    """The beginning of a command that runs in a control group, with a root mounted over an image."""
    mounts = ("unshare", "--mount", "--propagation", "private", "--", "sh", "-c", START, "sh")
    return [*mounts, str(group), ":".join(map(str, lower)), str(own)]


def _environment() -> dict[str, str]:
    """The environment of a guest's supervisor."""
    return {
        "PATH": search_path(),
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",  # sysctls, which the applier writes
        "SYSTEMD_NSPAWN_LOCK": "0",  # a root has one user, and a killed supervisor would leave its lock's file for ever
    }


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
                env=_environment(),
            )
        try:
            until(self._init, INIT_S, f"{self.name} to boot")
        except LabError as error:
            self.power_off()
            last = "\n".join(self.console.read_text(errors="replace").splitlines()[-5:])
            raise LabError(f"{error}. Its console says:\n{last}") from error

    def _command(self, namespace: Path) -> list[str]:
        limit = [f"--rlimit=RLIMIT_NOFILE={OPEN_FILES}"] if open_files() == OPEN_FILES else []
        return [
            # Nobody's child: a guest outlives who started it, as a VM does.
            *("setsid", "--fork", *_inside(self.group, self.lower, self.own)),
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
            _end(self.group)

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
    """End every machine of a lab, whoever started it.

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
        _end(group)
        ended.append(group.name)
    for left in SUPERVISORS.glob(f"*/{network.prefix}*"):
        if left.name not in keep:
            _forget(left.name)
    return ended


def populated(group: Path) -> bool:
    """Whether any process lives in a control group or below it; the kernel keeps the answer ready (cgroups(7))."""
    try:
        return "populated 1" in (group / "cgroup.events").read_text(encoding="ascii")
    except OSError:  # there is no such group, or it goes at this moment
        return False


def members(group: Path) -> list[int]:
    """The processes of a control group and of all below it.

    A guest that boots or ends makes and removes groups all the time: those that go while they are walked are left out
    (os.walk does that by itself, Path.rglob would raise).
    """
    found: list[int] = []
    for directory, _, files in os.walk(group):
        if PROCESSES in files:
            with suppress(OSError):
                found += [int(pid) for pid in Path(directory, PROCESSES).read_text(encoding="ascii").split()]
    return found


def _end(group: Path) -> None:
    """Kill everything in a control group and remove it."""
    (group / "cgroup.kill").write_text("1", encoding="ascii")
    until(lambda: not populated(group), END_S, f"the processes of {group.name} to end")
    _remove_group(group)
    _forget(group.name)


def _forget(name: str) -> None:
    """Remove what a killed supervisor could not: its directories for a machine. Their mounts went with it."""
    for place in SUPERVISORS.glob(f"*/{name}"):
        shutil.rmtree(place, ignore_errors=True)


def _remove_group(group: Path) -> None:
    """Remove an empty control group, the innermost first, also the copy of it that its supervisor made elsewhere."""
    for root in hierarchies():
        for directory, _, _ in os.walk(root / group.name, topdown=False):
            with suppress(FileNotFoundError):
                Path(directory).rmdir()


def hierarchies() -> list[Path]:
    """Where control groups are mounted, of both versions: a host may have a hierarchy of systemd's own beside."""
    mounts = psutil.disk_partitions(all=True)
    return [Path(mount.mountpoint) for mount in mounts if mount.fstype in ("cgroup", "cgroup2")]


def _replace(file: Path, text: str) -> None:
    scratch = file.with_name(f".{file.name}")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(file)


def machines(network: Network, state: Path, lower: Sequence[Path]) -> dict[str, Machine]:
    """The machines of a lab's nodes, by name.

    Args:
        network: Its network.
        state: The lab's directory; the machines' own are below it.
        lower: The directories of a guest's root (``lab.guest_image.ensure_layers``).
    """
    return {
        node: Machine(node, network, state / "machines" / network.node_role(node), tuple(lower))
        for node in network.topology.nodes
    }
