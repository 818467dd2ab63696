"""The applier is killed before every single call that changes the disk: exactly one complete set remains each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.guest.crashes import SCENARIOS, place
from tests.unit.guest.host import Endpoint, Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """The process that runs the applier."""
    process = Zygote()
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
def test_a_crash_at_any_point_leaves_one_complete_set(zygote: Zygote, endpoint: Endpoint, scenario: str) -> None:
    with place(zygote, endpoint) as host:
        SCENARIOS[scenario](host, 1)
