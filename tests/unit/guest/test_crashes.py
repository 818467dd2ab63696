"""The scenarios of ``crashes.py`` with a few calls only. The native tier tries every call."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from tests.unit.guest.crashes import KILLED, SCENARIOS, disk, fast_node, small_set
from tests.unit.guest.processes import Endpoint, ForkServer

STRIDE = 29  # calls between two kills that are compared with stops
STEP = 83  # calls between two tries; a prime, so that it does not follow a pattern of the program's calls


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_crash_leaves_one_complete_set(fork_server: ForkServer, endpoint: Endpoint, scenario: str) -> None:
    with fast_node(fork_server, endpoint) as host:
        SCENARIOS[scenario](host, STEP)


def test_a_kill_leaves_the_same_disk_as_a_stop(fork_server: ForkServer, endpoint: Endpoint) -> None:
    """The scenarios depend on this: they use runs that stop and continue instead of killed ones.

    A run polls the services until they are ready, so a call may have another number in another run. Therefore the disk
    after a kill has to equal the disk at any stop, not at the stop of the same number.
    """
    with fast_node(fork_server, endpoint) as host:
        host.stage(small_set(host, "a"))
        running, lossy = host.clone(host.base.parent / "running"), 0
        seen: set[bytes] = set()
        with closing(ForkServer()) as other:
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
