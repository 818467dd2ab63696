"""Figures: what was measured of one thing, with its baseline of the same run where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum, unique
from statistics import median

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Series:
    """What was measured of one thing.

    Args:
        name: What was measured, in words.
        values: Each run's.
        unit: Theirs, one of ``plot.TITLES``.
    """

    name: str
    values: tuple[float, ...]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The median of all runs."""
        return median(self.values)


@unique
class Kind(StrEnum):
    """What a figure compares, and so what its bar is."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    AMOUNT = "amount"


@dataclass(frozen=True)
class Figure:
    """One comparison.

    Args:
        name: What the figure says, in words.
        measured: The thing itself.
        baseline: What it is compared with, or what stands next to it; None only where the bar is an amount.
        bar: The most that is wanted: a ratio to the baseline, or an amount.
        kind: What is compared; without a baseline always an amount.
    """

    name: str
    measured: Series
    baseline: Series | None
    bar: float
    kind: Kind = Kind.RATIO

    @property
    def value(self) -> float:
        """The ratio or the difference of the medians, or the median itself."""
        if self.baseline is None or self.kind is Kind.AMOUNT:
            return self.measured.median
        if self.kind is Kind.DIFFERENCE:
            return self.measured.median - self.baseline.median
        return self.measured.median / self.baseline.median

    @property
    def unit(self) -> str:
        """``x`` for a ratio, that of what was measured for everything else."""
        return "x" if self.baseline and self.kind is Kind.RATIO else self.measured.unit

    def as_dict(self) -> dict[str, object]:
        """The figure for machines."""
        return asdict(self) | {"value": self.value, "unit": self.unit}


def by_turns(jobs: dict[str, Callable[[], object]], runs: int, progress: Progress) -> dict[str, Series]:
    """Time several jobs by turns, so that what disturbs the machine disturbs all of them.

    Args:
        jobs: Name → what is timed. Each runs once more beforehand, untimed, for caches.
        runs: How often each is timed.
        progress: Receives a line for each round.

    Returns:
        Name → its timings.
    """
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(runs + 1):
        progress(f"round {turn} of {runs}" if turn else "warming up")
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return {name: Series(name, tuple(found)) for name, found in seconds.items()}
