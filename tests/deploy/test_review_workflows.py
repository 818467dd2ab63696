"""The workflows' own steps, taken out of their files and run in the lab on the real engine; only `gh` is a stand-in."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import check, golang
from lab.state import CHECKOUT
from tests import tiers
from tests.deploy.engine import Result, run
from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY

SET_UP = "Set up"  # installs the project; here it is installed
NUMBER = "17"
# gh's part that `.ci/publish` uses: comments and issues of one repository, kept in a file.
GH = """#!{python}
import json, os, re, sys
store = os.environ["GH_STORE"]
try:
    data = json.load(open(store))
except OSError:
    data = {{"comments": [], "issues": []}}
words, fields, method, path = sys.argv[2:], {{}}, "GET", ""
while words:
    word = words.pop(0)
    if word == "--method":
        method = words.pop(0)
    elif word in ("--field", "--raw-field"):
        key, _, value = words.pop(0).partition("=")
        fields[key] = open(value[1:]).read() if word == "--field" and value.startswith("@") else value
    elif word == "--jq":
        words.pop(0)
    elif not word.startswith("--"):
        path = word
kind = "comments" if "/comments" in path else "issues"
number = re.search(r"/(\\d+)$", path)
if method == "GET":
    for entry in data[kind]:
        if kind == "comments" and entry["body"].startswith(os.environ["MARK"]):
            print(entry["id"])
        if kind == "issues" and entry["title"] == os.environ["TITLE"] and entry["state"] == "open":
            print(entry["id"])
elif method == "POST":
    data[kind].append({{"id": len(data[kind]) + 1, "state": "open"}} | fields)
elif method == "PATCH":
    next(entry for entry in data[kind] if entry["id"] == int(number[1])).update(fields)
