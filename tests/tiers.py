"""The tiers of the tests, and the one way in which a test says what it needs from the machine.

A tier is the folder that a test lives in. A test whose tool is missing is skipped with the tool's name, and under CI
(environment variable ``CI`` set) it fails, because there nobody reads skips.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

TESTS = Path(__file__).parent
# Name → what the tier needs, in the order in which they are worth running.
TIERS: Mapping[str, str] = {
    "unit": "Python alone",
    "native": "the daemons' own checkers",
    "deploy": "the Pulumi engine and the simulated vCenter",
    "rehearsal": "booted guests",
}
# Debian keeps daemons where a plain user's PATH does not look.
SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin")
ROOT = "root"  # `require("root")`: not a program, but the right to use one


def in_ci() -> bool:
    """Whether a missing tool is a failure."""
    return bool(os.environ.get("CI"))


def refuse(reason: str) -> NoReturn:
    """End the running test: skipped with ``reason`` on a person's machine, failed under CI."""
    __tracebackhide__ = True
    if in_ci():
        pytest.fail(f"{reason} (under CI this is a failure)", pytrace=False)
    pytest.skip(reason)


def find(tool: str) -> str | None:
    """The path of a program, also where only root's ``PATH`` looks; None where it is not installed."""
    return shutil.which(tool, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_PATH]))


def require(*tools: str) -> None:
    """Go on only where every tool is at hand.

    Args:
        tools: Names of programs, or ``"root"`` for a test that has to run as root.
    """
    __tracebackhide__ = True
    missing = [tool for tool in tools if not (os.geteuid() == 0 if tool == ROOT else find(tool))]
    if missing:
        refuse(f"missing: {', '.join(missing)}; `.venv/bin/python -m lab doctor` says how to get it")


@cache
def tier_of(path: Path) -> str | None:
    """The tier that a test file belongs to, by its folder below ``tests``."""
    try:
        first = path.resolve().relative_to(TESTS).parts[0]
    except ValueError:
        return None
    return first if first in TIERS else None


@dataclass
class Tally:
    """What became of each tier in this run."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    skips: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, tier: str, outcome: str, reason: str = "") -> None:
        """Count one test; a skipped one with its reason."""
        self.outcomes[tier][outcome] += 1
        if reason:
            self.skips[tier][reason] += 1

    def lines(self, present: Iterable[str]) -> list[str]:
        """One line for each tier that exists, and one for each reason to skip.

        Args:
            present: The tiers that have tests in this checkout.
        """
        lines = []
        for tier in present:
            counts = self.outcomes.get(tier)
            if not counts:
                lines.append(f"{tier:<10} not run (needs {TIERS[tier]}; `make test` runs it)")
                continue
            ran = ", ".join(f"{counts[name]} {name}" for name in ("passed", "failed", "skipped") if counts[name])
            lines.append(f"{tier:<10} {ran}")
            lines += [f"{'':<10} skipped {count}: {reason}" for reason, count in sorted(self.skips[tier].items())]
        return lines


def present_tiers() -> list[str]:
    """The tiers that have at least one test file in this checkout."""
    return [tier for tier in TIERS if any((TESTS / tier).rglob("test_*.py"))]
