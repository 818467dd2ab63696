"""How a preview goes about its work: what it does side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lbstack.engine.stack import Stack
from lbstack.nodes.health import Answer, Target
from lbstack.review import preview as previewing

# An engine that reports its configuration and then works until somebody has asked the nodes; it gives up after 10 s.
ENGINE = """#!/bin/bash
while [ $# -gt 0 ]; do [ "$1" = --event-log ] && log=$2; shift; done
echo '{prelude}' >$log
for _ in $(seq 100); do [ -e {asked} ] && exit 0; read -r -t 0.1 <> <(:) || :; done
echo "error: nobody asked the nodes while the engine was at work" >&2
exit 1
"""
NODES = [{"name": "PhotonLB-01", "address": "127.0.0.1"}, {"name": "PhotonLB-02", "address": "127.0.0.2"}]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    for name in ("Pulumi.yaml", "Pulumi.trial.yaml"):
        (tmp_path / name).write_text("name: trial\n")
    prelude = {"preludeEvent": {"config": {"lbstack:nodes": json.dumps(NODES)}}}
    program = tmp_path / "bin" / "pulumi"
    program.parent.mkdir()
    program.write_text(ENGINE.format(prelude=json.dumps(prelude), asked=tmp_path / "asked"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", (tmp_path / "state").as_uri())
    return Stack("trial", tmp_path / "Pulumi.trial.yaml", tmp_path)


def test_the_nodes_are_asked_once_while_the_engine_is_at_work(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(target: Target) -> Answer:
        asked.append(target.name)
        if len(asked) == len(NODES):
            (stack.program / "asked").touch()
        return Answer()

    monkeypatch.setattr(previewing, "ask", ask)
    report = previewing.preview(stack, lambda _line: None, 30.0)
    assert report.failure is None
    assert sorted(asked) == ["PhotonLB-01", "PhotonLB-02"]
