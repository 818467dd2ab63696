"""The placeholder of a value that somebody has to decide: it is refused with the sentence what to decide.

`lbstack import` writes such values; any text of a stack file may be one.
"""

from __future__ import annotations

from lbstack.problems import SECRET_LOOK, Problem

MARK = "CHANGE-ME"
WHAT = "has to be decided"
MAX_SENTENCE = 400  # the longest that the program writes has some 200 characters
PLAIN_REMEDY = f"Replace {MARK} by the value."


def placeholder(sentence: str) -> str:
    """Return the value that stands for a decision.

    Args:
        sentence: What is to be decided, without a full stop.
    """
    return f"{MARK}: {sentence}"


def problem_of(path: str, value: object) -> Problem | None:
    """Return the problem of a value that is still to be decided; None for every other value.

    Args:
        path: The value's place in the stack file.
        value: The value.
    """
    if not isinstance(value, str) or not value.startswith(MARK):
        return None
    sentence = value.removeprefix(MARK).lstrip(": ").rstrip(" .")
    plain = sentence.isprintable() and len(sentence) <= MAX_SENTENCE and not SECRET_LOOK.search(sentence)
    remedy = f"{sentence[:1].upper()}{sentence[1:]}." if sentence and plain else PLAIN_REMEDY
    return Problem(path, WHAT, remedy)
