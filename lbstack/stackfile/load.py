"""Load a stack file: read it, find every problem at once, and return one frozen object.

One mistake hides no other: pydantic reads the values; each value that it refuses is replaced by MISSING; then the rules
check all other values. This module does not depend on Pulumi.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lbstack.config import credentials, rules, undecided
from lbstack.config.credentials import Secrets, is_secret_key
from lbstack.config.missing import MISSING
from lbstack.config.models import StackConfig
from lbstack.problems import ConfigError, Problem, path_of, show
from lbstack.stackfile import messages, yamlfile

__all__ = ["NAMESPACE", "Secrets", "load", "load_config", "load_file", "read_file"]

NAMESPACE = "lbstack"
# No useful configuration is deeper or larger: the document contains itself, or it is a mistake.
MAX_DEPTH = 12
MAX_VALUES = 10_000
PASSED_LIMIT = 131_072
"""Most bytes of one environment variable (MAX_ARG_STRLEN, execve(2)). The engine passes the whole configuration in
``PULUMI_CONFIG`` (pulumi/pulumi#8680): JSON, whose values are texts, and those of lists and mappings JSON again."""
PASSED_BESIDES = (
    6_000  # secrets and login: a signing key of 4,096 bits has 3,300, each login of the statistics page 170
)

Location = tuple[str | int, ...]


def load(raw: Mapping[str, object], secrets: Mapping[str, str]) -> tuple[StackConfig, Secrets]:
    """Check a configuration and its secrets.

    Args:
        raw: The keys of the stack file without ``lbstack:``, secrets left out.
        secrets: The secret keys: ``signingKey``, ``nextSigningKey``, ``statsHash-<user>``, ``rootPasswordHash``. An
            empty string counts as not set.

    Returns:
        The configuration and its secrets.

    Raises:
        ConfigError: There are problems; it holds all problems of both.
    """
    config, problems = _examine(raw)
    problems += credentials.check(config, secrets)
    if problems:
        raise ConfigError(problems)
    return config, credentials.collect(secrets)


def load_config(raw: Mapping[str, object]) -> StackConfig:
    """Check a configuration whose secrets are not available (they are encrypted in the stack file).

    Args:
        raw: As in ``load``.

    Raises:
        ConfigError: There are problems; it holds all of them.
    """
    config, problems = _examine(raw)
    if problems:
        raise ConfigError(problems)
    return config


def read_file(path: Path | str) -> dict[str, object]:
    """Read the configuration from a stack file without the engine.

    Args:
        path: A ``Pulumi.<stack>.yaml``.

    Returns:
        The argument ``raw`` of ``load``: the keys without secrets and other namespaces.

    Raises:
        ConfigError: The file does not exist, is not a stack file, or contains a secret in plain text.
    """
    raw, problems = yamlfile.configuration(Path(path), NAMESPACE)
    if problems:
        raise ConfigError(problems, str(path))
    return raw


def load_file(path: Path | str) -> StackConfig:
    """Read and check a stack file without the engine; its secrets are encrypted and are not read.

    Args:
        path: A ``Pulumi.<stack>.yaml``.

    Raises:
        ConfigError: There are problems; it holds all problems of the file and of the configuration.
    """
    raw, problems = yamlfile.configuration(Path(path), NAMESPACE)
    config, more = _examine(raw)
    problems += more
    if not problems:  # else it may contain itself
        problems += _too_large(raw)
    if problems:
        raise ConfigError(problems, str(path))
    return config


def _too_large(raw: Mapping[str, object]) -> list[Problem]:
    """What the engine could not pass to the program: it would end with "argument list too long" and no more words."""
    texts = {
        f"{NAMESPACE}:{key}": value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for key, value in raw.items()
    }
    size = len(json.dumps(texts, separators=(",", ":"))) + PASSED_BESIDES
    if size <= PASSED_LIMIT:
        return []
    what = (
        f"make the configuration {size} bytes with its secrets, over the limit of {PASSED_LIMIT}: the engine passes "
        "all of it to the program in one environment variable"
    )
    remedy = "Use shorter names, or fewer services or servers in one pair: move some to a second stack."
    return [Problem("services", what, remedy)]


def _examine(raw: object) -> tuple[StackConfig, list[Problem]]:
    plain, problems = _Plain().copy(raw)
    if not isinstance(plain, dict):
        return _salvage({})[0], problems
    for key in [key for key in plain if is_secret_key(key)]:
        del plain[key]
        remedy = f"Store it encrypted, as a key of its own: `{credentials.storing(key)}`."
        problems.append(Problem(path_of([key]), "is a secret and does not belong in the configuration", remedy))
    config, refused = _salvage(plain)
    problems += refused
    problems += rules.check(config)
    return config, problems


def _salvage(plain: dict[str, Any]) -> tuple[StackConfig, list[Problem]]:
    """Validate; replace each refused value by MISSING and validate again, until nothing is refused."""
    problems: list[Problem] = []
    while True:
        try:
            return StackConfig.model_validate(plain, by_alias=True, by_name=False), problems
        except ValidationError as failure:
            for error in failure.errors(include_url=False):
                problems.append(messages.problem_of(error, StackConfig))
                _replace(plain, error["loc"], remove=error["type"] == "extra_forbidden")


def _replace(plain: dict[str, Any], location: Location, *, remove: bool) -> None:
    *parents, last = location
    holder: Any = plain
    for part in parents:
        holder = holder[part]
    if remove:
        del holder[last]
    else:
        holder[last] = MISSING


class _Plain:
    """Copies what a stack file can hold: mappings, lists, strings, numbers and Booleans; reports any other value.

    The keys of the copy are sorted. The engine passes them sorted, a file has the order of its author, and both must be
    rendered to the same bytes.
    """

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._values = 0
        self._overflow = False

    def copy(self, raw: object) -> tuple[object, list[Problem]]:
        """Return the copy, with MISSING in place of any other value, and the problems of these values."""
        if not isinstance(raw, Mapping):
            remedy = "Write the lbstack: keys below config:, each with its value; see stack.example.yaml."
            self._problems.append(Problem("config", f"is {show(raw)}, but has to be the stack's keys", remedy))
            return MISSING, self._problems
        return self._copy(raw, ()), self._problems

    def _copy(self, value: object, location: Location) -> object:
        self._values += 1
        if len(location) > MAX_DEPTH:
            return self._too_large(location, f"is nested more than {MAX_DEPTH} levels deep")
        if self._values > MAX_VALUES:
            return self._too_large(("config",), f"has more than {MAX_VALUES} values")
        if isinstance(value, Mapping):
            return self._copy_mapping(value, location)
        if isinstance(value, list | tuple):
            return [self._copy(item, (*location, index)) for index, item in enumerate(value)]
        open_decision = undecided.problem_of(path_of(location), value)
        if open_decision:
            self._problems.append(open_decision)
            return MISSING
        return value if _is_plain(value) else self._unsupported(value, location)

    def _unsupported(self, value: object, location: Location) -> object:
        remedy = "Write a string (in quotes), a whole number, true or false, a list or a mapping."
        self._problems.append(Problem(path_of(location), f"is {_kind(value)}", remedy))
        return MISSING

    def _too_large(self, location: Location, what: str) -> object:
        if not self._overflow:
            remedy = "Look for a YAML anchor that contains itself or is repeated."
            self._problems.append(Problem(path_of(location), what, remedy))
        self._overflow = True
        return MISSING

    def _copy_mapping(self, value: Mapping[Any, object], location: Location) -> dict[str, object]:
        copied: dict[str, object] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                what = f"has a key that is {show(key) if isinstance(key, bool | int | float | None) else _kind(key)}"
                self._problems.append(Problem(path_of(location), what, "Keys are strings: put it in quotes."))
            elif any("\ud800" <= character <= "\udfff" for character in key):
                what = "is a key with half a character (a lone UTF-16 surrogate)"
                self._problems.append(Problem(path_of((*location, key)), what, "Write the key again."))
            else:
                copied[key] = self._copy(item, (*location, key))
        return dict(sorted(copied.items()))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _kind(value: object) -> str:
    if isinstance(value, float):
        return f"the number {value}"
    return f"a value of the type {type(value).__name__}, which a stack file cannot hold"
