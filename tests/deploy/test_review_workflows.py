"""The workflows' own steps, taken out of their files and run in the lab on the real engine; only `gh` is a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import check
from lab.check import tracked
from lab.system.cache import CHECKOUT
from lab.toolchain import golang
from lbstack.cli import EXIT_REFUSED
from tests import tiers
from tests.deploy.engine import Result, run
from tests.deploy.gh_standin import LOGIN
from tests.deploy.harness import Config, Harness
from tests.deploy.review import MASTER, STACK, STANDBY
from tests.deploy.workflow_runner import NUMBER, RUN_ID, SET_UP, Ran, Runner, make_checkout

NO_STATE = {"PULUMI_BACKEND_URL": "file:///nonexistent/state"}
# As a fork's job finds it: no stack but that of the checkout, and nothing that is secret.
FORK = {"PULUMI_OPTION_CONFIG_FILE": "", "PULUMI_CONFIG_PASSPHRASE_FILE": "", "PULUMI_BACKEND_URL": ""}
CRASH = """#!/bin/sh
echo 'it is broken' >&2
exit 1
"""
# Reports that it deploys and does not; the rest is the real program, without a state if that is wanted.
LAZY = """#!/bin/sh
if [ "$1" = up ]; then echo 'Applied.' >report.md; exit 0; fi
{variables} exec {python} -m lbstack "$@"
"""


@pytest.fixture
def runner(pair: Harness, tmp_path: Path) -> Runner:
    tiers.require("jq")
    return Runner(pair, tmp_path / "checkout")


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


def wrong_router_id(config: Config) -> None:
    config["lbstack:vrrp"]["routerId"] = 300


def all_ok(ran: Ran) -> None:
    for result in ran.values():
        result.ok()


def failed_at(ran: Ran, name: str) -> Result:
    """The result of the one step that failed."""
    assert [step for step, result in ran.items() if result.code] == [name]
    return ran[name].refused()


def by(login: str, mark: str, **more: Any) -> dict[str, Any]:
    """A comment or an issue that begins as the report of that name does."""
    kind = "Bot" if login.endswith("[bot]") else "User"
    return {"body": f"<!-- lbstack {mark} -->\nby {login}", "user": {"login": login, "type": kind}} | more


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
    output = run([*actionlint.command, str(bad)], os.environ | {"PATH": path}, cwd=CHECKOUT).refused(1).out
    assert "SC2086" in output
    assert 'label "no-such-runner" is unknown' in output


def test_a_pull_request_gets_one_comment_that_is_kept_up_to_date(runner: Runner) -> None:
    all_ok(runner.run("preview", "preview"))
    (comment,) = runner.github["comments"]
    assert comment["body"].startswith(f"<!-- lbstack preview of {STACK} -->")
    assert "No change, no drift" in comment["body"]
    with runner.lab.edited(longer_tunnels):
        all_ok(runner.run("preview", "preview"))
    (comment,) = runner.github["comments"]
    assert comment["body"].count("+    timeout tunnel 3h") == 1


def test_of_many_comments_the_one_that_was_written_here_is_updated_and_no_other(runner: Runner) -> None:
    mark = f"preview of {STACK}"
    others = [
        by("octocat", mark, id=1, issue=int(NUMBER)),
        by("dependabot[bot]", mark, id=2, issue=int(NUMBER)),
        by(LOGIN, f"preview of {STACK}2", id=3, issue=int(NUMBER)),
        by(LOGIN, mark, id=4, issue=int(NUMBER) + 1),
        {"id": 5, "issue": int(NUMBER), "body": None, "user": {"login": LOGIN, "type": "Bot"}},
    ]
    runner.remember(comments=[*others, by(LOGIN, mark, id=6, issue=int(NUMBER))])
    all_ok(runner.run("preview", "preview"))
    *untouched, ours = runner.github["comments"]
    assert untouched == others
    assert (ours["id"], "No change, no drift" in ours["body"]) == (6, True)


def test_a_wrong_stack_file_is_reported_in_the_comment_in_the_place_of_the_report_before(runner: Runner) -> None:
    all_ok(runner.run("preview", "preview"))
    with runner.lab.edited(wrong_router_id):
        failed_at(runner.run("preview", "preview"), "Preview").refused(EXIT_REFUSED)
    (comment,) = runner.github["comments"]
    assert "Unknown" in comment["body"]
    assert "vrrp.routerId" in comment["body"]
    assert "No change, no drift" not in comment["body"]


def test_a_stack_that_is_not_there_is_reported_in_the_comment(runner: Runner) -> None:
    runner.variables = {"STACK": "nowhere", "PULUMI_OPTION_CONFIG_FILE": ""}
    failed_at(runner.run("preview", "preview"), "Preview").refused(EXIT_REFUSED)
    (comment,) = runner.github["comments"]
    assert comment["body"].startswith("<!-- lbstack preview of nowhere -->")
    assert 'There is no stack "nowhere"' in comment["body"]


def test_a_program_that_crashes_leaves_no_old_report_standing(runner: Runner) -> None:
    for workflow in ("preview", "drift"):
        all_ok(runner.run(workflow, workflow))
    runner.put("lbstack", CRASH)
    # Every runner begins with a clean checkout.
    (runner.directory / "report.md").unlink()
    assert runner.run("preview", "preview")["Preview"].code == 1
    failed_at(runner.run("drift", "drift"), "Look for drift")
    (comment,), (issue,) = runner.github["comments"], runner.github["issues"]
    for body in (comment["body"], issue["body"]):
        assert "No report" in body
        assert f"https://github.com/someone/pair/actions/runs/{RUN_ID}" in body
        assert "No change, no drift" not in body


OWN = ("lbstack", "cloudinit", "Pulumi.lab.yaml")


def fork(runner: Runner) -> Path:
    """Make the checkout one of a fork with its base in it, both with a program and templates of their own; the base."""
    base = runner.directory / ".base"
    make_checkout(base, copies=OWN)
    for name in OWN:
        (runner.directory / name).unlink()
        copy = shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copyfile
        for place in (base, runner.directory):
            copy(CHECKOUT / name, place / name)
    runner.variables = FORK
    return base


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def rendered(runner: Runner) -> str:
    """What a fork's job puts into its summary."""
    before = len(runner.summary)
    all_ok(runner.run("preview", "rendered"))
    return runner.summary[before:]


