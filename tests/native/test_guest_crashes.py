"""The applier is killed before every single call that changes the disk: exactly one complete set remains each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.guest.crashes import SCENARIOS, fast_node
from tests.unit.guest.processes import Endpoint, ForkServer


@pytest.fixture(scope="module")
def fork_server() -> Iterator[ForkServer]:
    """The process that runs the applier."""
    process = ForkServer()
    yield process
    process.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """The health endpoint of the tested node."""
    server = Endpoint()
    yield server
    server.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_at_any_point_leaves_one_complete_set(
    fork_server: ForkServer, endpoint: Endpoint, scenario: str
) -> None:
    with fast_node(fork_server, endpoint) as host:
        SCENARIOS[scenario](host, 1)
