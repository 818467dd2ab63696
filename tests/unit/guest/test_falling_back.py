"""A set that was accepted but does not serve: the previous set is restored, the reason is reported, attempts end."""

from __future__ import annotations

import re

import pytest

from tests.unit.guest.host import Host
from tests.unit.guest.sets import Item, Parts

CFG, VRRP = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
IP4SAVE = "/etc/systemd/scripts/ip4save"
STATIC = "/etc/systemd/network/10-static-en.network"


def fell_back(node: Host, served: Parts, *sentences: str) -> None:
    """Assert that the node serves the previous set and reports the reason."""
    assert node.differing(served) == []
    assert node.status()["phase"] == "fell-back"
    assert node.status()["installed"] == served.hash
    assert all(sentence in node.error() for sentence in sentences), node.error()
    last = node.read("/run/lbstack/state.map").splitlines()[-1]
    assert re.match(r"apply fell-back [0-9a-f]{12}: ", last), last
    assert node.journal()["trial"] == node.journal()["phase"] == ""
    assert (node.fakes / "serving").read_text().strip() == served.hash
    assert node.leftovers() == []


def test_the_previous_set_is_restored_when_haproxy_does_not_start_and_its_log_is_reported(
    node: Host, served: Parts
) -> None:
    bad = node.make("b", append={CFG: "# crash-on-start\n"})
    node.give(bad)
    assert node.boot() == 1
    fell_back(node, served, "haproxy.service is failed; the services' log: [ALERT] Starting frontend horizon")
    assert "systemctl reset-failed haproxy.service" in node.log()
    assert "systemctl restart haproxy.service" in node.log()
    assert node.status()["wanted"] == bad.hash


def test_the_previous_set_is_restored_when_keepalived_does_not_start(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={VRRP: "# crash-on-start\n"}))
    assert node.boot() == 1
    fell_back(node, served, "keepalived.service is failed")
    assert "systemctl restart keepalived.service" in node.log()


def test_the_previous_set_is_restored_when_the_health_endpoint_reports_another_hash_until_the_limit(
    node: Host, served: Parts
) -> None:
    node.give(node.make("b", append={CFG: "# set 0123\n"}))
    assert node.boot() == 1
    fell_back(node, served, "/health serves set ", "0123 (waited 45 s)")


def test_the_previous_set_is_restored_when_the_health_endpoint_does_not_answer(node: Host, served: Parts) -> None:
    node.give(node.make("b", health={"address": "127.0.0.1", "port": 1}))
    assert node.boot() == 1
    fell_back(node, served, "http://127.0.0.1:1/health does not answer: ", "Connection refused")


def test_the_previous_set_is_restored_before_the_services_start_when_the_rules_cannot_be_loaded(
    node: Host, served: Parts
) -> None:
    node.give(node.make("b", append={IP4SAVE: "# unloadable\n"}))
    assert node.run("prepare") == 1
    assert node.differing(served) == []
    assert "loading the firewall: " in node.error()
    assert node.ran("lbstack-firewall load") == ["lbstack-firewall load"] * 2
    assert node.status()["phase"] == "fell-back"


def test_a_manual_boot_falls_back_too(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={CFG: "# crash-on-start\n"}))
    assert node.run("boot") == 1
    fell_back(node, served, "Job for haproxy.service failed")


def test_an_unexpected_error_falls_back_without_a_traceback(node: Host, served: Parts) -> None:
    broken = node.make("b", append={IP4SAVE: "# changed\n"})
    node.give(broken)
    (node.fakes / "systemctl.refuse").write_text("Failed to connect to bus: No such file or directory")
    node.give(node.make("b", append={"/etc/systemd/system/iptables.service": "# changed\n"}))
    assert node.run("prepare") == 2
    assert node.has(served)
    assert "systemctl daemon-reload: Failed to connect to bus" in node.error()
    assert "and falling back: systemctl daemon-reload" in node.error()
    assert "Traceback" not in node.output


