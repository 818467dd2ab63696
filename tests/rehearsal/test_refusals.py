"""Sets that a running node refuses, from vCenter and from its own users: the set before serves, and it says why.

They are written into guestinfo past the program, which would render none of them, and only the standby is asked. What
`pulumi up` makes of a refusal is in ``test_rolls.py``; each kind of refusal by itself is in the unit tier.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from lab.network import netns
from lab.network.network import MANAGEMENT
from lab.system.waiting import until
from lbstack.facts.ports import HEALTH_PORT
from lbstack.nodes import health
from lbstack.nodes.question import fetch
from lbstack.render import keys
from lbstack.render.files import File
from lbstack.render.paths import HAPROXY_CFG, IPV4_RULES, KEEPALIVED_CONF
from tests.rehearsal import forged
from tests.rehearsal.conftest import Rehearsal
from tests.rehearsal.forged import ANOTHER_SET, Files, Forged, forge, send

Sent = tuple[str, dict[str, str]]  # the hash that is asked for, and all keys
CRYPT = "$6$"  # how the hash of a password begins
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
SET_BY_USERS = "/run/lock/guestinfo"  # of the guest's vmware-rpctool


def prioritised(files: Files) -> None:
    """A priority that VRRP does not have."""
    text = files[KEEPALIVED_CONF].content
    assert text.count("    priority ") == 1
    files[KEEPALIVED_CONF] = replace(files[KEEPALIVED_CONF], content=text.replace("    priority ", "    priority 9"))


def whole(found: Forged) -> Sent:
    """All of a set."""
    return found.hash, found.keys


def without(key: str) -> Callable[[Rehearsal, str], Sent]:
    """A set that lacks a key."""

    def make(pair: Rehearsal, node: str) -> Sent:
        found = forge(pair, node, f"without {key}")
        return found.hash, {name: text for name, text in found.keys.items() if name != key}

    return make


def of_two(pair: Rehearsal, node: str) -> Sent:
    """The head of one set with a part of another, each signed by the stack's key."""
    one, other = (forge(pair, node, mark, forged.comment(mark)) for mark in ("one", "other"))
    first = keys.piece(keys.CONFIG, 0)
    return one.hash, one.keys | {first: other.keys[first]}


HAPROXY_REFUSES = forged.edit(HAPROXY_CFG, "\ndefaults\n", "\ndefaults\n    timeout client 99999999999s\n")
IPTABLES_REFUSES = forged.edit(IPV4_RULES, "\nCOMMIT\n", "\n-A INPUT --no-such-option\nCOMMIT\n")
# Its test of rules finds nothing wrong with a chain that is not there, and its load does.
KERNEL_REFUSES = forged.edit(IPV4_RULES, "\nCOMMIT\n", "\n-A INPUT -j NO-SUCH-CHAIN\nCOMMIT\n")
OUTSIDE = forged.add("/etc/cron.d/lbstack", File("* * * * * root true\n"))

REFUSED: dict[str, tuple[Callable[[Rehearsal, str], Sent], str]] = {
    "HAProxy refuses it": (
        lambda pair, node: whole(forge(pair, node, "haproxy", HAPROXY_REFUSES)),
        f"{HAPROXY_CFG}: haproxy refuses it: ",
    ),
    "keepalived refuses it": (
        lambda pair, node: whole(forge(pair, node, "keepalived", prioritised)),
        f"{KEEPALIVED_CONF}: keepalived refuses it: ",
    ),
    "iptables refuses it": (
        lambda pair, node: whole(forge(pair, node, "iptables", IPTABLES_REFUSES)),
        "the firewall: lbstack-firewall refuses it: ",
    ),
    "unsigned": (without(keys.SIGNATURE), "guestinfo.lbstack.head or guestinfo.lbstack.signature is missing"),
    "signed by another key": (
        lambda pair, node: whole(forge(pair, node, "key", by=forged.another_key())),
        "the set's signature does not fit /etc/lbstack/stack.pub",
    ),
    "for the other node": (
        lambda pair, node: whole(forge(pair, pair.scene.peer(node), "node")),
        "guestinfo was mixed up",
    ),
    "a path outside the list": (
        lambda pair, node: whole(forge(pair, node, "path", OUTSIDE)),
        "/etc/cron.d/lbstack is no path that a set may write",
    ),
    "a part missing": (
        without(keys.piece(keys.PROGRAMS, 0)),
        "guestinfo.lbstack.programs.0 missing: the set's part programs has ",
    ),
    "parts of two sets": (of_two, "guestinfo.lbstack.config.* is not the part that the head names"),
}


@pytest.fixture
def served(pair: Rehearsal) -> Iterator[str]:
    """The set that both nodes serve, and are asked for again afterwards."""
    node = pair.standby
    served = pair.scene.health(node).config_hash
    before = {key: text for key, text in pair.lab.guestinfo(node).items() if keys.is_of_set(key)}
    assert before[keys.HASH] == served
    yield served
    send(pair, node, before)
    pair.scene.guest(node).run("rm", "-rf", SET_BY_USERS)
    forged.wait_until_taken(pair, node, served)


