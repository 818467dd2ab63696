"""What vanishes at boot is loaded at every boot, and a node says what it could not do: it never reports ok then."""

from __future__ import annotations

import json

import pytest

from tests.unit.guest.host import Host
from tests.unit.guest.sets import Parts

CFG = "/etc/haproxy/haproxy.cfg"
IP4SAVE = "/etc/systemd/scripts/ip4save"


def in_force(node: Host, tool: str = "iptables") -> str:
    """The rules that the node's kernel has."""
    rules = node.fakes / f"filter.{tool}-restore"
    return rules.read_text() if rules.exists() else ""


def require_said(node: Host, phase: str, sentence: str) -> None:
    """Assert that status and health answer have the phase with the reason."""
    assert node.status()["phase"] == phase
    assert sentence in node.error()
    assert node.read("/run/lbstack/state.map").splitlines()[-1].startswith(f"apply {phase}")


def test_the_rules_are_loaded_where_the_firewalls_unit_has_failed_and_that_is_a_warning(
    node: Host, served: Parts
) -> None:
    (node.fakes / "iptables.service.fails").touch()
    assert node.boot() == 0, node.output
    assert in_force(node) == served.files[IP4SAVE]
    assert in_force(node, "ip6tables") == served.files["/etc/systemd/scripts/ip6save"]
    assert "iptables.service is failed" in str(node.warnings())


def test_a_boot_without_a_filter_is_never_ok(node: Host, served: Parts) -> None:
    (node.fakes / "iptables.service.fails").touch()
    (node.fakes / "iptables-restore.refuse").write_text("iptables-restore: can't initialize table")
    assert node.boot() == 1
    require_said(node, "failed", "loading the firewall: iptables-restore: can't initialize table")
    assert node.has(served)


@pytest.mark.parametrize("tool", ["iptables", "ip6tables"])
def test_rules_that_are_not_in_force_after_they_were_loaded_are_reported(node: Host, tool: str) -> None:
    (node.base / "bin" / f"{tool}-restore").unlink()
    (node.base / "bin" / f"{tool}-restore").symlink_to("/bin/true")
    (node.fakes / "iptables.service.fails").touch()
    assert node.boot() == 1
    require_said(node, "failed", f"the firewall is not in force: {tool}-save shows other rules than ")


def test_a_filter_that_cannot_be_looked_at_is_reported(node: Host) -> None:
    (node.base / "bin" / "iptables-save").unlink()
    assert node.boot() == 1
    require_said(node, "failed", "whether the firewall is in force is not known: iptables-save: ")


def test_a_step_that_fails_stops_no_other_step_of_the_installed_set(node: Host) -> None:
    (node.fakes / "iptables-restore.refuse").write_text("no")
    (node.fakes / "systemd-tmpfiles.refuse").write_text("no space left")
    assert node.boot() == 1
    assert node.read("/proc/sys/net/ipv4/ip_nonlocal_bind") == "1\n"
    require_said(node, "failed", "no space left; loading the firewall: ")


def test_kernel_settings_and_runtime_files_are_made_at_every_boot(node: Host) -> None:
    for _ in range(2):
        node.forget()
        assert node.boot() == 0, node.output
        assert node.read("/proc/sys/net/ipv4/ip_nonlocal_bind") == "1\n"
        assert node.has_run("systemd-tmpfiles --create")


def test_a_restoration_that_fails_ends_with_a_status_and_the_other_steps(node: Host) -> None:
    folder = node.at("/etc/systemd/timesyncd.conf.d")
    folder.rename(node.at("/etc/elsewhere"))
    folder.symlink_to(node.at("/etc/elsewhere"))
    node.at("/etc/elsewhere/lbstack.conf").write_text("edited")
    (node.fakes / "iptables.service.fails").touch()
    assert node.boot() == 1
    require_said(node, "failed", "restoring the installed set: /etc/systemd/timesyncd.conf.d is a symbolic link")
    assert in_force(node)


