"""Commands about one stack mean that stack, whichever one is selected in the project."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lbstack import cli
from lbstack.config.models import StackConfig
from lbstack.engine import backend, record
from lbstack.engine.stack import Stack
from lbstack.nodes import status
from lbstack.teardown import destroy
from tests.unit.config.support import valid_configuration

DEPLOYED, OF_THE_SELECTED = "a" * 64, "b" * 64
# A stand-in for the engine in a project whose selected stack is `lab`: that is the one meant by who names none.
ENGINE = f"""#!/bin/bash
stack=lab
case "$1 $2" in "stack rm") stack=$3 ;; esac
command="$1 $2"
while [ $# -gt 0 ]; do [ "$1" = --stack ] && stack=$2; shift; done
echo "$command: $stack" >>asked
case "$command $stack" in
"stack output prod") echo {DEPLOYED} ;;
"stack output lab") echo {OF_THE_SELECTED} ;;
"stack export "*) echo '{{"deployment": {{}}}}' ;;
esac
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "pulumi"
    program.write_text(ENGINE)
    program.chmod(0o755)
    (tmp_path / "Pulumi.yaml").write_text("name: project\nruntime: python\n")
    file = tmp_path / "Pulumi.prod.yaml"
    values = {f"lbstack:{name}": value for name, value in valid_configuration().items()}
    file.write_text(yaml.safe_dump({"config": values}))
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://states")
    monkeypatch.chdir(tmp_path)
    return Stack("prod", file, tmp_path)


def test_the_nodes_are_compared_with_the_set_of_the_stack_that_is_meant(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []

    def look(_config: StackConfig, wanted: str) -> status.Status:
        compared.append(wanted)
        return status.Status(wanted, (), {}, ())

    monkeypatch.setattr(status, "look", look)
    assert cli.main(["status", stack.name, "--json"]) == 0
    assert compared == [DEPLOYED]


@pytest.mark.parametrize("command", [backend.pending, record.read_state, destroy.remove])
def test_a_short_command_about_one_stack_names_it(stack: Stack, command: Callable[[Stack], object]) -> None:
    command(stack)
    asked = (stack.program / "asked").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in asked] == ["prod"]