def answer(pair: Rehearsal, node: str, path: str) -> str:
    """What a node's health endpoint answers to the management station."""
    address = str(pair.scene.network.topology.nodes[node])
    with netns.inside(pair.scene.network.namespace(MANAGEMENT)):
        status, body = fetch(address, HEALTH_PORT, path, within_s=health.ASK_TIMEOUT_S, at_most=health.MAX_ANSWER)
    assert status == http.client.OK
    return body.decode()


def assert_refused(pair: Rehearsal, node: str, asked: str, served: str, sentence: str) -> None:
    """The node has refused the set that it was asked for, says why without a secret, and serves the one before."""
    why = until(lambda: forged.refusal(pair, node, asked), forged.TAKEN_S, f"{node} to refuse {asked[:12]}")
    assert sentence in why
    report = pair.scene.health(node)
    assert (report.config_hash, report.vrrp) == (served, "backup")
    assert report.applied.startswith(f"refused {asked[:12]}: ")
    about = answer(pair, node, "/node")
    assert f"refused {asked[:12]}: " in str(json.loads(about)["apply"])
    assert not [text for text in (why, report.applied, about) if CRYPT in text or pair.secrets.signing_key in text]


@pytest.mark.parametrize("name", REFUSED)
def test_a_running_node_refuses_it_and_nothing_changes_on_either_node(pair: Rehearsal, served: str, name: str) -> None:
    make, sentence = REFUSED[name]
    node, peer = pair.standby, pair.master
    before = {each: forged.traces(pair, each) for each in (node, peer)}
    of_peer = forged.status(pair, peer)
    asked, values = make(pair, node)
    send(pair, node, values)
    assert_refused(pair, node, asked, served, sentence)
    assert {each: forged.traces(pair, each) for each in (node, peer)} == before
    assert forged.status(pair, peer) == of_peer


def test_a_set_whose_rules_pass_the_test_and_do_not_load_is_fallen_back_from_with_the_old_rules_in_force(
    pair: Rehearsal, served: str
) -> None:
    node, peer = pair.standby, pair.master
    before = {each: forged.traces(pair, each) for each in (node, peer)}
    of_peer = forged.status(pair, peer)
    asked, values = whole(forge(pair, node, "kernel", KERNEL_REFUSES))
    send(pair, node, values)
    why = until(partial(forged.refusal, pair, node, asked), forged.TAKEN_S, f"{node} to fall back from {asked[:12]}")
    assert "lbstack-firewall: /etc/systemd/scripts/ip4save was not loaded" in why
    assert forged.status(pair, node)["phase"] == "fell-back"
    after = {each: forged.traces(pair, each) for each in (node, peer)}
    assert after[peer] == before[peer]
    assert forged.status(pair, peer) == of_peer
    for trace in ("boot", "files", "rules", "vrrp"):
        assert after[node][trace] == before[node][trace]
    assert pair.scene.health(node).serves_set(served)


def says(pair: Rehearsal, node: str, asked: str, sentence: str) -> bool:
    """Whether a node gives this reason for having refused a set."""
    return sentence in forged.refusal(pair, node, asked)


def test_what_an_unprivileged_user_of_the_guest_writes_is_refused_by_its_signature(
    pair: Rehearsal, served: str
) -> None:
    """He may read and write every key, as in a VM; the key that counts is root's, and so is what the applier notes."""
    node = pair.standby
    guest = pair.scene.guest(node)
    before = forged.traces(pair, node)
    false = forge(pair, node, "of a user", forged.comment("of a user"), by=forged.another_key())
    for said, sent in (
        ("guestinfo.lbstack.head is of ", {keys.HASH: false.hash}),
        ("the set's signature does not fit /etc/lbstack/stack.pub", false.keys),
    ):
        for key, value in sent.items():
            written = guest.run(*NOBODY, "vmware-rpctool", f"info-set {key} {value}")
            assert written.returncode == 0, written.stderr
        until(partial(says, pair, node, false.hash, said), forged.TAKEN_S, "his set to be refused")
        assert_refused(pair, node, false.hash, served, said)
    assert forged.traces(pair, node) == before
    for path in (forged.CONSIDERED, forged.STATUS, "/etc/lbstack/stack.pub"):
        assert guest.run(*NOBODY, "sh", "-c", f"echo x >>{path}").returncode != 0


def test_an_older_set_that_a_user_of_the_guest_wrote_again_is_taken_and_seen_by_its_hash(
    pair: Rehearsal, served: str
) -> None:
    """What was signed for a node once stays valid there: so the hash that a node serves is asked for, and compared."""
    node = pair.standby
    guest = pair.scene.guest(node)
    old = forge(pair, node, ANOTHER_SET, forged.comment("older"))
    for key, value in old.keys.items():
        guest.run(*NOBODY, "vmware-rpctool", f"info-set {key} {value}")
    forged.wait_until_taken(pair, node, old.hash)
    assert forged.whole(pair, node, {old.hash: old}) == old.hash
    assert pair.lab.outputs()["config_hash"] == served != pair.scene.health(node).config_hash