def test_added_files_of_the_failed_set_are_removed_and_its_removed_files_restored(node: Host, served: Parts) -> None:
    new, dropped = "/usr/local/lib/lbstack/lbstack-live", "/etc/systemd/timesyncd.conf.d/lbstack.conf"
    changes = {new: Item("#!/bin/sh\n", mode="0755"), dropped: None}
    node.give(node.make("b", changes, append={CFG: "# crash-on-start\n"}))
    assert node.boot() == 1
    fell_back(node, served)
    assert not node.at(new).exists()


def test_falling_back_to_another_address_stops_keepalived_first(node: Host, served: Parts) -> None:
    network = Item("[Match]\nName=eth9\n", "systemd-network:systemd-network")
    node.give(node.make("b", {STATIC: network}, append={CFG: "# crash-on-start\n"}))
    assert node.boot() == 1
    fell_back(node, served)
    log = node.log()
    stop = log.index("systemctl stop keepalived.service")
    assert stop < log.index("systemctl restart systemd-networkd.service", stop)
    assert log[stop:].index("systemctl restart keepalived.service") > 0


def test_a_new_address_is_configured_at_boot_before_keepalived_starts(node: Host) -> None:
    network = Item("[Match]\nName=eth0\n[Network]\n", "systemd-network:systemd-network")
    node.give(node.make("b", {STATIC: network}))
    assert node.boot() == 0
    assert node.ran("systemctl restart systemd-networkd") == ["systemctl restart systemd-networkd.service"]
    assert node.ran("systemctl stop") == []


def test_a_set_is_tried_three_times_and_then_refused_until_the_configuration_changes(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={CFG: "# crash-on-start\n"}))
    for _ in range(3):
        assert node.boot() == 1
        assert node.status()["phase"] == "fell-back"
    node.forget()
    assert node.boot() == 1
    assert node.status()["phase"] == "refused"
    assert node.error().startswith("tried 3 times and not confirmed: haproxy.service is failed")
    assert node.error().endswith("Change the configuration, or run lbstack-apply boot to try it again")
    assert node.ran("haproxy -c") == []
    assert node.has(served)
    good = node.make("c")
    node.give(good)
    assert node.boot() == 0
    assert node.has(good)


def test_the_previous_set_is_restored_after_a_power_failure_during_the_trial_and_the_new_one_is_tried_again(
    node: Host, served: Parts
) -> None:
    new = node.make("b")
    node.give(new)
    assert node.run("prepare") == 0
    node.give(None)
    assert node.run("prepare") == 0
    assert node.has(served)
    assert "was cut short; the installed set is in place" in node.output
    node.give(new)
    assert node.boot() == 0
    assert node.has(new)


def test_the_verification_restores_the_previous_set_when_the_installing_run_was_killed(
    node: Host, served: Parts
) -> None:
    node.give(node.make("b"))
    assert node.run("prepare") == 0
    total = node.calls
    node.give(None)
    node.run("prepare")
    node.give(node.make("c"))
    assert node.run("prepare", kill_at=total - 60) == 9
    assert node.journal()["phase"] == "install"
    node.start_services()
    assert node.run("verify") == 1
    fell_back(node, served, "the run that installed the set was cut short")


def test_the_verification_without_a_trial_changes_nothing(node: Host) -> None:
    before = node.read("/run/lbstack/status.json")
    assert node.run("verify") == 0
    assert node.read("/run/lbstack/status.json") == before
    asked = ("systemctl show", "haproxy -v", "keepalived -v")
    assert [line for line in node.log() if not line.startswith(asked)] == []


@pytest.mark.parametrize("path", ["/var/lib/lbstack/journal.json"])
def test_a_damaged_journal_is_named_and_nothing_is_changed(node: Host, served: Parts, path: str) -> None:
    node.at(path).write_text("{")
    assert node.run("prepare") == 2
    assert f"{path} is damaged. Replace the node" in node.output
    assert node.has(served)
