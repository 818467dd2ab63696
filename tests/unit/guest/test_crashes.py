"""A quick look at what ``crashes`` describes: one call in many. The native tier tries every one."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from tests.unit.guest.crashes import KILLED, SCENARIOS, disk, lean, place
from tests.unit.guest.host import Endpoint, Zygote

STEP = 83  # calls between two tries; prime, so that no pattern of the program's calls is met again and again


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_one_whole_set_is_left_by_a_crash(zygote: Zygote, endpoint: Endpoint, scenario: str) -> None:
    with place(zygote, endpoint) as host:
        SCENARIOS[scenario](host, STEP)


def test_a_kill_leaves_what_is_there_when_the_run_stops(zygote: Zygote, endpoint: Endpoint) -> None:
    """The scenarios rest on this: they look at runs that stop and go on, not at killed ones."""
    with place(zygote, endpoint) as host:
        host.stage(lean(host, "a"))
        running, lossy = host.clone(host.base.parent / "running"), 0
        with closing(Zygote()) as other:
            for call, unsynced in running.walk(other, "boot", step=29):
                for power, now in zip((False, True), disk(running, unsynced), strict=False):
                    copy = host.clone(host.base.parent / "killed")
                    assert copy.run("boot", kill_at=call, power=power) == KILLED
                    assert disk(copy, frozenset()) == [now], f"call {call}, power {power}"
                    assert bool(copy.lost) == power
                    lossy += power
                    shutil.rmtree(copy.base)
        assert running.calls > 10 * 29
        assert lossy, "no power failure was tried"
