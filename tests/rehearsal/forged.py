"""Sets that no stack file makes, written into a VM's guestinfo in vCenter: altered, signed anew, and taken apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lab.system.waiting import until
from lbstack.render.files import File, RenderedPair
from lbstack.render.keys import is_of_set
from lbstack.render.pack import pack
from lbstack.render.paths import KEEPALIVED_CONF, NODE_JSON
from tests.rehearsal.conftest import Rehearsal

STATUS, CONSIDERED = "/run/lbstack/status.json", "/run/lbstack/considered"
TAKEN_S = 60.0  # a machine with other things to do; the figure itself is the bench's
ANOTHER_SET = "another set"

Files = dict[str, File]
Change = Callable[[Files], None]


@dataclass(frozen=True)
class Forged:
    """A set as guestinfo carries it.

    Args:
        hash: Its hash.
        keys: Guestinfo key → value.
        files: Guest path → file.
    """

    hash: str
    keys: dict[str, str]
    files: Mapping[str, File]


def forge(pair: Rehearsal, node: str, mark: str, change: Change | None = None, *, by: str = "") -> Forged:
    """The set that a node is to have, with another hash, changed and signed by the stack's key.

    Args:
        pair: The lab.
        node: The node for which it is made.
        mark: Distinguishes this set from others.
        change: Changes the node's files.
        by: The private key that signs it in place of the stack's, as PEM.
    """
    rendered, secrets = pair.rendered, pair.secrets
    identity = hashlib.sha256(f"{mark} {rendered.config_hash}".encode()).hexdigest()
    nodes = {
        name: {
            path: replace(file, content=file.content.replace(rendered.config_hash, identity))
            for path, file in files.items()
        }
        for name, files in rendered.nodes.items()
    }
    if change:
        change(nodes[node])
    if by:
        secrets = replace(secrets, signing_key=by)
    packed = pack(pair.config, RenderedPair(identity, nodes), node, secrets)
    return Forged(identity, {key: text for key, text in packed.common.items() if is_of_set(key)}, nodes[node])


def another_key() -> str:
    """A signing key that is not the stack's."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def edit(path: str, old: str, new: str) -> Change:
    """Replace a text of one file, which has to be there once."""

    def change(files: Files) -> None:
        assert files[path].content.count(old) == 1, f"{path} has changed; this test has to follow"
        files[path] = replace(files[path], content=files[path].content.replace(old, new))

    return change


def add(path: str, file: File) -> Change:
    """Add a file."""

    def change(files: Files) -> None:
        files[path] = file

    return change


def comment(mark: str) -> Change:
    """A change that nobody sees: so that the files of two sets are told apart by more than their hash."""
    return lambda files: files.update(
        {KEEPALIVED_CONF: replace(files[KEEPALIVED_CONF], content=f"! {mark}\n" + files[KEEPALIVED_CONF].content)}
    )


def send(pair: Rehearsal, node: str, keys: Mapping[str, str]) -> None:
    """Make these the keys of the set in a VM's guestinfo, in one reconfiguration; all others of a set go."""
    gone = {key: "" for key in pair.lab.guestinfo(node) if is_of_set(key) and key not in keys}
    pair.lab.reconfigure(node, extraConfig=gone | dict(keys))


def status(pair: Rehearsal, node: str) -> dict[str, Any]:
    """What a node's applier says about its last set; nothing while there is no such file."""
    with suppress(ValueError):
        return dict(json.loads(pair.scene.guest(node).run("cat", STATUS).stdout))
    return {}


def taken(pair: Rehearsal, node: str, config_hash: str) -> bool:
    """Whether a node says that it serves a set and was not asked for another, and HAProxy does serve it."""
    said = status(pair, node)
    wanted = (said.get("phase"), said.get("installed"), said.get("wanted"))
    return wanted == ("ok", config_hash, config_hash) and pair.scene.health(node).serves_set(config_hash)


def wait_until_taken(pair: Rehearsal, node: str, config_hash: str) -> None:
    """Wait until a node has taken a set."""
    until(lambda: taken(pair, node, config_hash), TAKEN_S, f"{node} to take {config_hash[:12]}; {status(pair, node)}")


def refusal(pair: Rehearsal, node: str, config_hash: str) -> str:
    """Why a node did not take a set; empty while it has said nothing about it."""
    said = status(pair, node)
    not_taken = said.get("wanted") == config_hash and said.get("phase") not in ("ok", "trial")
    return str(said["error"]) if not_taken else ""


def traces(pair: Rehearsal, node: str) -> dict[str, str]:
    """What is another after anybody did anything on a node: processes, files, rules, the last word of its applier."""
    commands = {
        "boot": "cat /proc/sys/kernel/random/boot_id; cat /proc/1/stat | cut -d' ' -f22",
        "processes": "pgrep -x haproxy; pgrep -x keepalived",
        "files": f"sha256sum {' '.join(sorted(pair.rendered.nodes[node]))}",
        "set": "ls -i /etc/haproxy/haproxy.cfg /etc/keepalived/keepalived.conf; cat /var/lib/lbstack/journal.json",
        "rules": "iptables-save -t filter | grep -v '^[#:]'; ip6tables-save -t filter | grep -v '^[#:]'",
        "vrrp": "grep '^vrrp ' /run/lbstack/state.map",
    }
    guest = pair.scene.guest(node)
    return {name: guest.run("sh", "-c", command).stdout for name, command in commands.items()}


def whole(pair: Rehearsal, node: str, candidates: Mapping[str, Forged]) -> str:
    """Which one of some sets a node has, with all its live files; fails with the differences where it is a mixture."""
    guest = pair.scene.guest(node)
    installed = str(json.loads(guest.run("cat", "/var/lib/lbstack/journal.json").stdout)["installed"])
    assert installed in candidates, f"{node} has none of these sets: {installed}"
    files = candidates[installed].files
    listed = guest.run("sha256sum", *files).stdout.splitlines()
    found = {path: digest for digest, _, path in (line.partition("  ") for line in listed)}
    wanted = {path: hashlib.sha256(file.content.encode()).hexdigest() for path, file in files.items()}
    assert {path for path in wanted if found.get(path) != wanted[path]} == set()
    assert json.loads(guest.run("cat", NODE_JSON).stdout)["hash"] == installed
    return installed
