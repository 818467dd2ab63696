"""The real HAProxy, packet filter and keepalived with a rendered set: the defects of the source post do not occur.

The tests are in one module because they share a node, which takes seconds to start.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from lbstack.render.paths import ADMIN_SOCKET, NOTIFY_PROGRAM
from tests.goldens.cases import Raw, post
from tests.native.serving import BACKENDS, CLIENTS, MAXCONN, Node, basic, eventually, on, serving

HORIZON = "https://192.168.6.123/"
STATS = "http://192.168.6.122:8404"
FIRST, SECOND = "Horizon_Connection_Server_01", "Horizon_Connection_Server_02"

# Each image with the release that its HAProxy is nearest to.
PAIRS = [("bullseye", "3.0-r3"), ("bookworm", "4.0")]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node whose HAProxy serves two Connection Servers; each test restores its state."""
    image, release = request.param
    with serving(image, on(release)) as served:
        served.start_servers("horizon")
        eventually("state UP of both servers", lambda: set(served.servers("horizon").values()) == {"UP"})
        yield served


def server_of(node: Node, client: str) -> str:
    """The server that answers this client through the VIP; empty when none does."""
    return str(node.fetch(client, HORIZON).get("body", ""))


# --- The statistics page (A1, A17) ---------------------------------------------------------------------------


def test_a_request_for_another_path_of_the_statistics_port_is_not_forwarded(node: Node) -> None:
    before = sessions(node, "lbstack.stats")
    paths = ("/", "/index.html", "/stat", "/statsX", "/stats/../x")
    for path in paths:
        assert node.fetch(CLIENTS[0], STATS + path)["status"] == 404
    # The post's page forwarded every such request to itself until all connections were in use.
    assert sessions(node, "lbstack.stats") - before == len(paths)


def sessions(node: Node, frontend: str) -> int:
    rows = [line.split(",") for line in node.runtime("show stat").splitlines() if line]
    return next(int(row[rows[0].index("stot")]) for row in rows if row[:2] == [frontend, "FRONTEND"])


def info(node: Node, name: str) -> str:
    return dict(line.split(": ", 1) for line in node.runtime("show info").splitlines() if ": " in line)[name]


def test_the_statistics_page_requires_a_login_and_names_the_node(node: Node) -> None:
    assert node.fetch(CLIENTS[0], f"{STATS}/stats")["status"] == 401
    page = node.fetch(CLIENTS[0], f"{STATS}/stats", basic("stats"))
    assert page["status"] == 200
    assert "PhotonLB-01" in page["body"]
    assert node.fetch(CLIENTS[0], f"{STATS}/stats;csv", basic("stats"))["body"].startswith("# pxname")


def test_only_the_admin_can_change_a_servers_state(node: Node) -> None:
    form = 'type="submit"'
    assert form not in node.fetch(CLIENTS[0], f"{STATS}/stats", basic("stats"))["body"]
    assert form in node.fetch(CLIENTS[0], f"{STATS}/stats", basic("admin"))["body"]


@pytest.mark.parametrize(
    ("origin", "answered"),
    [
        ("http://192.168.6.122:8404", "by the page"),
        (None, "by the page"),  # no browser: curl, for one
        ("http://evil.example", "403"),
        ("http://192.168.6.122:8405", "403"),
        ("http://192.168.6.122:84040", "403"),
        ("null", "403"),
    ],
)
def test_a_form_that_another_page_posts_with_the_browsers_login_changes_nothing(
    node: Node, origin: str | None, answered: str
) -> None:
    headers = [basic("admin"), "Content-Type: application/x-www-form-urlencoded", "Content-Length: 0"]
    headers += [f"Origin: {origin}"] if origin else []
    answer = node.fetch(CLIENTS[0], f"{STATS}/stats", *headers, method="POST")
    assert (answer["status"] == 403) is (answered == "403"), answer


# --- Health, redirect, sets (design: gate) --------------------------------------------------------------------


def test_the_health_endpoint_reports_the_states_of_the_nodes_servers(node: Node) -> None:
    answer = node.fetch(CLIENTS[0], "http://192.168.6.120:8405/services/horizon")
    assert answer["status"] == 200
    assert json.loads(str(answer["body"])) == {FIRST: [1, 0], SECOND: [1, 0]}
    node.set_health(SECOND, 500)
    try:
        eventually("state DOWN", lambda: node.servers("horizon")[SECOND].startswith("DOWN"))
        body = str(node.fetch(CLIENTS[0], "http://192.168.6.120:8405/services/horizon")["body"])
        assert json.loads(body)[SECOND][0] == 0
    finally:
        node.set_health(SECOND, 200)
        eventually("state UP", lambda: node.servers("horizon")[SECOND] == "UP")


