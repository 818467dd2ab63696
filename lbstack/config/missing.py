"""MISSING, the placeholder of a refused value: rules about the other values still run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn


class _Missing:
    """The placeholder's class. Attributes and calls of MISSING are MISSING too, and it has no items."""

    def __getattr__(self, name: str) -> _Missing:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_args: object, **_keywords: object) -> _Missing:
        return self

    def __iter__(self) -> Iterator[NoReturn]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "MISSING"

    def __copy__(self) -> _Missing:
        return self

    def __deepcopy__(self, _memo: object) -> _Missing:
        return self


MISSING: Any = _Missing()


def known(*values: object) -> bool:
    """Return whether all of these values passed their own checks, so that a rule may compare them."""
    return all(value is not MISSING for value in values)
