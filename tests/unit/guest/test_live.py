"""Sets in keys of their own, taken in while the node serves: never a mixture, and no more done than is needed."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.unit.guest.fork_server import write_vrrp_state
from tests.unit.guest.host import Host
from tests.unit.guest.keys import PIECE, give, keys_of
from tests.unit.guest.sets import Item, Parts

CFG, KEEPALIVED = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"
DROPIN = "/etc/systemd/system/haproxy.service.d/lbstack.conf"
CONSIDERED = "/run/lbstack/considered"
FULL = 1000  # bytes of the largest file: less than a manifest, and more than what is written about a refusal
WATCH: dict[str, Item | str | None] = {
    "/etc/systemd/system/lbstack-watch.service": "[Service]\n",
    "/usr/local/lib/lbstack/lbstack-watch": Item("#!/bin/sh\n", mode="0755"),
}


def test_a_set_in_its_own_keys_is_taken_in_live_by_a_reload(node: Host) -> None:
    new = node.make("b")
    give(node, keys_of(new))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 0, node.output
    assert node.has(new)
    assert node.status()["phase"] == "ok"
    assert node.ran("systemctl reload") == ["systemctl reload haproxy.service"]
    assert node.ran("systemctl restart") == node.ran("systemctl stop") == []
    assert node.read(CONSIDERED) == new.hash + "\n"


def test_a_first_boot_takes_the_set_from_its_own_keys(fresh: Host) -> None:
    new = fresh.make("a")
    give(fresh, keys_of(new))
    assert fresh.run("boot") == 0, fresh.output
    assert fresh.has(new)


def test_keys_of_their_own_go_before_the_userdata(node: Host) -> None:
    new = node.make("b")
    give(node, keys_of(new))
    node.give(node.make("old"))
    assert node.boot() == 0, node.output
    assert node.has(new)


def without(name: str) -> Callable[[dict[str, str], dict[str, str]], dict[str, str]]:
    return lambda new, _: {key: value for key, value in new.items() if key != name}


def of_another(name: str) -> Callable[[dict[str, str], dict[str, str]], dict[str, str]]:
    return lambda new, other: new | {key: other[key] for key in other if key.startswith(name)}


def cut(name: str) -> Callable[[dict[str, str], dict[str, str]], dict[str, str]]:
    return lambda new, _: new | {name: new[name][: len(new[name]) // 8 * 4]}


@pytest.mark.parametrize(
    ("alter", "said"),
    [
        (without("config.1"), "guestinfo.lbstack.config.1 missing: the set's part config has"),
        (without("head"), "guestinfo.lbstack.head or guestinfo.lbstack.signature is missing"),
        (without("signature"), "guestinfo.lbstack.head or guestinfo.lbstack.signature is missing"),
        (without("hash"), "guestinfo.lbstack.hash asks for "),
        (of_another("config"), "guestinfo.lbstack.config.* is not the part that the head names"),
        (of_another("config.1"), "guestinfo.lbstack.config.* is not the part that the head names"),
        (of_another("signature"), "the set's signature does not fit"),
        (of_another("h"), "the set's signature does not fit"),
        (of_another("hash"), "guestinfo.lbstack.hash asks for "),
        (cut("config.0"), "guestinfo.lbstack.config.* is not"),
        (cut("head"), "the set's signature does not fit"),
    ],
)
def test_a_set_that_is_not_whole_is_refused_and_the_one_before_serves(
    node: Host, served: Parts, alter: Callable[[dict[str, str], dict[str, str]], dict[str, str]], said: str
) -> None:
    give(node, alter(keys_of(node.make("b", append={CFG: "# b\n"})), keys_of(node.make("c", append={CFG: "# c\n"}))))
    assert node.run("live") == 1
    assert said in node.error()
    assert node.status()["phase"] == "refused"
    assert node.has(served)
    assert node.ran("systemctl reload") == node.ran("systemctl restart") == []


def test_a_set_that_somebody_else_signed_is_refused_and_the_one_before_serves(node: Host, served: Parts) -> None:
    parts = node.make("b")
    values = keys_of(parts)
    values["signature"] = parts.sign("other").signature.decode()
    give(node, values)
    assert node.run("live") == 1
    assert "the set's signature does not fit /etc/lbstack/stack.pub" in node.error()
    assert node.has(served)


def test_a_part_of_another_set_with_the_same_files_is_refused_for_its_digest(node: Host, served: Parts) -> None:
    """Also where its files would be the same: what the head does not name is not even unpacked."""
    values = keys_of(node.make("b"))
    pieces = [f"programs.{number}" for number in range(sum(key.startswith("programs.") for key in values))]
    content = gzip.decompress(base64.b64decode("".join(values[piece] for piece in pieces)))
    again = base64.b64encode(gzip.compress(content, mtime=1)).decode()
    values |= {piece: again[number * PIECE : (number + 1) * PIECE] for number, piece in enumerate(pieces)}
    give(node, values)
    assert node.run("live") == 1
    assert "guestinfo.lbstack.programs.* is not the part that the head names" in node.error()
    assert node.has(served)


def test_a_channel_that_does_not_answer_is_asked_again_by_the_watcher(node: Host, served: Parts) -> None:
    give(node, keys_of(node.make("b")))
    (node.fakes / "vmware-rpctool.refuse").write_text("RPCI: failed\n")
    node.at(CONSIDERED).unlink(missing_ok=True)
    assert node.run("live") == 1
    assert node.has(served)
    assert node.read(CONSIDERED) == "\n"


def test_keys_that_do_not_fit_together_are_asked_for_again_since_they_may_be_on_their_way(node: Host) -> None:
    """They differ from those that a moment later may be there with the same hash: from a change there and back."""
    new = node.make("b")
    whole = keys_of(new)
    give(node, of_another("config")(whole, keys_of(node.make("c"))))
    assert node.run("live") == 1
    assert node.read(CONSIDERED) == "\n"
    give(node, whole)
    assert node.run("live") == 0, node.output
    assert node.has(new)
    assert node.read(CONSIDERED) == new.hash + "\n"


def test_a_full_disk_refuses_a_set_as_long_as_it_is_full(node: Host, served: Parts) -> None:
    new = node.make("b")
    give(node, keys_of(new))
    assert node.run("live", file_limit=FULL) == 1
    assert "File too large" in node.error()
    assert node.has(served)
    assert node.ran("systemctl reload") == []
    assert node.read(CONSIDERED) == "\n"
    assert node.run("live") == 0, node.output
    assert node.has(new)


def test_a_set_that_is_wanted_again_after_one_that_did_not_fit_together_ends_the_refusal(node: Host) -> None:
    """The watcher compares with what was dealt with last: that is not the installed set any more."""
    old = keys_of(node.make("c"))
    give(node, old)
    assert node.run("live") == 0, node.output
    give(node, without("signature")(keys_of(node.make("b")), {}))
    assert node.run("live") == 1
    assert node.read(CONSIDERED) != old["hash"] + "\n"
    give(node, old)
    assert node.run("live") == 0, node.output
    assert node.status()["phase"] == "ok"


def test_a_refused_set_is_considered_so_that_the_watcher_does_not_ask_for_ever(node: Host) -> None:
    bad = node.make("b", append={CFG: "# bad-word\n"})
    give(node, keys_of(bad))
    assert node.run("live") == 1
    assert node.read(CONSIDERED) == bad.hash + "\n"


def test_a_set_whose_haproxy_does_not_serve_falls_back_by_a_reload_and_the_vips_stay(node: Host, served: Parts) -> None:
    give(node, keys_of(node.make("b", {CFG: "global\n    user haproxy\n"})))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 1
    assert node.status()["phase"] == "fell-back"
    assert node.has(served)
    assert node.ran("systemctl restart") == node.ran("systemctl stop") == []
    assert "vrrp master" in node.read("/run/lbstack/state.map")


def test_another_limit_of_haproxys_unit_hands_the_vips_over_before_haproxy_restarts(node: Host) -> None:
    give(node, keys_of(node.make("b", append={DROPIN: "LimitNOFILE=70000\n"})))
    write_vrrp_state("master", node.root)
    assert node.run("live") == 0, node.output
    stop, restart = node.positions("systemctl stop keepalived.service", "systemctl restart haproxy.service")
    assert stop < restart
    assert node.has_run("systemctl restart keepalived.service")


def test_a_standby_restarts_haproxy_without_touching_keepalived(node: Host) -> None:
    give(node, keys_of(node.make("b", append={DROPIN: "LimitNOFILE=70000\n"})))
    assert node.run("live") == 0, node.output
    assert node.ran("systemctl restart") == ["systemctl restart haproxy.service"]
    assert node.ran("systemctl stop") == []


def test_a_comment_in_haproxys_unit_restarts_nothing(node: Host) -> None:
    give(node, keys_of(node.make("b", append={DROPIN: "# why\n"})))
    assert node.run("live") == 0, node.output
    assert node.ran("systemctl restart") == []


def test_a_standby_that_becomes_master_by_a_set_falls_back(node: Host, served: Parts) -> None:
    give(node, keys_of(node.make("b", append={KEEPALIVED: "# vrrp-master\n"})))
    assert node.run("live") == 1
    assert node.status()["phase"] == "fell-back"
    assert "VRRP is master, and was backup" in node.error()
    assert node.has(served)


def test_a_set_that_brings_the_watcher_has_it_enabled_and_running(node: Host) -> None:
    give(node, keys_of(node.make("b", WATCH)))
    assert node.run("live") == 0, node.output
    assert "lbstack-watch.service" in node.enabled()
    assert node.has_run("systemctl --no-block restart lbstack-watch.service")


def test_check_says_what_would_change_and_changes_nothing(node: Host, served: Parts) -> None:
    give(node, keys_of(node.make("b", append={DROPIN: "LimitNOFILE=70000\n"})))
    node.at("/root/.ssh/authorized_keys").write_text("edited\n")
    assert node.run("check", "--json") == 1, node.output
    rows = {row["path"]: (row["kind"], row["why"]) for row in json.loads(node.output)["changes"]}
    assert rows[CFG] == ("reload", "changed in the set")
    assert rows[DROPIN] == ("hand-over", "changed in the set")
    assert rows["/root/.ssh/authorized_keys"] == ("nothing", "edited on this node")
    assert node.differing(served) == ["/root/.ssh/authorized_keys"]


def test_states_of_servers_that_the_stack_file_changed_are_not_handed_on(program: ModuleType) -> None:
    old = "backend web\n    server a 10.0.0.1:1\n    server b 10.0.0.2:1\n    server c 10.0.0.3:1\n"
    new = old.replace("10.0.0.2:1", "10.0.0.2:1 disabled").replace("    server c 10.0.0.3:1\n", "")
    told = "1\n# be_id be_name srv_id srv_name\n" + "".join(f"3 web {n} {name} x\n" for n, name in enumerate("abc"))
    assert program.kept_states(told, old, new) == b"1\n# be_id be_name srv_id srv_name\n3 web 0 a x\n"
    assert program.kept_states("", old, new) == b"1\n"
