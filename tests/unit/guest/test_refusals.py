"""Sets and userdata that the applier refuses: the reason is reported, and the previous set serves unchanged.

``test_refused_directives.py`` has the tests of refused directives.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.unit.guest.host import Host
from tests.unit.guest.refusal import require_refused
from tests.unit.guest.sets import Item, Parts

CFG, VRRP = "/etc/haproxy/haproxy.cfg", "/etc/keepalived/keepalived.conf"


def tampered(parts: Parts) -> Parts:
    """Change a file after signing."""
    parts.files[CFG] += "# more\n"
    return parts


def listed_twice(parts: Parts) -> Parts:
    """Make a manifest with one path twice."""
    files = json.loads(parts.manifest)["files"]
    return parts.alter(files=[*files, files[0]])


def with_altered_file(parts: Parts, **changes: str) -> Parts:
    """Make a manifest with other values for its first file."""
    files = json.loads(parts.manifest)["files"]
    return parts.alter(files=[files[0] | changes, *files[1:]])


def drop_user(node: Host) -> Parts:
    """Remove networkd's user from a node whose installed set does not need it; return a set that needs it."""
    without = {f"/etc/systemd/network/{name}.network": None for name in ("10-static-en", "99-dhcp-en")}
    node.give(node.make("without", without))
    assert node.boot() == 0
    node.put("/etc/passwd", "\n".join(row for row in node.read("/etc/passwd").splitlines() if "network" not in row))
    return node.make("b")


