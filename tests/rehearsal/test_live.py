"""Changes of the stack file that `pulumi up` makes on a running pair, under traffic.

That is 50 new connections a second and 100 established sessions: no session is cut, no node boots, the VIPs stay, and
every file is as rendered.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from lab.home import stackfile
from lab.network.network import MANAGEMENT
from lab.servers.farm import Control
from lab.system.waiting import COSTLY_S, until
from lab.traffic.request import request
from tests.deploy.harness import Config
from tests.rehearsal.conftest import Rehearsal
from tests.rehearsal.live import ask_haproxy, changed, live, rolled, servers_of

SERVICES, TUNNEL = "lbstack:services", "tunnel"
NEW_SERVER = {"name": "AppVolumes_Manager_03", "address": "192.168.6.117"}
THIRD, THIRD_VIP = "portal", IPv4Address("192.168.6.125")
OTHER_NETWORK = "192.168.9.0/24"
USER, UNAUTHORIZED, SEEN = "stats", 401, 200
DOWN_S = 150.0  # three checks, and what they wait for


@pytest.fixture(autouse=True)
def as_it_was(pair: Rehearsal) -> Iterator[None]:
    """The stack file as before but for its passwords, deployed, also after a test that failed."""
    before = plain(pair.lab.config)
    yield
    if plain(pair.lab.config) != before:
        pair.lab.edit(lambda config: config.update(before))
        pair.lab.up().ok()


def plain(config: Config) -> Config:
    """A stack file without its secrets."""
    return {key: value for key, value in config.items() if not stackfile.is_secret(value)}


def server(config: Config, service: str = "horizon") -> Config:
    """The first server of a service in a stack file."""
    first: Config = config[SERVICES][service]["servers"][0]
    return first


def test_a_timeout_changes(pair: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    live(changed(pair, monkeypatch, lambda config: config[SERVICES]["horizon"].update(timeouts={TUNNEL: "7h"})))
    for node in pair.scene.nodes:
        assert "timeout tunnel 7h" in pair.scene.guest(node).run("cat", "/etc/haproxy/haproxy.cfg").stdout


def test_a_server_comes_and_goes(pair: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"appvol/{NEW_SERVER['name']}"
    live(changed(pair, monkeypatch, lambda config: config[SERVICES]["appvol"]["servers"].append(NEW_SERVER)))
    assert all(name in servers_of(pair.scene.guest(node)) for node in pair.scene.nodes)
    live(changed(pair, monkeypatch, lambda config: config[SERVICES]["appvol"]["servers"].remove(NEW_SERVER)))
    assert not any(name in servers_of(pair.scene.guest(node)) for node in pair.scene.nodes)


def test_a_server_is_drained_keeps_its_sessions_and_comes_back(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"horizon/{server(pair.lab.config)['name']}"

    def states() -> list[str]:
        return [servers_of(pair.scene.guest(node))[name] for node in pair.scene.nodes]

    live(changed(pair, monkeypatch, lambda config: server(config).update(state="drain")))
    assert states() == ["DRAIN", "DRAIN"]
    live(changed(pair, monkeypatch, lambda config: server(config).pop("state")))
    assert states() == ["UP", "UP"]


def test_a_service_with_a_vip_of_its_own_comes_and_goes_and_only_its_own_sessions_may_end(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    master = pair.scene.network.node_mac(pair.master)

    def add(config: Config) -> None:
        config[SERVICES][THIRD] = {"kind": "tcp", "vip": str(THIRD_VIP), "port": 443, "servers": [server(config)]}

    live(changed(pair, monkeypatch, add))
    assert pair.scene.network.holders(THIRD_VIP) == {master}
    assert pair.scene.unserved() == []
    verdict = live(changed(pair, monkeypatch, lambda config: config[SERVICES].pop(THIRD)))
    assert pair.scene.network.holders(THIRD_VIP) == set()
    ended = [event for _, event in verdict.timeline if "established sessions end" in event]
    assert [event for event in ended if "horizon" in event or "appvol" in event] == []


def test_the_vrrp_profile_changes_there_and_back_and_the_master_stays(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(changed(pair, monkeypatch, lambda config: config["lbstack:vrrp"].update(profile="fast")))
    live(changed(pair, monkeypatch, lambda config: config["lbstack:vrrp"].update(profile="safe")))


def test_another_management_network_may_see_the_nodes_when_the_rules_of_both_are_loaded(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(changed(pair, monkeypatch, lambda config: config["lbstack:managementNetworks"].append(OTHER_NETWORK)))
    for node in pair.scene.nodes:
        assert OTHER_NETWORK in pair.scene.guest(node).run("iptables-save").stdout
    live(changed(pair, monkeypatch, lambda config: config["lbstack:managementNetworks"].remove(OTHER_NETWORK)))
    for node in pair.scene.nodes:
        assert OTHER_NETWORK not in pair.scene.guest(node).run("iptables-save").stdout


def test_a_password_of_the_statistics_page_and_roots_change(pair: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    old = pair.lab.workspace.credentials.password(USER)
    assert seen_with(pair, old) == SEEN
    before = {node: shadow(pair, node) for node in pair.scene.nodes}
    live(rolled(pair, monkeypatch, lambda: other_passwords(pair)))
    new = pair.lab.workspace.credentials.password(USER)
    assert (seen_with(pair, old), seen_with(pair, new)) == (UNAUTHORIZED, SEEN)
    wanted = f"root:{pair.lab.workspace.credentials.password_hash('root')}"
    assert {shadow(pair, node) for node in pair.scene.nodes} == {wanted}
    assert wanted not in before.values()


def seen_with(pair: Rehearsal, password: str) -> int:
    """What the statistics page answers to a password."""
    stats = pair.scene.network.topology.stats
    assert stats
    login = base64.b64encode(f"{USER}:{password}".encode()).decode()
    where = (pair.scene.network.namespace(MANAGEMENT), *stats, "/stats")
    return request(*where, headers={"Authorization": f"Basic {login}"}).status


def shadow(pair: Rehearsal, node: str) -> str:
    """Name and hash of root in a guest."""
    rows = pair.scene.guest(node).run("cat", "/etc/shadow").stdout.splitlines()
    return ":".join(next(row for row in rows if row.startswith("root:")).split(":")[:2])


def other_passwords(pair: Rehearsal) -> None:
    """New ones of root and of a user of the page, set as a person sets them."""
    workspace = pair.lab.workspace
    for user, key in (("root", "rootPasswordHash"), (USER, f"statsHash-{USER}")):
        workspace.credentials.forget(user)
        workspace.credentials.ensure([USER])
        hashed = workspace.credentials.password_hash(user)
        workspace.quietly(["config", "set", "--secret", f"lbstack:{key}"], given=hashed)


def test_a_comment_and_an_order_of_keys_touch_no_node(pair: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    file = pair.lab.paths.stack_file

    def comment() -> None:
        pair.lab.edit(lambda config: config.update({SERVICES: dict(config.pop(SERVICES))}))
        file.write_text(f"# a comment of the owner\n{file.read_text()}")

    live(rolled(pair, monkeypatch, comment, touches=False))


def test_health_and_maintenance_survive_a_change_and_the_stack_file_wins_where_it_changed(
    pair: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator takes one server out by the page or the socket, and another one dies; HAProxy alone forgets both."""
    topology = pair.scene.network.topology
    resting = f"horizon/{server(pair.lab.config)['name']}"
    dead = next(each for each in topology.backends if each.server == server(pair.lab.config, "appvol")["name"])
    down = f"appvol/{dead.server}"

    def states() -> list[tuple[str, str]]:
        found = [servers_of(pair.scene.guest(node)) for node in pair.scene.nodes]
        return [(each[resting], each[down]) for each in found]

    control = Control(pair.lab.paths.root)
    control.set(dead.name, "kill")
    try:
        for node in pair.scene.nodes:
            ask_haproxy(pair.scene.guest(node), f"set server {resting} state maint")
        until(lambda: states() == [("MAINT", "DOWN")] * 2, DOWN_S, "both nodes to see the server dead", COSTLY_S)
        live(changed(pair, monkeypatch, lambda config: config[SERVICES]["horizon"].update(timeouts={TUNNEL: "8h"})))
        assert states() == [("MAINT", "DOWN")] * 2
        live(changed(pair, monkeypatch, lambda config: server(config).update(state="drain")))
        assert states() == [("DRAIN", "DOWN")] * 2
        live(changed(pair, monkeypatch, lambda config: server(config).pop("state")))
        assert states() == [("UP", "DOWN")] * 2
    finally:
        control.set(dead.name, "start")
        for node in pair.scene.nodes:
            ask_haproxy(pair.scene.guest(node), f"set server {resting} state ready")
    pair.wait_until_healthy()
