"""The gate's rule as a truth table, and its questions over real HTTP on loopback."""

from __future__ import annotations

import http.server
import ipaddress
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from lbstack.nodes import gate, health, waits
from lbstack.render import paths
from tests import ports

POLL_S = 0.01
WANTED, OLD = "a" * 64, "b" * 64
DEAD = health.Answer(error="no answer")
MASTER_OLD, BACKUP_OLD = health.Answer(OLD, "master"), health.Answer(OLD, "backup")
MASTER_NEW, BACKUP_NEW = health.Answer(WANTED, "master"), health.Answer(WANTED, "backup")
FAULT_NEW = health.Answer(WANTED, "fault", "VRRP is fault")
NODES = (health.Target("lb1", "192.0.2.1"), health.Target("lb2", "192.0.2.2"))
ALL = (DEAD, MASTER_OLD, BACKUP_OLD, MASTER_NEW, BACKUP_NEW, FAULT_NEW)


@pytest.mark.parametrize(("own", "peer"), list(itertools.product(ALL, ALL)))
@pytest.mark.parametrize(("own_lived", "peer_lived"), list(itertools.product((False, True), (False, True))))
@pytest.mark.parametrize("wanted", [None, WANTED])
def test_the_rule_holds_for_every_pair_of_answers_and_for_what_was_seen_before(
    own: health.Answer, peer: health.Answer, wanted: str | None, *, own_lived: bool, peer_lived: bool
) -> None:
    own_serves, peer_serves = own not in (DEAD, FAULT_NEW), peer not in (DEAD, FAULT_NEW)
    # A silent node whose peer is backup is the master whose adverts the peer receives, and the other way round.
    own_alive = own_lived or own_serves or (own is DEAD and peer in (BACKUP_OLD, BACKUP_NEW))
    peer_alive = peer_lived or peer_serves or (peer is DEAD and own in (BACKUP_OLD, BACKUP_NEW))
    reasons = (
        peer_serves and wanted is None,  # the first of a roll: its peer serves at all
        peer in (MASTER_NEW, BACKUP_NEW) and wanted is not None,  # the second: its peer serves exactly the wanted set
        own is FAULT_NEW,  # it says itself that it does not serve
        not own_alive and peer_serves,
        not own_alive and not peer_alive,
    )
    opens = gate.may_touch(own, peer, wanted, own_lived=own_lived, peer_lived=peer_lived)
    assert opens is any(reasons)


def test_silence_of_both_opens_nothing_for_a_node_that_was_alive() -> None:
    """The first is silent because this run is rebooting it, the second because this runner's questions are lost."""
    assert not gate.may_touch(DEAD, DEAD, WANTED, own_lived=True, peer_lived=True)
    assert not gate.may_touch(DEAD, DEAD, WANTED, own_lived=True, peer_lived=False)
    assert not gate.may_touch(DEAD, DEAD, None, own_lived=True, peer_lived=True)
    assert not gate.may_touch(DEAD, DEAD, WANTED, own_lived=False, peer_lived=True)  # it may be backup of the other


@pytest.mark.parametrize(
    ("first", "second", "order"),
    [
        (MASTER_OLD, BACKUP_OLD, (1, 0)),  # as configured: the standby first
        (BACKUP_OLD, MASTER_OLD, (0, 1)),  # after a fail-over the preferred master is the standby
        (DEAD, MASTER_OLD, (0, 1)),  # the one that does not serve first
        (MASTER_OLD, DEAD, (1, 0)),
        (BACKUP_OLD, DEAD, (0, 1)),  # silent, and its peer receives its adverts: the master cannot be asked
        (DEAD, BACKUP_OLD, (1, 0)),
        (FAULT_NEW, BACKUP_OLD, (0, 1)),
        (DEAD, DEAD, (1, 0)),  # nobody can be asked: priority decides
        (FAULT_NEW, DEAD, (0, 1)),  # silence shows nothing, a node's own word does
        (DEAD, FAULT_NEW, (1, 0)),
        (MASTER_OLD, MASTER_OLD, (1, 0)),
        (BACKUP_OLD, BACKUP_OLD, (1, 0)),
    ],
)
def test_the_standby_goes_first(first: health.Answer, second: health.Answer, order: tuple[int, int]) -> None:
    assert gate.touch_order(NODES, (first, second)) == order


