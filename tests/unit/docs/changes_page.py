"""The table of docs/changes.md, made from the table that the program goes by: each row is a change that is rendered."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lbstack.config.choices import Mode
from lbstack.config.credentials import NEW_KEY_BITS
from lbstack.config.models import StackConfig
from lbstack.deploy.manner import Known, Way, manner, power_off
from lbstack.facts.changes import ACTIONS, Kind, kind_of, worst
from lbstack.nodes.health import Answer
from lbstack.render.files import render_pair
from lbstack.render.keys import METADATA
from lbstack.render.pack import Packed, pack
from lbstack.vcenter.marks import Marks
from tests.goldens.cases import SSH_KEY, load, post
from tests.keys import signing_key

Raw = dict[str, Any]

BEGIN, END = "<!-- changes: begin -->\n", "<!-- changes: end -->\n"
SESSIONS = {
    Kind.NOTHING: "stay",
    Kind.RELOAD: "stay",
    Kind.RESTART: "stay",
    Kind.HAND_OVER: "those through the master are cut once, when the VIPs move",
    Kind.REBOOT: "those through the master are cut once, when the VIPs move",
    Kind.NEW_VM: "those through the master are cut once, when the VIPs move",
}
EXCEPT = {
    "a service less, and its VIP": "those of this service are cut; all others stay",
    "VRRP's preemption": "stay, unless it is switched on while the preferred master is the standby: then it takes over",
}


def _server(raw: Raw, change: Callable[[list[Raw]], object]) -> None:
    change(raw["services"]["horizon"]["servers"])


def _key(path: str, value: object) -> Callable[[Raw], None]:
    def change(raw: Raw) -> None:
        here = raw
        *way, last = path.split(".")
        for word in way:
            here = here[int(word)] if isinstance(here, list) else here.setdefault(word, {})
        here[last] = value

    return change


def _service(raw: Raw) -> None:
    raw["services"]["blast"] = {
        "kind": "tcp",
        "vip": "192.168.6.125",
        "port": 8443,
        "servers": [{"name": "uag-01", "address": "192.168.6.117"}],
    }


CHANGES: Mapping[str, tuple[str, Callable[[Raw], None]]] = {
    "a server more": (
        "services.*.servers",
        lambda raw: _server(raw, lambda all_of_them: all_of_them.append({"name": "cs-03", "address": "192.168.6.116"})),
    ),
    "a server less": ("services.*.servers", lambda raw: _server(raw, lambda all_of_them: all_of_them.pop())),
    "a server drained, or back": (
        "services.*.servers[].state",
        lambda raw: _server(raw, lambda all_of_them: all_of_them[0].update(state="drain")),
    ),
    "a time-out, the health check, persistence": (
        "services.*.timeouts",
        _key("services.horizon.timeouts", {"tunnel": "2h"}),
    ),
    "a service more, with a VIP": ("services", _service),
    "a service less, and its VIP": ("services", lambda raw: raw["services"].pop("appvol")),
    "the port of a service": ("services.*.port", _key("services.appvol.port", 8443)),
    "the statistics page's port": ("stats.port", _key("stats.port", 8405 + 1)),
    "its users or their passwords": (
        "stats.users, statsHash-*",
        _key("stats.users", {"admin": {"role": "viewer"}}),
    ),
    "the connections in all": ("haproxy.maxconn", _key("haproxy.maxconn", 5000)),
    "who may reach the nodes": ("managementNetworks", _key("managementNetworks", ["192.168.6.240/28", "10.20.0.0/16"])),
    "VRRP's timing": ("vrrp.profile", _key("vrrp.profile", "fast")),
    "VRRP's preemption": ("vrrp.preemption", _key("vrrp.preemption", True)),
    "the virtual router id": ("vrrp.routerId", _key("vrrp.routerId", 99)),
    "time servers": ("network.ntp", _key("network.ntp", ["192.168.6.101"])),
    "root's keys": ("access.sshKeys", _key("access.sshKeys", [SSH_KEY.replace(" operator", " second")])),
    "root's password": ("rootPasswordHash", _key("root", True)),
    "where packages come from": (
        "packages.repository, .proxy, .ca",
        _key("packages.repository", "https://mirror.lab.example/photon"),
    ),
    "another generation of the packages": ("packages.generation", _key("packages.generation", 2)),
    "the key that is to sign next": ("nextSigningKey", _key("next_key", True)),
    "CPUs or memory": ("nodes[].cpus, .memoryMiB", _key("nodes.0.cpus", 4)),
    "an own address or host name": ("nodes[].address, .name", _key("nodes.0.address", "192.168.6.12")),
    "gateway, DNS, subnet": ("network.gateway, .dns, .cidr", _key("network.dns", ["192.168.6.101"])),
}
"""What changes, in words → the key of the stack file, and the change of the post's environment as a sample."""


def _packed(raw: Raw) -> tuple[StackConfig, Packed]:
    raw = copy.deepcopy(raw)
    root, following = raw.pop("root", False), raw.pop("next_key", False)
    config, secrets = load(raw, root_password=root)
    if following:
        secrets = replace(secrets, next_signing_key=signing_key(NEW_KEY_BITS))
    pair = render_pair(config, secrets)
    return config, pack(config, pair, config.nodes[0].name, secrets)


def effect(change: Callable[[Raw], None]) -> tuple[list[str], Kind]:
    """Return the files of the first node that a change touches, without those that name the set, and what they ask for.

    Args:
        change: Of the raw stack file.
    """
    raw = post()
    config, before = _packed(raw)
    node = config.nodes[0]
    changed = copy.deepcopy(raw)
    change(changed)
    after_config, after = _packed(changed)
    here = next((each for each in after_config.nodes if each.name == node.name), after_config.nodes[0])
    marks = Marks("", node.cpus, node.memory_mib, before.in_parts)
    way = manner(here, Known(marks, Answer("0" * 64, "backup", can="live")), after, Mode.LIVE).way
    needs_power_off = way is Way.REBOOT or bool(power_off(here, marks))
    old = {path: file.content for path, file in before.files.items()}
    new = {path: file.content for path, file in after.files.items()}
    touched = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    kinds = {path: kind_of(path, old.get(path, ""), new.get(path)) for path in touched}
    hashes = (before.pair.config_hash, after.pair.config_hash)
    own = [path for path in touched if _text(old, path, hashes) != _text(new, path, hashes)]
    if before.in_parts[METADATA] != after.in_parts[METADATA]:
        return own, Kind.NEW_VM
    return own, Kind.REBOOT if needs_power_off else worst(kinds.values())


def _text(files: Mapping[str, str], path: str, hashes: tuple[str, str]) -> str | None:
    text = files.get(path)
    for each in hashes:
        text = text.replace(each, "") if text else text
    return text


def table() -> str:
    """The tables of the page, in Markdown."""
    lines = ["| What changes | Key | Files | What a node does | Sessions |", "|---|---|---|---|---|"]
    for words, (key, change) in CHANGES.items():
        files, kind = effect(change)
        names = ", ".join(f"`{path}`" for path in files) or "none of its own"
        sessions = EXCEPT.get(words, SESSIONS[kind])
        lines.append(f"| {words} | `{key}` | {names} | {kind.word} | {sessions} |")
    lines += ["", "| File (the first pattern that fits) | At most |", "|---|---|"]
    lines += ["| `{}` | {} |".format(pattern.replace("|", r"\|"), kind.word) for pattern, kind in ACTIONS]
    return "\n".join(lines) + "\n"
