"""How this project says no: every problem at once, each with its place, the limit and the remedy.

Nothing here knows what is being checked; ``config``, ``userdata`` and ``placement`` make the problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong with the input.

    Args:
        path: Where, as the user wrote it: ``nodes[0].address``, ``services.horizon.vip``.
        what: What was found there, one sentence without its full stop.
        remedy: What to do about it, naming the limit where there is one.
    """

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}. {self.remedy}"


class LbstackError(Exception):
    """A failure that the user can act on: printed as it is, exit code 2, never a traceback."""


class ConfigError(LbstackError):
    """All problems of one input, in the order of their paths.

    Args:
        problems: At least one problem.
        source: What was read, named in the first line ("the configuration of this stack").
    """

    def __init__(self, problems: Iterable[Problem], source: str = "the stack's configuration") -> None:
        self.problems: Sequence[Problem] = sorted(set(problems))
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in {source}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))
