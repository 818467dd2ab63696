"""Another generation of the packages: rolled once, while the peer serves; a failed one leaves all as it was."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.guest.crashes import KILLED
from tests.unit.guest.fork_server import write_vrrp_state
from tests.unit.guest.host import Host
from tests.unit.guest.keys import give, keys_of
from tests.unit.guest.processes import ForkServer
from tests.unit.guest.sets import Parts
from tests.unit.guest.test_packages import packages

CFG, REPO = "/etc/haproxy/haproxy.cfg", "/etc/yum.repos.d/photon.repo"
MIRROR = "[photon]\nbaseurl=https://mirror.example/new\n"
OLD_CORE, NEW_CORE = "linux-esx-5.10.1-1.ph4\nlinux-api-headers-5.10.1-1.ph4\n", "linux-esx-5.10.2-1.ph4\n"
TRANSACTION = "systemctl stop keepalived", "tdnf upgrade", "systemctl restart haproxy", "systemctl restart keepalived"
REBOOT = "systemctl --no-block reboot"


def generation(host: Host, mark: str, number: int, **about: object) -> Parts:
    """A set that asks for a generation of the packages."""
    section = packages(tdnf_keys=[], generation=number, **about)
    return host.make(mark, packages=section)


def offer(host: Host, parts: Parts) -> Parts:
    """Put a set into keys of its own."""
    give(host, keys_of(parts))
    return parts


def test_a_master_hands_the_vips_over_before_its_packages_change_and_starts_its_daemons_anew(node: Host) -> None:
    new = offer(node, generation(node, "b", 1))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 0, node.output
    assert node.has(new)
    assert node.status()["phase"] == "ok"
    places = node.positions("tdnf makecache", *TRANSACTION)
    assert places == sorted(places)
    assert node.journal()["generation"] == 1


def test_a_standby_goes_on_as_one_while_its_packages_change(node: Host) -> None:
    offer(node, generation(node, "b", 1))
    assert node.run("live") == 0, node.output
    assert node.ran("systemctl stop keepalived") == []
    upgrade, haproxy, keepalived = node.positions(*TRANSACTION[1:])
    assert upgrade < haproxy < keepalived


def test_a_generation_is_rolled_once_and_not_at_later_boots_or_changes(node: Host) -> None:
    offer(node, generation(node, "b", 2))
    assert node.run("live") == 0, node.output
    node.forget()
    assert node.boot() == 0, node.output
    for mark, number in (("c", 2), ("d", 1), ("e", 2)):
        offer(node, generation(node, mark, number))
        assert node.run("live") == 0, node.output
    assert node.ran("tdnf") == []
    offer(node, generation(node, "f", 3))
    assert node.run("live") == 0, node.output
    assert node.ran("tdnf upgrade") == ["tdnf upgrade -y"]


def test_a_generation_that_the_installed_set_has_from_an_earlier_release_is_not_rolled_later(node: Host) -> None:
    offer(node, generation(node, "b", 2))
    assert node.run("live") == 0, node.output
    node.put("/var/lib/lbstack/journal.json", node.read("/var/lib/lbstack/journal.json").replace('"generation"', '"x"'))
    node.forget()
    offer(node, generation(node, "c", 2))
    assert node.run("live") == 0, node.output
    assert node.ran("tdnf") == []


def test_a_failed_transaction_leaves_set_and_daemons_and_says_why(node: Host, served: Parts) -> None:
    (node.fakes / "tdnf.upgrade.refuse").write_text("Error(1525) : rpm transaction failed\n")
    new = offer(node, generation(node, "b", 1))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 1
    assert node.status()["phase"] == "refused"
    assert node.error().startswith("packages.generation 1: tdnf upgrade: Error(1525) : rpm transaction failed.")
    assert f"apply refused {new.hash[:12]}: packages.generation 1: tdnf upgrade: Error" in node.read(
        "/run/lbstack/state.map"
    )
    assert node.has(served)
    assert node.ran("systemctl restart haproxy") == node.ran("systemctl reload") == []
    assert "vrrp backup" in node.read("/run/lbstack/state.map")  # keepalived is back
    assert (node.journal()["generation"], node.journal()["phase"]) == (0, "")


def test_a_mirror_that_does_not_answer_fails_before_anything_else_happens(node: Host, served: Parts) -> None:
    (node.fakes / "tdnf.makecache.refuse").write_text("Error(1622) : Failed to synchronize cache for repo 'photon'\n")
    offer(node, generation(node, "b", 1))
    assert node.run("live") == 1
    assert "tdnf makecache: Error(1622) : Failed to synchronize cache" in node.error()
    assert node.ran("tdnf upgrade") == []
    assert node.has(served)


def test_a_boot_does_not_try_a_failed_generation_again_and_a_higher_one_is_tried(node: Host, served: Parts) -> None:
    (node.fakes / "tdnf.upgrade.refuse").write_text("Error(1525) : rpm transaction failed\n")
    offer(node, generation(node, "b", 1))
    assert node.run("live") == 1
    node.forget()
    assert node.boot() == 1
    assert "failed here before, and a boot does not try it again" in node.error()
    assert node.ran("tdnf") == []
    assert node.has(served)
    (node.fakes / "tdnf.upgrade.refuse").unlink()
    new = offer(node, generation(node, "c", 2))
    assert node.boot() == 0, node.output
    assert node.has(new)


def test_a_change_with_a_reboot_rolls_before_the_daemons_start(node: Host) -> None:
    new = offer(node, generation(node, "b", 1))
    assert node.boot() == 0, node.output
    upgrade, haproxy = node.positions("tdnf upgrade", "systemctl start haproxy")
    assert upgrade < haproxy
    assert node.has(new)


def test_the_sources_are_those_of_the_new_set_and_go_back_when_it_is_refused(node: Host, served: Parts) -> None:
    def with_mirror(mark: str) -> Parts:
        return node.make(mark, {REPO: MIRROR}, packages=packages(tdnf_keys=[], generation=1))

    (node.fakes / "tdnf.upgrade.refuse").write_text("Error(1525) : rpm transaction failed\n")
    offer(node, with_mirror("b"))
    assert node.run("live") == 1
    assert node.has(served)
    (node.fakes / "tdnf.upgrade.refuse").unlink()
    offer(node, with_mirror("c"))
    assert node.run("live") == 0, node.output
    assert (node.fakes / "upgraded.from").read_text() == MIRROR


def test_pinned_versions_are_brought_and_nothing_else_unless_it_is_asked_for(node: Host) -> None:
    node.put("/etc/pki/key", "a key\n")
    pins = {"versions": {"haproxy": "2.6.15-2.ph4"}}
    for mark, number, upgrade in (("b", 1, False), ("c", 2, True)):
        section = packages(tdnf_keys=["/etc/pki/key"], generation=number, upgrade=upgrade, **pins)
        offer(node, node.make(mark, packages=section))
        assert node.run("live") == 0, node.output
        expected = ["tdnf makecache"] + ["tdnf upgrade -y"] * upgrade
        assert node.ran("tdnf") == [*expected, *["tdnf install -y haproxy-2.6.15-2.ph4"] * (not upgrade)]
        node.forget()


def test_an_older_pinned_version_than_is_installed_is_brought_too(node: Host) -> None:
    node.put("/etc/pki/key", "a key\n")
    (node.fakes / "tdnf.newer").touch()
    section = packages(tdnf_keys=["/etc/pki/key"], generation=1, versions={"haproxy": "2.2.31-1.ph3"})
    offer(node, node.make("b", packages=section))
    assert node.run("live") == 0, node.output
    assert node.ran("tdnf downgrade") == ["tdnf downgrade -y haproxy-2.2.31-1.ph3"]


def test_a_new_haproxy_that_refuses_the_set_leaves_the_one_that_runs(node: Host, served: Parts) -> None:
    offer(node, generation(node, "b", 1))
    haproxy = node.base / "bin" / "haproxy"
    haproxy.unlink()
    haproxy.write_text('#!/bin/sh\n[ ! -e "$FAKES/upgraded.from" ] || [ "$1" != -c ] || ! echo too new >&2\n')
    haproxy.chmod(0o755)
    assert node.run("live") == 1
    assert "haproxy refuses it: too new" in node.error()
    assert node.has(served)
    assert node.ran("systemctl restart haproxy") == []


def test_a_new_kernel_means_a_reboot_after_which_the_set_is_confirmed(node: Host, served: Parts) -> None:
    (node.fakes / "core").write_text(OLD_CORE)
    (node.fakes / "core.new").write_text(NEW_CORE)
    new = offer(node, generation(node, "b", 1))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 0, node.output
    assert node.status()["phase"] == "applying"
    assert "reboots into linux-esx-5.10.2-1.ph4" in node.error()
    stop, reboot = node.positions("systemctl stop keepalived", REBOOT)
    assert stop < reboot
    assert node.ran("systemctl restart") == []
    assert node.has(served)  # the boot takes the set in, by the usual way
    assert (node.journal()["trial"], node.journal()["phase"], node.journal()["generation"]) == ("", "", 1)
    node.forget()
    assert node.boot() == 0, node.output
    assert node.has(new)
    assert node.status()["phase"] == "ok"
    assert node.ran("tdnf") == node.ran(REBOOT) == []


@pytest.mark.parametrize("core", [OLD_CORE, OLD_CORE.replace("headers-5.10.1", "headers-5.10.2")])
def test_other_packages_than_the_kernels_and_systemds_mean_no_reboot(node: Host, core: str) -> None:
    (node.fakes / "core").write_text(OLD_CORE)
    (node.fakes / "core.new").write_text(core)
    offer(node, generation(node, "b", 1))
    assert node.run("live") == 0, node.output
    assert node.ran(REBOOT) == []


def test_a_first_boot_brings_the_generation_and_does_not_go_down_for_it(fresh: Host) -> None:
    (fresh.fakes / "core").write_text(OLD_CORE)
    (fresh.fakes / "core.new").write_text(NEW_CORE)
    new = offer(fresh, generation(fresh, "a", 4, upgrade=True))
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.has(new)
    assert fresh.ran("tdnf upgrade") == ["tdnf upgrade -y"]
    assert fresh.ran(REBOOT) == []
    assert fresh.journal()["generation"] == 4


def test_a_first_boot_that_failed_in_it_is_taken_up_at_the_next_one(fresh: Host) -> None:
    (fresh.fakes / "tdnf.upgrade.refuse").write_text("Error(1525) : rpm transaction failed\n")
    new = offer(fresh, generation(fresh, "a", 1))
    assert fresh.run("boot") == 2
    (fresh.fakes / "tdnf.upgrade.refuse").unlink()
    assert fresh.boot() == 0, fresh.output
    assert fresh.has(new)


def test_the_health_answer_says_that_the_node_is_at_it(node: Host, tmp_path: Path) -> None:
    new = offer(node, generation(node, "b", 1))
    with closing(ForkServer()) as other:
        running = node.clone(tmp_path / "running")
        seen = set()
        for _ in running.walk(other, "live", step=1):
            seen |= {line for line in running.read("/run/lbstack/state.map").splitlines() if line.startswith("apply ")}
        shutil.rmtree(running.base)
    assert f"apply applying {new.hash[:12]}: packages generation 1" in seen


def test_a_run_that_was_killed_at_any_write_ends_with_the_new_set_and_the_generation(
    node: Host, served: Parts, tmp_path: Path
) -> None:
    new = offer(node, generation(node, "b", 1))
    whole = node.clone(tmp_path / "whole")
    assert whole.run("live") == 0
    for at in range(1, whole.calls, 31):
        copy = node.clone(tmp_path / "killed")
        assert copy.run("live", kill_at=at) in (KILLED, 0)
        assert copy.run("live") == 0, copy.output
        assert copy.has(new), (at, copy.output, copy.journal(), copy.differing(new))
        assert copy.journal()["generation"] == 1
        copy.forget()
        assert copy.boot() == 0
        assert copy.ran("tdnf") == []
        shutil.rmtree(copy.base)
    shutil.rmtree(whole.base)


def test_a_power_failure_within_the_transaction_leaves_one_whole_set(node: Host, served: Parts, tmp_path: Path) -> None:
    new = offer(node, generation(node, "b", 1))
    whole = node.clone(tmp_path / "whole")
    assert whole.run("live") == 0
    for at in range(1, whole.calls, 47):
        copy = node.clone(tmp_path / "killed")
        assert copy.run("live", kill_at=at, power=True) in (KILLED, 0)
        copy.boot()
        has = new if copy.journal()["installed"] == new.hash else served
        assert copy.has(has), (at, copy.output, copy.journal(), copy.differing(has))
        assert copy.journal()["phase"] == ""
        shutil.rmtree(copy.base)
    shutil.rmtree(whole.base)
