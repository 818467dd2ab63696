"""What a change of the stack file does to which file on which node, read from the real engine; and no secret in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lbstack.review.markdown import LIMIT
from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY, lbstack, report, watched_arguments

HAPROXY = "/etc/haproxy/haproxy.cfg"
NEW_SALT, NEW_DIGEST = "freshsalt0123", "abcdefghij" * 8 + "abcdef"
NEW_HASH = f"$6${NEW_SALT}${NEW_DIGEST}"
SERVICES = 200


def longer_tunnels(config: Config) -> None:
    config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}


def changed_lines(found: dict[str, Any]) -> list[str]:
    return [line for file in found["files"] for line in file["lines"] if line.startswith(("+", "-"))]


def test_a_changed_timeout_shows_exactly_that_line_once(pair: Harness, tmp_path: Path) -> None:
    with pair.edited(longer_tunnels):
        found = report(pair)
        target = tmp_path / "report.md"
        text = lbstack(pair, "preview", STACK, "--markdown", str(target)).ok().out
    assert found["verdict"] == "1 file on 2 nodes changes (reload)."
    (file,) = found["files"]
    assert (file["path"], file["nodes"]) == (HAPROXY, [MASTER, STANDBY])
    assert changed_lines(found) == ["-    timeout tunnel 1h", "+    timeout tunnel 3h"]
    assert found["drift"] == []
    for shown in (text, target.read_text()):
        assert shown.count("timeout tunnel 3h") == 1
        assert shown.count("-    timeout tunnel 1h") == 1


def test_the_disruption_names_the_nodes_in_the_order_in_which_up_touches_them(pair: Harness) -> None:
    with pair.edited(longer_tunnels):
        impacts = report(pair)["nodes"]
        assert [(item["order"], item["node"], item["action"]) for item in impacts] == [
            (1, STANDBY, "reload"),
            (2, MASTER, "reload"),
        ]
        mark = pair.last_task()
        pair.up().ok()
        done = [task["vm"] for task in pair.tasks(mark) if task["operation"] == "reconfigure"]
    assert done == [item["node"] for item in impacts]


def test_services_and_servers_are_reported_in_sentences(pair: Harness) -> None:
    def change(config: Config) -> None:
        services = config["lbstack:services"]
        services["horizon"]["servers"].pop()
        services["appvol"]["servers"][0]["state"] = "drain"
        services["appvol"]["servers"].append({"name": "AVM3", "address": "192.168.6.117"})
        services["ldaps"] = {
            "kind": "tcp",
            "vip": "192.168.6.130",
            "port": 636,
            "servers": [{"name": "dc1", "address": "192.168.6.110"}],
        }

    with pair.edited(change):
        output = report(pair)["services"]
    assert output == [
        "server AVM3 (192.168.6.117:443) is added to appvol",
        "server AppVolumes_Manager_01 of appvol: ready → drain",
        "server Horizon_Connection_Server_02 (192.168.6.114:443) is removed from horizon",
        "service ldaps is added on 192.168.6.130:636, with 1 server",
    ]


def test_a_new_image_is_a_replacement_and_a_new_cpu_a_reboot(pair: Harness) -> None:
    pair.add_item("photon-review")

    def change(config: Config) -> None:
        config["lbstack:image"]["item"] = "photon-review"

    with pair.edited(change):
        found = report(pair)
    assert {item["action"] for item in found["nodes"]} == {"replace"}
    assert all("image" in item["reason"] for item in found["nodes"])
    assert found["files"] == []

    def faster(config: Config) -> None:
        config["lbstack:nodes"][0]["cpus"] = 4

    with pair.edited(faster):
        found = report(pair)
    assert [(item["node"], item["action"]) for item in found["nodes"]] == [(MASTER, "reboot")]
    assert {"where": MASTER, "text": "CPUs: 2 → 4"} in found["changes"]


def without_app_volumes(config: Config) -> None:
    del config["lbstack:services"]["appvol"]


def faster(config: Config) -> None:
    config["lbstack:nodes"][0]["cpus"] = 4


def another_router_id(config: Config) -> None:
    config["lbstack:vrrp"]["routerId"] = 99


def another_address(config: Config) -> None:
    config["lbstack:nodes"][1]["address"] = "192.168.6.129"


@pytest.mark.parametrize(
    ("change", "cut", "noon", "effects"),
    [
        (longer_tunnels, False, "Safe at noon: no session is cut.", {"live, no session is cut"}),
        (
            without_app_volumes,
            True,
            "Not safe at noon: sessions through 192.168.6.124 are cut: it goes away.",
            {"live, no session is cut"},
        ),
        (
            faster,
            None,
            f"Perhaps not safe at noon: sessions through {MASTER}, if it holds the VIPs, are cut: reb",
            set(),
        ),
        (another_router_id, True, "Not safe at noon: both nodes would hold the VIPs for a while", {"hand-over"}),
        (another_address, True, "Not safe at noon: both nodes would hold the VIPs for a while", {"new VM"}),
    ],
)
def test_a_reviewer_sees_at_a_glance_whether_a_change_is_safe_at_noon(
    pair: Harness, change: Callable[[Config], None], *, cut: bool | None, noon: str, effects: set[str]
) -> None:
    with pair.edited(change):
        found = report(pair)
    assert found["noon"]["cut"] is cut
    assert found["noon"]["text"].startswith(noon)
    assert effects <= {file["effect"] for file in found["files"]}
    assert {guest["text"] for guest in found["guests"]} == {"unknown: it was not asked."}


def test_a_changed_password_shows_by_its_digest_and_by_no_character_of_it(pair: Harness, tmp_path: Path) -> None:
    old = pair.plain_secrets()
    stack_file = pair.paths.stack_file.read_text()
    pair.workspace.quietly(["config", "set", "--secret", "lbstack:statsHash-admin"], given=NEW_HASH)
    try:
        target = tmp_path / "report.md"
        with watched_arguments() as arguments:
            data = lbstack(pair, "preview", STACK, "--json", "--markdown", str(target)).ok()
            text = lbstack(pair, "preview", STACK).ok()
        found = json.loads(data.out)
        lines = changed_lines(found)
        assert len(lines) == 2
        assert all(
            line.startswith(f"{sign}    user admin password <redacted:") for sign, line in zip("-+", lines, strict=True)
        )
        assert lines[0][1:] != lines[1][1:]
        assert any("pulumi" in line and "preview" in line for line in arguments)
        shown = {
            "JSON": data.text,
            "text": text.text,
            "Markdown": target.read_text(),
            "arguments": "\n".join(arguments),
        } | pair.public_texts()
        parts = [part for value in (*old.values(), NEW_HASH) for part in secret_parts(value)]
        for where, content in shown.items():
            for part in parts:
                assert part not in content, where
    finally:
        pair.paths.stack_file.write_text(stack_file)


def test_a_deployed_password_shows_in_no_report_no_argument_and_no_state(pair: Harness, tmp_path: Path) -> None:
    old = pair.plain_secrets()
    pair.workspace.quietly(["config", "set", "--secret", "lbstack:statsHash-admin"], given=NEW_HASH)
    target = tmp_path / "report.md"
    with watched_arguments() as arguments:
        done = lbstack(pair, "up", STACK, "--json", "--markdown", str(target)).ok()
    lines = changed_lines(json.loads(done.out))
    assert len(lines) == 2
    assert all("user admin password <redacted:" in line for line in lines)
    assert any(NEW_HASH in content for content in pair.set_files(MASTER).values())
    assert any("pulumi" in line and " up " in line for line in arguments)
    shown = {"JSON": done.text, "Markdown": target.read_text(), "arguments": "\n".join(arguments)} | pair.public_texts()
    parts = [part for value in (*old.values(), NEW_HASH) for part in secret_parts(value)]
    for where, content in shown.items():
        for part in parts:
            assert part not in content, where


def secret_parts(value: str) -> list[str]:
    """A secret, and what of a hash is worth nothing to a reader but much to a cracker: its salt and its digest."""
    parts = value.split("$")
    return [value, *parts[2:]] if value.startswith("$6$") else [value]


def test_two_hundred_services_fit_into_a_comment_that_shows_what_it_left_out(pair: Harness, tmp_path: Path) -> None:
    def change(config: Config) -> None:
        config["lbstack:services"] = {
            f"service{number:03}": {
                "kind": "tcp",
                "vip": "192.168.6.130",
                "port": 10100 + number,
                "servers": [{"name": f"server{number:03}", "address": "192.168.6.110"}],
            }
            for number in range(SERVICES)
        }

    with pair.edited(change):
        target = tmp_path / "report.md"
        found = json.loads(lbstack(pair, "preview", STACK, "--json", "--markdown", str(target)).ok().out)
    text = target.read_text()
    assert len(text) <= LIMIT
    assert "Shortened to fit into a comment" in text
    assert "### Disruption" in text
    assert found["verdict"][:-1] in text.replace("\\", "")
    assert len([line for line in found["services"] if line.startswith("service service")]) == SERVICES


def test_the_first_deployment_is_reported_without_a_diff_of_everything(tier_lab: Harness) -> None:
    tier_lab.destroy().ok()
    found = report(tier_lab)
    assert {item["action"] for item in found["nodes"]} == {"create"}
    assert {file["change"] for file in found["files"]} == {"added"}
    assert not any(file["lines"] for file in found["files"])
    tier_lab.converge()
