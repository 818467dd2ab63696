"""Read a stack file like the engine, for commands that run without it.

The engine reads YAML 1.2: ``off``, ``yes`` and dates are strings, and a key must not be repeated. A number with leading
zeros is octal for some YAML readers and decimal for others; it stays a string here, so that its form refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lbstack.config import undecided
from lbstack.config.credentials import is_secret_key, storing
from lbstack.problems import ConfigError, Problem, path_of, show

MAX_BYTES = 1 << 20  # a stack file has some kilobytes; a larger one is another file
_DROPPED_TAGS = ("bool", "int", "timestamp")


class _DuplicateKey(yaml.constructor.ConstructorError):
    """A mapping has a key twice."""


class _Loader(yaml.SafeLoader):
    """Reads plain scalars by the rules of YAML 1.2, and refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise _DuplicateKey(None, None, f"the key {show(key.value)} is repeated", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _DROPPED_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
# At most 18 digits, which fit into 64 bits. A configuration has no longer number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile("^(?:0|[-+]?[1-9][0-9]{0,17})$"), list("-+0123456789")
)


def configuration(path: Path, namespace: str) -> tuple[dict[str, object], list[Problem]]:
    """Read the keys of one namespace from a stack file, without the secrets, which are encrypted.

    Args:
        path: The stack file.
        namespace: The project's name: the part of a key before the colon.

    Returns:
        The keys with their values, and the problems of the way they are written.

    Raises:
        ConfigError: The file cannot be read or is not a stack file.
    """
    document = _document(path)
    section = document.get("config") if isinstance(document, dict) else document
    if not isinstance(section, dict):
        remedy = f"Write the stack's keys as {namespace}:… below config:, see stack.example.yaml."
        raise ConfigError([Problem("config", f"is {show(section)}, but has to be the stack's keys", remedy)], str(path))
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for name, value in _own(section, namespace):
        encrypted = isinstance(value, dict) and set(value) == {"secure"}
        if is_secret_key(name):
            if not encrypted:
                remedy = f"It was readable: create a new one and set it with `{storing(name)}`."
                problems.append(Problem(path_of([name]), "is a secret in plain text in the stack file", remedy))
        elif encrypted:
            remedy = "It is not a secret: set it again without --secret, so that it can be reviewed."
            problems.append(Problem(path_of([name]), "is encrypted and cannot be read here", remedy))
        else:
            values[name] = value
    problems.extend(
        Problem(path_of([key]), "has no namespace", f"Write {namespace}: before it.")
        for key in section
        if isinstance(key, str) and ":" not in key
    )
    foreign = ((str(key), value) for key, value in section.items() if not str(key).startswith(f"{namespace}:"))
    open_decisions = (undecided.problem_of(path_of([key]), value) for key, value in foreign)
    problems.extend(problem for problem in open_decisions if problem)
    return values, problems


def encrypted(path: Path, namespace: str) -> frozenset[str]:
    """Return the names in one namespace whose values are encrypted; none where the file is not a stack file.

    Args:
        path: The stack file.
        namespace: The project's name.

    Raises:
        ConfigError: The file cannot be read.
    """
    document = _document(path)
    section = document.get("config") if isinstance(document, dict) else None
    if not isinstance(section, dict):
        return frozenset()
    return frozenset(
        name for name, value in _own(section, namespace) if isinstance(value, dict) and set(value) == {"secure"}
    )


def _own(section: Mapping[object, object], namespace: str) -> Iterator[tuple[str, object]]:
    """Yield names and values of the namespace; the engine also accepts ``namespace:config:name``."""
    for key, value in section.items():
        if isinstance(key, str) and key.startswith(f"{namespace}:"):
            yield key.removeprefix(f"{namespace}:").removeprefix("config:"), value


def _document(path: Path) -> object:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreadable(
            path, f"cannot be read ({error.strerror})", "Give the path of a Pulumi.<stack>.yaml."
        ) from None
    if len(content) > MAX_BYTES:
        raise _unreadable(path, f"has more than {MAX_BYTES} bytes", "Give the path of a Pulumi.<stack>.yaml.")
    try:
        return yaml.load(content.decode(), _Loader)  # noqa: S506 - _Loader is a safe loader
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"is not UTF-8 text (byte {error.start})", "Save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _unreadable(
            path, f"is not YAML{where}: {error.problem}", "Correct it; an editor marks the place."
        ) from None
    except yaml.YAMLError:
        raise _unreadable(path, "is not YAML: it has control characters", "Remove them.") from None
    except (RecursionError, ValueError):
        raise _unreadable(path, "is nested too deeply or has a number that is too long", "Correct it.") from None


def _unreadable(path: Path, what: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(str(path), what, remedy)], "the stack file")
