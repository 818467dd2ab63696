"""How problems are written: paths as the user wrote them, values shown short and never when they may be secret."""

from __future__ import annotations

import pytest

from lbstack.problems import ConfigError, Problem, nearest, path_of, quote, show
from tests.strategies import signing_key
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
def test_a_path_is_written_as_its_user_would(location: tuple[str | int, ...], written: str) -> None:
    assert path_of(location) == written


def test_problems_come_in_the_order_of_their_paths_with_numbers_as_numbers() -> None:
    error = ConfigError([Problem(path, "is wrong", "Change it.") for path in ("nodes[10]", "nodes[2]", "access")])
    assert [problem.path for problem in error.problems] == ["access", "nodes[2]", "nodes[10]"]


def test_one_problem_and_several_are_counted_in_the_first_line() -> None:
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
        (True, "the truth value true"),
        (7, "the number 7"),
        (1.5, "the number 1.5"),
        (10**5000, "a number of more than 64 bits"),
        ("", "an empty text"),
        ("a\nb\ud800", r'"a\nb\ud800"'),
        ("x" * 61, "(a text of 61 characters)"),
        ([], "an empty list"),
        ([1, 2], "a list of 2"),
        ({}, "an empty mapping"),
        ({"a": 1}, "a mapping of 1 key"),
        ({"a": 1, "b": 2}, "a mapping of 2 keys"),
    ],
    ids=label,
)
def test_a_value_is_shown_short_and_printable(value: object, shown: str) -> None:
    assert show(value) == shown


@pytest.mark.parametrize("secret", [HASH, "$2b$12$abc", "$y$j9T$abc", "-----BEGIN RSA PRIVATE KEY-----", "x$5$y"])
def test_what_looks_like_a_secret_is_never_quoted(secret: str) -> None:
    assert secret not in quote(secret)
    assert "looks like a secret" in quote(secret)
    assert signing_key()[30:60] not in show(signing_key())


def test_a_mistyped_word_is_recognised_whatever_its_capitals() -> None:
    assert nearest("memorymib", ["memoryMiB", "name"]) == "memoryMiB"
    assert nearest("adress", ["name", "address"]) == "address"
    assert nearest("xyz", ["name", "address"]) is None
    assert nearest("x" * 10**6, ["name"]) is None