def test_a_damaged_journal_ends_with_a_status(node: Host) -> None:
    node.at("/var/lib/lbstack/journal.json").write_text("{")
    assert node.boot() == 2
    require_said(node, "failed", "/var/lib/lbstack/journal.json is damaged. Replace the node")


def test_a_damaged_copy_of_the_set_on_trial_is_reported_and_the_set_before_serves(node: Host, served: Parts) -> None:
    new = node.make("b")
    node.give(new)
    assert node.run("prepare") == 0
    node.at(f"/var/lib/lbstack/sets/{new.hash}/manifest.json").write_text("rot")
    node.start_services()
    assert node.run("verify") == 1
    require_said(node, "fell-back", "the run that installed the set was cut short")
    assert "is damaged" in str(node.warnings())
    assert node.has(served)


def test_a_kept_copy_that_is_another_set_is_damaged(node: Host, served: Parts) -> None:
    node.give(node.make("b"))
    assert node.boot() == 0
    sets = node.at("/var/lib/lbstack/sets")
    first, second = sets / served.hash, sets / node.make("b").hash
    first.rename(sets / "third")
    second.rename(first)
    (sets / "third").rename(second)
    node.give(None)
    assert node.boot() == 2
    require_said(node, "failed", "no whole set is installed, and none was given")
    assert f"is damaged: it is the set {served.hash}" in str(node.warnings())


def test_a_first_boot_without_rpctool_serves_the_staged_set_and_is_never_ok(fresh: Host) -> None:
    parts = fresh.make("a")
    fresh.stage(parts)
    (fresh.base / "bin" / "vmware-rpctool").unlink()
    assert fresh.run("boot") == 1
    assert fresh.has(parts)
    assert fresh.status()["installed"] == parts.hash
    require_said(fresh, "refused", "vmware-rpctool: No such file or directory. Install open-vm-tools")


COPIES = (
    "/var/lib/cloud/instances/iid-1/user-data.txt",
    "/var/lib/cloud/instances/iid-1/user-data.txt.i",
    "/var/lib/cloud/instances/iid-1/vendor-data.txt",
    "/var/lib/cloud/instances/iid-1/cloud-config.txt",
    "/var/lib/cloud/instances/iid-1/obj.pkl",
    "/var/lib/cloud/instances/iid-0/obj.pkl",
    "/var/lib/cloud/instances/iid-1/scripts/runcmd",
    "/run/cloud-init/instance-data-sensitive.json",
    "/run/cloud-init/combined-cloud-config.json",
)
STAYS = (
    "/var/lib/cloud/instances/iid-1/sem/config_runcmd",
    "/var/lib/cloud/instances/iid-1/boot-finished",
    "/var/lib/cloud/instances/iid-1/datasource",
    "/var/lib/cloud/data/result.json",
    "/run/cloud-init/status.json",
)


def test_cloud_inits_copies_of_the_userdata_go_once_it_is_switched_off(fresh: Host) -> None:
    for path in (*COPIES, *STAYS):
        fresh.put(path, "root:$6$hash")
    bad = fresh.make("a", append={CFG: "# bad-word\n"})
    fresh.give(bad)
    assert fresh.run("boot") == 2
    assert all(fresh.at(path).exists() for path in COPIES)
    fresh.give(fresh.make("b"))
    assert fresh.run("boot") == 0, fresh.output
    assert [path for path in COPIES if fresh.at(path).exists()] == []
    assert [path for path in STAYS if not fresh.at(path).exists()] == []


def test_copies_that_a_crash_left_go_at_the_next_boot(node: Host) -> None:
    for path in COPIES[:2]:
        node.put(path, "root:$6$hash")
    assert node.boot() == 0
    assert [path for path in COPIES if node.at(path).exists()] == []


def test_an_old_journal_without_new_fields_is_read(node: Host) -> None:
    journal = node.journal()
    del journal["error"]
    node.at("/var/lib/lbstack/journal.json").write_text(json.dumps(journal | {"later": 1}))
    assert node.boot() == 0, node.output
