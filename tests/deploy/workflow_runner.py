"""A runner of the workflows: takes a job's steps out of its file and runs them as GitHub's runner does.

It knows the few expressions that the workflows use, and refuses every other. Only `gh` is a stand-in.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab.system.cache import CHECKOUT
from tests.deploy.engine import Result, run
from tests.deploy.harness import Harness
from tests.deploy.review import STACK

SET_UP = "Set up"  # installs the project; here it is installed
NUMBER = "17"
RUN_ID = "4711"
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
OUTPUT = re.compile(r"steps\.(\w+)\.outputs\.(\w+)")
KNOWN = {"github.token": "a token", "github.event.pull_request.number": NUMBER}
FROM_THE_LAB = ("secrets.", "vars.")  # what a repository's settings hold is the lab's own here
GH = """#!/bin/sh
exec {python} {program} "$@"
"""

Ran = dict[str, Result]


@dataclass
class Runner:
    """A runner: a checkout to work in, and what the steps leave behind.

    Args:
        lab: The vCenter and the stack.
        directory: The checkout.
        variables: What the environment of every step has on top.
    """

    lab: Harness
    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        make_checkout(self.directory)
        self.put("gh", GH.format(python=sys.executable, program=Path(__file__).with_name("gh_standin.py")))
        self._file("summary").touch()
        self.remember(comments=[], issues=[])

    def _file(self, name: str) -> Path:
        return self.directory.parent / name

    @property
    def summary(self) -> str:
        """What the steps have put into the run's summary."""
        return self._file("summary").read_text()

    @property
    def github(self) -> dict[str, list[dict[str, Any]]]:
        """Comments and issues."""
        return dict(json.loads(self._file("github.json").read_text()))

    def remember(self, **entries: list[dict[str, Any]]) -> None:
        """Put comments or issues there beforehand."""
        file = self._file("github.json")
        before = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(before | entries))

    def put(self, name: str, text: str) -> None:
        """Put a program before all others of its name."""
        place = self._file("bin")
        place.mkdir(exist_ok=True)
        (place / name).write_text(text)
        (place / name).chmod(0o755)

    def environment(self) -> dict[str, str]:
        """What every step finds in its environment."""
        environment = self.lab.workspace.environment() | {
            "STACK": STACK,
            "GH_STORE": str(self._file("github.json")),
            "GITHUB_REPOSITORY": "someone/pair",
            "GITHUB_RUN_ID": RUN_ID,
            "GITHUB_STEP_SUMMARY": str(self._file("summary")),
            "GITHUB_OUTPUT": str(self._file("output")),
            "GITHUB_PATH": str(self._file("path")),
            "RUNNER_TEMP": str(self._file("temp")),
        }
        environment["PATH"] = f"{self._file('bin')}:{environment['PATH']}"
        return environment | self.variables

    def run(self, workflow: str, job: str) -> Ran:
        """Run a job's steps in order, but for the setting up.

        Returns:
            Name → result of those that ran; empty where a job that it needs has failed.
        """
        document = yaml.safe_load((CHECKOUT / ".github" / "workflows" / f"{workflow}.yml").read_text())
        content = document["jobs"][job]
        needs = content.get("needs", [])
        for needed in [needs] if isinstance(needs, str) else needs:
            if not succeeded(self.run(workflow, needed)):
                return {}
        done: Ran = {}
        outputs: dict[tuple[str, str], str] = {}
        for step in content["steps"]:
            if "run" not in step or step["name"] == SET_UP or not wanted(step.get("if", ""), done):
                continue
            done[step["name"]] = self.step(step, outputs)
        assert done
        return done

    def step(self, step: Mapping[str, Any], outputs: dict[tuple[str, str], str]) -> Result:
        """Run one step with its own variables, and keep what it gives to later ones."""
        own = {
            name: value for name, text in step.get("env", {}).items() if (value := resolved(text, outputs)) is not None
        }
        output = self._file("output")
        output.write_text("")
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        result = run(command, self.environment() | own, cwd=self.directory)
        for line in output.read_text().splitlines():
            name, _, value = line.partition("=")
            outputs[step["id"], name] = value
        return result


def make_checkout(directory: Path, *, copies: tuple[str, ...] = ()) -> None:
    """A checkout in which each entry is a link to this one's, but for those that are copied to be changed."""
    directory.mkdir()
    for path in CHECKOUT.iterdir():
        if path.name not in (".git", ".lab", "report.md", *copies):
            (directory / path.name).symlink_to(path)


def succeeded(ran: Ran) -> bool:
    """Whether every step that ran did."""
    return all(result.code == 0 for result in ran.values())


def wanted(condition: str, done: Ran) -> bool:
    """Whether a step runs after what ran before it; nothing is ever cancelled here."""
    expression = EXPRESSION.fullmatch(condition)
    name = expression[1] if expression else condition
    return {
        "": succeeded(done),
        "success()": succeeded(done),
        "failure()": not succeeded(done),
        "always()": True,
        "!cancelled()": True,
    }[name]


def resolved(text: str, outputs: Mapping[tuple[str, str], str]) -> str | None:
    """The value of a variable; None where it is the lab's own."""
    expression = EXPRESSION.fullmatch(text)
    if not expression:
        return text
    name = expression[1]
    if name.startswith(FROM_THE_LAB):
        return None
    output = OUTPUT.fullmatch(name)
    return outputs.get((output[1], output[2]), "") if output else KNOWN[name]
