"""What the applier refuses: each with its sentence, and the set before untouched and serving."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.unit.guest.host import Host, Item, Parts

CFG, VRRP = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"


def refused(node: Host, served: Parts, sentence: str) -> None:
    """The node refuses what guestinfo holds, says so everywhere, and serves on."""
    live = {path: (path.lstat().st_ino, path.lstat().st_mode) for path in (node.root / "etc").rglob("*")}
    assert node.run("prepare") == 1, node.said
    assert sentence in node.error()
    assert sentence[:60] in node.said
    assert node.status()["phase"] == "refused"
    last = node.read("/run/lbstack/state.map").splitlines()[-1]
    assert re.match(r"apply refused( [0-9a-f]{12})?: ", last), last  # without a hash where none could be read
    assert node.has(served)
    assert {path: (path.lstat().st_ino, path.lstat().st_mode) for path in (node.root / "etc").rglob("*")} == live
    assert node.journal()["trial"] == ""
    assert node.leftovers() == []


def tampered(parts: Parts) -> Parts:
    """A file changed after signing."""
    parts.files[CFG] += "# more\n"
    return parts


def listed_twice(parts: Parts) -> Parts:
    """A manifest with one path twice."""
    files = json.loads(parts.manifest)["files"]
    return parts.bend(files=[*files, files[0]])


def bend_file(parts: Parts, **changes: str) -> Parts:
    """A manifest whose first file says something else."""
    files = json.loads(parts.manifest)["files"]
    return parts.bend(files=[files[0] | changes, *files[1:]])


def drop_user(node: Host) -> Parts:
    """A new set for an image without systemd's network user, which the installed set does not need."""
    lean = {f"/etc/systemd/network/{name}.network": None for name in ("10-static-en", "99-dhcp-en")}
    node.give(node.make("lean", lean))
    assert node.boot() == 0
    node.put("/etc/passwd", "\n".join(row for row in node.read("/etc/passwd").splitlines() if "network" not in row))
    return node.make("b")


