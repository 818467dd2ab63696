"""Waiting for a condition, with a limit. Nothing in the lab or its tests sleeps for a fixed time instead."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import LabError

POLL_S = 0.05
COSTLY_S = 0.5  # for a question that starts a program, logs in somewhere or asks for much: most of it is waited then

T = TypeVar("T")


def until(check: Callable[[], T | None], limit_s: float, what: str, every_s: float = POLL_S) -> T:
    """Ask again and again until the answer is truthy.

    Args:
        check: Asked at once, then every ``every_s``. A LabError or OSError that it raises counts as "not yet" and is
            told when the time is up.
        limit_s: For how long, in seconds. The last question is asked after the time is up, so a machine that stood
            still meanwhile does not make a good condition fail.
        what: What is waited for, as the end of the sentence "waited 5 s for ...".
        every_s: Pause between two questions, in seconds.

    Returns:
        The first truthy answer.

    Raises:
        LabError: It never came; the message has what was seen last.
    """
    deadline = time.monotonic() + limit_s
    while True:
        late = time.monotonic() >= deadline
        last: object
        try:
            answer = check()
            if answer:
                return answer
            last = answer
        except (LabError, OSError) as error:
            last = error
        if late:
            raise LabError(f"waited {limit_s:g} s for {what}; last seen: {last or 'nothing'}")
        time.sleep(every_s)


def until_nothing_is_missing(missing: Callable[[], str], limit_s: float, what: str, every_s: float = POLL_S) -> None:
    """Ask again and again until there is nothing to complain about.

    Args:
        missing: What is not as it should be, in words; empty when all is well.
        limit_s: As for ``until``.
        what: As for ``until``.
        every_s: As for ``until``.

    Raises:
        LabError: Something is missing to the end; the message has what it was last.
    """

    def check() -> bool:
        if reason := missing():
            raise LabError(reason)
        return True

    until(check, limit_s, what, every_s)
