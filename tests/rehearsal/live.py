"""Changes of a pair that serves, as the tests of live changes make and look at them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from lab.acts import roll
from lab.acts.stage import Verdict
from lab.engine.workspace import NO_QUESTIONS
from lab.guests.machine import Machine
from lab.servers import farm
from lab.system.waiting import until
from lab.traffic.report import Report
from lab.traffic.traffic import Plan, Traffic
from lbstack.render.files import File, RenderedPair
from lbstack.render.pack import pack
from tests.deploy.harness import Config
from tests.rehearsal import guest_checks
from tests.rehearsal.conftest import Rehearsal

SESSIONS = 100
APPLIED_S = 60.0  # it takes three; a busy machine needs more
BOOT_ID = "/proc/sys/kernel/random/boot_id"
ADMIN_SOCKET = "/run/haproxy/admin.sock"
ASK = 'import socket;s=socket.socket(1);s.connect("{}");s.send({!r});print(s.makefile().read())'
HAPROXY, KEEPALIVED, WATCHER = "haproxy.service", "keepalived.service", "lbstack-watch.service"

Texts = dict[str, str]


def rolled(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch, edit: Callable[[], None], *, touches: bool = True
) -> Verdict:
    """A change by `pulumi up` that no client and no session noticed, and of which both nodes have every file.

    What it may do to boots, master and sessions is what the table of changes says; the verdict knows.
    """
    monkeypatch.setenv(NO_QUESTIONS, "1")
    verdict = roll.roll(pair.scene, print, print, edit=edit, sessions=SESSIONS, touches=touches)
    assert verdict.passed, "\n".join(verdict.lines())
    assert verdict.figures["failed"] == 0, "\n".join(verdict.lines())
    assert verdict.figures["sessions"] == SESSIONS
    assert differing(pair) == {}
    return verdict


def changed(pair: Rehearsal, monkeypatch: pytest.MonkeyPatch, change: Callable[[Config], None]) -> Verdict:
    """The same for a change of the stack file that touches both nodes."""
    return rolled(pair, monkeypatch, lambda: pair.lab.edit(change))


def live(verdict: Verdict) -> Verdict:
    """A verdict about sessions, boots and master that were to stay, and not about a change that may cost them."""
    said = [sentence for sentence, _ in verdict.checks]
    for promise in ("no established session of", "no node has booted meanwhile", "the master stayed"):
        assert any(sentence.startswith(promise) for sentence in said), said
    return verdict


def differing(pair: Rehearsal) -> dict[str, list[str]]:
    """Node → every file that is not as rendered, and what it serves where that is another set."""
    rendered, found = pair.rendered, {}
    for node, answer in pair.scene.healths().items():
        wrong = guest_checks.differing_files(pair, node)
        if answer.config_hash != rendered.config_hash:
            wrong.append(f"it serves {answer.config_hash}, not {rendered.config_hash}")
        if wrong:
            found[node] = wrong
    return found


# --- HAProxy of a guest --------------------------------------------------------------------------------------------


def ask_haproxy(guest: Machine, command: str) -> str:
    """What the HAProxy of a guest answers on its socket."""
    return guest.run("python3", "-c", ASK.format(ADMIN_SOCKET, f"{command}\n".encode())).stdout


def servers_of(guest: Machine) -> dict[str, str]:
    """Each server of a guest's HAProxy → its state, such as UP, DOWN, MAINT, DRAIN; by backend and name."""
    rows = ask_haproxy(guest, "show stat").removeprefix("# ").splitlines()
    table = [row for row in csv.DictReader(rows) if row.get("svname")]
    return {f"{row['pxname']}/{row['svname']}": _state_of(row) for row in table if row["addr"]}


def _state_of(row: Mapping[str, str]) -> str:
    state = row["status"].split()[0]
    return "DRAIN" if (state, row["weight"]) == ("UP", "0") else state  # newer releases say so themselves


# --- a set of a test's own -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """What runs in a guest.

    Args:
        boot: Its boot id.
        processes: Unit → its main process.
    """

    boot: str
    processes: Mapping[str, str]

    def anew_since(self, before: Running) -> set[str]:
        """The units that have another process."""
        return {unit for unit, process in self.processes.items() if process != before.processes[unit]}


def running(guest: Machine) -> Running:
    """What runs in a guest now."""
    units = (HAPROXY, KEEPALIVED, WATCHER)
    processes = {unit: guest.run("systemctl", "show", "-P", "MainPID", unit).stdout.strip() for unit in units}
    assert "0" not in processes.values(), processes
    return Running(guest.run("cat", BOOT_ID).stdout.strip(), processes)


def set_with(
    pair: Rehearsal, node: str, edit: Callable[[Texts], None], mark: str, signing_key: str = ""
) -> tuple[dict[str, str], Texts]:
    """A signed set for one node, with other files than are rendered.

    Args:
        pair: The pair.
        node: Whose set.
        edit: Changes path → text in place.
        mark: Tells this set from others.
        signing_key: PEM of somebody else's; empty is the stack's own.

    Returns:
        The guestinfo of the node's VM, and the files.
    """
    config, secrets = pair.loaded()
    secrets = replace(secrets, signing_key=signing_key or secrets.signing_key)
    rendered = pair.rendered
    other = hashlib.sha256(f"{rendered.config_hash} {mark}".encode()).hexdigest()
    files = rendered.nodes[node]
    texts = {path: file.content for path, file in files.items()}
    edit(texts)
    texts = {path: text.replace(rendered.config_hash, other) for path, text in texts.items()}
    made: dict[str, File] = {path: replace(files[path], content=text) for path, text in texts.items()}
    packed = pack(config, RenderedPair(other, {node: made}), node, secrets)
    return packed.in_parts, texts


@contextmanager
def given(pair: Rehearsal, node: str, edit: Callable[[Texts], None], mark: str) -> Iterator[Texts]:
    """Give a node another set through vCenter, as `pulumi up` does, and its own again at the end.

    Returns when the node serves it; gives its files.
    """
    before = pair.lab.guestinfo(node)
    values, texts = set_with(pair, node, edit, mark)
    pair.lab.reconfigure(node, extraConfig=values)
    try:
        wait_until_served(pair, node, values["guestinfo.lbstack.hash"])
        yield texts
    finally:
        # A key that the vCenter does not have any more is emptied, as the provider does.
        pair.lab.reconfigure(node, extraConfig=dict.fromkeys(values, "") | before)
        wait_until_served(pair, node, before["guestinfo.lbstack.hash"])


def wait_until_served(pair: Rehearsal, node: str, wanted: str) -> None:
    """Wait until a node serves a set and its applier is done with it."""

    def done() -> bool:
        status = json.loads(pair.scene.guest(node).run("cat", "/run/lbstack/status.json").stdout or "{}")
        return bool(status.get("installed") == wanted and status.get("phase") == "ok")

    until(done, APPLIED_S, f"{node} to serve set {wanted[:12]}")
    until(lambda: pair.scene.health(node).config_hash == wanted, APPLIED_S, "its HAProxy to say so")


@contextmanager
def held_sessions(pair: Rehearsal, name: str, sessions: int) -> Iterator[Callable[[], Report]]:
    """Established sessions and new connections for the length of a block; gives what ends them and reports."""
    plan = Plan.of(pair.scene.network, farm.ca_file(pair.lab.paths.root), sessions=sessions, ping_s=1.0)
    traffic = Traffic(plan, pair.lab.paths.root / "traffic" / f"{name}.jsonl")
    traffic.start()
    try:
        yield traffic.stop
    finally:
        traffic.stop()
