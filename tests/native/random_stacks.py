"""Random stack files, seeded: valid ones, and some with one value that somebody mistyped."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.strategies import Raw, configurations, secrets_for
from tests.values import json_values

# What ends or changes a line for one of the programs that read the rendered files.
NASTY = (
    "a b", "a\nb", "a'b", 'a"b', "a\\b", "a$b", "${NODE}", "%[env(NODE)]", "a#b", "a!b", "a{b", "a}b", "@a",
    "~SEQ(a,1)", "include /etc/passwd", "x" * 300, "/" + "x" * 250, "-f", "no", "default", "1.2.3.4", "0", "^", "a^b",
    "2.2~1^x", "\u00e4", "a\tb", "", "true", "%2f", "global", "frontend", "%", "a,b", "a:b", "a/b", "pair", "if",
)  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values that contain no others."""
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, inner in enumerate(value) for leaf in leaves(inner, (*path, key))]
    return [path]


@st.composite
def stack_files(draw: st.DrawFn) -> tuple[Raw, dict[str, str]]:
    """The content of a stack file, with its secrets; every other one has a value replaced."""
    raw = draw(configurations())
    secrets = draw(secrets_for(raw))
    if draw(st.booleans()):
        *path, last = draw(st.sampled_from(leaves(raw)))
        place: Any = raw
        for key in path:
            place = place[key]
        place[last] = draw(st.sampled_from(NASTY) | json_values())
    return raw, secrets
