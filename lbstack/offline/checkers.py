"""The daemons' own checkers, as far as this machine has them, on rendered files that are nowhere installed.

The files lie in a temporary directory; what they name by absolute path is pointed there in a copy. Checkers that look
at interfaces run in a network namespace of their own with one interface of the right name. Nothing is installed, no
daemon is started, and nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lbstack.config.models import StackConfig
from lbstack.render.files import File
from lbstack.render.paths import HAPROXY_CFG, PROGRAM_DIRECTORY, STATE_MAP

# Debian keeps daemons where a plain user's PATH does not look.
SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
LIMIT_S = 30.0  # cloud-init's schema check, the slowest, takes two seconds
KEEPALIVED_CONF = "/etc/keepalived/keepalived.conf"
SAVED = "/etc/systemd/scripts"
USERDATA = "/userdata"  # below the temporary directory; not a file of the guest
SAID_LINES = 20  # of a checker that refuses

PASSED, REFUSED, NOT_RUN = "passed", "refused", "not run"


@dataclass(frozen=True)
class Verdict:
    """What became of one checker on one node.

    Args:
        node: The node's name.
        checker: The program.
        path: Which file of the guest it looked at.
        outcome: ``passed``, ``refused`` or ``not run``.
        said: What it said, or why it was not run.
    """

    node: str
    checker: str
    path: str
    outcome: str
    said: str = ""


def find(program: str) -> str | None:
    """The path of a program, also where only root's PATH looks."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PATH])


@cache
def version(program: str) -> str:
    """The first line of what a program says about its version; empty where it does not say."""
    option = "-v" if program in ("haproxy", "keepalived") else "--version"
    try:
        result = _run([program, option])
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (result.stdout or result.stderr).strip().splitlines()
    return lines[0].strip() if result.returncode == 0 and lines else ""


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(command),
        env=os.environ | {"PATH": _path(), "LC_ALL": "C.UTF-8"} | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=LIMIT_S,
        check=False,
    )


@cache
def _spaces() -> tuple[str, ...]:
    """The command that gives a program a network of its own; empty where this machine cannot do that."""
    if not (find("unshare") and find("ip")):
        return ()
    for options in (["--net"], ["--map-root-user", "--net"]):
        command = ("unshare", *options, "--")
        try:
            if _run([*command, "ip", "link", "add", "probe0", "type", "veth"]).returncode == 0:
                return command
        except (OSError, subprocess.TimeoutExpired):
            continue
    return ()


@dataclass(frozen=True)
class _Room:
    """One node's files in a temporary directory.

    Args:
        root: The directory, in the place of ``/``.
        node: The node's name.
        address: Its address with the network's prefix length.
        interface: Its interface.
    """

    root: Path
    node: str
    address: str
    interface: str

    def at(self, path: str) -> str:
        return f"{self.root}{path}"

    def lay(self, path: str, content: str) -> None:
        target = self.root / path.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")

    def inside(self, *command: str) -> list[str]:
        """The command line in a network of its own with the node's interface and address."""
        script = (
            'ip link set lo up && ip link add "$1" type veth && ip address add "$2" dev "$1" && ip link set "$1" up '
            '&& shift 2 && exec "$@"'
        )
        return [*_spaces(), "sh", "-c", script, "sh", self.interface, self.address, *command]


Check = Callable[[_Room], tuple[list[str], dict[str, str]]]


@dataclass(frozen=True)
class _Checker:
    """One checker: its program, the file it looks at, its command line, and whether it needs a network of its own."""

    program: str
    path: str
    command: Check
    own_network: bool = False


def _haproxy(room: _Room) -> tuple[list[str], dict[str, str]]:
    environment = {"NODE": room.node, "NODE_ADDRESS": room.address.partition("/")[0]}
    return ["haproxy", "-c", "-dW", "-f", room.at(HAPROXY_CFG)], environment


