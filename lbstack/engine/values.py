"""Values as the engine records and exchanges them: its secret mark, and a look-up by property path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SECRET_MARK = "4dabf18193072939515e22adb298388d"  # noqa: S105 - a mark, the same for everybody
"""The key by which the engine marks a value that is not plain, a secret for example (sdk/go/common/resource/sig)."""

Properties = Mapping[str, Any]


def lookup(properties: Properties | None, path: str) -> object:
    """The value at an engine's property path, such as ``networkInterfaces[0].networkId``; None where there is none."""
    value: Any = properties
    for part in path.replace('["', ".").replace('"]', "").replace("[", ".").replace("]", "").split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def unwrap(value: object) -> object:
    """An engine's value without its secret marks."""
    if isinstance(value, dict):
        if SECRET_MARK in value:
            return unwrap(value["value"]) if "value" in value else None
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return value
