"""Another generation of the packages on a pair that serves: standby first, one hand-over, and no client notices."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from lab.acts import roll
from lab.acts.stage import Stage
from lab.engine.workspace import NO_QUESTIONS
from lab.guests.layers import ensure_layers
from lab.network.network import DNS
from tests.deploy.harness import Config
from tests.rehearsal import guest_checks
from tests.rehearsal.conftest import Rehearsal
from tests.rehearsal.repository import PORT, Repository
from tests.rehearsal.test_packages import PATHS

PACKAGES = "lbstack:packages"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
KERNEL = "linux-esx"
Serve = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def mirror(pair: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves packages of given versions where the stack file says that they are; at the end it says nothing of them."""
    monkeypatch.setenv(NO_QUESTIONS, "1")
    authority, address = trustme.CA(), str(pair.scene.network.topology.dns)
    before = dict(pair.lab.config.get(PACKAGES) or {})

    def point(config: Config) -> None:
        config[PACKAGES] = {
            "repository": f"https://{address}:{PORT}/photon",
            "ca": authority.cert_pem.bytes().decode(),
        }

    def serve(newer: Mapping[str, str], *, signed: bool = True) -> AbstractContextManager[None]:
        place = tmp_path / f"repository-{len(list(tmp_path.iterdir()))}"
        layers = ensure_layers("bookworm", lambda _line: None)
        found = Repository(layers, place, PATHS, authority, newer, signed=signed)
        return found.served(pair.scene.network.namespace(DNS), address)

    pair.lab.edit(point)
    yield serve
    pair.lab.edit(lambda config: config.update({PACKAGES: before}))
    pair.lab.up().ok()


def generation(number: int) -> Callable[[Config], None]:
    """The change of the stack file that asks for a generation."""
    return lambda config: config[PACKAGES].update(generation=number)


def version(pair: Rehearsal, node: str, package: str) -> str:
    """The version of a package on a node."""
    return pair.scene.guest(node).run("rpm", "-q", package).stdout.strip()


def journal_of(pair: Rehearsal, node: str) -> Mapping[str, Any]:
    return dict(json.loads(pair.scene.guest(node).run("cat", "/var/lib/lbstack/journal.json").stdout))


def process(pair: Rehearsal, node: str, unit: str) -> str:
    return pair.scene.guest(node).run("systemctl", "show", "-P", "MainPID", unit).stdout.strip()


def boot_of(pair: Rehearsal, node: str) -> str:
    return pair.scene.guest(node).run("cat", BOOT_ID).stdout.strip()


@contextmanager
def hypervisor(pair: Rehearsal) -> Iterator[None]:
    """Powers on what goes down: a guest that reboots by itself ends here with its VM off. A hypervisor keeps it on."""
    end = threading.Event()

    def keep_on() -> None:
        while not end.wait(1.0):
            for name, machine in pair.lab.machines().items():
                if machine.power != "on":
                    with suppress(AssertionError):  # it has come on meanwhile
                        pair.lab.govc("vm.power", "-on", name)

    thread = threading.Thread(target=keep_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def test_a_generation_is_rolled_standby_first_and_no_request_is_refused(pair: Rehearsal, mirror: Serve) -> None:
    master, standby = pair.master, pair.standby
    boots = {node: boot_of(pair, node) for node in pair.scene.nodes}
    daemons = {
        (node, unit): process(pair, node, f"{unit}.service")
        for node in pair.scene.nodes
        for unit in ("haproxy", "keepalived")
    }
    with mirror({"haproxy": "2.9.1-1"}):
        verdict = roll.roll(pair.scene, print, print, edit=lambda: pair.lab.edit(generation(1)))
    assert verdict.passed, "\n".join(verdict.lines())
    assert pair.master == standby  # it moved once, when the master handed over
    for node in (master, standby):
        assert version(pair, node, "haproxy") == "haproxy-2.9.1-1"
        assert journal_of(pair, node)["generation"] == 1
        assert boot_of(pair, node) == boots[node]
    assert not [each for each, old in daemons.items() if process(pair, each[0], f"{each[1]}.service") == old]

    # Nothing is repeated by a later change, and nothing needs the mirror.
    pair.lab.edit(lambda config: config["lbstack:services"]["horizon"].update(timeouts={"tunnel": "7h"}))
    pair.lab.up().ok()
    assert pair.master == standby
    for node in (master, standby):
        log = pair.scene.guest(node).run("cat", "/var/log/tdnf.log").stdout
        assert log.count("tdnf upgrade -y") == 1


def test_a_failed_transaction_stops_at_the_standby_and_the_engine_says_why(pair: Rehearsal, mirror: Serve) -> None:
    master, standby = pair.master, pair.standby
    served = {node: answer.config_hash for node, answer in pair.scene.healths().items()}
    before = {node: process(pair, node, "haproxy.service") for node in pair.scene.nodes}
    versions = {node: version(pair, node, "haproxy") for node in pair.scene.nodes}
    log = pair.scene.guest(master).run("cat", "/var/log/tdnf.log").stdout
    pair.lab.edit(generation(2))
    with mirror({"haproxy": "2.9.2-1"}, signed=False), Stage(pair.scene, "a package of a stranger", print) as stage:
        result = pair.lab.up()
    stage.check_clients()
    stage.check_watch()
    assert result.code != 0
    assert f"{master} was left untouched: its peer {standby} has refused set" in result.text
    assert "packages.generation 2: tdnf upgrade: Error(1508) : the key" in result.text
    assert stage.verdict.passed, "\n".join(stage.verdict.lines())
    assert pair.master == master
    assert {node: answer.config_hash for node, answer in pair.scene.healths().items()} == served
    assert {node: process(pair, node, "haproxy.service") for node in pair.scene.nodes} == before
    assert {node: version(pair, node, "haproxy") for node in pair.scene.nodes} == versions
    assert pair.scene.guest(master).run("cat", "/var/log/tdnf.log").stdout == log


def test_a_new_kernel_reboots_its_node_after_the_hand_over_and_the_set_is_confirmed_then(
    pair: Rehearsal, mirror: Serve
) -> None:
    master, standby = pair.master, pair.standby
    for node in (master, standby):
        pair.scene.guest(node).run("sh", "-c", f"echo 5.10.1-1.ph4 > /var/lib/rpm/packages/{KERNEL}")
    boots = {node: boot_of(pair, node) for node in pair.scene.nodes}
    with mirror({KERNEL: "5.10.2-1.ph4"}), hypervisor(pair):
        verdict = roll.roll(pair.scene, print, print, edit=lambda: pair.lab.edit(generation(3)))
    broken = [sentence for sentence, kept in verdict.checks if not kept]
    # The table of changes says hand-over: only the packages that came show that a boot is needed.
    assert [each for each in broken if not each.startswith("no node has booted")] == [], "\n".join(verdict.lines())
    for node in (master, standby):
        assert boot_of(pair, node) != boots[node]
        assert version(pair, node, KERNEL) == f"{KERNEL}-5.10.2-1.ph4"
        assert guest_checks.status(pair.scene.guest(node))["phase"] == "ok"
