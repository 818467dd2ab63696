"""Files that somebody has edited on a node: published, and restored or kept as the set says."""

from __future__ import annotations

import json
from types import ModuleType

from tests.unit.guest.fork_server import write_vrrp_state
from tests.unit.guest.host import Host
from tests.unit.guest.keys import give, keys_of
from tests.unit.guest.sets import Parts

CFG, KEYS, RULES = "/etc/haproxy/haproxy.cfg", "/root/.ssh/authorized_keys", "/etc/systemd/scripts/ip4save"
SYSCTL, PROGRAM = "/etc/sysctl.d/55-keepalived.conf", "/usr/local/lib/lbstack/lbstack-check"
MAP = "/run/lbstack/state.map"


def published(node: Host) -> dict[str, str]:
    """What ``/node`` tells."""
    return dict(line.split(" ", 1) for line in node.read(MAP).splitlines())


def keeping(node: Host, mark: str = "keeping", append: dict[str, str] | None = None) -> Parts:
    """Have the node serve a set that keeps edits."""
    parts = node.make(mark, append=append, guest_edits="keep")
    give(node, keys_of(parts))
    assert node.run("live") == 0, node.output
    node.forget()
    return parts


def edit(node: Host, path: str, text: str) -> str:
    """Add a line to a file, as a person does; the text that it then has."""
    with node.at(path).open("a") as file:
        file.write(text)
    return node.read(path)


def test_a_look_publishes_how_many_files_were_edited_and_which_and_changes_nothing(node: Host) -> None:
    edited = edit(node, KEYS, "ssh-ed25519 BBBB intruder\n")
    node.at(RULES).unlink()
    assert node.run("look") == 0, node.output
    assert published(node)["edits"] == f"2 restore {RULES} {KEYS}"
    assert node.read(KEYS) == edited
    assert not node.at(RULES).exists()
    assert node.ran("systemctl reload") == node.ran("systemctl restart") == []


def test_another_owner_or_mode_is_an_edit_too(node: Host) -> None:
    node.at(CFG).chmod(0o644)
    assert node.run("look") == 0, node.output
    assert published(node)["edits"] == f"1 restore {CFG}"


def test_of_many_edited_files_the_first_are_named(node: Host, served: Parts) -> None:
    for path in served.files:
        edit(node, path, "# by hand\n")
    assert node.run("look") == 0, node.output
    number, _, *named = published(node)["edits"].split()
    assert (int(number), named) == (len(served.files), sorted(served.files)[:5])


def test_a_run_restores_what_was_edited_and_publishes_that_nothing_is(node: Host, served: Parts) -> None:
    edit(node, KEYS, "ssh-ed25519 BBBB intruder\n")
    assert node.boot() == 0, node.output
    assert node.has(served)
    assert published(node)["edits"] == "0 restore"
    assert node.read("/run/lbstack/files").splitlines() == sorted(served.files)


def test_an_edit_stays_where_the_set_says_so_until_a_set_changes_that_file(node: Host) -> None:
    keeping(node)
    edited = edit(node, KEYS, "ssh-ed25519 BBBB colleague\n")
    assert node.boot() == 0, node.output
    assert node.read(KEYS) == edited
    assert published(node)["edits"] == f"1 keep {KEYS}"
    assert f"{KEYS} is not as installed: it was edited here, and is kept (rollout.guestEdits)" in node.warnings()
    other = keeping(node, "other")
    assert node.read(KEYS) == edited
    assert node.differing(other) == [KEYS]
    assert node.has(keeping(node, "third", {KEYS: "ssh-ed25519 CCCC new\n"}))


def test_an_edit_that_is_kept_is_at_work_after_a_boot_too(node: Host) -> None:
    keeping(node)
    edit(node, SYSCTL, "net.ipv4.ip_nonlocal_bind = 3\n")
    node.at(RULES).write_text(node.read(RULES).replace("COMMIT", "-A INPUT -p tcp -j ACCEPT\nCOMMIT"))
    assert node.boot() == 0, node.output
    assert node.status()["phase"] == "ok"
    assert node.read("/proc/sys/net/ipv4/ip_nonlocal_bind").strip() == "3"


