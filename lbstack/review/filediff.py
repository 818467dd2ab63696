"""Compare two versions of the nodes' files: one diff for each file, and sentences about services and servers.

It works on files as ``render/unpack.py`` shows them, so without secrets.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lbstack.render.paths import HAPROXY_CFG
from lbstack.review.report import FileDiff

CONTEXT_LINES = 3
OWN_SECTIONS = "lbstack."  # the pair's own frontends and lists begin so; a service's name never does
SECTION = re.compile(r"(frontend|backend|listen)\s+(\S+)")

Files = Mapping[str, str]


def compare(
    old: Mapping[str, Files],
    new: Mapping[str, Files],
    rights: tuple[Mapping[str, Files], Mapping[str, Files]] = ({}, {}),
    *,
    contents: bool = True,
) -> tuple[FileDiff, ...]:
    """Every file that differs, once for all nodes on which it differs alike.

    Args:
        old: Node → path → content before.
        new: The same after.
        rights: Node → path → owner and mode, before and after.
        contents: Whether whole new or vanished files are shown; a changed file always is.

    Returns:
        Sorted by path.
    """
    found: dict[tuple[str, str, tuple[str, ...], str], list[str]] = {}
    for node in sorted({*old, *new}):
        before, after = old.get(node, {}), new.get(node, {})
        for path in sorted({*before, *after}):
            both = path in before and path in after
            other = _rights(*(side.get(node, {}).get(path, "") for side in rights)) if both else ""
            if before.get(path) == after.get(path) and not other:
                continue
            change = "changed" if both else "added" if path in after else "removed"
            lines = _diff(before.get(path, ""), after.get(path, ""))
            found.setdefault((path, change, lines, other), []).append(node)
    return tuple(
        FileDiff(
            path,
            tuple(nodes),
            change,
            lines if contents or change == "changed" else (),
            sum(line.startswith("+") for line in lines),
            sum(line.startswith("-") for line in lines),
            other,
        )
        for (path, change, lines, other), nodes in sorted(found.items())
    )


def _rights(old: str, new: str) -> str:
    """How owner and mode change, in words; nothing where they do not, or where one side is not known."""
    if old == new or not (old and new):
        return ""
    pairs = zip(("owner", "mode"), old.split(" ", 1), new.split(" ", 1), strict=False)
    return ", ".join(f"{word} {before} → {after}" for word, before, after in pairs if before != after)


def _diff(old: str, new: str) -> tuple[str, ...]:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=CONTEXT_LINES, lineterm="")
    return tuple(lines)[2:]


@dataclass
class _Service:
    """What a service is in HAProxy's file."""

    binds: set[str] = field(default_factory=set)
    servers: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)


def services_of(files: Files) -> dict[str, _Service]:
    """The services that a node's haproxy.cfg balances."""
    services: dict[str, _Service] = {}
    current: _Service | None = None
    for raw in files.get(HAPROXY_CFG, "").splitlines():
        words = raw.split()
        section = SECTION.match(raw)
        if raw and not raw[0].isspace() and not raw.startswith("#"):
            name = section[2] if section else ""
            ours = not name or name.startswith(OWN_SECTIONS) or name.endswith(".redirect")
            current = None if ours else services.setdefault(name, _Service())
        elif current is not None and len(words) > 1 and words[0] == "bind":
            current.binds.add(words[1])
        elif current is not None and len(words) > 2 and words[0] == "server":  # noqa: PLR2004 - server NAME ADDRESS
            current.servers[words[1]] = words[2]
            current.states[words[1]] = _state(words[3:])
    # What has no address of its own helps a service: its memory of clients, a server's state.
    return {name: service for name, service in services.items() if service.binds}


def _state(words: Sequence[str]) -> str:
    if "disabled" in words:
        return "maintenance"
    for option, value in itertools.pairwise(words):
        if option == "weight" and value == "0":
            return "drain"
    return "ready"


def service_changes(old: Mapping[str, Files], new: Mapping[str, Files]) -> tuple[str, ...]:
    """Services and servers added, removed and moved, in sentences; read from what HAProxy gets."""
    before = next((found for files in old.values() if (found := services_of(files))), {})
    after = next((found for files in new.values() if (found := services_of(files))), {})
    if not before:
        return ()  # the first deployment: everything is new
    output: list[str] = []
    for name in sorted({*before, *after}):
        if name not in before:
            output.append(f"service {name} is added on {_join(after[name].binds)}, {_servers(after[name])}")
        elif name not in after:
            output.append(f"service {name} on {_join(before[name].binds)} is removed")
        else:
            output += _service_changes(name, before[name], after[name])
    return tuple(output)


def _service_changes(name: str, old: _Service, new: _Service) -> list[str]:
    output = []
    if old.binds != new.binds:
        output.append(f"service {name} moves from {_join(old.binds)} to {_join(new.binds)}")
    for server in sorted({*old.servers, *new.servers}):
        if server not in old.servers:
            output.append(f"server {server} ({new.servers[server]}) is added to {name}")
        elif server not in new.servers:
            output.append(f"server {server} ({old.servers[server]}) is removed from {name}")
        elif old.servers[server] != new.servers[server]:
            output.append(f"server {server} of {name} moves from {old.servers[server]} to {new.servers[server]}")
        elif old.states[server] != new.states[server]:
            output.append(f"server {server} of {name}: {old.states[server]} → {new.states[server]}")
    return output


def _servers(service: _Service) -> str:
    return f"with {len(service.servers)} server{'' if len(service.servers) == 1 else 's'}"


def _join(binds: set[str]) -> str:
    return ", ".join(sorted(binds)) or "no address"
