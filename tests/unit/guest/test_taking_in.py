"""Later boots: a new set is installed, the same set is only verified, manual changes are reverted."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.unit.guest.host import Host
from tests.unit.guest.processes import program_text
from tests.unit.guest.sets import SECRET_HASH, Item, Parts

CFG = "/etc/haproxy/haproxy.cfg"


@pytest.mark.parametrize("encoding", ["", "base64", "b64", "gzip+base64", "gz+b64"])
def test_a_new_set_is_installed_at_boot_in_every_encoding_of_guestinfo(
    node: Host, served: Parts, encoding: str
) -> None:
    # The program's own text contains rpctool's message about a missing value; without an encoding it is not hidden.
    new = node.make("b", {"/usr/local/lib/lbstack/lbstack-apply": program_text()})
    node.give(new, encoding)
    assert node.boot() == 0, node.output
    assert node.has(new)
    assert node.status()["phase"] == "ok"
    assert node.status()["previous"] == served.hash
    assert str(node.at("/var/lib/lbstack/previous").readlink()) == f"sets/{served.hash}"
    assert node.leftovers() == []


def test_before_the_services_start_the_set_is_on_trial_and_nothing_waits_for_a_service(node: Host) -> None:
    new = node.make("b")
    node.give(new)
    assert node.run("prepare") == 0
    assert node.status()["phase"] == "trial"
    assert "apply trial" in node.read("/run/lbstack/state.map")
    verbs = [line.split()[1] for line in node.ran("systemctl")]
    assert set(verbs) <= {"daemon-reload", "enable", "is-active"}, verbs


def test_the_same_set_causes_no_write_no_check_and_no_restart_but_is_loaded_where_a_boot_begins_without(
    node: Host,
) -> None:
    before = {path: path.lstat().st_ino for path in node.root.rglob("*") if "/etc/" in str(path)}
    assert node.run("prepare") == 0, node.output
    assert {path: path.lstat().st_ino for path in node.root.rglob("*") if "/etc/" in str(path)} == before
    looks = ("vmware-rpctool", "sshd -T")
    assert [line for line in node.log() if not line.startswith(looks)] == [
        f"systemd-tmpfiles --create {node.root}/etc/tmpfiles.d/lbstack.conf",
        "systemctl is-active iptables.service",
        "lbstack-firewall load",
        *(f"ip{v}tables-restore ip{v or 4}save" for v in ("", "6")),
        *(f"ip{v}tables-save -t filter" for v in ("", "6")),
    ]
    assert node.run("verify") == 0
    assert node.status()["phase"] == "ok"


def test_a_manual_boot_with_the_same_set_does_not_change_running_services(node: Host) -> None:
    assert node.run("boot") == 0
    verbs = {" ".join(line.split()[1:2]) for line in node.ran("systemctl")}
    assert verbs == {"is-active", "show"}


def test_a_manual_boot_reloads_for_a_new_file_and_restarts_for_a_new_unit(node: Host, served: Parts) -> None:
    unchanged = {path: text for path, text in served.files.items() if "service.d" in path}
    node.give(node.make("b", unchanged))
    assert node.run("boot") == 0, node.output
    assert node.ran("systemctl reload") == ["systemctl reload haproxy.service"]
    assert node.ran("systemctl restart") == []
    node.forget()
    node.give(node.make("c", {"/etc/systemd/system/haproxy.service.d/lbstack.conf": "[Service]\n"}))
    assert node.run("boot") == 0, node.output
    assert node.ran("systemctl restart") == ["systemctl restart haproxy.service"]


def test_guestinfo_without_a_value_keeps_the_installed_set(node: Host, served: Parts) -> None:
    node.give(None)
    assert node.boot() == 0
    assert node.has(served)
    assert node.status()["phase"] == "ok"


def test_a_blanked_guestinfo_value_keeps_the_installed_set(node: Host) -> None:
    node.give_text("---", "")
    assert node.boot() == 0
    assert node.status()["phase"] == "ok"


def test_a_machine_without_rpctool_keeps_the_installed_set_and_says_so(node: Host, served: Parts) -> None:
    (node.base / "bin" / "vmware-rpctool").unlink()
    assert node.boot() == 1
    assert node.has(served)
    assert node.status()["phase"] == "refused"
    assert "vmware-rpctool: No such file or directory. Install open-vm-tools" in node.error()
    assert "apply refused: guestinfo.lbstack.hash cannot be read" in node.read("/run/lbstack/state.map")


def test_denied_guestinfo_keeps_the_installed_set_and_names_the_setting(node: Host, served: Parts) -> None:
    (node.fakes / "guestinfo.denied").touch()
    assert node.boot() == 1
    assert node.has(served)
    assert node.error() == (
        "guestinfo.lbstack.hash cannot be read: Permission denied. "
        "Take guest_rpc.rpci.auth.cmd.info-get out of the VM's settings"
    )


def test_an_rpctool_that_hangs_is_ended_at_the_time_limit(node: Host) -> None:
    (node.fakes / "vmware-rpctool.hang").touch()
    assert node.run("prepare") == 1
    assert node.error() == "guestinfo.lbstack.hash cannot be read: vmware-rpctool: no end within 30 s"


def test_a_remaining_staged_set_is_not_installed_again(node: Host, served: Parts) -> None:
    node.stage(node.make("old"))
    node.give(None)
    assert node.boot() == 0
    assert node.has(served)
    assert not node.at("/var/lib/lbstack/staging").exists()


def test_files_that_only_the_old_set_had_are_removed(node: Host) -> None:
    removed = "/etc/systemd/timesyncd.conf.d/lbstack.conf"
    node.give(node.make("b", {removed: None}))
    assert node.boot() == 0
    assert not node.at(removed).exists()
    restart = "systemctl --no-block try-restart"
    assert node.ran(restart) == [f"{restart} systemd-timesyncd.service"]


def test_only_changed_files_have_an_effect_on_services(node: Host, served: Parts) -> None:
    same = {path: text for path, text in served.files.items() if path != CFG and "node.json" not in path}
    node.give(node.make("b", same))
    assert node.boot() == 0
    assert node.ran("systemctl daemon-reload") == []
    assert node.ran("systemctl restart systemd-networkd") == []


def test_manual_changes_are_reverted_and_named(node: Host, served: Parts) -> None:
    node.at(CFG).write_text("edited by hand\n")
    node.at("/etc/keepalived/keepalived.conf").unlink()
    node.at("/etc/lbstack/root.shadow").chmod(0o644)
    assert node.boot() == 0
    assert node.differing(served) == []
    warnings = str(node.status()["warnings"])
    for path in (CFG, "/etc/keepalived/keepalived.conf", "/etc/lbstack/root.shadow"):
        assert f"{path} was not as installed (a hand edit or a package) and was restored" in warnings


def test_manually_changed_rules_are_restored_and_loaded(node: Host) -> None:
    node.at("/etc/systemd/scripts/ip4save").write_text("*filter\n-A INPUT -j ACCEPT\nCOMMIT\n")
    assert node.run("prepare") == 0
    assert node.ran("lbstack-firewall") == ["lbstack-firewall load"]


def test_a_symbolic_link_in_place_of_a_file_is_replaced_and_its_target_is_unchanged(node: Host, served: Parts) -> None:
    target = node.put("/tmp/target", "important")
    node.at(CFG).unlink()
    node.at(CFG).symlink_to(target)
    assert node.boot() == 0
    assert node.has(served)
    assert target.read_text() == "important"


def test_roots_password_is_set_again_when_the_new_set_has_another_one(node: Host) -> None:
    (node.fakes / "chpasswd.stdin").unlink()
    node.give(node.make("b", {"/etc/lbstack/root.shadow": "root:!\n"}))
    assert node.boot() == 0
    assert (node.fakes / "chpasswd.stdin").read_text() == "root:!\n"
    assert SECRET_HASH not in "".join(node.log())


def test_an_unknown_kernel_setting_is_a_warning_unless_it_is_optional(node: Host) -> None:
    text = "net.ipv4.no_such_key = 1\n-net.ipv4.optional_key = 1\nnet.ipv4.ip_nonlocal_bind=1\n"
    node.give(node.make("b", {"/etc/sysctl.d/55-keepalived.conf": text}))
    assert node.boot() == 0
    warnings = str(node.status()["warnings"])
    node.run("prepare")
    assert node.status()["warnings"] == ["sysctl net.ipv4.no_such_key: No such file or directory"], warnings


def test_the_state_map_keeps_its_other_lines(node: Host) -> None:
    node.put("/run/lbstack/state.map", "vrrp master\napply unknown\n")
    assert node.run("prepare") == 0
    assert node.read("/run/lbstack/state.map") == "vrrp master\napply ok\n"


def test_a_running_haproxy_receives_the_state_through_its_socket(node: Host) -> None:
    received: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(node.at("/run/lbstack/haproxy.sock")))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                received.append(connection.recv(512))
                connection.sendall(b"\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert node.run("prepare") == 0, node.output
        thread.join(timeout=10)
    assert received == [b"set map /run/lbstack/state.map apply ok\n"]


def test_sets_that_are_no_longer_needed_are_removed(node: Host, served: Parts) -> None:
    for mark in "bcd":
        new = node.make(mark)
        node.give(new)
        assert node.boot() == 0
        previous, served = served, new
    kept = {path.name for path in node.at("/var/lib/lbstack/sets").iterdir()}
    assert kept == {served.hash, previous.hash}


def test_only_root_can_read_stored_sets_and_secrets(node: Host) -> None:
    for path in ("/var/lib/lbstack", "/var/lib/lbstack/sets"):
        assert node.at(path).stat().st_mode & 0o077 == 0
    assert node.at("/var/lib/lbstack/journal.json").stat().st_mode & 0o077 == 0


def test_a_damaged_stored_set_is_restored_from_guestinfo(node: Host, served: Parts) -> None:
    node.at(f"/var/lib/lbstack/sets/{served.hash}/files{CFG}").write_text("rot")
    node.at(CFG).write_text("edited")
    assert node.boot() == 0, node.output
    assert node.has(served)
    assert node.boot() == 0
    assert node.status()["warnings"] == []


def test_a_damaged_stored_set_without_guestinfo_is_reported_and_live_files_stay(node: Host, served: Parts) -> None:
    node.at(f"/var/lib/lbstack/sets/{served.hash}/manifest.json").write_text("rot")
    node.give(None)
    assert node.boot() == 2
    assert node.has(served)
    assert "is damaged" in str(node.status()["warnings"])
    assert node.error() == "no whole set is installed, and none was given"


def test_a_later_version_may_add_programs_and_units(node: Host) -> None:
    program, unit = "/usr/local/lib/lbstack/lbstack-live", "/etc/systemd/system/lbstack-live.service"
    new = node.make("b", {program: Item("#!/bin/sh\n", mode="0755"), unit: "[Service]\n"})
    node.give(new)
    assert node.boot() == 0, node.output
    assert node.has(new)
