"""The first boot: cloud-init staged a set, and the node becomes a load balancer, or says why not."""

from __future__ import annotations

import json
import os

import pytest

from tests.unit.guest.host import SECRET_HASH, Host, Item, program_text


def order(host: Host, *starts: str) -> list[int]:
    """Where in the log the first command with each beginning is."""
    log = host.log()
    return [next(i for i, line in enumerate(log) if line.startswith(start)) for start in starts]


def test_a_first_boot_installs_every_file_with_its_owner_and_mode_and_serves(fresh: Host) -> None:
    fresh.python = ""
    parts = fresh.make("a", {"/usr/local/lib/lbstack/lbstack-apply": program_text()})
    fresh.give(parts)
    assert fresh.run("boot") == 0, fresh.said
    assert fresh.differing(parts) == []
    assert fresh.leftovers() == []
    assert fresh.status()["phase"] == "ok"
    assert fresh.status()["installed"] == parts.hash
    assert str(fresh.at("/var/lib/lbstack/current").readlink()) == f"sets/{parts.hash}"
    assert fresh.read("/proc/sys/net/ipv4/ip_nonlocal_bind") == "1\n"


def test_the_order_is_firewall_units_haproxy_keepalived(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    places = order(
        fresh,
        "haproxy -c",
        "lbstack-firewall load",
        "systemctl enable lbstack-apply.service lbstack-verify.service iptables.service haproxy.service",
        "systemctl restart haproxy.service",
        "systemctl restart keepalived.service",
    )
    assert places == sorted(places)


def test_it_takes_the_staged_set_where_guestinfo_has_none(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    assert fresh.run("boot") == 0, fresh.said
    assert fresh.has(parts)


def test_it_takes_the_staged_set_where_guestinfo_is_denied_and_warns(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    (fresh.fakes / "guestinfo.denied").touch()
    assert fresh.run("boot") == 0, fresh.said
    assert "Permission denied" in str(fresh.status()["warnings"])
    assert "the set that cloud-init staged is taken" in str(fresh.status()["warnings"])


def test_without_any_set_it_says_so_and_exits_2(fresh: Host) -> None:
    assert fresh.run("boot") == 2
    assert fresh.error() == "/var/lib/lbstack/staging holds no set"


def test_success_removes_the_staging_directory_and_switches_cloud_init_off(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    fresh.give(parts)
    fresh.run("boot")
    assert not fresh.at("/var/lib/lbstack/staging").exists()
    assert fresh.at("/etc/cloud/cloud-init.disabled").is_file()


def test_failure_leaves_cloud_init_on(fresh: Host) -> None:
    fresh.give(fresh.make("a", append={"/etc/haproxy/haproxy.cfg": "bad-word\n"}))
    assert fresh.run("boot") == 2
    assert not fresh.at("/etc/cloud/cloud-init.disabled").exists()


def test_packages_in_the_image_need_no_tdnf(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 0
    assert fresh.ran("tdnf") == fresh.ran("rpm") == []


KEY = "/etc/pki/rpm-gpg/VMWARE-RPM-GPG-KEY-4096"


def packages(**changes: object) -> dict[str, object]:
    """The packages part of node.json."""
    return {"install": ["haproxy", "keepalived"], "versions": {}, "upgrade": False, "tdnf_keys": [KEY]} | changes


@pytest.fixture
def bare(fresh: Host) -> Host:
    """A node whose image has neither daemon."""
    for name in ("haproxy", "keepalived"):
        fresh.at(f"/usr/sbin/{name}").unlink()
    return fresh


def test_missing_packages_are_installed_after_network_mirror_and_key_are_in_place(bare: Host) -> None:
    parts = bare.make("a", {KEY: Item("a key\n")}, packages=packages(versions={"haproxy": "2.2.31-1.ph3"}))
    bare.give(parts)
    assert bare.run("boot") == 0, bare.said
    assert bare.ran("tdnf") == ["tdnf makecache", "tdnf install -y haproxy-2.2.31-1.ph3 keepalived"]
    places = order(bare, "systemctl restart systemd-networkd", "ip ", "rpm --import", "tdnf install", "haproxy -c")
    assert places == sorted(places)
    assert bare.ran("rpm --import") == [f"rpm --import {bare.root}{KEY}"]
    assert "--nogpgcheck" not in " ".join(bare.log())


def test_a_package_that_is_there_already_is_not_asked_for_again(bare: Host) -> None:
    (bare.fakes / "rpm.keepalived").touch()
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages()))
    assert bare.run("boot") == 0, bare.said
    assert bare.ran("tdnf install") == ["tdnf install -y haproxy"]


def test_configuration_wins_over_what_packages_bring(bare: Host) -> None:
    parts = bare.make("a", {KEY: Item("a key\n")}, packages=packages())
    bare.give(parts)
    bare.run("boot")
    assert bare.differing(parts) == []


def test_a_dead_mirror_is_named_with_what_is_missing(bare: Host) -> None:
    repo = "[photon]\nbaseurl=https://dead.example/photon\n"
    bare.give(bare.make("a", {KEY: Item("a key\n"), "/etc/yum.repos.d/photon.repo": repo}, packages=packages()))
    assert bare.run("boot") == 2
    assert "after tdnf install there is no /usr/sbin/haproxy, /usr/sbin/keepalived" in bare.error()
    assert "https://dead.example/photon" in bare.error()
    assert "No matching packages" in bare.error()


def test_a_first_boot_that_failed_for_its_packages_goes_through_at_the_next_boot(bare: Host) -> None:
    (bare.fakes / "tdnf.refuse").write_text("Error(1200) : connection timed out")
    parts = bare.make("a", {KEY: Item("a key\n")}, packages=packages())
    bare.give(parts)
    assert bare.run("boot") == 2
    enabled = bare.ran("systemctl enable")
    assert enabled == ["systemctl enable lbstack-apply.service lbstack-verify.service"]
    (bare.fakes / "tdnf.refuse").unlink()
    assert bare.boot() == 0, bare.said
    assert bare.has(parts)
    assert bare.status()["phase"] == "ok"


def test_a_mirror_that_never_answers_ends_with_the_limit(bare: Host) -> None:
    (bare.fakes / "tdnf.hang").touch()
    bare.give(bare.make("a", {KEY: Item("a key\n")}, packages=packages(), binaries=["/usr/sbin/haproxy"]))
    assert bare.run("boot") == 2
    assert "tdnf: no end within 900 s" in bare.error()


def test_an_unusable_key_stops_it_before_tdnf(bare: Host) -> None:
    (bare.fakes / "rpm.refuse").write_text("error: key 1 import failed.")
    bare.give(bare.make("a", {KEY: Item("no key\n")}, packages=packages()))
    assert bare.run("boot") == 2
    assert "import failed" in bare.error()
    assert bare.ran("tdnf") == []


def test_without_an_address_no_package_is_fetched_and_the_wait_ends(bare: Host) -> None:
    (bare.fakes / "address").unlink()
    bare.give(bare.make("a", packages=packages(tdnf_keys=[])))
    assert bare.run("boot") == 2
    expected = "eth0 has not got the address 192.168.6.120, so no package can be fetched (waited 60 s)"
    assert bare.error() == expected


def test_upgrade_runs_only_when_asked_and_only_at_first_boot(fresh: Host) -> None:
    fresh.give(fresh.make("a", packages=packages(upgrade=True, tdnf_keys=[])))
    assert fresh.run("boot") == 0, fresh.said
    assert fresh.ran("tdnf") == ["tdnf makecache", "tdnf upgrade -y"]
    fresh.forget()
    fresh.give(fresh.make("b", packages=packages(upgrade=True, tdnf_keys=[])))
    assert fresh.boot() == 0
    assert fresh.ran("tdnf") == []


def test_no_upgrade_while_keepalived_runs(fresh: Host) -> None:
    (fresh.fakes / "unit.keepalived.service").write_text("active\n")
    fresh.give(fresh.make("a", packages=packages(upgrade=True, tdnf_keys=[])))
    fresh.run("boot")
    assert fresh.ran("tdnf upgrade") == []
    assert "no upgrade: keepalived runs" in str(fresh.status()["warnings"])


def test_the_group_is_made_before_the_user_and_the_chroot_is_empty_and_roots(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    made = [line for line in fresh.log() if line.startswith(("groupadd", "useradd"))]
    assert made == ["groupadd -r haproxy", "useradd -r -M -g haproxy -d /var/lib/haproxy -s /bin/false haproxy"]
    chroot = fresh.at("/var/lib/haproxy")
    assert (chroot.stat().st_mode & 0o7777, chroot.stat().st_uid) == (0o755, os.geteuid())
    assert list(chroot.iterdir()) == []


def test_networkd_is_restarted_for_a_new_address_but_not_while_keepalived_runs(fresh: Host) -> None:
    (fresh.fakes / "unit.keepalived.service").write_text("active\n")
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    assert fresh.ran("systemctl restart systemd-networkd") == []
    assert "take effect at the next boot" in str(fresh.status()["warnings"])


def test_networkd_is_left_alone_where_the_set_does_not_own_the_network(fresh: Host) -> None:
    without = {f"/etc/systemd/network/{name}.network": None for name in ("10-static-en", "99-dhcp-en")}
    fresh.give(fresh.make("a", without, network_owner="metadata"))
    assert fresh.run("boot") == 0, fresh.said
    assert fresh.ran("systemctl restart systemd-networkd") == []


def test_roots_hash_goes_through_a_pipe_and_its_ageing_ends(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    assert (fresh.fakes / "chpasswd.stdin").read_text() == f"root:{SECRET_HASH}\n"
    assert fresh.ran("chage")[0].endswith("-m 0 -M -1 -I -1 -E -1 root")


def test_a_root_account_that_is_right_is_left_alone(fresh: Host) -> None:
    fresh.put("/etc/shadow", f"root:{SECRET_HASH}:19000:0::7:::\n")
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    assert fresh.ran("chpasswd") == fresh.ran("chage") == []


def test_no_secret_is_in_an_argument_a_message_or_the_status(fresh: Host) -> None:
    fresh.give(fresh.make("a", append={"/etc/haproxy/haproxy.cfg": "bad-word\n"}))
    fresh.run("boot")
    told = fresh.said + json.dumps(fresh.status()) + "\n".join(fresh.log()) + fresh.read("/run/lbstack/state.map")
    assert "secretofroot" not in told
    assert "verysecrethash" not in told
    assert "<hash>" in told


def test_a_set_for_another_host_name_is_taken_with_a_warning_at_first_boot(fresh: Host) -> None:
    fresh.put("/etc/hostname", "photon-machine\n")
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 0
    assert "the set is for PhotonLB-01, but the host name is photon-machine" in str(fresh.status()["warnings"])


def test_haproxys_check_sees_the_environment_that_its_unit_will_have(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    seen = (fresh.fakes / "haproxy.environment").read_text()
    assert seen == "NODE=PhotonLB-01\nNODE_ADDRESS=192.168.6.120\n"


def test_services_that_do_not_come_up_are_reported_with_their_log_and_tried_again_at_the_next_boot(fresh: Host) -> None:
    fresh.give(fresh.make("a", append={"/etc/haproxy/haproxy.cfg": "# crash-on-start\n"}))
    assert fresh.run("boot") == 2
    assert "systemctl restart haproxy.service: Job for haproxy.service failed" in fresh.error()
    good = fresh.make("b")
    fresh.give(good)
    assert fresh.boot() == 0, fresh.said
    assert fresh.has(good)


def test_a_first_boot_taken_up_by_the_unit_leaves_starting_to_systemd(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.give(parts)
    assert fresh.run("prepare") == 0, fresh.said
    assert fresh.status()["phase"] == "trial"
    started = [line for line in fresh.log() if line.startswith("systemctl") and "start" in line.split()]
    assert started == ["systemctl --no-block start haproxy.service keepalived.service lbstack-verify.service"]
    fresh.start_services()
    assert fresh.run("verify") == 0, fresh.said
    assert fresh.status()["installed"] == parts.hash


SERVICES = {"haproxy.service", "keepalived.service", "iptables.service"}


def test_a_first_boot_that_failed_after_its_files_were_placed_does_every_step_at_the_next_boot(fresh: Host) -> None:
    (fresh.fakes / "chpasswd.refuse").write_text("chpasswd: (user root) pam_chauthtok() failed")
    parts = fresh.make("a")
    fresh.give(parts)
    assert fresh.run("boot") == 2
    assert fresh.has(parts)
    assert not fresh.enabled() & SERVICES
    (fresh.fakes / "chpasswd.refuse").unlink()
    fresh.forget()
    assert fresh.boot() == 0, fresh.said
    assert fresh.enabled() >= SERVICES
    assert fresh.has_run("lbstack-firewall load")
    assert fresh.loaded()


def test_a_corrected_set_after_such_a_first_boot_does_every_step_too(fresh: Host) -> None:
    fresh.give(fresh.make("a", {"/etc/lbstack/root.shadow": "root:$6$bad\n"}))
    (fresh.fakes / "chpasswd.refuse").write_text("chpasswd: (line 1, user root) password not changed")
    assert fresh.run("boot") == 2
    (fresh.fakes / "chpasswd.refuse").unlink()
    fresh.forget()
    corrected = fresh.make("b")
    fresh.give(corrected)
    assert fresh.boot() == 0, fresh.said
    assert fresh.has(corrected)
    assert fresh.enabled() >= SERVICES
    assert fresh.has_run("lbstack-firewall load")


def test_a_first_boot_restarts_networkd_once(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 0, fresh.said
    assert fresh.ran("systemctl restart systemd-networkd") == ["systemctl restart systemd-networkd.service"]


def test_a_first_boot_cut_short_before_networkd_took_the_address_up_does_that_when_run_again(fresh: Host) -> None:
    (fresh.fakes / "systemctl.refuse").write_text("Failed to connect to bus: No such file or directory")
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 2
    (fresh.fakes / "systemctl.refuse").unlink()
    fresh.forget()
    assert fresh.run("boot") == 0, fresh.said
    assert fresh.has_run("systemctl restart systemd-networkd.service")


def test_the_verification_tells_why_a_first_boot_failed_in_its_steps(fresh: Host) -> None:
    (fresh.fakes / "chpasswd.refuse").write_text("chpasswd: (user root) pam_chauthtok() failed")
    fresh.give(fresh.make("a"))
    assert fresh.boot() == 2
    assert fresh.error() == "setting root's password: chpasswd: (user root) pam_chauthtok() failed"


def test_a_first_set_on_trial_is_not_confirmed_once_files_of_a_corrected_one_are_among_its_own(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    assert fresh.run("prepare") == 0
    bad = {"/usr/local/lib/lbstack/lbstack-check": Item("#!/bin/sh\nexit 1\n", mode="0755")}
    fresh.give(fresh.make("b", bad, append={"/etc/haproxy/haproxy.cfg": "bad-word\n"}))
    assert fresh.boot() == 2
    assert fresh.journal()["installed"] == ""
