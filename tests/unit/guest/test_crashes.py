"""A quick look at what ``crashes`` describes: one call in many. The native tier tries every one."""

from __future__ import annotations

import pytest

from tests.unit.guest.crashes import SCENARIOS, place
from tests.unit.guest.host import Endpoint, Zygote

STEP = 83  # calls between two tries; prime, so that no pattern of the program's calls is met again and again


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_whole_set_is_left_by_a_crash(zygote: Zygote, endpoint: Endpoint, scenario: str) -> None:
    with place(zygote, endpoint) as host:
        SCENARIOS[scenario](host, STEP)