def test_the_health_endpoint_answers_on_the_vips_too(node: Node) -> None:
    body = str(node.fetch(CLIENTS[0], "http://192.168.6.123:8405/health")["body"])
    assert json.loads(body)["node"] == node.health()["node"]


def test_the_health_endpoint_names_set_node_and_states(node: Node) -> None:
    assert node.health() == {
        "hash": node.config_hash,
        "node": "PhotonLB-01",
        "vrrp": "unknown",
        "apply": "unknown",
        "can": "live",
    }
    assert json.loads(node.fetch(node.address, f"http://{node.address}:8405/node")["body"])["node"] == "PhotonLB-01"
    for path in ("/", "/health/x", "/healthz"):
        assert node.fetch(node.address, f"http://{node.address}:8405{path}")["status"] == 404


def test_a_vrrp_state_is_reported_at_once_and_survives_a_reload(node: Node) -> None:
    notify = NOTIFY_PROGRAM
    node.box.must(notify, "INSTANCE", "pair", "MASTER", "254")
    assert node.health()["vrrp"] == "master"
    reload(node)
    assert node.health()["vrrp"] == "master"
    node.box.must(notify, "INSTANCE", "pair", "FAULT", "254")
    assert node.health()["vrrp"] == "fault"
    node.box.must(notify, "set", "vrrp", "unknown")
    assert node.health()["vrrp"] == "unknown"
    assert node.box.run(notify, "set", "vrrp", 'x"}').returncode == 2


def reload(node: Node) -> None:
    old = node.workers()
    node.box.must("sh", "-c", "kill -USR2 $(cat /run/haproxy.pid)")
    eventually("the start of a new worker", lambda: set(node.workers()) - set(old))
    eventually("an answer of HAProxy", lambda: node.check() == 0)


@pytest.mark.parametrize(
    ("request_", "location"),
    [
        ("GET /portal/?a=1 HTTP/1.1|Host: horizon.lab.example", "https://horizon.lab.example/portal/?a=1"),
        ("GET / HTTP/1.1|Host: horizon.lab.example:80", "https://horizon.lab.example/"),
        ("GET / HTTP/1.1|Host: 192.168.6.123", "https://192.168.6.123/"),
        ("GET /x HTTP/1.0", "https://horizon.lab.example/x"),
        ("GET /x HTTP/1.1|Host: ", "https://horizon.lab.example/x"),
        ("GET / HTTP/1.1|Host: [::1]:80", "https://horizon.lab.example/"),
        ("GET http://horizon.lab.example/y?b HTTP/1.1|Host: horizon.lab.example", "https://horizon.lab.example/y?b"),
    ],
)
def test_port_80_redirects_to_https_without_its_own_port(node: Node, request_: str, location: str) -> None:
    text = request_.replace("|", "\\r\\n") + "\\r\\n\\r\\n"
    answer = node.box.must("python3", "/tmp/inside.py", "raw", CLIENTS[0], "192.168.6.123", "80", text)
    lines = answer.splitlines()
    assert lines[0].split()[1] == "302", answer
    assert [line.split(": ")[1] for line in lines if line.lower().startswith("location")] == [location]


def test_metrics_are_served_to_management_networks_where_the_release_has_them(node: Node) -> None:
    url = f"http://{node.address}:8405/metrics"
    assert node.fetch(node.address, url)["status"] == 404
    expected = 200 if node.config.image.release == "3.0-r3" else 404
    assert node.fetch("192.168.6.241", url)["status"] == expected


def test_haproxy_does_not_run_as_root_and_its_socket_is_outside_its_chroot(node: Node) -> None:
    eventually("the end of the old worker", lambda: len(node.workers()) == 1)
    (worker,) = node.workers()
    assert node.box.must("ps", "-o", "user=", "-p", worker).strip() == "haproxy"
    assert node.box.must("find", "/var/lib/haproxy", "!", "-type", "d") == ""
    assert node.box.run("su", "-s", "/bin/sh", "haproxy", "-c", "test -w /var/lib/haproxy").returncode != 0
    assert node.box.must("stat", "-c", "%a %U", ADMIN_SOCKET).strip() == "600 root"


# --- keepalived's check (A9) ----------------------------------------------------------------------------------


def test_the_check_detects_a_haproxy_that_hangs(node: Node) -> None:
    eventually("the end of the old worker", lambda: len(node.workers()) == 1)
    (worker,) = node.workers()
    assert node.check() == 0
    node.box.must("kill", "-STOP", worker)
    try:
        started = time.monotonic()
        assert node.check() != 0
        assert time.monotonic() - started < 1.0  # keepalived's own limit for it
    finally:
        node.box.must("kill", "-CONT", worker)
    eventually("a passed check", lambda: node.check() == 0)


