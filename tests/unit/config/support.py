"""Helpers of the configuration tests: a valid configuration, ways to break it, and the problems of a broken one."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lbstack.problems import ConfigError, Problem
from lbstack.stackfile.load import load, read_file
from tests.keys import signing_key, ssh_keys

ROOT = Path(__file__).parents[3]
LAB = ROOT / "Pulumi.lab.yaml"
HASH = f"$6$saltsaltsaltsalt${'A' * 86}"


class _Remove:
    """Placeholder for "remove this key"; its repr is the same in every process, as names of tests have to be."""

    def __repr__(self) -> str:
        return "REMOVE"


REMOVE: object = _Remove()

Location = tuple[str | int, ...]
Change = tuple[Location, object]
# Name, changes, place of the problem, and a fragment of its message (limit or remedy).
Violation = tuple[str, list[Change], str, str]

HORIZON = ("services", "horizon")
SERVERS = (*HORIZON, "servers")


@cache
def _lab_file() -> dict[str, Any]:
    return read_file(LAB)


def valid_configuration() -> dict[str, Any]:
    """The lab's stack file with an SSH key, without the section that only a lab may have."""
    raw: dict[str, Any] = copy.deepcopy(_lab_file())
    raw.pop("lab", None)
    raw["access"]["sshKeys"] = [ssh_keys()[0]]
    return raw


def valid_secrets() -> dict[str, str]:
    """The secrets that the valid configuration needs."""
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


def with_changes(*changes: Change) -> dict[str, Any]:
    """The valid configuration with these changes."""
    raw = valid_configuration()
    for location, value in changes:
        put(raw, location, value)
    return raw


def problems_of(raw: object, secrets: Mapping[str, str] | None = None) -> list[Problem]:
    """The problems of a configuration; none when it is valid."""
    try:
        load(raw, valid_secrets() if secrets is None else secrets)  # type: ignore[arg-type]
    except ConfigError as error:
        return list(error.problems)
    return []


def require_reported(changes: list[Change], path: str, fragment: str) -> None:
    """Assert that these changes cause a problem at a place, with a fragment in its message, and no problem twice."""
    problems = problems_of(with_changes(*changes))
    assert path in paths(problems)
    assert any(fragment in str(problem) for problem in problems if problem.path == path), problems
    assert len(problems) == len(set(problems))


def tcp(**changes: Any) -> dict[str, Any]:
    """A valid service of kind tcp, with these changes."""
    service = {
        "kind": "tcp",
        "vip": "192.168.6.125",
        "port": 636,
        "servers": [{"name": "one", "address": "192.168.6.140"}],
    }
    return service | changes


def paths(problems: list[Problem]) -> list[str]:
    """The places of the problems."""
    return [problem.path for problem in problems]


def leaves(value: object, location: Location = ()) -> Iterator[Location]:
    """Every place of a configuration whose value is neither a mapping nor a list."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*location, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*location, index))
    else:
        yield location


def label(value: object) -> str:
    """A parameter's name in a test's name: the text itself when it is short, so that no key is in a test's name."""
    return value if isinstance(value, str) and len(value) <= 50 else type(value).__name__