def changed_lines(summary: str) -> list[str]:
    return sorted({line.strip() for line in summary.splitlines() if line.startswith(("    + ", "    - "))})


def test_a_fork_gets_the_difference_that_its_stack_file_makes(runner: Runner) -> None:
    base = fork(runner)
    assert "No file changes." in rendered(runner)
    document = yaml.safe_load((CHECKOUT / "Pulumi.lab.yaml").read_text())
    longer_tunnels(document["config"])
    (base / "Pulumi.lab.yaml").write_text(yaml.safe_dump(document))
    assert changed_lines(rendered(runner)) == ["+    timeout tunnel 1h", "-    timeout tunnel 3h"]


def test_a_fork_gets_the_difference_that_its_templates_and_its_program_make(runner: Runner) -> None:
    base = fork(runner)
    template = Path("cloudinit", "haproxy.cfg.j2")
    edit(runner.directory / template, "hard-stop-after {{ hard_stop_after }}", "hard-stop-after 11h")
    assert changed_lines(rendered(runner)) == ["+    hard-stop-after 11h", "-    hard-stop-after 10h"]
    shutil.copyfile(base / template, runner.directory / template)
    edit(base / "lbstack" / "config" / "fields.py", 'HARD_STOP = "10h"', 'HARD_STOP = "9h"')
    assert changed_lines(rendered(runner)) == ["+    hard-stop-after 10h", "-    hard-stop-after 9h"]


def test_a_fork_is_reported_where_its_difference_was_cut(runner: Runner) -> None:
    base = fork(runner)
    (base / "Pulumi.lab.yaml").unlink()
    shown = rendered(runner)
    assert "It is new" in shown
    (cut,) = [line for line in shown.splitlines() if line.startswith("Cut: the first ")]
    first, whole = (int(word) for word in cut.split() if word.isdigit())
    assert sum(line.startswith("    ") for line in shown.splitlines()) == first < whole
    whole_text = run([".ci/rendered-diff", ".base", "1000000"], runner.environment(), cwd=runner.directory).ok().out
    assert sum(line.startswith("    ") for line in whole_text.splitlines()) == whole


def test_a_fork_with_a_wrong_stack_file_fails_at_the_check(runner: Runner) -> None:
    fork(runner)
    document = yaml.safe_load((CHECKOUT / "Pulumi.lab.yaml").read_text())
    wrong_router_id(document["config"])
    (runner.directory / "Pulumi.lab.yaml").write_text(yaml.safe_dump(document))
    ran = runner.run("preview", "rendered")
    assert "vrrp.routerId" in failed_at(ran, "Check every stack file").refused(EXIT_REFUSED).text


def test_drift_opens_one_issue_updates_it_and_closes_it(runner: Runner) -> None:
    title = f"Drift of {STACK}"
    others = [
        by("octocat", title, id=1, number=1, title=title, state="open"),
        by(LOGIN, title, id=2, number=2, title=title, state="open", pull_request={"url": "x"}),
        by(LOGIN, title, id=3, number=3, title=title, state="closed"),
        by(LOGIN, f"{title}2", id=4, number=4, title=title, state="open"),
    ]
    runner.remember(issues=others)
    runner.lab.reconfigure(MASTER, numCPUs=4)
    all_ok(runner.run("drift", "drift"))
    all_ok(runner.run("drift", "drift"))
    *untouched, issue = runner.github["issues"]
    assert untouched == others
    assert (issue["title"], issue["state"]) == (title, "open")
    assert "CPUs: `4` in vCenter; deployed: `2`." in issue["body"]
    assert "CPUs: `4` in vCenter; deployed: `2`." in runner.summary
    runner.lab.up("--refresh", "--run-program").ok()
    all_ok(runner.run("drift", "drift"))
    *untouched, issue = runner.github["issues"]
    assert untouched == others
    assert issue["state"] == "closed"


