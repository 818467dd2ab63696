"""Hypothesis strategies of single values: durations, names, password hashes, arbitrary JSON."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
DIGITS = "0123456789"
CRYPT = "./" + DIGITS + LETTERS


@cache
def durations(least_ms: int, most_ms: int) -> st.SearchStrategy[str]:
    """Durations within limits, in every unit that can express them."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
    ranges = [
        st.tuples(st.integers(-(-least_ms // size), most_ms // size), st.just(unit))
        for unit, size in units.items()
        if -(-least_ms // size) <= most_ms // size
    ]
    return st.one_of(ranges).map(lambda parts: f"{parts[0]}{parts[1]}")


@cache
def labels(maximum: int = 63) -> st.SearchStrategy[str]:
    """Host names without dots."""
    inner = st.text(LETTERS + DIGITS + "-", max_size=maximum - 2)
    edge = st.sampled_from(LETTERS + DIGITS)
    return st.one_of(edge, st.tuples(edge, inner, edge).map("".join)).filter(lambda name: name.lower() != "localhost")


@cache
def domains(least_labels: int = 1) -> st.SearchStrategy[str]:
    """DNS names; the last label has a letter."""
    last = st.tuples(st.sampled_from(LETTERS), labels(20)).map("".join)
    front = st.lists(labels(20), min_size=least_labels - 1, max_size=4)
    return st.tuples(front, last).map(lambda parts: ".".join([*parts[0], parts[1]]))


@cache
def vsphere_names() -> st.SearchStrategy[str]:
    """Names of objects in vCenter, with spaces and letters of every alphabet; no slash."""
    characters = st.characters(categories=["L", "N"], include_characters=" -_.()[]&+,%äñ")
    return st.text(characters, min_size=1, max_size=80).filter(lambda name: name == name.strip() and name.isprintable())


@cache
def vsphere_paths() -> st.SearchStrategy[str]:
    """Names with slashes between them."""
    return st.lists(vsphere_names(), min_size=1, max_size=3).map("/".join)


@cache
def identifiers(first: str, rest: str, maximum: int) -> st.SearchStrategy[str]:
    """Strings with these first and further characters and at most ``maximum`` of them."""
    return st.tuples(st.sampled_from(first), st.text(rest, max_size=maximum - 1)).map("".join)


@cache
def service_names() -> st.SearchStrategy[str]:
    """Names of services."""
    return identifiers(LETTERS, LETTERS + DIGITS + "_-", 40).filter(lambda name: name.lower() != "stats")


@cache
def server_names() -> st.SearchStrategy[str]:
    """Names of servers."""
    return identifiers(LETTERS + DIGITS, LETTERS + DIGITS + "_.-", 64)


@cache
def user_names() -> st.SearchStrategy[str]:
    """Logins of the statistics page."""
    return identifiers(LETTERS + DIGITS, LETTERS + DIGITS + "_.-", 32)


@cache
def crypt_hashes() -> st.SearchStrategy[str]:
    """Strings with the form of SHA-512 crypt hashes, of no known password."""
    rounds = st.one_of(st.just(""), st.integers(1000, 20_000).map(lambda count: f"rounds={count}$"))
    salt, digest = st.text(CRYPT, min_size=1, max_size=16), st.text(CRYPT, min_size=86, max_size=86)
    return st.tuples(rounds, salt, digest).map(lambda parts: f"$6${parts[0]}{parts[1]}${parts[2]}")


@cache
def json_values() -> st.SearchStrategy[Any]:
    """Small arbitrary JSON; strings may have lone surrogates and control characters, numbers may be huge."""
    texts = st.text(st.characters(), max_size=12)
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
        max_leaves=8,
    )