def test_the_check_passes_while_all_connections_of_haproxy_are_in_use(node: Node) -> None:
    floods = [
        node.box.start(
            *("python3", "/tmp/inside.py", "flood", CLIENTS[0], vip, "80", str(MAXCONN)),
            stdin=subprocess.PIPE,
            output=subprocess.PIPE,
        )
        for vip in ("192.168.6.123", "192.168.6.124")
    ]
    try:
        eventually("the connection limit", lambda: int(info(node, "CurrConns")) >= MAXCONN)
        assert node.check() == 0
    finally:
        for flood in floods:
            flood.communicate("")
    eventually("the end of the connections", lambda: int(info(node, "CurrConns")) < MAXCONN // 2)


# --- Health checks, persistence, states of servers (A2, A11, A12, A20) ---------------------------------------------


def test_a_client_keeps_its_server(node: Node) -> None:
    first = server_of(node, CLIENTS[0])
    assert first in (FIRST, SECOND)
    assert [server_of(node, CLIENTS[0]) for _ in range(5)] == [first] * 5


def test_a_server_without_its_web_application_is_down(node: Node) -> None:
    # TLS works there; the post's check tested nothing else.
    node.set_health(SECOND, 500)
    eventually("state DOWN", lambda: node.servers("horizon")[SECOND] == "DOWN")
    node.set_health(SECOND, 200)
    eventually("state UP", lambda: node.servers("horizon")[SECOND] == "UP")


def test_a_quiesced_server_keeps_its_clients_and_gets_no_new_ones(node: Node) -> None:
    node.runtime("clear table horizon")
    known = CLIENTS[0]
    server = server_of(node, known)
    quiesced = "NOLB" if node.config.image.release == "4.0" else "DOWN"
    node.set_health(server, 503)
    try:
        eventually(f"state {quiesced}", lambda: node.servers("horizon")[server] == quiesced)
        assert server_of(node, known) == server
        assert {server_of(node, client) for client in CLIENTS[1:]} == {FIRST, SECOND} - {server}
        assert server_of(node, known) == server
    finally:
        node.set_health(server, 200)
    eventually("state UP", lambda: node.servers("horizon")[server] == "UP")


PERIOD_S = 4


@pytest.mark.parametrize(("image", "release"), PAIRS)
@pytest.mark.parametrize("state", ["quiesced", "drain"])
def test_a_client_leaves_a_server_that_takes_no_new_ones_after_the_period_and_not_before(
    image: str, release: str, state: str
) -> None:
    """A gateway or an office behind NAT is one client that never stops to connect."""
    raw = post()
    if state == "drain":
        raw["services"]["horizon"]["servers"][0]["state"] = "drain"
    with serving(image, on(release, raw), persistence=f"{PERIOD_S}s") as node:
        node.start_servers("horizon")
        eventually("state UP of both servers", lambda: set(node.servers("horizon").values()) <= {"UP", "DRAIN"})
        resting, other = FIRST, SECOND
        make_known(node, CLIENTS[0], resting)
        assert server_of(node, CLIENTS[0]) == resting
        session = open_session(node, "192.168.6.123")
        if state == "quiesced":
            node.set_health(resting, 503)
            shown = "NOLB" if release == "4.0" else "DOWN"
            eventually(
                f"state {shown}", lambda: server_of(node, CLIENTS[0]) and node.servers("horizon")[resting] == shown
            )
            make_known(node, CLIENTS[0], resting)
        began, seen = time.monotonic(), []
        while time.monotonic() - began < PERIOD_S - 1:
            seen.append(server_of(node, CLIENTS[0]))
        assert set(seen) == {resting}
        eventually("a new server", lambda: server_of(node, CLIENTS[0]) == other, PERIOD_S)
        assert {server_of(node, CLIENTS[0]) for _ in range(5)} == {other}
        if session:
            session.communicate("")
        # Where no other server takes new clients, a known one may come back.
        node.set_health(other, 503)
        quiet = "NOLB" if release == "4.0" else "DOWN"
        eventually(f"state {quiet}", lambda: node.servers("horizon")[other] == quiet)
        make_known(node, CLIENTS[0], resting)
        node.runtime("clear table horizon.recent")
        assert server_of(node, CLIENTS[0]) == resting


def test_the_check_of_a_server_names_the_service(node: Node) -> None:
    seen = json.loads(node.box.must("cat", f"{BACKENDS}/{FIRST}.seen"))
    assert seen == ["horizon.lab.example", "horizon.lab.example"]


def test_the_health_endpoint_tells_a_quiesced_server_from_one_that_takes_clients(node: Node) -> None:
    url = f"http://{node.address}:8405/services/horizon/usable"
    answer = node.fetch(node.address, url)
    if node.config.image.release != "4.0":
        assert answer["status"] == 404
        return
    assert json.loads(str(answer["body"])) == {FIRST: 1, SECOND: 1}
    node.set_health(SECOND, 503)
    try:
        eventually("the state", lambda: json.loads(str(node.fetch(node.address, url)["body"])) == {FIRST: 1, SECOND: 0})
        up = json.loads(str(node.fetch(node.address, url.removesuffix("/usable"))["body"]))
        assert up[SECOND][0] == 1
    finally:
        node.set_health(SECOND, 200)
    eventually("state UP", lambda: node.servers("horizon")[SECOND] == "UP")


def test_clients_of_a_dead_server_move_within_seconds(node: Node) -> None:
    node.runtime("clear table horizon")
    server = server_of(node, CLIENTS[0])
    address = next(str(one.address) for one in node.config.services["horizon"].servers if one.name == server)
    node.box.must("pkill", "-f", f"backend {server} ")
    started = time.monotonic()
    moved = eventually("an answer", lambda: server_of(node, CLIENTS[0]))
    assert moved == ({FIRST, SECOND} - {server}).pop()
    assert time.monotonic() - started < 5
    node.start_server(server, address)
    node.await_server(address)
    eventually("state UP", lambda: node.servers("horizon")[server] == "UP")


def open_session(node: Node, vip: str, port: int = 443) -> subprocess.Popen[str] | None:
    session = node.box.start(
        *("python3", "/tmp/inside.py", "hold", CLIENTS[0], vip, str(port)),
        stdin=subprocess.PIPE,
        output=subprocess.PIPE,
    )
    if echo_of(session, "hello") == "hello":
        return session
    session.communicate("")
    return None


def echo_of(session: subprocess.Popen[str], line: str) -> str:
    """Send a line through a session and return the answer."""
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"{line}\n")
    session.stdin.flush()
    return session.stdout.readline().strip()