CHECKERS = (
    _Checker("haproxy", HAPROXY_CFG, _haproxy),
    _Checker(
        "keepalived",
        KEEPALIVED_CONF,
        lambda room: (room.inside("keepalived", "-t", "-f", room.at(KEEPALIVED_CONF)), {}),
        own_network=True,
    ),
    _Checker(
        "iptables-restore",
        f"{SAVED}/ip4save",
        lambda room: (room.inside("iptables-restore", "--test", room.at(f"{SAVED}/ip4save")), {}),
        own_network=True,
    ),
    _Checker(
        "ip6tables-restore",
        f"{SAVED}/ip6save",
        lambda room: (room.inside("ip6tables-restore", "--test", room.at(f"{SAVED}/ip6save")), {}),
        own_network=True,
    ),
    _Checker(
        "cloud-init",
        USERDATA,
        lambda room: (["cloud-init", "schema", "--config-file", room.at(USERDATA)], {}),
    ),
)


def check_nodes(
    config: StackConfig, nodes: Mapping[str, Mapping[str, File]], userdata: Mapping[str, str]
) -> list[Verdict]:
    """Run every checker that is installed on every node's files.

    Args:
        config: The validated configuration.
        nodes: Node name → guest path → file, as rendered.
        userdata: Node name → the decoded userdata document.

    Returns:
        One verdict for each node and checker, in the order of ``CHECKERS``.
    """
    with tempfile.TemporaryDirectory(prefix="lbstack-check-") as scratch:
        rooms = [_lay_out(Path(scratch), config, node.name, nodes, userdata) for node in config.nodes]
        work = [(checker, room) for room in rooms for checker in CHECKERS]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda pair: _check(pair[0], pair[1], scratch), work))


def _lay_out(
    scratch: Path,
    config: StackConfig,
    name: str,
    nodes: Mapping[str, Mapping[str, File]],
    userdata: Mapping[str, str],
) -> _Room:
    node = next(node for node in config.nodes if node.name == name)
    address = f"{node.address}/{config.network.cidr.prefixlen}"
    room = _Room(scratch / name, name, address, config.network.interface)
    for path, file in nodes[name].items():
        room.lay(path, file.content)
    # keepalived looks whether the scripts that it is to run are there and belong to root alone.
    for program in (room.root / PROGRAM_DIRECTORY.removeprefix("/")).iterdir():
        program.chmod(0o755)
    room.lay(STATE_MAP, "vrrp unknown\napply unknown\n")
    room.lay(f"{Path(STATE_MAP).parent}/haproxy.down", "1\n")
    for path, places in {
        HAPROXY_CFG: (str(Path(STATE_MAP).parent),),
        KEEPALIVED_CONF: (str(Path(STATE_MAP).parent), PROGRAM_DIRECTORY),
    }.items():
        text = nodes[name][path].content
        for place in places:
            text = text.replace(f"{place}/", f"{room.at(place)}/")
        room.lay(path, text)
    room.lay(USERDATA, userdata[name])
    return room


def _check(checker: _Checker, room: _Room, scratch: str) -> Verdict:
    said = _obstacle(checker)
    if said:
        return Verdict(room.node, checker.program, checker.path, NOT_RUN, said)
    command, environment = checker.command(room)
    try:
        result = _run(command, environment)
    except subprocess.TimeoutExpired:
        late = f"it did not end within {LIMIT_S:.0f} s"
        return Verdict(room.node, checker.program, checker.path, REFUSED, late)
    except OSError as error:
        return Verdict(room.node, checker.program, checker.path, NOT_RUN, f"it could not be started ({error.strerror})")
    if result.returncode == 0:
        return Verdict(room.node, checker.program, checker.path, PASSED, version(checker.program))
    lines = (result.stdout + result.stderr).replace(str(room.root), "").replace(scratch, "").strip().splitlines()
    text = "\n".join(lines[-SAID_LINES:]) or f"it ended with {result.returncode} and said nothing"
    return Verdict(room.node, checker.program, checker.path, REFUSED, text)


def _obstacle(checker: _Checker) -> str:
    """Why a checker cannot run here; empty where it can."""
    if not find(checker.program):
        return "not installed here"
    if checker.own_network and not _spaces():
        return "needs a network namespace of its own: root, or user namespaces, with unshare and ip"
    return ""
