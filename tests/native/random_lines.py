"""Random lines around the keyword tables of HAProxy and keepalived, seeded: what could slip into a rendered file.

Most are rendered lines with a word changed, so that they come near to what the applier accepts; all others are keywords
with arguments. Each may be dressed in what the parsers resolve before they look at a word: quotes, escapes, variables,
blocks, conditions, comments that are longer than a parser's line. Every path and program is a canary in ``CANARIES``,
which nothing may read or run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CANARY = "/canary"
CANARIES = (f"{CANARY}/run", f"{CANARY}/file", "run", "file", "./run", "@canary", "unix@/canary/s", "fd@3")
VALUES = ("1", "0", "10s", "if", "unless", "{", "}", "true", "-f", "-M", "root", "10.0.0.1:80", "lua.x", "%[env(HOME)]")
LINE_LIMITS = (255, 511, 1023, 1024, 1535, 2047, 2048, 4095, 16383)
NONSENSE = "xyzzy"  # no keyword: a parser that reads it says so

Context = tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """A line, and the lines that open the section or the blocks that it stands in."""

    context: Context
    text: str


def haproxy_contexts(text: str) -> dict[Context, list[str]]:
    """The lines of a rendered haproxy.cfg by their section's first line."""
    found: dict[Context, list[str]] = {}
    here: Context = ()
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")):
            here = (line,)
        elif line.strip() and not line.strip().startswith("#"):
            found.setdefault(here, []).append(line.strip())
    return found


def keepalived_contexts(text: str) -> dict[Context, list[str]]:
    """The lines of a rendered keepalived.conf by the blocks around them."""
    found: dict[Context, list[str]] = {}
    here: Context = ()
    for line in (line.strip() for line in text.splitlines()):
        if line == "}":
            here = here[:-1]
        elif line.endswith("{"):
            here = (*here, line)
        elif line and not line.startswith(("!", "#")):
            found.setdefault(here, []).append(line)
    return found


def lines(
    rng: random.Random, contexts: Mapping[Context, Sequence[str]], keywords: Sequence[str], comment: str
) -> Iterator[Line]:
    """Yield random lines for ever."""
    places = sorted(contexts)
    while True:
        context = rng.choice(places)
        rendered = rng.choice(contexts[context]).split(" ")
        yield Line(context, dressed(rng, words(rng, rendered, keywords), comment))


def words(rng: random.Random, rendered: list[str], keywords: Sequence[str]) -> list[str]:
    """A line's words: of a rendered line with changes, or a keyword with arguments."""
    arguments = [*CANARIES, *VALUES, *rng.choices(keywords, k=4)]
    if rng.random() < 0.3:
        return [rng.choice(keywords), *rng.choices(arguments, k=rng.randrange(4))]
    result = list(rendered)
    for _ in range(rng.randrange(3)):
        place = rng.randrange(len(result))
        kind = rng.randrange(4)
        if kind == 0:
            result[place] = rng.choice(arguments)
        elif kind == 1:
            result[place:place] = [rng.choice(keywords), rng.choice(arguments)]
        elif kind == 2:
            result += [rng.choice(keywords), rng.choice(arguments)]
        else:
            result[place] += rng.choice([",", ":", ".", "/", "(", ";"]) + rng.choice(arguments)
    return result


def dressed(rng: random.Random, parts: list[str], comment: str) -> str:
    """The words as a line, sometimes in a dress that a parser takes off before it looks at them."""
    kind = rng.randrange(14)
    place = rng.randrange(len(parts))
    word = parts[place]
    if kind == 0:
        quote = rng.choice("\"'")
        parts[place] = rng.choice([f"{quote}{word}{quote}", f"{word[:1]}{quote}{word[1:]}{quote}", f"{quote}{word}"])
    elif kind == 1:
        parts[place] = rng.choice([f"\\{word}", f"\\x{ord(word[0]):02x}{word[1:]}" if word else "\\", f"{word}\\"])
    elif kind == 2:
        parts[place] = rng.choice([f"${word}", f'"${{{word}}}"', f"${{{word}}}", "$_SEQ", f"~SEQ(a,1,3){word}"])
    elif kind == 3:
        parts[:0] = [rng.choice(["no", "default", ".if", "@a", "@^a", "$X=", "~LST(a,b)", "!", "include"])]
    elif kind == 4:
        parts = [" ".join(parts) + rng.choice(["\r", "\v", "\t", "\x00", "\x7f", "\u00e9", "\u2028"]), *parts]
    elif kind == 5:
        parts = [" ".join(parts), rng.choice(["{", "}", "{ " + " ".join(parts) + " }", "\\", "#", "!", ";"])]
    elif kind in (6, 7):
        tail = rng.choice(
            [f"include {CANARY}/file", f"{NONSENSE} 1", f"notify {CANARY}/run", f"lua-load {CANARY}/file"]
        )
        limit = rng.choice(LINE_LIMITS) + rng.choice([-1, 0, 1])
        filler = rng.choice(["x", " ", "x ", "\\", '"'])
        parts = [comment + (filler * limit)[: max(1, limit - rng.randrange(3))] + tail]
    return " ".join(parts)


def keywords(listed: str) -> list[str]:
    """The words of a text that may be keywords."""
    return sorted({word for word in re.findall(r"[a-z][\w.-]{2,40}", listed) if not word.endswith(".")})
