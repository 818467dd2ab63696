"""Whose fault it is: a set is not confirmed while VRRP is in fault because of it, and no node's fault bars a set."""

from __future__ import annotations

from itertools import count
from types import ModuleType

import pytest

from tests.unit.guest.fork_server import write_vrrp_state
from tests.unit.guest.host import Host
from tests.unit.guest.sets import Parts

CFG, VRRP = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
IP4SAVE = "/etc/systemd/scripts/ip4save"
FAULT = {VRRP: "# vrrp-fault\n"}  # keepalived goes into fault with this set
NODES_FAULT = "vrrp-fault"  # keepalived of this node goes into fault with every set


def test_a_set_with_which_vrrp_is_in_fault_is_not_confirmed(node: Host, served: Parts) -> None:
    node.give(node.make("b", append=FAULT))
    assert node.boot() == 1
    assert node.status()["phase"] == "fell-back"
    assert node.error() == "VRRP is fault (waited 20 s)"
    assert node.has(served)
    assert node.read("/run/lbstack/state.map").startswith("vrrp backup\n")
    assert node.journal()["tries"] == 1


def test_a_running_node_falls_back_too_when_vrrp_goes_into_fault(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={**FAULT, "/etc/systemd/system/keepalived.service.d/lbstack.conf": "# b\n"}))
    assert node.run("boot") == 1
    assert node.status()["phase"] == "fell-back"
    assert node.has(served)


def test_a_fault_that_follows_shortly_after_a_reload_is_noticed(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its state until two checks have failed."""
    clock = count(100, 0.5)  # asked twice for each look
    states = iter(["backup"] * 4 + ["fault"] * 200)
    monkeypatch.setattr(program, "unhealthy", lambda new: "")
    monkeypatch.setattr(program, "vrrp", lambda disk: next(states))
    monkeypatch.setattr(program.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(program.time, "sleep", lambda seconds: None)
    trial = program.Trial(None, None, None, None, start=True)
    with pytest.raises(program.VrrpFault, match="VRRP is fault"):
        trial.serves(None, program.VRRP_STEADY)


def test_a_first_set_with_which_vrrp_is_in_fault_is_not_confirmed(fresh: Host) -> None:
    fresh.give(fresh.make("a", append=FAULT))
    assert fresh.run("boot") == 2
    assert fresh.status()["phase"] == "failed"
    assert fresh.journal()["installed"] == ""
    assert fresh.run("boot") == 2, "the fault is that of the same set"


def test_a_fault_with_the_set_before_too_does_not_keep_a_set_away(node: Host) -> None:
    (node.fakes / NODES_FAULT).touch()
    new = node.make("b", append={"/etc/systemd/system/keepalived.service.d/lbstack.conf": "# b\n"})
    node.give(new)
    assert node.boot() == 0, node.output
    assert node.has(new)
    assert node.status()["installed"] == new.hash
    assert node.warnings() == ["VRRP is fault (waited 20 s): with the set before, too"]
    assert (node.fakes / "serving").read_text().strip() == new.hash
    assert (node.root / "var/lib/lbstack/sets" / new.hash / "manifest.json").exists()  # what the next boot restores


def test_a_fault_that_a_running_node_had_before_does_not_keep_a_set_away(node: Host) -> None:
    write_vrrp_state("fault", node.root)
    (node.fakes / NODES_FAULT).touch()
    new = node.make("b")
    node.give(new)
    assert node.run("boot") == 0, node.output
    assert node.status()["installed"] == new.hash
    assert "as before this set" in str(node.warnings())
    assert len(node.ran("systemctl reload haproxy")) == 1, "the set before was tried without need"


def test_a_node_without_a_link_takes_a_set_in(node: Host) -> None:
    (node.fakes / NODES_FAULT).touch()
    node.put("/sys/class/net/eth0/carrier", "0\n")
    new = node.make("b")
    node.give(new)
    assert node.boot() == 0, node.output
    assert node.status()["installed"] == new.hash
    assert node.warnings() == ["VRRP is fault (waited 20 s): eth0 has no link"]
    assert not node.has_run("systemctl restart haproxy")


def test_a_dead_server_is_no_reason_to_refuse_a_set(node: Host) -> None:
    """The health endpoint answers with the set and nothing else that the applier looks at."""
    new = node.make("b", append={CFG: "# backend horizon has no server up\n"})
    node.give(new)
    assert node.boot() == 0, node.output
    assert node.status()["installed"] == new.hash


def test_a_set_that_failed_as_the_set_before_does_is_not_blamed(node: Host, served: Parts) -> None:
    (node.fakes / "iptables-restore.refuse").write_text("Another app is currently holding the xtables lock")
    new = node.make("b")
    node.give(new)
    for _ in range(4):
        (node.fakes / "iptables-restore.refuse").touch()
        assert node.run("prepare") > 0
    assert node.has(served)
    (node.fakes / "iptables-restore.refuse").unlink()
    assert node.boot() == 0, node.output
    assert node.has(new)


def test_a_set_that_three_power_failures_met_is_left_out_once_and_tried_again(node: Host, served: Parts) -> None:
    new = node.make("b")
    node.give(new)
    for _ in range(3):
        assert node.run("prepare") == 0
        node.go_down()
    assert node.boot() == 1
    assert node.error() == (
        "tried 3 times and not confirmed: the node went down each time. The next boot tries it again"
    )
    assert node.has(served)
    assert node.boot() == 0, node.output
    assert node.has(new)


def test_runs_that_were_killed_do_not_bar_a_set(node: Host) -> None:
    new = node.make("b")
    node.give(new)
    for _ in range(4):
        assert node.run("prepare") == 0
        journal = node.at("/var/lib/lbstack/journal.json")
        journal.write_text(journal.read_text().replace('"phase": "trial"', '"phase": "install"'))
        node.start_services()
        assert node.run("verify") == 1
        assert node.status()["phase"] == "fell-back"
    assert node.boot() == 0, node.output
    assert node.has(new)


def test_a_boot_by_hand_tries_a_barred_set_again(node: Host) -> None:
    node.give(node.make("b", append={IP4SAVE: "# unloadable\n"}))
    for _ in range(3):
        assert node.boot() == 1
    assert node.boot() == 1
    assert node.status()["phase"] == "refused"
    assert node.run("boot") == 1
    assert node.status()["phase"] == "fell-back"


def test_the_set_before_that_does_not_serve_either_is_reported_and_the_new_one_not_blamed(node: Host) -> None:
    node.give(node.make("b", append={CFG: "# crash-on-start\n"}))
    assert node.run("prepare") == 0
    node.start_services()
    (node.fakes / "systemctl.refuse").write_text("Failed to connect to bus")
    assert node.run("verify") == 2
    assert node.status()["phase"] == "failed"
    assert "; and falling back: " in node.error()
    assert node.journal()["tries"] == 0