UNACCEPTABLE: dict[str, tuple[Callable[[Host], Parts], str]] = {
    "signed with another key": (lambda n: n.make("b").sign("other"), "signature does not fit /etc/lbstack/stack.pub"),
    "not signed": (lambda n: Parts(**{**vars(n.make("b")), "signature": b"AAAA"}), "signature does not fit"),
    "an invalid signature": (lambda n: Parts(**{**vars(n.make("b")), "signature": b"!"}), "is not base64"),
    "a file changed after signing": (lambda n: tampered(n.make("b")), f"{CFG} differs from the manifest"),
    "a file that is not in the manifest": (
        lambda n: Parts(**{**vars(n.make("b")), "files": n.make("b").files | {"/etc/cron.d/x": "* * * * * root x\n"}}),
        "/etc/cron.d/x is in the set, but not in the manifest",
    ),
    "a file of the manifest that is missing": (
        lambda n: Parts(**{**vars(n.make("b")), "files": {p: t for p, t in n.make("b").files.items() if p != CFG}}),
        f"{CFG} is in the manifest, but not in the set",
    ),
    "a required file missing": (lambda n: n.make("b", {CFG: None}), f"{CFG} is missing"),
    "a path that is not allowed": (
        lambda n: n.make("b", {"/etc/cron.d/x": "x"}),
        "/etc/cron.d/x is no path that a set may write",
    ),
    "the stack's own key": (
        lambda n: n.make("b", {"/etc/lbstack/stack.pub": "x"}),
        "/etc/lbstack/stack.pub is no path that a set may write",
    ),
    "a path that leaves its directory": (
        lambda n: n.make("b", {"/usr/local/lib/lbstack/../../../../etc/passwd": "x"}),
        "/usr/local/lib/lbstack/../../../../etc/passwd is no path that a set may write",
    ),
    "a name with a line break": (
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
    "an invalid digest": (lambda n: with_altered_file(n.make("b"), sha256="0"), "differs from the manifest"),
    "the other node's set": (
        lambda n: n.make("b", node="PhotonLB-02"),
        "the set is for PhotonLB-02, this node is PhotonLB-01: guestinfo was mixed up",
    ),
    "a newer format": (
        lambda n: n.make("b").alter(format=2),
        "manifest has format 2, the applier of this node knows 1",
    ),
    "an invalid hash": (lambda n: n.make("b").alter(hash="../../etc"), "the manifest's hash or node name is none"),
    "an invalid node name": (lambda n: n.make("b").alter(node="a\nb"), "the manifest's hash or node name is none"),
    "no list of files": (lambda n: n.make("b").alter(files="x"), "manifest.json is not a manifest of this project"),
    "node.json of another set": (
        lambda n: n.make("b", hash="0" * 64),
        "node.json and the manifest disagree on format, hash or node",
    ),
    "node.json without a section": (lambda n: n.make("b", packages={}), "node.json is not as it should be"),
    "an option as package name": (
        lambda n: n.make("b", packages={"install": ["--x"], "versions": {}, "upgrade": False, "tdnf_keys": []}),
        "--x is no package name",
    ),
    "the installed hash with other files": (
        lambda n: n.make("a", append={CFG: "# more\n"}),
        "the set has the hash of the installed one, but other files",
    ),
    "an owner that the image lacks": (drop_user, "this image has no user or group systemd-network"),
}


@pytest.mark.parametrize("name", UNACCEPTABLE)
def test_an_unacceptable_set_is_refused(node: Host, served: Parts, name: str) -> None:
    make, sentence = UNACCEPTABLE[name]
    parts = make(node)
    node.give(parts)
    if name == "an owner that the image lacks":
        assert node.boot() == 1
        assert sentence in node.error()
        return
    require_refused(node, served, sentence)


def test_a_missing_key_is_refused_with_the_remedy(node: Host, served: Parts) -> None:
    node.at("/etc/lbstack/stack.pub").unlink()
    node.give(node.make("b"))
    require_refused(node, served, "/etc/lbstack/stack.pub is missing: only a first boot delivers it. Replace the node")


def test_a_key_that_others_can_write_or_that_is_a_link_is_refused(node: Host, served: Parts) -> None:
    node.at("/etc/lbstack/stack.pub").chmod(0o666)
    node.give(node.make("b"))
    require_refused(node, served, "/etc/lbstack/stack.pub has to be a file that only root can write")
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
def test_userdata_without_a_signed_set_is_refused(program: ModuleType, name: str) -> None:
    text, sentence = DOCUMENTS[name]
    with pytest.raises(program.Trouble) as caught:
        program.parts_of(text)
    assert sentence in str(caught.value)


def test_foreign_userdata_is_refused_and_the_installed_set_serves(node: Host, served: Parts) -> None:
    node.give_text("#!/bin/sh\necho\n", "gzip+base64")
    require_refused(node, served, "guestinfo.userdata is no cloud-config of this project with a signed set")


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
def test_a_wrongly_encoded_value_is_refused(program: ModuleType, name: str) -> None:
    data, encoding, sentence = ENCODED[name]
    with pytest.raises(program.Trouble) as caught:
        program.decode(data.decode(), encoding + "\n")
    assert sentence in str(caught.value)


def test_a_decompression_bomb_is_refused_and_the_installed_set_serves(node: Host, served: Parts) -> None:
    data, encoding, sentence = ENCODED["a decompression bomb"]
    (node.fakes / "guestinfo.userdata").write_bytes(data)
    (node.fakes / "guestinfo.userdata.encoding").write_text(encoding)
    require_refused(node, served, sentence)


def test_all_errors_of_the_daemons_checkers_are_reported_without_paths_and_hashes(node: Host, served: Parts) -> None:
    node.python = ""
    bad = {CFG: "# bad-word\n", VRRP: "# bad-word\n", "/etc/systemd/scripts/ip6save": "# bad-word\n"}
    node.give(node.make("b", {"/usr/local/lib/lbstack/lbstack-apply": Item("def", mode="0755")}, append=bad))
    require_refused(node, served, f"{CFG}: haproxy refuses it: [ALERT] parsing [{CFG}:10] : unknown keyword 'bad-word'")
    error = node.error()
    assert f"{VRRP}: keepalived refuses it: " in error
    assert "Unknown keyword 'bad-word'" in error
    assert "the firewall: lbstack-firewall refuses it: ip6tables-restore: line 3 failed" in error
    assert "the new applier: " in error
    assert "SyntaxError" in error
    assert "verysecrethash" not in error
    assert "<hash>" in error


def test_keepalived_is_checked_with_the_programs_of_the_new_set(node: Host) -> None:
    own = "/usr/local/lib/lbstack/lbstack-check"
    node.at(own).unlink()
    node.give(node.make("b"))
    assert node.boot() == 0, node.output


def test_the_message_explains_that_keepalived_2_2_7_ended_itself(node: Host, served: Parts) -> None:
    (node.fakes / "keepalived.refuse").write_text("")
    (node.fakes / "keepalived.code").write_text("143\n")
    node.give(node.make("b"))
    require_refused(node, served, "keepalived 2.2.7 ends so when a script has another user than root")


def test_a_set_is_refused_when_a_checker_hangs(node: Host, served: Parts) -> None:
    (node.fakes / "haproxy.hang").touch()
    node.give(node.make("b"))
    require_refused(node, served, "haproxy refuses it: haproxy: no end within 30 s")


def test_a_set_is_refused_when_a_checker_is_missing(node: Host, served: Parts) -> None:
    (node.base / "bin" / "keepalived").unlink()
    node.give(node.make("b"))
    require_refused(node, served, "keepalived refuses it: keepalived: No such file or directory")


def test_a_symbolic_link_in_a_files_path_is_refused(node: Host, served: Parts) -> None:
    real = node.at("/etc/systemd/timesyncd.conf.d")
    real.rename(node.at("/etc/elsewhere"))
    real.symlink_to(node.at("/etc/elsewhere"))
    node.give(node.make("b"))
    require_refused(node, served, "/etc/systemd/timesyncd.conf.d is a symbolic link, so nothing is written below it")


def test_a_directory_in_place_of_a_file_is_refused(node: Host, served: Parts) -> None:
    path = "/usr/local/lib/lbstack/lbstack-live"
    node.at(path).mkdir()
    node.give(node.make("b", {path: Item("#!/bin/sh\n", mode="0755")}))
    require_refused(node, served, f"{path} is a directory. Remove it")


def test_the_installed_set_is_repaired_although_a_new_one_is_refused(node: Host, served: Parts) -> None:
    node.at("/etc/systemd/scripts/ip4save").write_text("hand edit")
    node.give(node.make("b", append={CFG: "# bad-word\n"}))
    assert node.boot() == 1
    assert node.has(served)
    assert "lbstack-firewall load" in node.log()
