"""HAProxy's statistics page of the deployed pair, as a person sees it: in a browser on the management station."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Error, HttpCredentials, Page, ViewportSize, sync_playwright

from lab.system.cache import CHECKOUT
from lab.traffic.request import Failed, request
from tests.rehearsal.conftest import Rehearsal
from tests.tiers import require

PICTURE = CHECKOUT / "docs" / "stats-page.png"
PAGE_MS = 20_000
UNAUTHORIZED = 401
SIZE: ViewportSize = {"width": 1100, "height": 720}
BLANK_BYTES = 20_000  # a page without the tables takes a few thousand
LARGEST_BYTES = 300_000  # it is in the README
ACTIONS = "select[name=action]"  # the form that changes the state of servers


@contextmanager
def browser(pair: Rehearsal, station: str, user: str = "", password: str = "") -> Iterator[Page]:
    """A page of a browser that runs on one of the lab's machines."""
    require("chromium", "ip")
    wrapper = Path(pair.lab.paths.root) / f"browser-{station}"
    command = pair.scene.network.command(station, [shutil.which("chromium") or "chromium"])
    wrapper.write_text("#!/bin/sh\nexec " + " ".join(command) + ' "$@"\n')
    wrapper.chmod(0o700)
    credentials: HttpCredentials | None = {"username": user, "password": password} if user else None
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(wrapper), args=["--disable-gpu"])
        try:
            page = running.new_context(http_credentials=credentials, viewport=SIZE).new_page()
            page.set_default_timeout(PAGE_MS)
            yield page
        finally:
            running.close()


def login(pair: Rehearsal, user: str) -> tuple[str, str]:
    """A user of the page and its password."""
    return user, pair.lab.workspace.credentials.password(user)


def test_nobody_sees_it_without_a_password(pair: Rehearsal) -> None:
    url = pair.lab.outputs()["stats_url"]
    # A browser that has no password to give and nobody to ask shows no page at all.
    with browser(pair, "mgmt") as page, pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        page.goto(url)
    with browser(pair, "mgmt", "stats", "wrong") as page:
        response = page.goto(url)
        assert response is not None
        assert response.status == UNAUTHORIZED


def test_an_outsider_does_not_reach_it_at_all(pair: Rehearsal) -> None:
    stats = pair.scene.network.topology.stats
    assert stats
    with pytest.raises(Failed) as failed:
        request(pair.scene.network.namespace("out"), stats[0], stats[1], "/stats", limit_s=1.0)
    assert (failed.value.outcome, failed.value.stage) == ("timeout", "connect")


def test_a_viewer_sees_every_server_and_the_nodes_name_and_changes_nothing(
    pair: Rehearsal, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with browser(pair, "mgmt", *login(pair, "stats")) as page:
        response = page.goto(pair.lab.outputs()["stats_url"])
        assert response is not None
        assert response.status == 200
        text = page.locator("body").inner_text()
        assert f"on {pair.master}" in text
        for service in pair.config.services.values():
            for server in service.servers:
                assert server.name in text
        assert page.locator(ACTIONS).count() == 0
        taken = tmp_path / PICTURE.name
        page.screenshot(path=taken)
    assert size_of(taken) == size_of(PICTURE) == (SIZE["width"], SIZE["height"])
    assert BLANK_BYTES < taken.stat().st_size < LARGEST_BYTES
    if request.config.getoption("--update-goldens"):
        shutil.copy(taken, PICTURE)


def size_of(picture: Path) -> tuple[int, int]:
    """Width and height of a PNG, as in its header."""
    head = picture.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_an_administrator_may_change_the_state_of_servers(pair: Rehearsal) -> None:
    with browser(pair, "mgmt", *login(pair, "admin")) as page:
        page.goto(pair.lab.outputs()["stats_url"])
        assert page.locator(ACTIONS).count() > 0
