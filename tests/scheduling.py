"""Which worker runs which test files: the last worker begins with what the others come to last.

The slow tiers wait: for boots, for the provider, for silence to pass. Four workers with a lab each leave a part of two
processors idle. The quick tiers only compute, so one more worker does them meanwhile. The tests come to the workers
with the slowest tier first (``conftest.py``), so it takes its files from the other end.
"""

from __future__ import annotations

import os

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

NICENESS = 5  # of the worker at the quick tiers: guests measure times, and come first
WORKER, COUNT = "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"  # which worker a process is, of how many


class FromBothEnds(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Whole files in order; the last worker takes them from the end."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node.gateway.id == last_worker(self.numnodes):
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def last_worker(count: int) -> str:
    """The name of the last of several workers; of a single one there is no last."""
    return f"gw{count - 1}" if count > 1 else ""


def give_way() -> None:
    """Let the processor go to the other workers' guests, where this is the last worker."""
    count = int(os.environ.get(COUNT, "0"))
    if os.environ.get(WORKER) == last_worker(count):
        os.nice(NICENESS)
