"""A stack file is refused with a place, or every program that reads its files accepts them.

Ten thousand random stack files (`make soak`; two per cent of them in `make test`): HAProxy 2.2 and 2.6, keepalived, and
the applier's own checks on both nodes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from lbstack.facts.releases import RELEASES
from lbstack.offline.guest import complaint
from lbstack.problems import ConfigError, Problem
from lbstack.render.files import File, render_pair
from lbstack.render.pack import guestinfo
from lbstack.render.paths import (
    CHECK_PROGRAM,
    HAPROXY_CFG,
    KEEPALIVED_CONF,
    NOTIFY_PROGRAM,
    SERVER_STATES,
    STATE_MAP,
    TRACK_FILE,
)
from lbstack.stackfile.load import load
from tests.campaign import SEED, size
from tests.native.random_stacks import stack_files
from tests.native.sandbox import sandbox
from tests.native.test_random_lines import WATCH_S, WATCHING, watching_program
from tests.strategies import Raw

STACK_FILES = 10_000
INTERFACE = "eth0"  # of the sandbox
OLD, NEW = "bullseye", "bookworm"


@dataclass(frozen=True)
class Document:
    """A rendered file with what its parser needs to know."""

    text: str
    node: str
    release: str


def without_its_interface(text: str) -> str:
    """keepalived.conf with the sandbox's interface: its parser looks at it."""
    text = re.sub(r"^( +interface) .*$", rf"\1 {INTERFACE}", text, flags=re.MULTILINE)
    return re.sub(r"(/32 dev) .*$", rf"\1 {INTERFACE}", text, flags=re.MULTILINE)


@pytest.mark.timeout(2 * WATCH_S)
def test_what_a_stack_file_may_say_every_program_accepts() -> None:
    documents: dict[str, set[Document]] = {"haproxy": set(), "keepalived": set()}
    refused = accepted = 0

    @seed(SEED)
    @settings(
        max_examples=max(size(STACK_FILES), 10),
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(stack_files())
    def collect(stack: tuple[Raw, dict[str, str]]) -> None:
        nonlocal refused, accepted
        problems: list[Problem] | None = None
        try:
            config, secrets = load(*stack)
            pair = render_pair(config, secrets)
            values = {node.name: guestinfo(config, pair, node.name, secrets) for node in config.nodes}
        except ConfigError as error:
            problems = list(error.problems)
        if problems is not None:
            refused += 1
            assert problems
            assert all(problem.path and problem.remedy for problem in problems), problems
            return
        accepted += 1
        for node, value in values.items():
            assert complaint(value) == "", node
        for node, files in pair.nodes.items():
            release = config.image.release
            documents["haproxy"].add(Document(files[HAPROXY_CFG].content, node, release))
            conf = without_its_interface(files[KEEPALIVED_CONF].content)
            documents["keepalived"].add(Document(conf, node, release))

    collect()
    assert refused > 0, "no stack file was refused"
    assert accepted > refused // 2
    for image in (NEW, OLD):
        require_accepted(image, documents)


def require_accepted(image: str, documents: dict[str, set[Document]]) -> None:
    """Assert that the daemons of an image accept what they can be asked about."""
    files = {path: File("#!/bin/sh\n", mode=0o755) for path in (CHECK_PROGRAM, NOTIFY_PROGRAM)}
    files |= {STATE_MAP: File("vrrp unknown\napply unknown\n"), TRACK_FILE: File("1\n"), WATCHING: watching_program()}
    files["/etc/tmpfiles.d/lbstack.conf"] = File("d /run/haproxy\nd /run/lbstack\n")
    with sandbox(image, files, interface=INTERFACE) as box:
        runtime = {STATE_MAP: "vrrp unknown", TRACK_FILE: "1", SERVER_STATES: "1"}
        made = [f"echo '{text}' >{path}" for path, text in runtime.items()]
        box.must("sh", "-c", " && ".join(["mkdir -p /run/lbstack", *made]))
        for kind, found in documents.items():
            chosen = sorted(
                (
                    document
                    for document in found
                    if image == NEW or kind == "keepalived" or not RELEASES[document.release].has_conditional_check
                ),
                key=lambda document: (document.node, document.text),
            )
            assert chosen
            asked = json.dumps([[[], document.text, {"NODE": document.node}] for document in chosen])
            result = box.run("python3", WATCHING, f"whole {kind}", stdin=asked, limit_s=WATCH_S)
            assert result.returncode == 0, result.stderr
            for document, line in zip(chosen, result.stdout.splitlines(), strict=True):
                code, output, _ = json.loads(line)
                said = output.replace("Configuration file is valid\n", "").strip()
                assert (code, said) == (0, ""), (image, kind, said, document.text)