def test_programs_units_and_what_a_set_says_of_itself_are_restored_in_any_case(node: Host) -> None:
    parts = keeping(node)
    for path in (PROGRAM, "/etc/systemd/system/lbstack-apply.service", "/etc/lbstack/node.json"):
        edit(node, path, "\n")
    assert node.boot() == 0, node.output
    assert node.has(parts)


def test_a_file_that_is_gone_or_may_be_read_by_others_is_put_right_also_where_edits_are_kept(node: Host) -> None:
    parts = keeping(node)
    node.at(RULES).unlink()
    edited = edit(node, CFG, "# by hand\n")
    node.at(CFG).chmod(0o644)
    assert node.boot() == 0, node.output
    assert node.differing(parts) == [CFG]
    assert node.read(CFG) == edited
    assert node.at(CFG).stat().st_mode & 0o777 == 0o600


def test_falling_back_leaves_an_edit_that_is_kept(node: Host) -> None:
    keeping(node)
    edited = edit(node, KEYS, "ssh-ed25519 BBBB colleague\n")
    give(node, keys_of(node.make("bad", {CFG: "global\n    user haproxy\n"}, guest_edits="keep")))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 1
    assert node.status()["phase"] == "fell-back"
    assert node.read(KEYS) == edited


def test_a_set_that_restores_puts_an_edit_back_that_the_one_before_kept(node: Host) -> None:
    keeping(node)
    edit(node, KEYS, "ssh-ed25519 BBBB colleague\n")
    new = node.make("strict")
    give(node, keys_of(new))
    assert node.run("live") == 0, node.output
    assert node.has(new)


def workers(node: Host, number: int) -> None:
    """Have HAProxy's main process have so many workers besides the one that takes new connections."""
    (node.fakes / "haproxy.pid").write_text("700")
    for pid in range(701, 702 + number):
        node.put(f"/proc/{pid}/stat", f"{pid} (haproxy) S 700 0 0\n")


def test_a_look_publishes_how_many_old_workers_there_are(node: Host) -> None:
    workers(node, 3)
    assert node.run("look") == 0, node.output
    assert published(node)["workers"] == "3 of 8"


def test_at_the_bound_of_old_workers_a_change_waits_says_so_and_is_asked_for_again(node: Host, served: Parts) -> None:
    workers(node, 8)
    new = node.make("b")
    give(node, keys_of(new))
    assert node.run("live") == 1
    assert node.has(served)
    assert published(node)["apply"].startswith(f"waiting {new.hash[:12]}: 8 of 8 old workers of HAProxy still serve")
    assert node.read("/run/lbstack/considered") == "\n"  # so the watcher hands it over again
    assert node.ran("systemctl reload") == node.ran("systemctl restart") == node.ran("systemctl stop") == []
    node.at("/proc/704/stat").unlink()
    assert node.run("live") == 0, node.output
    assert node.has(new)


def test_it_is_published_that_a_set_is_being_taken_in(node: Host) -> None:
    new = node.make("b")
    give(node, keys_of(new))
    said = ""
    for _ in node.walk(node.fork_server, "live", step=1):
        said += node.read(MAP) if node.at(MAP).exists() else ""
    assert f"apply applying {new.hash[:12]}\n" in said
    assert published(node)["apply"] == "ok"
    assert json.loads(node.read("/run/lbstack/status.json"))["phase"] == "ok"


NAMES = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_check_result srv_check_health srv_port"
)


def test_a_server_that_comes_begins_as_down_where_another_is_up_and_only_there(program: ModuleType) -> None:
    old = "backend web\n    server a 10.0.0.1:1 id 7\n"
    new = old + "    server b 10.0.0.2:1 id 8\n    server c 10.0.0.3:1 disabled\nbackend new\n    server d 10.0.0.4:1\n"
    comes = "3 web 8 b 10.0.0.2 0 0 2 0 1"
    for state, rows in (("2 0", [comes]), ("1 0", [comes]), ("0 0", []), ("2 1", [])):
        own = f"3 web 7 a 10.0.0.1 {state} 3 4 1"
        found = program.kept_states(f"1\n{NAMES}\n{own}\n", old, new).decode()
        assert found.splitlines() == ["1", NAMES, own, *rows]
