"""No line that the applier accepts has a daemon run, read or write anything but what this project renders.

Ten thousand random lines for each daemon (`make soak`; two per cent of them in `make test`), made from the keywords of
the real programs and the rendered files. What the applier accepts is given to the real parsers, which must not touch
a canary, and must not read what stands in a comment.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lbstack.offline.guest import applier
from lbstack.render.files import File
from lbstack.render.paths import HAPROXY_CFG, KEEPALIVED_CONF
from tests.campaign import SEED, size
from tests.goldens.cases import CASES, cases, rendered
from tests.native import random_lines
from tests.native.random_lines import CANARY, NONSENSE, Context, Line
from tests.native.sandbox import Sandbox, sandbox

LINES = 10_000
WATCHING = "/usr/local/bin/watching.py"
WATCH_S = 3600.0


def watching_program() -> File:
    """The program that gives lines to a parser, as a file of a sandbox."""
    return File(Path(__file__).with_name("watching.py").read_text())


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The applier as a module."""
    return applier()


@pytest.fixture(scope="module", params=["bookworm", "bullseye"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox with the programs of a set, and the one that watches."""
    files = dict(rendered("post-3.0").nodes[cases()["post-3.0"].config.nodes[0].name])
    files[WATCHING] = watching_program()
    environment = {"NODE": "PhotonLB-01", "NODE_ADDRESS": "192.168.6.120"}
    with sandbox(request.param, files, addresses=["192.168.6.120/24"], environment=environment) as found:
        yield found


def contexts(path: str) -> dict[Context, list[str]]:
    """The lines of all goldens of one path by their context."""
    split = random_lines.haproxy_contexts if path == HAPROXY_CFG else random_lines.keepalived_contexts
    found: dict[Context, list[str]] = {}
    for case in CASES:
        for files in rendered(case).nodes.values():
            for context, texts in split(files[path].content).items():
                known = found.setdefault(context, [])
                known += [text for text in texts if text not in known]
    return found


def accepts(program: ModuleType, path: str, line: Line) -> bool:
    """Whether the applier accepts the line in its context."""
    closing = ["}" for text in line.context if text.endswith("{")]
    text = "\n".join([*line.context, line.text, *closing, ""])
    check = program.check_haproxy if path == HAPROXY_CFG else program.check_keepalived
    return not check(text)


def watched(box: Sandbox, kind: str, accepted: list[Line]) -> list[tuple[int, str, list[str]]]:
    """What the real parser did with each line."""
    asked = json.dumps([[line.context, line.text, {}] for line in accepted])
    result = box.run("python3", WATCHING, kind, stdin=asked, limit_s=WATCH_S)
    assert result.returncode == 0, result.stderr
    return [tuple(json.loads(line)) for line in result.stdout.splitlines()]


def directive(text: str) -> str:
    """A line's first word; its first two where the first is a family of directives."""
    found = text.split(" ")
    family = found[0] in ("http-request", "http-check", "option", "stats", "timeout", "log")
    return " ".join(found[: 2 if family else 1])


@pytest.mark.timeout(WATCH_S)
@pytest.mark.parametrize(("kind", "path"), [("haproxy", HAPROXY_CFG), ("keepalived", KEEPALIVED_CONF)])
def test_no_random_line_that_is_accepted_changes_what_a_daemon_runs_reads_or_writes(
    box: Sandbox, program: ModuleType, kind: str, path: str
) -> None:
    rng = random.Random(SEED)
    if kind == "haproxy":
        listed = box.run("haproxy", "-dKall", "-q", "-c", "-f", "/dev/null").stdout
        keywords, comment = random_lines.keywords(listed + program_words(box, kind)), "#"
    else:
        keywords, comment = random_lines.keywords(program_words(box, kind)), "!"
    assert len(keywords) > 300
    places = contexts(path)
    known = {directive(text) for texts in places.values() for text in texts}
    known |= {context[0].split(" ")[0] for context in places if context}  # a line may begin another section
    made = list(itertools.islice(random_lines.lines(rng, places, keywords, comment), size(LINES)))
    accepted = sorted({(line.context, line.text) for line in made if accepts(program, path, line)})
    assert len(accepted) > size(LINES) // 50, "the lines are too far from what is accepted to say anything"
    assert len(accepted) < len(made) // 2
    tried = [Line(*pair) for pair in accepted]
    comments = {line for line in tried if line.text.lstrip().startswith(("#", "!"))}
    for line in tried:
        if line not in comments:
            assert directive(line.text) in known or len(line.context) > 1, line  # in a block in a block stand values
            assert CANARY not in line.text, line
            assert line.text.isprintable(), line
    for line, (_, output, touched) in zip(tried, watched(box, kind, tried), strict=True):
        assert touched == [], (line, output)
        assert NONSENSE not in output or line not in comments, (line, output)


def program_words(box: Sandbox, kind: str) -> str:
    """The words in a daemon's program; its keywords are among them."""
    code = (
        "import re, sys; data = open(sys.argv[1], 'rb').read(); "
        r"print(' '.join(sorted({w.decode() for w in re.findall(rb'[a-z][a-z_0-9.-]{3,40}(?=\0)', data)})))"
    )
    return box.must("python3", "-c", code, f"/usr/sbin/{kind}")


def test_the_watch_notices_what_a_parser_opens(box: Sandbox) -> None:
    include = Line((), f"include {CANARY}/file")
    long_comment = Line((), "!" + "x" * 1022 + f"include {CANARY}/file")
    acl = Line(("frontend f",), f"http-request deny if {{ src -f {CANARY}/file }}")
    assert watched(box, "keepalived", [include])[0][2] == ["file"]
    assert watched(box, "haproxy", [acl])[0][2] == ["file"]
    assert watched(box, "keepalived", [long_comment])[0][2] == ["file"], "its parser has no limit any more"
