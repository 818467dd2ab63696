"""The first boot: the node installs the set that cloud-init staged and serves it, or reports the reason.

``test_packages.py`` has the tests of packages and repositories.
"""

from __future__ import annotations

import json
import os

from tests.unit.guest.host import Host
from tests.unit.guest.processes import program_text
from tests.unit.guest.sets import SECRET_HASH, Item


def test_a_first_boot_installs_every_file_with_its_owner_and_mode_and_serves(fresh: Host) -> None:
    fresh.python = ""
    parts = fresh.make("a", {"/usr/local/lib/lbstack/lbstack-apply": program_text()})
    fresh.give(parts)
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.differing(parts) == []
    assert fresh.leftovers() == []
    assert fresh.status()["phase"] == "ok"
    assert fresh.status()["installed"] == parts.hash
    assert str(fresh.at("/var/lib/lbstack/current").readlink()) == f"sets/{parts.hash}"
    assert fresh.read("/proc/sys/net/ipv4/ip_nonlocal_bind") == "1\n"


def test_the_order_is_firewall_units_haproxy_keepalived(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    places = fresh.positions(
        "haproxy -c",
        "lbstack-firewall load",
        "systemctl enable lbstack-apply.service lbstack-verify.service iptables.service haproxy.service",
        "systemctl restart haproxy.service",
        "systemctl restart keepalived.service",
    )
    assert places == sorted(places)


def test_the_staged_set_is_installed_where_guestinfo_has_none(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.has(parts)


def test_the_staged_set_is_installed_with_a_warning_where_guestinfo_is_denied(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    (fresh.fakes / "guestinfo.denied").touch()
    assert fresh.run("boot") == 0, fresh.output
    assert "Permission denied" in str(fresh.status()["warnings"])
    assert "the set that cloud-init staged is taken" in str(fresh.status()["warnings"])


def test_a_first_boot_without_any_set_ends_with_a_message_and_exit_code_2(fresh: Host) -> None:
    assert fresh.run("boot") == 2
    assert fresh.error() == "/var/lib/lbstack/staging holds no set"


def test_success_removes_the_staging_directory_and_switches_cloud_init_off(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    fresh.give(parts)
    fresh.run("boot")
    assert not fresh.at("/var/lib/lbstack/staging").exists()
    assert fresh.at("/etc/cloud/cloud-init.disabled").is_file()


def test_failure_leaves_cloud_init_enabled(fresh: Host) -> None:
    fresh.give(fresh.make("a", append={"/etc/haproxy/haproxy.cfg": "# bad-word\n"}))
    assert fresh.run("boot") == 2
    assert not fresh.at("/etc/cloud/cloud-init.disabled").exists()


def test_the_group_is_created_before_the_user_and_the_chroot_is_empty_and_belongs_to_root(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    created = [line for line in fresh.log() if line.startswith(("groupadd", "useradd"))]
    assert created == ["groupadd -r haproxy", "useradd -r -M -g haproxy -d /var/lib/haproxy -s /bin/false haproxy"]
    chroot = fresh.at("/var/lib/haproxy")
    assert (chroot.stat().st_mode & 0o7777, chroot.stat().st_uid) == (0o755, os.geteuid())
    assert list(chroot.iterdir()) == []


def test_networkd_is_restarted_for_a_new_address_but_not_while_keepalived_runs(fresh: Host) -> None:
    (fresh.fakes / "unit.keepalived.service").write_text("active\n")
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    assert fresh.ran("systemctl restart systemd-networkd") == []
    assert "take effect at the next boot" in str(fresh.status()["warnings"])


def test_networkd_is_restarted_where_cloud_init_owns_the_network_only_if_the_address_is_missing(fresh: Host) -> None:
    """The GA image of 4.0 keeps cloud-init from the network that its metadata describe."""
    fresh.give(fresh.make("a", network_owner="metadata"))
    (fresh.fakes / "address").write_text("192.168.6.77\n")
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.ran("systemctl restart systemd-networkd") == ["systemctl restart systemd-networkd.service"]


def test_networkd_is_not_restarted_where_cloud_init_has_configured_the_address(fresh: Host) -> None:
    fresh.give(fresh.make("a", network_owner="metadata"))
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.has_run("ip -4 -o addr show dev eth0")
    assert fresh.ran("systemctl restart systemd-networkd") == []


def test_roots_hash_is_passed_through_a_pipe_and_the_password_does_not_expire(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    assert (fresh.fakes / "chpasswd.stdin").read_text() == f"root:{SECRET_HASH}\n"
    assert fresh.ran("chage")[0].endswith("-m 0 -M -1 -I -1 -E -1 root")


def test_a_root_account_that_is_correct_is_not_changed(fresh: Host) -> None:
    fresh.put("/etc/shadow", f"root:{SECRET_HASH}:19000:0::7:::\n")
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    assert fresh.ran("chpasswd") == fresh.ran("chage") == []


def test_no_secret_is_in_an_argument_a_message_or_the_status(fresh: Host) -> None:
    fresh.give(fresh.make("a", append={"/etc/haproxy/haproxy.cfg": "# bad-word\n"}))
    fresh.run("boot")
    texts = fresh.output + json.dumps(fresh.status()) + "\n".join(fresh.log()) + fresh.read("/run/lbstack/state.map")
    assert "secretofroot" not in texts
    assert "verysecrethash" not in texts
    assert "<hash>" in texts


def test_a_set_for_another_host_name_is_installed_with_a_warning_at_first_boot(fresh: Host) -> None:
    fresh.put("/etc/hostname", "photon-machine\n")
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 0
    assert "the set is for PhotonLB-01, but the host name is photon-machine" in str(fresh.status()["warnings"])


def test_haproxys_checker_has_the_environment_of_its_unit(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    fresh.run("boot")
    environment = (fresh.fakes / "haproxy.environment").read_text()
    assert environment == "NODE=PhotonLB-01\nNODE_ADDRESS=192.168.6.120\n"


def test_services_that_do_not_start_are_reported_with_their_log_and_started_again_at_the_next_boot(fresh: Host) -> None:
    fresh.give(fresh.make("a", append={"/etc/haproxy/haproxy.cfg": "# crash-on-start\n"}))
    assert fresh.run("boot") == 2
    assert "systemctl restart haproxy.service: Job for haproxy.service failed" in fresh.error()
    good = fresh.make("b")
    fresh.give(good)
    assert fresh.boot() == 0, fresh.output
    assert fresh.has(good)


def test_a_first_boot_that_the_unit_continues_leaves_the_start_of_services_to_systemd(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.give(parts)
    assert fresh.run("prepare") == 0, fresh.output
    assert fresh.status()["phase"] == "trial"
    started = [line for line in fresh.log() if line.startswith("systemctl") and "start" in line.split()]
    assert started == ["systemctl --no-block start haproxy.service keepalived.service lbstack-verify.service"]
    fresh.start_services()
    assert fresh.run("verify") == 0, fresh.output
    assert fresh.status()["installed"] == parts.hash


SERVICES = {"haproxy.service", "keepalived.service", "iptables.service"}


def test_a_first_boot_that_failed_after_writing_its_files_repeats_every_step_at_the_next_boot(fresh: Host) -> None:
    (fresh.fakes / "chpasswd.refuse").write_text("chpasswd: (user root) pam_chauthtok() failed")
    parts = fresh.make("a")
    fresh.give(parts)
    assert fresh.run("boot") == 2
    assert fresh.has(parts)
    assert not fresh.enabled() & SERVICES
    (fresh.fakes / "chpasswd.refuse").unlink()
    fresh.forget()
    assert fresh.boot() == 0, fresh.output
    assert fresh.enabled() >= SERVICES
    assert fresh.has_run("lbstack-firewall load")
    assert fresh.loaded()


def test_a_corrected_set_after_such_a_first_boot_executes_every_step_too(fresh: Host) -> None:
    fresh.give(fresh.make("a", {"/etc/lbstack/root.shadow": "root:$6$bad\n"}))
    (fresh.fakes / "chpasswd.refuse").write_text("chpasswd: (line 1, user root) password not changed")
    assert fresh.run("boot") == 2
    (fresh.fakes / "chpasswd.refuse").unlink()
    fresh.forget()
    corrected = fresh.make("b")
    fresh.give(corrected)
    assert fresh.boot() == 0, fresh.output
    assert fresh.has(corrected)
    assert fresh.enabled() >= SERVICES
    assert fresh.has_run("lbstack-firewall load")


def test_a_first_boot_restarts_networkd_once(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.ran("systemctl restart systemd-networkd") == ["systemctl restart systemd-networkd.service"]


def test_a_first_boot_that_ended_before_networkd_configured_the_address_restarts_networkd_when_run_again(
    fresh: Host,
) -> None:
    (fresh.fakes / "systemctl.refuse").write_text("Failed to connect to bus: No such file or directory")
    fresh.give(fresh.make("a"))
    assert fresh.run("boot") == 2
    (fresh.fakes / "systemctl.refuse").unlink()
    fresh.forget()
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.has_run("systemctl restart systemd-networkd.service")


def test_the_verification_keeps_the_error_of_the_step_at_which_a_first_boot_failed(fresh: Host) -> None:
    (fresh.fakes / "chpasswd.refuse").write_text("chpasswd: (user root) pam_chauthtok() failed")
    fresh.give(fresh.make("a"))
    assert fresh.boot() == 2
    assert fresh.error() == "setting root's password: chpasswd: (user root) pam_chauthtok() failed"


def test_a_first_set_on_trial_is_not_confirmed_when_files_of_a_corrected_set_are_installed(fresh: Host) -> None:
    fresh.give(fresh.make("a"))
    assert fresh.run("prepare") == 0
    bad = {"/usr/local/lib/lbstack/lbstack-check": Item("#!/bin/sh\nexit 1\n", mode="0755")}
    fresh.give(fresh.make("b", bad, append={"/etc/haproxy/haproxy.cfg": "# bad-word\n"}))
    assert fresh.boot() == 2
    assert fresh.journal()["installed"] == ""
