"""The commands that do something to a running pair, as a person types them: what they print and how they end."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

from lab.acts import roll
from lab.network.topology import Backend
from tests.deploy.engine import Result
from tests.rehearsal.conftest import Rehearsal

LIMIT_S = 30.0
TUNNEL = "lbstack:services.horizon.timeouts.tunnel"
RULE = "lbstack:placement.antiAffinity"  # the rule of the cluster; no node notices
SECONDS, RATE = 2, 40


def shown(result: Result) -> Any:
    """What a command printed as JSON, and nothing else."""
    return json.loads(result.out)


def passed(result: Result) -> dict[str, Any]:
    """The verdict that a command printed as JSON; it is good."""
    verdict = dict(shown(result.ok()))
    assert verdict["passed"] is True
    assert [check for check in verdict["checks"] if check["true"] is not True] == []
    return verdict


def one_message(result: Result) -> str:
    """The one-line message of a command that failed: no traceback, nothing on standard output."""
    result.refused(2)
    assert result.out == ""
    (line,) = result.err.strip().splitlines()
    return line


def test_fail_shows_what_happens_and_heal_undoes_it(pair: Rehearsal) -> None:
    was, stays = pair.master, pair.standby
    text = pair.lab.cli("fail", "hang", "master").ok().out
    assert text.startswith(f"HAProxy of {was} hangs (SIGSTOP)\n")
    assert f"on {stays}" in text
    assert "NO " not in text
    assert text.endswith("Verdict: passed\n")
    assert pair.master == stays
    assert "is not whole" in one_message(pair.lab.cli("fail", "hang", stays))
    text = pair.lab.cli("heal").ok().out
    assert f"{was}: HAProxy goes on" in text
    assert text.endswith("Verdict: passed\n")
    assert pair.scene.whole() == ""


def test_fail_and_heal_as_data(pair: Rehearsal) -> None:
    node = pair.standby
    verdict = passed(pair.lab.cli("fail", "link", "standby", "--seconds", "1", "--json"))
    assert verdict["what"] == f"the cable of {node} is pulled"
    assert f"{node}: its port was cut, now it is connected" in [entry["event"] for entry in verdict["timeline"]]
    assert verdict["figures"]["attempts"] > 0
    verdict = passed(pair.lab.cli("heal", "--json"))
    assert verdict["what"] == "every fault is undone"


def test_roll_takes_its_change_from_the_command_line_and_fails_where_no_standby_came_first(pair: Rehearsal) -> None:
    """No node notices this change, so nothing was shown of what a roll has to show."""
    before = pair.lab.config["lbstack:placement"]["antiAffinity"]
    other = "preferred" if before == "mandatory" else "mandatory"
    result = pair.lab.cli("roll", "--set", f"{RULE}={other}", "--rate", f"{RATE}")
    assert result.code == 1
    assert result.out.startswith(f"pulumi up: {RULE} = {other}\n")
    assert f" at {RATE} in a second\n" in result.out
    assert "  NO   the standby came first: no node was touched\n" in result.out
    assert result.out.count("  NO   ") == 1
    assert result.out.endswith("Verdict: FAILED\n")
    assert pair.lab.config["lbstack:placement"]["antiAffinity"] == other


def test_roll_without_a_change_changes_a_timeout_on_both_nodes(pair: Rehearsal) -> None:
    path, value = roll.usual_change(pair.lab.config)
    standby, master = pair.standby, pair.master
    assert path == TUNNEL
    verdict = passed(pair.lab.cli("roll", "--json"))
    assert verdict["what"] == f"pulumi up: {path} = {value}"
    assert f"the standby came first: {standby} then {master}" in [check["check"] for check in verdict["checks"]]
    for node in pair.scene.nodes:
        assert f"timeout tunnel {value}" in pair.scene.guest(node).run("cat", "/etc/haproxy/haproxy.cfg").stdout
    assert roll.usual_change(pair.lab.config) != (path, value)  # there is always one to change to


def test_traffic_asks_every_service_and_counts(pair: Rehearsal) -> None:
    command = ("traffic", "--seconds", f"{SECONDS}", "--rate", f"{RATE}", "--sessions", "2")
    found = shown(pair.lab.cli(*command, "--json").ok())
    assert found["failed"] == 0
    assert found["attempts"] >= 0.8 * SECONDS * RATE
    assert set(found["servers"]) == {service.name for service in pair.scene.network.topology.services}
    assert (found["sessions"], found["lost_sessions"], found["complete"]) == (2, 0, True)
    record = pair.lab.paths.root / "by-hand.jsonl"
    text = pair.lab.cli(*command, "--file", str(record)).ok().out
    assert "attempts, 0 failed" in text
    assert "2 sessions, 0 lost" in text
    assert len(record.read_text().splitlines()) > SECONDS * RATE / 2


def test_traffic_that_does_not_get_through_is_exit_code_1(pair: Rehearsal) -> None:
    """The servers are back before three checks of theirs have failed, so the pair never takes them for dead."""
    servers = [server.name for server in pair.scene.network.topology.backends if server.name.startswith("horizon")]
    try:
        for server in servers:
            assert "dead" in pair.lab.cli("backend", server, "kill").ok().out
        result = pair.lab.cli("traffic", "--seconds", "1", "--sessions", "0")
    finally:
        for server in servers:
            pair.lab.cli("backend", server, "start").ok()
    assert result.code == 1
    assert "  outage horizon: " in result.out
    assert "  outage appvol: " not in result.out


def test_backend_shows_the_servers_and_switches_one(pair: Rehearsal) -> None:
    server = pair.scene.network.topology.backends[0]

    def state() -> str:
        found = shown(pair.lab.cli("backend", "--json").ok())
        assert [each["name"] for each in found] == [each.name for each in pair.scene.network.topology.backends]
        return "enabled" if next(each for each in found if each["name"] == server.name)["enabled"] else "disabled"

    assert state() == "enabled"
    try:
        assert row(pair.lab.cli("backend", server.name, "disable").ok(), server)[:3] == [
            server.name,
            str(server.address),
            "disabled",
        ]
        assert state() == "disabled"
    finally:
        result = pair.lab.cli("backend", server.server, "enable").ok()  # by the stack file's name
    assert row(result, server)[2] == "serves"


def row(result: Result, server: Backend) -> list[str]:
    """The words of a server's line in a table."""
    return next(line.split() for line in result.out.splitlines() if line.startswith(f"{server.name} "))