json.dump(data, open(store, "w"))
"""


@dataclass
class Runner:
    """A runner of workflows: a checkout to work in, and what the steps leave behind."""

    lab: Harness
    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.directory.parent / "github.json"

    @property
    def summary(self) -> str:
        return (self.directory.parent / "summary.md").read_text()

    @property
    def github(self) -> dict[str, list[dict[str, Any]]]:
        return dict(json.loads(self.store.read_text()))

    def run(self, workflow: str, job: str) -> list[Result]:
        """Run a job's steps in order, as the runner's shell does; stops at the first that fails."""
        document = yaml.safe_load((CHECKOUT / ".github" / "workflows" / f"{workflow}.yml").read_text())
        bin_directory = self.directory.parent / "bin"
        environment = self.lab.workspace.environment() | {
            "STACK": STACK,
            "NUMBER": NUMBER,
            "GH_STORE": str(self.store),
            "GITHUB_REPOSITORY": "someone/pair",
            "GITHUB_STEP_SUMMARY": str(self.directory.parent / "summary.md"),
        }
        environment["PATH"] = f"{bin_directory}:{environment['PATH']}"
        done: list[Result] = []
        for step in document["jobs"][job]["steps"]:
            if "run" in step and step["name"] != SET_UP and (not done or done[-1].code == 0):
                command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
                done.append(run(command, environment | self.variables, cwd=self.directory))
        assert done
        return done


@pytest.fixture
def runner(pair: Harness, tmp_path: Path) -> Runner:
    directory = tmp_path / "checkout"
    directory.mkdir()
    for path in CHECKOUT.iterdir():
        if path.name not in (".git", ".lab", "report.md"):
            (directory / path.name).symlink_to(path)
    (tmp_path / "bin").mkdir()
    gh = tmp_path / "bin" / "gh"
    gh.write_text(GH.format(python=sys.executable))
    gh.chmod(0o755)
    (tmp_path / "summary.md").touch()
    return Runner(pair, directory)


# Root needs no sudo; what it is to keep of the environment is looked at.
SUDO = """#!/bin/sh
[ "$1" = --preserve-env=CI ] || exit 64
shift
exec "$@"
"""
# `make test` would run this test again; what it is called with is written down instead.
MAKE = """#!/bin/sh
printf '%s\\n' "$PWD" "CI=$CI" "$*" >"$MADE"
"""


BAD = """\
name: bad
"on": push
jobs:
  say:
    runs-on: no-such-runner
    steps:
      - run: rm $HOME/*.txt $what
"""


def program(directory: Path, name: str, text: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(text)
    (directory / name).chmod(0o755)


def longer_tunnels(config: Config) -> None:
    config["lbstack:services"]["horizon"]["timeouts"] = {"tunnel": "3h"}


def all_ok(results: list[Result]) -> None:
    for result in results:
        result.ok()


def test_ci_runs_every_checker_and_then_every_test_with_skips_as_failures(tmp_path: Path) -> None:
    """Both steps are run as they stand; in the second, `make` is a stand-in, because `make test` is where this runs."""
    document = yaml.safe_load((CHECKOUT / ".github" / "workflows" / "ci.yml").read_text())
    check, test = (step["run"] for step in document["jobs"]["test"]["steps"] if "run" in step)
    program(tmp_path / "bin", "sudo", SUDO)
    program(tmp_path / "stand-in", "make", MAKE)
    # The runner sets CI; a shell of its own has no virtual environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "VIRTUAL_ENV"))}
    environment |= {"CI": "true", "MADE": str(tmp_path / "made"), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]

    checked = run([*shell, check], environment, cwd=CHECKOUT).ok().out
    assert "FAILED" not in checked
    assert {"ruff", "mypy", "actionlint", "zizmor"} <= {line.split()[1] for line in checked.splitlines()}

    environment["PATH"] = f"{tmp_path / 'stand-in'}:{environment['PATH']}"
    run([*shell, test], environment, cwd=CHECKOUT).ok()
    assert (tmp_path / "made").read_text() == f"{CHECKOUT}\nCI=true\ntest\n"
    del environment["CI"]  # on a machine that is no runner, `.ci/run` sets it
    run([*shell, ".ci/run"], environment, cwd=CHECKOUT).ok()
    assert "CI=true" in (tmp_path / "made").read_text()


def test_a_script_with_a_mistake_in_a_workflow_is_objected_to(tmp_path: Path) -> None:
    go = golang.find_go()
    if not go.program.exists():
        tiers.refuse("missing: go; `make check` installs it")
    bad = tmp_path / "bad.yml"
    bad.write_text(BAD)
    checks = check.workflow_checks([], check.ensure_actionlint(go, print))
    (actionlint,) = [item for item in checks if item.name == "actionlint"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # shellcheck is there
    said = run([*actionlint.command, str(bad)], os.environ | {"PATH": path}, cwd=CHECKOUT).refused(1).out
    assert "SC2086" in said
    assert 'label "no-such-runner" is unknown' in said


def test_a_pull_request_gets_one_comment_that_is_kept_up_to_date(runner: Runner) -> None:
    all_ok(runner.run("preview", "preview"))
    (comment,) = runner.github["comments"]
    assert comment["body"].startswith(f"<!-- lbstack preview of {STACK} -->")
    assert "No change, no drift" in comment["body"]
    with runner.lab.edited(longer_tunnels):
        all_ok(runner.run("preview", "preview"))
    (comment,) = runner.github["comments"]
    assert comment["body"].count("+    timeout tunnel 3h") == 1


def test_a_fork_gets_checks_and_the_rendered_difference(runner: Runner) -> None:
    base = runner.directory / ".base"
    base.mkdir()
    for path in CHECKOUT.iterdir():
        if path.name not in (".git", ".lab", "Pulumi.lab.yaml"):
            (base / path.name).symlink_to(path)
    document = yaml.safe_load((CHECKOUT / "Pulumi.lab.yaml").read_text())
    longer_tunnels(document["config"])
    (base / "Pulumi.lab.yaml").write_text(yaml.safe_dump(document))
    runner.variables = {"PULUMI_OPTION_CONFIG_FILE": "", "PULUMI_CONFIG_PASSPHRASE_FILE": "", "PULUMI_BACKEND_URL": ""}
    all_ok(runner.run("preview", "rendered"))
    changed = [line.strip() for line in runner.summary.splitlines() if line.strip().startswith(("+ ", "- "))]
    assert sorted(set(changed)) == ["+    timeout tunnel 1h", "-    timeout tunnel 3h"]


def test_drift_opens_one_issue_updates_it_and_closes_it(runner: Runner) -> None:
    runner.lab.reconfigure(MASTER, numCPUs=4)
    all_ok(runner.run("drift", "drift"))
    all_ok(runner.run("drift", "drift"))
    (issue,) = runner.github["issues"]
    assert (issue["title"], issue["state"]) == (f"Drift of {STACK}", "open")
    assert "CPUs: 4 in vCenter; deployed: 2." in issue["body"]
    runner.lab.up("--refresh", "--run-program").ok()
    all_ok(runner.run("drift", "drift"))
    (issue,) = runner.github["issues"]
    assert issue["state"] == "closed"


def test_a_drift_run_that_cannot_tell_fails_and_says_so_in_the_issue(runner: Runner) -> None:
    runner.variables = {"PULUMI_BACKEND_URL": "file:///nonexistent/state"}
    (result,) = runner.run("drift", "drift")
    assert result.code != 0
    assert "Cannot tell" in runner.github["issues"][0]["body"]


def test_a_merge_deploys_and_shows_what_was_applied(runner: Runner) -> None:
    with runner.lab.edited(longer_tunnels):
        mark = runner.lab.last_task()
        applied, left = runner.run("deploy", "deploy")
        applied.ok()
        left.ok()
        done = [task["vm"] for task in runner.lab.tasks(mark) if task["operation"] == "reconfigure"]
        assert any("timeout tunnel 3h" in file["content"] for file in runner.lab.userdata(MASTER)["write_files"])
    assert done == [STANDBY, MASTER]
    assert runner.summary.count("+    timeout tunnel 3h") == 1
    assert f"`{STACK}`: Applied: 1 file on 2 nodes changed (reboot)." in runner.summary
    assert runner.summary.index(f"1. **`{STANDBY}`** reboot") < runner.summary.index(f"2. **`{MASTER}`** reboot")
    assert "No change, no drift" in runner.summary


def test_a_merge_that_fails_half_way_shows_which_node_was_changed_and_which_was_not(runner: Runner) -> None:
    runner.lab.fail_next("ReconfigVM_Task", MASTER, message="the datastore is full")
    with runner.lab.edited(longer_tunnels):
        (result,) = runner.run("deploy", "deploy")
        assert result.code == 2
        assert "Failed, after 1 file on 1 node changed (reboot)" in runner.summary
        assert "the datastore is full" in runner.summary
        assert f"on <code>{STANDBY}</code> (+1 -1)" in runner.summary
        assert f"2. **`{MASTER}`** reboot, because it failed there" in runner.summary
        # The same command goes on from there, and tells only what was left.
        again, _ = runner.run("deploy", "deploy")
        again.ok()
    assert f"on <code>{MASTER}</code> (+1 -1)" in runner.summary


@pytest.fixture
def lab_of_a_pull_request(runner: Runner) -> str:
    """A deployed stack of the lab's stack file, named as the workflow names it; its name."""
    lab = runner.lab
    lab.destroy().ok()
    name = f"lab-pr-{NUMBER}"
    make = ["stack", "init", name, "--secrets-provider", "passphrase", "--no-select"]
    lab.workspace.quietly(make, directory=lab.paths.root / "pulumi" / "project")
    lab.pulumi("up", "--stack", name).ok()
    assert MASTER in lab.machines()
    return name


def test_the_lab_of_a_closed_pull_request_is_destroyed_and_its_record_removed(
    runner: Runner, lab_of_a_pull_request: str
) -> None:
    lab, name = runner.lab, lab_of_a_pull_request
    all_ok(runner.run("lab-destroy", "closed"))
    assert lab.machines() == {}
    assert name not in lab.workspace.quietly(["stack", "ls", "--json"])
    all_ok(runner.run("lab-destroy", "closed"))


def test_a_lab_whose_time_is_up_is_destroyed_at_night_and_no_younger_one(
    runner: Runner, lab_of_a_pull_request: str
) -> None:
    lab, name = runner.lab, lab_of_a_pull_request
    all_ok(runner.run("lab-destroy", "expired"))
    assert MASTER in lab.machines()
    checkpoint = lab.checkpoint.file.with_name(f"{name}.json")
    record = json.loads(checkpoint.read_text())
    record["checkpoint"]["latest"]["manifest"]["time"] = "2026-01-01T00:00:00Z"
    checkpoint.write_text(json.dumps(record))
    (swept,) = runner.run("lab-destroy", "expired")
    assert f"{name}: expired" in swept.ok().out
    assert lab.machines() == {}
    assert name not in lab.workspace.quietly(["stack", "ls", "--json"])
