"""The last worker begins at the other end of the tests."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from tests import scheduling

FILES = [f"tests/test_{letter}.py" for letter in "abcd"]


@dataclass(eq=False)
class Worker:
    """A worker that notes what it is given."""

    gateway: Any
    given: list[int] = field(default_factory=list)

    def send_runtest_some(self, tests: list[int]) -> None:
        self.given += tests


def test_the_last_worker_takes_its_files_from_the_end_and_the_others_from_the_beginning() -> None:
    tests = [f"{file}::test_it" for file in FILES]
    workers = [Worker(SimpleNamespace(id=f"gw{number}")) for number in range(2)]
    plan = object.__new__(scheduling.FromBothEnds)
    plan.numnodes = len(workers)
    plan.workqueue = OrderedDict((file, {test: False}) for file, test in zip(FILES, tests, strict=True))
    plan.assigned_work = OrderedDict()
    plan.registered_collections = cast(Any, dict.fromkeys(workers, tests))
    for worker in (*workers, *workers):
        plan._assign_work_unit(cast(WorkerController, worker))
    assert [worker.given for worker in workers] == [[0, 1], [3, 2]]
    assert not plan.workqueue


def test_only_the_last_of_several_workers_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "nice", given.append)
    for worker, count in (("gw0", "5"), ("gw0", "1"), ("gw4", "5")):
        monkeypatch.setenv(scheduling.WORKER, worker)
        monkeypatch.setenv(scheduling.COUNT, count)
        scheduling.give_way()
    assert given == [scheduling.NICENESS]