def with_states() -> Raw:
    raw = post()
    raw["services"]["horizon"]["servers"] = [
        {"name": "ready", "address": "192.168.6.113"},
        {"name": "draining", "address": "192.168.6.114", "state": "drain"},
        {"name": "maintained", "address": "192.168.6.115", "state": "maintenance"},
    ]
    return raw


@pytest.mark.parametrize(("image", "release"), PAIRS)
def test_a_draining_server_keeps_its_clients_and_one_in_maintenance_does_not(image: str, release: str) -> None:
    with serving(image, on(release, with_states())) as node:
        node.start_servers("horizon")
        eventually("state UP", lambda: node.servers("horizon")["ready"] == "UP")
        assert node.servers("horizon")["maintained"] == "MAINT"
        assert {server_of(node, client) for client in CLIENTS[:2]} == {"ready"}
        make_known(node, CLIENTS[2], "draining")
        assert server_of(node, CLIENTS[2]) == "draining"
        make_known(node, CLIENTS[3], "maintained")
        assert server_of(node, CLIENTS[3]) == "ready"
        assert server_of(node, CLIENTS[3]) == "ready"


def make_known(node: Node, client: str, server: str) -> None:
    """Put a client of this server into the stick table, as if the server had been ready before."""
    rows = [line.split(",") for line in node.runtime("show stat").splitlines() if line]
    columns = {name: index for index, name in enumerate(rows[0])}
    number = next(row[columns["sid"]] for row in rows if row[:2] == ["horizon", server])
    for table in ("horizon", "horizon.recent"):
        node.runtime(f"clear table {table} key {client}")  # an entry may hold the server's name too, which comes first
        node.runtime(f"set table {table} key {client} data.server_id {number}")
    assert f"server_id={number}" in node.runtime("show table horizon")


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def echoing(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node that balances a plain TCP service with short inactivity timeouts, except for the tunnel timeout."""
    image, release = request.param
    raw = on(release)
    raw["services"]["quiet"] = {
        "kind": "tcp",
        "vip": "192.168.6.125",
        "port": 7000,
        "timeouts": {"client": "1s", "server": "1s", "tunnel": "1h"},
        "servers": [{"name": "only", "address": "192.168.6.130"}],
    }
    with serving(image, raw) as served:
        served.box.must("ip", "address", "add", "192.168.6.130/24", "dev", "eth0")
        served.box.start("python3", "/tmp/inside.py", "echo", "192.168.6.130", "7000")
        yield served


def test_an_idle_session_outlives_the_client_and_server_timeouts(echoing: Node) -> None:
    session = eventually("a session", lambda: open_session(echoing, "192.168.6.125", 7000))
    idle_until = time.monotonic() + 2.5  # the idle time itself is tested; it is longer than both timeouts
    while time.monotonic() < idle_until:
        time.sleep(0.1)
    assert echo_of(session, "still here") == "still here"
    session.communicate("")


def test_a_reload_breaks_no_session(echoing: Node) -> None:
    session = eventually("a session", lambda: open_session(echoing, "192.168.6.125", 7000))
    reload(echoing)
    assert echo_of(session, "after the reload") == "after the reload"
    session.communicate("")