def test_a_drift_run_that_is_incomplete_fails_and_reports_it_in_the_issue(runner: Runner) -> None:
    runner.variables = NO_STATE
    failed_at(runner.run("drift", "drift"), "Look for drift")
    (issue,) = runner.github["issues"]
    assert "Unknown" in issue["body"]
    assert "Unknown" in runner.summary


def test_a_merge_deploys_and_shows_what_was_applied(runner: Runner) -> None:
    with runner.lab.edited(longer_tunnels):
        mark = runner.lab.last_task()
        all_ok(runner.run("deploy", "deploy"))
        done = [task["vm"] for task in runner.lab.tasks(mark) if task["operation"] == "reconfigure"]
        assert any("timeout tunnel 3h" in text for text in runner.lab.set_files(MASTER).values())
    assert done == [STANDBY, MASTER]
    assert runner.summary.count("+    timeout tunnel 3h") == 1
    assert f"`{STACK}`: Applied: 1 file on 2 nodes changed (reload)." in runner.summary
    assert runner.summary.index(f"1. **`{STANDBY}`** reload") < runner.summary.index(f"2. **`{MASTER}`** reload")
    assert "No change, no drift" in runner.summary


def test_a_merge_that_fails_half_way_shows_which_node_was_changed_and_which_was_not(runner: Runner) -> None:
    runner.lab.fail_next("ReconfigVM_Task", MASTER, message="the datastore is full")
    with runner.lab.edited(longer_tunnels):
        failed_at(runner.run("deploy", "deploy"), "Apply").refused(EXIT_REFUSED)
        assert "Failed, after 1 file on 1 node changed (reload)" in runner.summary
        assert "the datastore is full" in runner.summary
        assert f"on <code>{STANDBY}</code>, live, no session is cut (+1 -1)" in runner.summary
        assert f"2. **`{MASTER}`** reload, because it failed there" in runner.summary
        # The same command goes on from there, and reports only what was left.
        all_ok(runner.run("deploy", "deploy"))
    assert f"on <code>{MASTER}</code>, live, no session is cut (+1 -1)" in runner.summary


@pytest.mark.parametrize(
    ("variables", "code", "shown"),
    [("", 1, "+    timeout tunnel 3h"), ("PULUMI_BACKEND_URL=file:///nonexistent/state", EXIT_REFUSED, "Unknown")],
)
def test_a_merge_after_which_something_is_left_to_do_or_nobody_can_report_fails_and_shows_it(
    runner: Runner, variables: str, code: int, shown: str
) -> None:
    runner.put("lbstack", LAZY.format(variables=variables, python=sys.executable))
    with runner.lab.edited(longer_tunnels):
        ran = runner.run("deploy", "deploy")
    failed_at(ran, "See that nothing is left to do").refused(code)
    assert runner.summary.startswith("Applied.")
    assert shown in runner.summary


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
    runner.variables = NO_STATE
    (result,) = runner.run("lab-destroy", "closed").values()
    assert "PULUMI_BACKEND_URL" in result.refused(EXIT_REFUSED).text
    assert MASTER in lab.machines()
    runner.variables = {}
    all_ok(runner.run("lab-destroy", "closed"))
    assert lab.machines() == {}
    assert name not in lab.workspace.quietly(["stack", "ls", "--json"])
    (again,) = runner.run("lab-destroy", "closed").values()
    assert f"There is no stack {name}" in again.ok().out


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
    (swept,) = runner.run("lab-destroy", "expired").values()
    assert f"{name}: expired" in swept.ok().out
    assert lab.machines() == {}
    assert name not in lab.workspace.quietly(["stack", "ls", "--json"])


def test_the_step_that_sets_up_installs_the_commands_with_the_systems_own_python(tmp_path: Path) -> None:
    """In a checkout without an environment, with no Python on PATH but the system's, as a new runner is."""
    for path in tracked():
        (tmp_path / path.relative_to(CHECKOUT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(CHECKOUT))
    steps = [
        step["run"]
        for path in sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
        for job in yaml.safe_load(path.read_text())["jobs"].values()
        for step in job["steps"]
        if step.get("name") == SET_UP
    ]
    assert len(steps) == 6
    (script,) = set(steps)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "VIRTUAL_ENV"))}
    environment |= {"PATH": os.defpath, "GITHUB_PATH": str(tmp_path / "path")}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
    run([*shell, script], environment, cwd=tmp_path).ok()
    environment["PATH"] = f"{(tmp_path / 'path').read_text().strip()}:{os.defpath}"
    lbstack = "lbstack check Pulumi.lab.yaml && python -c 'import lbstack; print(lbstack.__file__)' && uv --version"
    output = run([*shell, lbstack], environment, cwd=tmp_path).ok().out
    assert str(tmp_path / "lbstack" / "__init__.py") in output
    assert "uv 0." in output
    assert not list((tmp_path / ".venv").glob("lib/python*/site-packages/pytest"))
