"""Validation errors have paths as the user writes them, show values short, and show no value that may be secret."""

from __future__ import annotations

import pytest

from lbstack.problems import ConfigError, Problem, nearest, path_of, quote, show
from tests.keys import signing_key
from tests.unit.config.support import HASH, label


@pytest.mark.parametrize(
    ("location", "written"),
    [
        (("nodes", 0, "memoryMiB"), "nodes[0].memoryMiB"),
        (("services", "horizon", "servers", 1, "address"), "services.horizon.servers[1].address"),
        (("services", "a b"), 'services["a b"]'),
        (("services", 'x"\n'), r'services["x\"\n"]'),
        (("statsHash-admin",), "statsHash-admin"),
        ((), "config"),
    ],
)
def test_a_path_is_written_as_in_a_stack_file(location: tuple[str | int, ...], written: str) -> None:
    assert path_of(location) == written


def test_problems_are_sorted_by_path_with_numbers_in_numeric_order() -> None:
    error = ConfigError([Problem(path, "is wrong", "Change it.") for path in ("nodes[10]", "nodes[2]", "access")])
    assert [problem.path for problem in error.problems] == ["access", "nodes[2]", "nodes[10]"]


def test_the_first_line_counts_the_problems() -> None:
    problem = Problem("vrrp", "is missing", "Add it.")
    assert str(ConfigError([problem, problem])).splitlines() == [
        "1 problem in the stack's configuration:",
        "  - vrrp: is missing. Add it.",
    ]
    assert str(ConfigError([problem, Problem("a", "b", "C.")], "x")).startswith("2 problems in x:")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "empty"),
        (True, "the Boolean true"),
        (7, "the number 7"),
        (1.5, "the number 1.5"),
        (10**5000, "a number of more than 64 bits"),
        ("", "an empty string"),
        ("a\nb\ud800", r'"a\nb\ud800"'),
        ("x" * 61, "(a string of 61 characters)"),
        ([], "an empty list"),
        ([1], "a list of 1 item"),
        ([1, 2], "a list of 2 items"),
        ({}, "an empty mapping"),
        ({"a": 1}, "a mapping with 1 key"),
        ({"a": 1, "b": 2}, "a mapping with 2 keys"),
    ],
    ids=label,
)
def test_a_value_is_shown_short_and_printable(value: object, shown: str) -> None:
    assert show(value) == shown


@pytest.mark.parametrize("secret", [HASH, "$2b$12$abc", "$y$j9T$abc", "-----BEGIN RSA PRIVATE KEY-----", "x$5$y"])
def test_a_value_that_looks_like_a_secret_is_never_quoted(secret: str) -> None:
    assert secret not in quote(secret)
    assert "looks like a secret" in quote(secret)
    assert signing_key()[30:60] not in show(signing_key())


def test_a_mistyped_word_is_recognised_in_upper_and_lower_case() -> None:
    assert nearest("memorymib", ["memoryMiB", "name"]) == "memoryMiB"
    assert nearest("adress", ["name", "address"]) == "address"
    assert nearest("xyz", ["name", "address"]) is None
    assert nearest("x" * 10**6, ["name"]) is None