BENT: dict[str, tuple[Callable[[Host], Parts], str]] = {
    "signed with another key": (lambda n: n.make("b").sign("other"), "signature does not fit /etc/lbstack/stack.pub"),
    "not signed": (lambda n: Parts(**{**vars(n.make("b")), "signature": b"AAAA"}), "signature does not fit"),
    "a signature that is none": (lambda n: Parts(**{**vars(n.make("b")), "signature": b"!"}), "is not base64"),
    "a file changed after signing": (lambda n: tampered(n.make("b")), f"{CFG} differs from the manifest"),
    "a file that is not in the manifest": (
        lambda n: Parts(**{**vars(n.make("b")), "files": n.make("b").files | {"/etc/cron.d/x": "* * * * * root x\n"}}),
        "/etc/cron.d/x is in the set, but not in the manifest",
    ),
    "a file of the manifest that is missing": (
        lambda n: Parts(**{**vars(n.make("b")), "files": {p: t for p, t in n.make("b").files.items() if p != CFG}}),
        f"{CFG} is in the manifest, but not in the set",
    ),
    "a needed file left out": (lambda n: n.make("b", {CFG: None}), f"{CFG} is missing"),
    "another path": (lambda n: n.make("b", {"/etc/cron.d/x": "x"}), "/etc/cron.d/x is no path that a set may write"),
    "the stack's own key": (
        lambda n: n.make("b", {"/etc/lbstack/stack.pub": "x"}),
        "/etc/lbstack/stack.pub is no path that a set may write",
    ),
    "a way out of a directory": (
        lambda n: n.make("b", {"/usr/local/lib/lbstack/../../../../etc/passwd": "x"}),
        "/usr/local/lib/lbstack/../../../../etc/passwd is no path that a set may write",
    ),
    "a name with a line end": (
        lambda n: n.make("b", {"/etc/haproxy/haproxy.cfg\n": "x"}),
        "is no path that a set may write",
    ),
    "another owner": (
        lambda n: n.make("b", {CFG: Item("x", "haproxy:haproxy", "0600")}),
        f"{CFG} may only be root:root 0600, not haproxy:haproxy 0600",
    ),
    "a setuid mode": (
        lambda n: n.make("b", {"/usr/local/lib/lbstack/lbstack-check": Item("x", mode="4755")}),
        "/usr/local/lib/lbstack/lbstack-check may only be root:root 0755, not root:root 4755",
    ),
    "a secret that others may read": (
        lambda n: n.make("b", {CFG: Item("x", mode="0644")}),
        f"{CFG} may only be root:root 0600, not root:root 0644",
    ),
    "a path listed twice": (lambda n: listed_twice(n.make("b")), "is listed twice"),
    "a digest that is none": (lambda n: bend_file(n.make("b"), sha256="0"), "differs from the manifest"),
    "the other node's set": (
        lambda n: n.make("b", node="PhotonLB-02"),
        "the set is for PhotonLB-02, this node is PhotonLB-01: guestinfo was mixed up",
    ),
    "a newer format": (lambda n: n.make("b").bend(format=2), "manifest has format 2, the applier of this node knows 1"),
    "a hash that is none": (lambda n: n.make("b").bend(hash="../../etc"), "the manifest's hash or node name is none"),
    "a node name that is none": (lambda n: n.make("b").bend(node="a\nb"), "the manifest's hash or node name is none"),
    "no list of files": (lambda n: n.make("b").bend(files="x"), "manifest.json is not a manifest of this project"),
    "node.json of another set": (
        lambda n: n.make("b", hash="0" * 64),
        "node.json and the manifest disagree on format, hash or node",
    ),
    "node.json without a part": (lambda n: n.make("b", packages={}), "node.json is not as it should be"),
    "a package that is an option": (
        lambda n: n.make("b", packages={"install": ["--x"], "versions": {}, "upgrade": False, "tdnf_keys": []}),
        "--x is no package name",
    ),
    "the installed hash with other files": (
        lambda n: n.make("a", append={CFG: "# more\n"}),
        "the set has the hash of the installed one, but other files",
    ),
    "an owner that the image lacks": (drop_user, "this image has no user or group systemd-network"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_set_is_refused_with(node: Host, served: Parts, name: str) -> None:
    make, sentence = BENT[name]
    parts = make(node)
    node.give(parts)
    if name == "an owner that the image lacks":
        assert node.boot() == 1
        assert sentence in node.error()
        return
    refused(node, served, sentence)


def test_a_missing_key_is_refused_with_the_remedy(node: Host, served: Parts) -> None:
    node.at("/etc/lbstack/stack.pub").unlink()
    node.give(node.make("b"))
    refused(node, served, "/etc/lbstack/stack.pub is missing: only a first boot delivers it. Replace the node")


def test_a_key_that_others_can_write_or_that_is_a_link_is_refused(node: Host, served: Parts) -> None:
    node.at("/etc/lbstack/stack.pub").chmod(0o666)
    node.give(node.make("b"))
    refused(node, served, "/etc/lbstack/stack.pub has to be a file that only root can write")
    node.at("/etc/lbstack/stack.pub").rename(node.at("/etc/lbstack/elsewhere"))
    node.at("/etc/lbstack/stack.pub").symlink_to("elsewhere")
    assert node.boot() == 1
    assert "has to be a file that only root can write" in node.error()


DOCUMENTS = {
    "a shell script": ("#!/bin/sh\necho\n", "guestinfo.userdata is no cloud-config of this project with a signed set"),
    "a cloud-config in YAML": ("#cloud-config\nruncmd:\n- x\n", "is no cloud-config of this project"),
    "a list": ("#cloud-config\n[]", "is no cloud-config of this project"),
    "no files": ('#cloud-config\n{"runcmd": []}', "is no cloud-config of this project"),
    "files without a manifest": (
        '#cloud-config\n{"write_files": [{"path": "/var/lib/lbstack/staging/x", "content": ""}]}',
        "is no cloud-config of this project",
    ),
    "endless nesting": ("#cloud-config\n" + "[" * 100_000, "is no cloud-config of this project"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_userdata_is_refused_that_is(program: ModuleType, name: str) -> None:
    text, sentence = DOCUMENTS[name]
    with pytest.raises(program.Trouble) as caught:
        program.parts_of(text)
    assert sentence in str(caught.value)


def test_userdata_of_somebody_elses_is_refused_and_the_installed_set_serves(node: Host, served: Parts) -> None:
    node.give_text("#!/bin/sh\necho\n", "gzip+base64")
    refused(node, served, "guestinfo.userdata is no cloud-config of this project with a signed set")


ENCODED = {
    "an unknown encoding": (b"x", "rot13", "guestinfo.userdata.encoding rot13 is not known"),
    "no base64": (b"***", "base64", "guestinfo.userdata is not base64"),
    "no gzip": (base64.b64encode(b"plain"), "gzip+base64", "guestinfo.userdata is not gzip+base64"),
    "gzip cut short": (
        base64.b64encode(gzip.compress(b"x" * 9999)[:-12]),
        "gz+b64",
        "guestinfo.userdata is not gz+b64: it ends too early",
    ),
    "no text": (base64.b64encode(b"\xff\xfe"), "base64", "guestinfo.userdata is not base64"),
    "a decompression bomb": (
        base64.b64encode(gzip.compress(b"\0" * (5 << 20))),
        "gzip+base64",
        "guestinfo.userdata unpacks to more than 4194304 bytes",
    ),
    "more than a value can hold": (b"A" * ((1 << 20) + 4), "base64", "guestinfo.userdata is larger than 1048576 bytes"),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_value_is_refused_that_has(program: ModuleType, name: str) -> None:
    data, encoding, sentence = ENCODED[name]
    with pytest.raises(program.Trouble) as caught:
        program.decode(data.decode(), encoding + "\n")
    assert sentence in str(caught.value)


def test_a_decompression_bomb_is_refused_and_the_installed_set_serves(node: Host, served: Parts) -> None:
    data, encoding, sentence = ENCODED["a decompression bomb"]
    (node.fakes / "guestinfo.userdata").write_bytes(data)
    (node.fakes / "guestinfo.userdata.encoding").write_text(encoding)
    refused(node, served, sentence)


HAPROXY = [
    "program evil\n    command /bin/sh",
    "    lua-load /tmp/x.lua",
    "    lua-load-per-thread /tmp/x.lua",
    "    lua-prepend-path /tmp/?.lua",
    "    tune.lua.openlibs all",
    "    external-check",
    "    option external-check",
    "    no option external-check",
    "    external-check command /bin/sh",
    "    insecure-fork-wanted",
    "    insecure-setuid-wanted",
    "    setenv LD_PRELOAD /tmp/x.so",
    "    presetenv A b",
    "    unsetenv NODE",
    "    resetenv",
    "    ssl-engine /tmp/x.so",
    "    ssl-provider x",
    "    ssl-provider-path /tmp",
    "    ssl-passphrase-cmd /bin/sh",
    "    backing-file /etc/passwd",
    "    pidfile /etc/passwd",
    "    shm-stats-file /etc/passwd",
    "    stats-file /etc/passwd",
    "    setcap cap_sys_admin",
    "    uid 0",
    "    gid 0",
    "global\n    user root",
    "global\nuser root",
    "global\n    group root",
    "acme x",
    "    'lua-load' /tmp/x.lua",
    '    lua-"load" /tmp/x.lua',
    "    lua\\-load /tmp/x.lua",
    "    \\x6cua-load /tmp/x.lua",
    '    "$WORD" /tmp/x.lua',
    '    option "external-check"',
    "    option\\ external-check",
    'global\n    user "root"',
    "    server a 10.0.0.1\r    lua-load /tmp/x.lua",
    "    server a 10.0.0.1\x0b",
]


@pytest.mark.parametrize("lines", HAPROXY)
def test_haproxy_cfg_may_not_say(program: ModuleType, lines: str) -> None:
    text = f"global\n    user haproxy\nuserlist u\n    user root password $6$x$y\nfrontend f\n{lines}\n"
    problems = program.check_haproxy(text)
    assert len(problems) == 1
    assert problems[0].startswith(f"{CFG} line ")
    assert problems[0].endswith(" is refused")


def test_a_directive_that_runs_code_is_refused_before_haproxy_sees_it(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={CFG: "    lua-load /tmp/x.lua\n    option external-check\n"}))
    sentence = f"{CFG} line 10: lua-load is refused; {CFG} line 11: option external-check is refused"
    refused(node, served, sentence)
    assert node.ran("haproxy -c") == []


def test_haproxy_cfg_may_say_the_same_words_where_they_do_nothing(node: Host) -> None:
    lines = (
        "# lua-load in a comment\n    server program 10.0.0.1:443 check\n    description setenv\n"
        "userlist more\n    user root password $6$x$y\n"
    )
    node.give(node.make("b", append={CFG: lines}))
    assert node.boot() == 0, node.said


KEEPALIVED = [
    "include /etc/keepalived/more.conf",
    '"include" /run/lbstack/x',
    "includea /run/lbstack/x",
    "notify /bin/sh",
    "notify_master /bin/sh",
    "notify_master_rx_lower_pri /bin/sh",
    "notify_stop '/bin/sh -c x'",
    "notify_fifo /run/lbstack/fifo",
    "vrrp_notify_fifo_script /bin/sh",
    "lvs_notify_fifo_script relative",
    "startup_script /bin/sh",
    "shutdown_script relative",
    'script "/bin/sh"',
    "script relative",
    "script",
    "vrrp_script x { script relative }",
    "misc_path relative",
    "quorum_up relative",
    "quorum_down relative",
    "notify_up relative",
    "notify_down relative",
    "notify /usr/local/lib/lbstack/lbstack-vips",
    "notify /usr/local/lib/lbstack/../../../../bin/sh",
    "state_dump_file /etc/passwd",
    "config_save_dir /etc",
    "file /run/lbstack/../../etc/passwd",
    "$X=notify",
    "${X} /bin/sh",
    "scr\\x69pt relative",
    "a \\",
    "weight 0\r notify relative",
]


@pytest.mark.parametrize("line", KEEPALIVED)
def test_keepalived_conf_may_not_say(program: ModuleType, line: str) -> None:
    problems = program.check_keepalived(f"vrrp_instance pair {{\n  {line}\n}}\n")
    assert problems
    assert problems[0].startswith(f"{VRRP} line 2: ")
    assert problems[0].endswith(" is refused")


def test_a_script_of_somebody_elses_is_refused_before_keepalived_sees_it(node: Host, served: Parts) -> None:
    node.give(node.make("b", append={VRRP: "  notify_master /bin/evil\n"}))
    refused(node, served, f"{VRRP} line 15: notify_master /bin/evil is refused")
    assert node.ran("keepalived -t") == []


def test_keepalived_conf_may_name_our_programs_and_files(node: Host) -> None:
    line = (
        "! include in a comment\n vrrp_track_file t {\n  file /run/lbstack/haproxy.down\n }\n"
        " track_script {\n  check\n }\n notify_priority_changes true\n"
        " notify_fault /usr/local/lib/lbstack/lbstack-notify\n"
    )
    node.give(node.make("b", append={VRRP: line}))
    assert node.boot() == 0, node.said


def test_the_daemons_own_checkers_refuse_and_all_complaints_are_shown_without_paths_and_hashes(
    node: Host, served: Parts
) -> None:
    node.python = ""
    bad = {CFG: "bad-word\n", VRRP: "bad-word\n", "/etc/systemd/scripts/ip6save": "bad-word\n"}
    node.give(node.make("b", {"/usr/local/lib/lbstack/lbstack-apply": Item("def", mode="0755")}, append=bad))
    refused(node, served, f"{CFG}: haproxy refuses it: [ALERT] parsing [{CFG}:10] : unknown keyword 'bad-word'")
    error = node.error()
    assert f"{VRRP}: keepalived refuses it: " in error
    assert "Unknown keyword 'bad-word'" in error
    assert "the firewall: lbstack-firewall refuses it: ip6tables-restore: line 3 failed" in error
    assert "the new applier: " in error
    assert "SyntaxError" in error
    assert "verysecrethash" not in error
    assert "<hash>" in error


def test_keepalived_sees_the_new_sets_own_programs(node: Host) -> None:
    own = "/usr/local/lib/lbstack/lbstack-check"
    node.at(own).unlink()
    node.give(node.make("b"))
    assert node.boot() == 0, node.said


def test_keepalived_2_2_7_ending_itself_is_explained(node: Host, served: Parts) -> None:
    (node.fakes / "keepalived.refuse").write_text("")
    (node.fakes / "keepalived.code").write_text("143\n")
    node.give(node.make("b"))
    refused(node, served, "keepalived 2.2.7 ends so when a script has another user than root")


def test_a_checker_that_hangs_is_ended_and_refuses(node: Host, served: Parts) -> None:
    (node.fakes / "haproxy.hang").touch()
    node.give(node.make("b"))
    refused(node, served, "haproxy refuses it: haproxy: no end within 30 s")


def test_a_checker_that_is_missing_refuses(node: Host, served: Parts) -> None:
    (node.base / "bin" / "keepalived").unlink()
    node.give(node.make("b"))
    refused(node, served, "keepalived refuses it: keepalived: No such file or directory")


def test_a_link_in_the_way_to_a_file_is_refused(node: Host, served: Parts) -> None:
    real = node.at("/etc/systemd/timesyncd.conf.d")
    real.rename(node.at("/etc/elsewhere"))
    real.symlink_to(node.at("/etc/elsewhere"))
    node.give(node.make("b"))
    refused(node, served, "/etc/systemd/timesyncd.conf.d is a symbolic link, so nothing is written below it")


def test_a_directory_in_a_files_place_is_refused(node: Host, served: Parts) -> None:
    place = "/usr/local/lib/lbstack/lbstack-live"
    node.at(place).mkdir()
    node.give(node.make("b", {place: Item("#!/bin/sh\n", mode="0755")}))
    refused(node, served, f"{place} is a directory. Remove it")


def test_the_previous_set_still_gets_its_repairs_when_a_new_one_is_refused(node: Host, served: Parts) -> None:
    node.at("/etc/systemd/scripts/ip4save").write_text("hand edit")
    node.give(node.make("b", append={CFG: "bad-word\n"}))
    assert node.boot() == 1
    assert node.has(served)
    assert "lbstack-firewall load" in node.log()


@pytest.mark.parametrize(
    "said",
    [
        "[NOTICE] 327/132406 (56) : haproxy version is 2.2.9\n[ALERT] 327/132406 (56) : parsing [/a:7] : no such word",
        "[NOTICE]   (56) : haproxy version is 2.6.12\n[ALERT]    (56) : config : parsing [/a:7] : no such word\n",
    ],
)
def test_of_haproxys_words_the_complaint_is_left(program: ModuleType, said: str) -> None:
    assert program.clean(said) == "[ALERT] parsing [/a:7] : no such word"
