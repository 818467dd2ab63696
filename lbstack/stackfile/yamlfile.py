"""Reads a stack file as the engine would, for programs that run without it.

The engine reads YAML 1.2: ``off`` and ``yes`` are texts, dates are texts, a key stands once. Numbers with leading
zeros, which are octal for some readers and decimal for others, stay texts here, so that their forms refuse them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from lbstack.config.credentials import is_secret_key, storing
from lbstack.problems import ConfigError, Problem, path_of, show

MAX_BYTES = 1 << 20  # a stack file has some kilobytes; a larger one is another file
_DROPPED_TAGS = ("bool", "int", "timestamp")


class _DuplicateKey(yaml.constructor.ConstructorError):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's reading of plain texts, and every key once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise _DuplicateKey(None, None, f"the key {show(key.value)} stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _DROPPED_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
# At most 18 digits: what fits 64 bits. Anything longer is no number of a configuration.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile("^(?:0|[-+]?[1-9][0-9]{0,17})$"), list("-+0123456789")
)


def configuration(path: Path, namespace: str) -> tuple[dict[str, object], list[Problem]]:
    """The keys of one namespace, without the secrets, which are encrypted.

    Args:
        path: The stack file.
        namespace: The project's name, which stands before the colon.

    Returns:
        The keys, and what is wrong with the way they stand there.

    Raises:
        ConfigError: The file cannot be read or is no stack file.
    """
    document = _document(path)
    section = document.get("config") if isinstance(document, dict) else document
    if not isinstance(section, dict):
        remedy = f"Write the stack's keys as {namespace}:… below config:, see stack.example.yaml."
        raise ConfigError([Problem("config", f"is {show(section)}, where the stack's keys belong", remedy)], str(path))
    values: dict[str, object] = {}
    problems: list[Problem] = []
    for name, value in _own(section, namespace):
        encrypted = isinstance(value, dict) and set(value) == {"secure"}
        if is_secret_key(name):
            if not encrypted:
                remedy = f"It was readable: make a new one and set it with `{storing(name)}`."
                problems.append(Problem(path_of([name]), "is a secret, but stands in the stack file in clear", remedy))
        elif encrypted:
            remedy = "It is no secret: set it again without --secret, so that it can be reviewed."
            problems.append(Problem(path_of([name]), "is encrypted and cannot be read here", remedy))
        else:
            values[name] = value
    problems.extend(
        Problem(path_of([key]), "has no namespace", f"Write {namespace}: before it.")
        for key in section
        if isinstance(key, str) and ":" not in key
    )
    return values, problems


def encrypted(path: Path, namespace: str) -> frozenset[str]:
    """The names in one namespace whose values stand encrypted in a stack file; none where it is no stack file.

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
    """Names and values of the namespace; the engine also takes ``namespace:config:name``."""
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
        return yaml.load(content.decode(), _Loader)  # noqa: S506 - a safe loader, see above
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"is no UTF-8 text (byte {error.start})", "Save it as UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise _unreadable(
            path, f"is no YAML{where}: {error.problem}", "Correct it; an editor marks the place."
        ) from None
    except yaml.YAMLError:
        raise _unreadable(path, "is no YAML: it has control characters", "Remove them.") from None
    except (RecursionError, ValueError):
        raise _unreadable(path, "is nested too deep or has a number that is too long", "Correct it.") from None


def _unreadable(path: Path, what: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(str(path), what, remedy)], "the stack file")