def test_the_gate_opens_when_the_peer_serves_the_wanted_set() -> None:
    answers = iter([DEAD, MASTER_OLD, BACKUP_OLD, MASTER_OLD, BACKUP_NEW, MASTER_OLD])
    lines: list[str] = []
    waits.ASK_INTERVAL_S, before = 0.0, waits.ASK_INTERVAL_S
    try:
        patience = waits.Patience(lines.append, lambda _node: next(answers), 5)
        gate.require_open(NODES[0], NODES[1], WANTED, patience)
    finally:
        waits.ASK_INTERVAL_S = before
    assert lines == [
        "lb1 waits for lb2: no answer",
        f"lb1 waits for lb2: serves set {OLD[:12]} as VRRP backup (5 s left)",
    ]


def test_a_long_wait_is_reported_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "REPORT_INTERVAL_S", 0.0)
    monkeypatch.setattr(waits, "ASK_INTERVAL_S", 0.0)
    answers = iter([DEAD] * 6 + [MASTER_NEW, BACKUP_NEW])
    lines: list[str] = []
    gate.require_serving(NODES[0], NODES[1], WANTED, waits.Patience(lines.append, lambda _node: next(answers), 60))
    first = f"waiting for lb1 to serve set {WANTED[:12]}: no answer"
    assert lines == [first, f"{first} (60 s left)", f"{first} (60 s left)"]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for an answer to stay good, but the one that is about it."""
    monkeypatch.setattr(waits, "STEADY_S", 0.0)


REFUSED = health.Answer(OLD, "backup", applied=f"refused {WANTED[:12]}: haproxy.cfg line 7: unknown keyword")


def closed(
    answers: dict[str, health.Answer], nodes: tuple[health.Target, health.Target] = NODES, limit: float = 0
) -> str:
    with pytest.raises(gate.GateClosed) as refusal:
        gate.require_open(*nodes, WANTED, waits.Patience(question=lambda node: answers[node.name], timeout_s=limit))
    return str(refusal.value)


def test_a_closed_gate_shows_which_check_and_what_was_seen_last() -> None:
    silent = health.Answer(error="no answer from http://192.0.2.2:8405/health (refused)")
    text = closed({"lb1": MASTER_OLD, "lb2": silent})
    assert f"lb1 was left untouched: its peer lb2 does not serve set {WANTED[:12]} after 0 s." in text
    assert "last seen of lb2: no answer from http://192.0.2.2:8405/health (refused)" in text
    assert f"last seen of lb1: serves set {OLD[:12]} as VRRP master" in text
    assert "lbstack-apply status" in text
    assert "gate: false" in text


def test_a_refused_set_is_reported_at_once_with_the_nodes_own_error() -> None:
    text = closed({"lb1": MASTER_OLD, "lb2": REFUSED}, limit=3600)
    assert f"lb1 was left untouched: its peer lb2 has refused set {WANTED[:12]}." in text
    assert f"the node's report on its last set: refused {WANTED[:12]}: haproxy.cfg line 7: unknown keyword" in text


def test_a_set_that_was_refused_long_ago_does_not_matter() -> None:
    assert not health.Answer(OLD, "backup", applied=f"refused {OLD[:12]}: something").has_refused(WANTED)
    assert not health.Answer(OLD, "backup", applied="ok").has_refused(WANTED)
    assert not REFUSED.has_refused(None)


@pytest.mark.parametrize(
    ("network", "words"), [("127.0.0.0/8", "which is inside"), ("192.0.2.0/24", "which is NOT inside")]
)
def test_a_closed_gate_reports_whether_this_runner_may_ask_at_all(network: str, words: str) -> None:
    nodes = tuple(health.Target(node.name, "127.0.0.1", management=(ipaddress.IPv4Network(network),)) for node in NODES)
    text = closed({"lb1": MASTER_OLD, "lb2": DEAD}, (nodes[0], nodes[1]))
    assert f"this runner asks from 127.0.0.1, {words} `managementNetworks` ({network})" in text


def unserved(first: health.Answer, second: health.Answer, limit: float = 0) -> str:
    """Why a run may not end: the message when the nodes answer so."""
    answers = dict(zip(("lb1", "lb2"), (first, second), strict=True))
    patience = waits.Patience(question=lambda node: answers[node.name], timeout_s=limit)
    try:
        gate.require_serving(NODES[0], NODES[1], WANTED, patience)
    except gate.GateClosed as refusal:
        return str(refusal)
    return ""


def test_in_the_end_both_nodes_have_to_serve_the_set() -> None:
    assert unserved(MASTER_NEW, BACKUP_NEW) == unserved(BACKUP_NEW, MASTER_NEW) == ""
    short = f"does not serve set {WANTED[:12]} after 0 s."
    assert unserved(MASTER_OLD, BACKUP_NEW).startswith(f"lb1 {short}")
    assert unserved(DEAD, DEAD).startswith(f"lb1 {short}")
    # Of a new pair the standby is made first, and its peer does not wait for it.
    assert unserved(MASTER_NEW, DEAD).startswith(f"lb2 {short}")
    assert unserved(MASTER_NEW, BACKUP_OLD).startswith(f"lb2 {short}")
    for refused in (unserved(MASTER_OLD, REFUSED, 3600), unserved(MASTER_NEW, REFUSED, 3600)):
        assert refused.startswith(f"lb2 has refused set {WANTED[:12]}.")
    assert unserved(REFUSED, MASTER_NEW, 3600).startswith(f"lb1 has refused set {WANTED[:12]}.")


def test_the_node_that_is_waited_for_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "ASK_INTERVAL_S", 0.0)
    rounds = [(DEAD, DEAD), (MASTER_NEW, DEAD), (MASTER_NEW, BACKUP_NEW)]
    answers = iter([answer for pair in rounds for answer in pair])
    lines: list[str] = []
    gate.require_serving(NODES[0], NODES[1], WANTED, waits.Patience(lines.append, lambda _node: next(answers), 60))
    assert [line.partition(" (")[0] for line in lines] == [
        f"waiting for {name} to serve set {WANTED[:12]}: no answer" for name in ("lb1", "lb2")
    ]


def test_the_remedy_for_a_refused_set_is_one_that_works() -> None:
    """A set that has not changed is not given again."""
    text = unserved(MASTER_NEW, REFUSED, 3600)
    assert f"{paths.APPLIER} boot` on it" in text
    assert "then run this again" not in text


def test_one_lost_answer_of_a_serving_master_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "ASK_INTERVAL_S", 0.0)
    # The peer became master for a moment, or this runner lost a packet; then the master answers again.
    rounds = [(MASTER_OLD, DEAD), (BACKUP_OLD, MASTER_OLD)]
    answers = iter([answer for pair in rounds for answer in pair])
    patience = waits.Patience(question=lambda _node: next(answers), timeout_s=0, steady_s=60)
    with pytest.raises(gate.GateClosed, match="lb1 was left untouched: its peer lb2 does not serve set"):
        gate.require_open(NODES[0], NODES[1], WANTED, patience)


def test_a_silent_master_is_not_touched_while_its_peer_serves_another_set() -> None:
    text = closed({"lb1": DEAD, "lb2": BACKUP_OLD})
    assert text.startswith(f"lb1 was left untouched: its peer lb2 does not serve set {WANTED[:12]}")


@pytest.mark.parametrize(
    ("first", "second", "networks", "begins"),
    [
        (DEAD, DEAD, "127.0.0.0/8", True),  # a new pair, or both are lost
        (DEAD, DEAD, "192.0.2.0/24", False),
        (MASTER_OLD, DEAD, "192.0.2.0/24", True),  # addresses are translated on the way: it is heard all the same
        (DEAD, BACKUP_OLD, "192.0.2.0/24", True),
        (FAULT_NEW, DEAD, "192.0.2.0/24", True),
        (DEAD, DEAD, "", True),  # nothing is known of who may ask
    ],
)
def test_a_runner_that_could_hear_nobody_touches_nothing(
    first: health.Answer, second: health.Answer, networks: str, *, begins: bool
) -> None:
    management = tuple(map(ipaddress.IPv4Network, networks.split()))
    nodes = [health.Target(node.name, "127.0.0.1", management=management) for node in NODES]
    if begins:
        gate.require_askable(nodes, [first, second])
        return
    with pytest.raises(gate.GateClosed) as refusal:
        gate.require_askable(nodes, [first, second])
    text = str(refusal.value)
    assert text.startswith("Nothing was touched: neither node answers")
    assert text.count("which is NOT inside `managementNetworks` (192.0.2.0/24)") == 1
    assert "`lbstack:rollout: {gate: false}`" in text


def test_two_masters_close_the_gate_and_are_named() -> None:
    text = closed({"lb1": MASTER_OLD, "lb2": MASTER_NEW})
    assert "lb1 was left untouched: it and lb2 are both master." in text
    assert "look for a filter between them" in text
    both = waits.Patience(question=lambda _node: MASTER_NEW, timeout_s=0)
    with pytest.raises(gate.GateClosed, match="lb1 and lb2 are both master"):
        gate.require_serving(NODES[0], NODES[1], WANTED, both)


def test_two_masters_are_not_waited_for_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SPLIT_S", 0.0)
    both = waits.Patience(question=lambda _node: MASTER_NEW, timeout_s=3600)
    with pytest.raises(gate.GateClosed, match="are both master"):
        gate.require_open(NODES[0], NODES[1], WANTED, both)


def test_what_is_good_has_to_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that receives no adverts is backup for three adverts, and then master too."""
    monkeypatch.setattr(waits, "ASK_INTERVAL_S", 0.0)
    rounds = [(BACKUP_NEW, MASTER_NEW), (MASTER_NEW, MASTER_NEW)]
    answers = iter([answer for pair in rounds for answer in pair])
    patience = waits.Patience(question=lambda _node: next(answers), timeout_s=0, steady_s=60)
    with pytest.raises(gate.GateClosed, match="both master"):
        gate.require_serving(NODES[0], NODES[1], WANTED, patience)


