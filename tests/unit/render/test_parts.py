"""The set in guestinfo keys of its own: in pieces, signed as a whole, read back, and large enough."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from functools import cache
from typing import Any

import pytest

from lbstack.problems import ConfigError
from lbstack.render import keys
from lbstack.render.cloudconfig import Form
from lbstack.render.files import RenderedPair, render_pair
from lbstack.render.pack import Packed, guestinfo, pack
from lbstack.render.paths import APPLIER, BOOTSTRAP, HAPROXY_CFG, PROGRAMS, PUBLIC_KEY, SET_FILES
from lbstack.render.redact import Redactor
from lbstack.render.unpack import open_guestinfo
from tests.goldens.cases import Raw, cases, load, post, rendered
from tests.guestinfo import userdata, written_files

CASE = "post-5.0"
NODE = "PhotonLB-01"


def packed(name: str = CASE) -> Packed:
    case = cases()[name]
    return pack(case.config, rendered(name), NODE, case.secrets)


def head(values: dict[str, str]) -> dict[str, Any]:
    return dict(json.loads(base64.b64decode(values[keys.HEAD], validate=True)))


def part(values: dict[str, str], name: str) -> tuple[bytes, dict[str, str]]:
    """One part as a node would put it together: its compressed bytes and its files."""
    (line,) = [line for line in head(values)["parts"] if line["name"] == name]
    text = "".join(values[f"guestinfo.lbstack.{name}.{number}"] for number in range(line["count"]))
    data = base64.b64decode(text, validate=True)
    assert hashlib.sha256(data).hexdigest() == line["sha256"]
    files = json.loads(gzip.decompress(data))
    assert sorted(files) == line["files"]
    return data, files


@cache
def many(services: int, servers: int, release: str = "5.0", *, earlier: bool = False) -> Packed:
    raw: Raw = post()
    raw["image"]["release"] = release
    raw["network"]["cidr"] = "192.168.0.0/16"
    raw["services"] = {
        f"desktop-{number}": {
            "kind": "horizon",
            "vip": f"192.168.8.{1 + number}",
            "fqdn": f"desktop-{number}.lab.example",
            "servers": [
                {"name": f"cs-{number}-{index}", "address": f"10.100.{number}.{1 + index}"} for index in range(servers)
            ],
        }
        for number in range(services)
    }
    config, secrets = load(raw)
    return pack(config, render_pair(config, secrets, earlier=earlier), NODE, secrets)


def test_both_parts_together_are_the_set_as_it_is_rendered() -> None:
    values = packed().in_parts
    files = part(values, "config")[1] | part(values, "programs")[1]
    assert files == {path: file.content for path, file in rendered(CASE).nodes[NODE].items()}


def test_the_hash_in_plain_text_is_the_one_of_the_signed_head() -> None:
    values = packed().in_parts
    assert values["guestinfo.lbstack.hash"] == head(values)["hash"] == rendered(CASE).config_hash


def test_the_head_is_the_same_signed_text_in_both_forms() -> None:
    node = packed()
    assert node.staged is not None
    staged = written_files(userdata(node.staged))
    text = staged["/var/lib/lbstack/staging/manifest.json"]
    assert base64.b64decode(node.in_parts[keys.HEAD]).decode() == text
    assert staged["/var/lib/lbstack/staging/manifest.sig"].strip() == node.in_parts[keys.SIGNATURE]
    assert head(node.in_parts)["format"] == 1, "an applier of an earlier release refuses any other"


def test_the_forms_differ_in_userdata_alone() -> None:
    node = packed()
    assert node.staged is not None
    differing = {key for key in node.staged | node.in_parts if node.staged.get(key) != node.in_parts.get(key)}
    assert differing == {"guestinfo.userdata"}


def test_a_first_boot_gets_the_applier_and_nothing_that_a_changed_service_changes() -> None:
    document = userdata(packed().in_parts)
    files = written_files(document)
    assert set(files) == {PUBLIC_KEY, BOOTSTRAP, "/etc/hostname"}
    assert files[BOOTSTRAP] == rendered(CASE).nodes[NODE][APPLIER].content
    assert document["runcmd"] == [["python3", BOOTSTRAP, "boot"]]
    assert not any(path.startswith(SET_FILES) for path in files)


def test_a_changed_timeout_sends_neither_programs_nor_userdata_again() -> None:
    raw = post()
    raw["services"]["horizon"]["timeouts"] = {"tunnel": "11h"}
    config, secrets = load(raw)
    before_config, before_secrets = load(post())
    after = guestinfo(config, render_pair(config, secrets), NODE, secrets, Form.PARTS)
    before = guestinfo(before_config, render_pair(before_config, before_secrets), NODE, before_secrets, Form.PARTS)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed == {f"guestinfo.lbstack.{name}" for name in ("hash", "head", "signature", "config.0")}


def test_programs_and_keys_of_the_image_are_a_part_of_their_own() -> None:
    values = packed("post-3.0").in_parts
    programs = part(values, "programs")[1]
    assert set(PROGRAMS) <= set(programs)
    assert HAPROXY_CFG not in programs
    assert HAPROXY_CFG in part(values, "config")[1]


@pytest.mark.parametrize(("services", "servers", "staged"), [(40, 12, False), (200, 12, False)])
def test_many_services_fit_in_parts_and_not_in_userdata(services: int, servers: int, *, staged: bool) -> None:
    node = many(services, servers)
    values = node.in_parts
    assert max(map(len, values.values())) <= keys.VALUE_LIMIT
    assert max(len(value) for key, value in values.items() if keys.is_of_set(key)) <= keys.PIECE
    assert sum(len(key) + len(value) for key, value in values.items()) < keys.VMX_LIMIT
    assert part(values, "config")[1][HAPROXY_CFG].count("    server ") >= services * servers
    assert (node.staged is not None) is staged


@pytest.mark.parametrize(("release", "services"), [("5.0", 15), ("3.0-r3", 18)])
def test_the_largest_pairs_of_the_release_before_still_fit_into_the_form_that_moves_them(
    release: str, services: int
) -> None:
    """There they took 65,476 and 65,088 bytes, and one service more was refused."""
    assert many(services, 12, release, earlier=True).staged is not None


def test_more_than_a_vm_may_have_is_refused_with_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "VMX_LIMIT", 180_000)
    with pytest.raises(ConfigError) as refusal:
        _ = pack(packed().config, rendered(CASE), NODE, packed().secrets).in_parts
    (problem,) = refusal.value.problems
    assert problem.path == "services"
    assert "configuration file has at most 180000 bytes" in problem.what
    assert HAPROXY_CFG in problem.what or APPLIER in problem.what
    assert "second stack" in problem.remedy


def test_both_forms_and_the_one_of_an_earlier_release_open_as_the_same_files() -> None:
    node = packed()
    assert node.staged is not None
    earlier = {key: value for key, value in node.staged.items() if not key.startswith("guestinfo.lbstack.")}
    opened = [open_guestinfo(values, Redactor("key")) for values in (node.in_parts, node.staged, earlier)]
    for each in opened:
        assert each.config_hash == rendered(CASE).config_hash
        assert each.public_key
        assert set(rendered(CASE).nodes[NODE]) <= set(each.files)
        assert each.files[HAPROXY_CFG] == opened[0].files[HAPROXY_CFG]
        assert each.rights == opened[0].rights
        assert each.loose == opened[0].loose
        assert not [name for name in each.files if "guestinfo.lbstack" in name or name == BOOTSTRAP]


@pytest.mark.parametrize("damage", ["missing", "changed", "of another set"])
def test_a_part_that_is_not_whole_is_reported_and_shows_nothing_of_its_content(damage: str) -> None:
    values = dict(packed().in_parts)
    if damage == "missing":
        del values["guestinfo.lbstack.config.0"]
    elif damage == "changed":
        values["guestinfo.lbstack.config.0"] = base64.b64encode(b"hunter2").decode()
    else:
        values["guestinfo.lbstack.config.0"] = packed("large-5.0").in_parts["guestinfo.lbstack.config.0"]
    opened = open_guestinfo(values, Redactor("key"))
    assert HAPROXY_CFG not in opened.files
    assert APPLIER in opened.files
    if damage != "missing":
        assert opened.files["(guestinfo.lbstack.config.0)"].startswith("not readable as a part of the set")
        assert "hunter2" not in str(opened)


def test_userdata_with_another_set_than_the_one_in_parts_is_shown_beside_it() -> None:
    node = packed()
    other = packed("large-5.0")
    assert other.staged is not None
    values = node.in_parts | {key: other.staged[key] for key in ("guestinfo.userdata", "guestinfo.userdata.encoding")}
    opened = open_guestinfo(values, Redactor("key"))
    assert opened.config_hash == rendered(CASE).config_hash
    assert f"(guestinfo.userdata) {HAPROXY_CFG}" in opened.loose
    assert HAPROXY_CFG not in opened.loose


def test_a_key_beside_the_set_is_shown_as_what_it_is() -> None:
    values = packed().in_parts | {"guestinfo.lbstack.other": "x", "guestinfo.lbstack.config.7": "y"}
    opened = open_guestinfo(values, Redactor("key"))
    assert "(guestinfo.lbstack.other)" in opened.loose
    assert "(guestinfo.lbstack.config.7)" in opened.files


def test_the_same_pair_gives_the_same_bytes() -> None:
    pair: RenderedPair = rendered(CASE)
    case = cases()[CASE]
    assert pack(case.config, pair, NODE, case.secrets).in_parts == packed().in_parts