def test_status_watch_looks_again_until_it_is_interrupted(pair: Rehearsal) -> None:
    pair.wait_until_healthy()
    with pair.lab.start_cli("status", "--json", "--watch") as running:
        assert running.stdout is not None
        looks = [json.loads(running.stdout.readline()) for _ in range(2)]
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=LIMIT_S)
    assert [look["pair"]["healthy"] for look in looks] == [True, True]
    assert looks[1]["vcenter"]["uptime_s"] > looks[0]["vcenter"]["uptime_s"]
    assert running.returncode == 130
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (("fail", "flood", "master"), "there is: haproxy, hang, keepalived, node, freeze, link, partition"),
        (("fail", "haproxy", "PhotonLB-03"), "there is: PhotonLB-01, PhotonLB-02, master, standby"),
        (("roll", "--set", "lbstack:vrrp.profile"), "it takes PATH=VALUE"),
        (("backend", "horizon-01"), "One of: enable, disable, kill, start"),
        (("backend", "horizon-01", "explode"), "there is: enable, disable, kill, start"),
        (("backend", "horizon-09", "kill"), "horizon-09"),
    ],
)
def test_what_does_not_exist_is_reported_with_what_does(pair: Rehearsal, command: tuple[str, ...], wanted: str) -> None:
    assert wanted in one_message(pair.lab.cli(*command))