@contextmanager
def node_answering(status: int, body: bytes) -> Iterator[health.Target]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(POLL_S,))
    thread.start()
    try:
        yield health.Target("lb1", "127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_node_is_asked_over_http() -> None:
    body = json.dumps({"hash": WANTED, "node": "lb1", "vrrp": "MASTER", "apply": "applied"}).encode()
    with node_answering(200, body) as node:
        assert health.ask(node) == health.Answer(WANTED, "master", applied="applied")


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b'{"hash": 1}', b"\xff\xfe"])
def test_something_else_on_the_port_does_not_serve(body: bytes) -> None:
    with node_answering(200, body) as node:
        answer = health.ask(node)
    assert not answer.serves
    assert "not as a node of this kind" in answer.error


def test_a_node_in_fault_does_not_serve() -> None:
    body = json.dumps({"hash": WANTED, "vrrp": "fault", "apply": "applied"}).encode()
    with node_answering(200, body) as node:
        answer = health.ask(node)
    assert not answer.serves
    assert "VRRP is fault" in answer.error


def test_nobody_at_the_address_is_an_answer_and_no_exception() -> None:
    with ports.reserved() as port:
        answer = health.ask(health.Target("lb1", ports.HOST, port))
    assert not answer.serves
    assert "no answer from http://127.0.0.1:" in answer.error
