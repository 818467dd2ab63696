"""What the tests of the configuration share: a right configuration, ways to spoil it, and what is then said."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lbstack.problems import ConfigError, Problem
from lbstack.stackfile.load import load, read_file
from tests.strategies import signing_key, ssh_keys

ROOT = Path(__file__).parents[3]
LAB = ROOT / "Pulumi.lab.yaml"
HASH = f"$6$saltsaltsaltsalt${'A' * 86}"


class _Remove:
    """Stands for "this key is not there"; its name is the same in every process, as names of tests have to be."""

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: object = _Remove()

Location = tuple[str | int, ...]


@cache
def _labs() -> dict[str, Any]:
    return read_file(LAB)


def right_configuration() -> dict[str, Any]:
    """The lab's stack file with a key to log in by, without what only a lab may have."""
    raw: dict[str, Any] = copy.deepcopy(_labs())
    raw.pop("lab", None)
    raw["access"]["sshKeys"] = [ssh_keys()[0]]
    return raw


def right_secrets() -> dict[str, str]:
    """The secrets that it needs."""
    return {"signingKey": signing_key(), "statsHash-admin": HASH, "statsHash-stats": HASH}


def put(raw: dict[str, Any], location: Location, value: object) -> dict[str, Any]:
    """Change one place of a configuration, or remove it."""
    *parents, last = location
    holder: Any = raw
    for part in parents:
        holder = holder.setdefault(part, {}) if isinstance(holder, dict) else holder[part]
    if value is REMOVE:
        del holder[last]
    else:
        holder[last] = value
    return raw


def spoiled(*changes: tuple[Location, object]) -> dict[str, Any]:
    """The right configuration with these changes."""
    raw = right_configuration()
    for location, value in changes:
        put(raw, location, value)
    return raw


def complaints(raw: object, secrets: Mapping[str, str] | None = None) -> list[Problem]:
    """The problems of a configuration; none when it is right."""
    try:
        load(raw, right_secrets() if secrets is None else secrets)  # type: ignore[arg-type]
    except ConfigError as error:
        return list(error.problems)
    return []


def paths(problems: list[Problem]) -> list[str]:
    """Where the problems are."""
    return [problem.path for problem in problems]


def leaves(value: object, location: Location = ()) -> Iterator[Location]:
    """Every place of a configuration that holds no mapping and no list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*location, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*location, index))
    else:
        yield location


def label(value: object) -> str:
    """What pytest calls a parameter: the text itself when it is short, so that no key gets into a test's name."""
    return value if isinstance(value, str) and len(value) <= 50 else type(value).__name__
