"""Run the daemons' own checkers that this machine has on rendered files, without installing the files.

The files are written to a temporary directory, and absolute paths in them are changed to that directory. Checkers that
look at interfaces run in a network namespace of their own with one interface of the right name. Nothing is installed,
no daemon is started, and nothing remains afterwards.
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
from lbstack.render.paths import (
    HAPROXY_CFG,
    IPV4_RULES,
    IPV6_RULES,
    KEEPALIVED_CONF,
    PROGRAM_DIRECTORY,
    RUNTIME_DIRECTORY,
    STATE_MAP,
    TRACK_FILE,
)

# Directories of daemons on Debian, which the PATH of a plain user does not have.
SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
LIMIT_S = 30.0  # cloud-init's schema check, the slowest, takes two seconds
USERDATA = "/userdata"  # below the temporary directory; not a file of the guest
OUTPUT_LINES = 20  # last lines of a checker's output that are shown

PASSED, REFUSED, NOT_RUN = "passed", "refused", "not run"


@dataclass(frozen=True)
class Verdict:
    """The result of one checker on one node.

    Args:
        node: The node's name.
        checker: The program.
        path: Guest path of the checked file.
        outcome: ``passed``, ``refused`` or ``not run``.
        detail: The checker's version where it passed, its output where it refused, else why it was not run.
    """

    node: str
    checker: str
    path: str
    outcome: str
    detail: str = ""


def find(program: str) -> str | None:
    """Return the path of a program, also from the directories that only root's PATH has; None where it is missing."""
    return shutil.which(program, path=_path())


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PATH])


@cache
def version(program: str) -> str:
    """Return the first line of a program's version output; empty where it prints none."""
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
def _namespace_command() -> tuple[str, ...]:
    """Return the command that runs a program in a network namespace; empty where this machine cannot create one."""
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
class _NodeTree:
    """One node's files in a temporary directory.

    Args:
        root: The directory that represents the guest's ``/``.
        node: The node's name.
        address: Its address with the network's prefix length.
        interface: The name of its interface.
    """

    root: Path
    node: str
    address: str
    interface: str

    def at(self, path: str) -> str:
        return f"{self.root}{path}"

    def write(self, path: str, content: str) -> None:
        target = self.root / path.removeprefix("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")

    def inside(self, *command: str) -> list[str]:
        """Return the command line that runs a command in a namespace with the node's interface and address."""
        script = (
            'ip link set lo up && ip link add "$1" type veth && ip address add "$2" dev "$1" && ip link set "$1" up '
            '&& shift 2 && exec "$@"'
        )
        return [*_namespace_command(), "sh", "-c", script, "sh", self.interface, self.address, *command]


Command = Callable[[_NodeTree], tuple[list[str], dict[str, str]]]


@dataclass(frozen=True)
class _Checker:
    """One checker.

    Args:
        program: Its name.
        path: Guest path of the file that it checks.
        command: Returns its command line and environment for a node.
        own_network: Whether it needs a network namespace with the node's interface.
    """

    program: str
    path: str
    command: Command
    own_network: bool = False


def _haproxy(tree: _NodeTree) -> tuple[list[str], dict[str, str]]:
    environment = {"NODE": tree.node, "NODE_ADDRESS": tree.address.partition("/")[0]}
    return ["haproxy", "-c", "-dW", "-f", tree.at(HAPROXY_CFG)], environment


CHECKERS = (
    _Checker("haproxy", HAPROXY_CFG, _haproxy),
    _Checker(
        "keepalived",
        KEEPALIVED_CONF,
        lambda tree: (tree.inside("keepalived", "-t", "-f", tree.at(KEEPALIVED_CONF)), {}),
        own_network=True,
    ),
    _Checker(
        "iptables-restore",
        IPV4_RULES,
        lambda tree: (tree.inside("iptables-restore", "--test", tree.at(IPV4_RULES)), {}),
        own_network=True,
    ),
    _Checker(
        "ip6tables-restore",
        IPV6_RULES,
        lambda tree: (tree.inside("ip6tables-restore", "--test", tree.at(IPV6_RULES)), {}),
        own_network=True,
    ),
    _Checker(
        "cloud-init",
        USERDATA,
        lambda tree: (["cloud-init", "schema", "--config-file", tree.at(USERDATA)], {}),
    ),
)


def check_nodes(
    config: StackConfig, nodes: Mapping[str, Mapping[str, File]], userdata: Mapping[str, str]
) -> list[Verdict]:
    """Run every installed checker on every node's files.

    Args:
        config: The validated configuration.
        nodes: Node name → guest path → rendered file.
        userdata: Node name → decoded userdata.

    Returns:
        One verdict for each node and checker, in the order of ``CHECKERS``.
    """
    with tempfile.TemporaryDirectory(prefix="lbstack-check-") as scratch:
        trees = [_write_tree(Path(scratch), config, node.name, nodes, userdata) for node in config.nodes]
        work = [(checker, tree) for tree in trees for checker in CHECKERS]
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(lambda pair: _check(pair[0], pair[1], scratch), work))


def _write_tree(
    scratch: Path,
    config: StackConfig,
    name: str,
    nodes: Mapping[str, Mapping[str, File]],
    userdata: Mapping[str, str],
) -> _NodeTree:
    node = next(node for node in config.nodes if node.name == name)
    address = f"{node.address}/{config.network.cidr.prefixlen}"
    tree = _NodeTree(scratch / name, name, address, config.network.interface)
    for path, file in nodes[name].items():
        tree.write(path, file.content)
    # keepalived checks that its scripts exist and that only root can write them.
    for program in (tree.root / PROGRAM_DIRECTORY.removeprefix("/")).iterdir():
        program.chmod(0o755)
    tree.write(STATE_MAP, "vrrp unknown\napply unknown\n")
    tree.write(TRACK_FILE, "1\n")
    for path, directories in {
        HAPROXY_CFG: (RUNTIME_DIRECTORY,),
        KEEPALIVED_CONF: (RUNTIME_DIRECTORY, PROGRAM_DIRECTORY),
    }.items():
        text = nodes[name][path].content
        for directory in directories:
            text = text.replace(f"{directory}/", f"{tree.at(directory)}/")
        tree.write(path, text)
    tree.write(USERDATA, userdata[name])
    return tree


def _check(checker: _Checker, tree: _NodeTree, scratch: str) -> Verdict:
    outcome, detail = _outcome(checker, tree, scratch)
    return Verdict(tree.node, checker.program, checker.path, outcome, detail)


def _outcome(checker: _Checker, tree: _NodeTree, scratch: str) -> tuple[str, str]:
    """Run one checker; return its outcome and the detail of its verdict."""
    if obstacle := _obstacle(checker):
        return NOT_RUN, obstacle
    command, environment = checker.command(tree)
    try:
        result = _run(command, environment)
    except subprocess.TimeoutExpired:
        return REFUSED, f"it did not end within {LIMIT_S:.0f} s"
    except OSError as error:
        return NOT_RUN, f"it could not be started ({error.strerror})"
    if result.returncode == 0:
        return PASSED, version(checker.program)
    lines = (result.stdout + result.stderr).replace(str(tree.root), "").replace(scratch, "").strip().splitlines()
    return REFUSED, "\n".join(lines[-OUTPUT_LINES:]) or f"it ended with exit code {result.returncode} and no output"


def _obstacle(checker: _Checker) -> str:
    """Return why a checker cannot run on this machine; empty where it can."""
    if not find(checker.program):
        return "not installed"
    if checker.own_network and not _namespace_command():
        return "needs a network namespace of its own: root, or user namespaces, with unshare and ip"
    return ""
