"""A quick look at what ``crashes`` describes: one call in many. The native tier tries every one."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from tests.unit.guest.crashes import KILLED, SCENARIOS, disk, lean, place
from tests.unit.guest.host import Endpoint, Zygote

STRIDE = 29  # calls between two kills that are compared with stops
STEP = 83  # calls between two tries; prime, so that no pattern of the program's calls is met again and again


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_whole_set_is_left_by_a_crash(zygote: Zygote, endpoint: Endpoint, scenario: str) -> None:
    with place(zygote, endpoint) as host:
        SCENARIOS[scenario](host, STEP)


def test_a_kill_leaves_what_is_there_when_a_run_stops(zygote: Zygote, endpoint: Endpoint) -> None:
    """The scenarios rest on this: they look at runs that stop and go on, not at killed ones.

    A run asks the services as often as it has to, so a call need not have the same number in another run: what a kill
    leaves has to be what there is at any stop, and not at that of the same number.
    """
    with place(zygote, endpoint) as host:
        host.stage(lean(host, "a"))
        running, lossy = host.clone(host.base.parent / "running"), 0
        seen: set[bytes] = set()
        with closing(Zygote()) as other:
            for _, unsynced in running.walk(other, "boot", step=1):
                seen.update(disk(running, unsynced))
        for call in range(1, running.calls, STRIDE):
            for power in (False, True):
                copy = host.clone(host.base.parent / "killed")
                assert copy.run("boot", kill_at=call, power=power) == KILLED
                assert disk(copy, frozenset())[0] in seen, f"call {call}, power {power}"
                lossy += bool(copy.lost)
                shutil.rmtree(copy.base)
        assert running.calls > 10 * STRIDE
        assert lossy, "no power failure was tried"
