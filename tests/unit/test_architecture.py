"""The import rule of the packages, and what a preview may not pay for.

The rule is in ``pyproject.toml`` (``tool.importlinter``). Here it is checked, and each contract is shown to fail on an
import that breaks it: a contract that can only pass would prove nothing.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "lbstack"
# What costs start-up time in every `pulumi preview`, or belongs to the command line alone.
ONLY_IN_CLI = {"typer", "rich", "passlib", "pyVim", "pyVmomi"}
MAX_PROGRAM_LINES = 5
# The lab's own things, also in a comment or by way of a text.
OF_THE_LAB = re.compile(r"python -m lab|\blab/|\blab\.\w+\(|vcsim|govmomi|simulat", re.IGNORECASE)
# An import in disguise could be of the lab's package.
BY_NAME = re.compile(r"import_module|__import__")
# One foreign package's modules, and the modules of the command line; the tests of both say which.
IMPORTS_BY_NAME = {"lbstack.deploy.sdk", "lbstack.commands.app"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")


def imported(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def contracts(directory: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of the packages in a directory, with the interpreter's own import-linter."""
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", program, "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of both packages and of the contracts, to put a wrong import into."""
    for package in ("lbstack", "lab"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.go"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_go_one_way() -> None:
    result = contracts(ROOT)
    assert result.returncode == 0, result.stdout
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", result.stdout)


def test_the_contracts_that_list_packages_list_all_of_them() -> None:
    """The layers are exhaustive by themselves; the other lists would miss a new package."""
    found = {
        each["id"]: each
        for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    }
    packages = {f"lbstack.{name.strip()}" for layer in found["layers"]["layers"] for name in layer.split("|")}
    assert set(found["pulumi"]["source_modules"]) == packages - {"lbstack.deploy"}
    # A status is shown as rich tables, so `nodes` may import rich where it shows them.
    outside = {"lbstack.cli", "lbstack.commands", "lbstack.nodes"}
    assert set(found["command-line"]["source_modules"]) == packages - outside


WRONG_IMPORTS = (
    ("lbstack/facts/names.py", "from lbstack.nodes.health import ask", "lbstack: imports go one way"),
    ("lbstack/review/drift.py", "from lbstack.deploy.roll import Roll", "lbstack: imports go one way"),
    ("lbstack/deploy/roll.py", "from lbstack.review.report import Report", "lbstack: imports go one way"),
    ("lbstack/render/values.py", "from lbstack.render.files import File", "no circles"),
    ("lbstack/render/files.py", "import pulumi", "Pulumi only in deploy"),
    ("lbstack/config/rules.py", "import socket", "no input and output"),
    ("lbstack/deploy/program.py", "import rich", "only the command line"),
    ("lbstack/cli.py", "from lab import errors", "does not know the lab"),
    ("lab/system/cache.py", "from lab.acts import roll", "lab: imports go one way"),
)


@pytest.mark.parametrize(("file", "line", "contract"), WRONG_IMPORTS, ids=[line for _, line, _ in WRONG_IMPORTS])
def test_a_contract_fails_on_an_import_that_breaks_it(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = contracts(copy)
    assert result.returncode != 0
    assert re.search(rf"{contract}.* BROKEN", result.stdout), result.stdout


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=name_of)
def test_the_program_has_no_place_for_the_lab(path: Path) -> None:
    assert "lab" not in {part.lower() for part in path.stem.split("_")}
    lines = path.read_text().splitlines()
    assert [line for line in lines if OF_THE_LAB.search(line)] == []
    assert name_of(path) in IMPORTS_BY_NAME or [line for line in lines if BY_NAME.search(line)] == []


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=name_of)
def test_no_stack_is_treated_in_its_own_way_because_of_its_name(path: Path) -> None:
    """The names of project and stack go into texts for people, into the VMs' marker and into one command's argument."""
    tree = ast.parse(path.read_text())
    asked = [node for node in ast.walk(tree) if _name_of(node) in {"get_stack", "get_project"}]
    shown: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue):
            shown.append(node.value)
        elif _name_of(node) == "marker":
            shown += node.args if isinstance(node, ast.Call) else []
    assert [ast.unparse(node) for node in asked if node not in shown] == []


def _name_of(node: ast.AST) -> str | None:
    """The name of what is called, without what it belongs to."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "attr", None) or getattr(node.func, "id", None)


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=name_of)
def test_a_preview_does_not_pay_for_the_command_line(path: Path) -> None:
    heavy = {name for name in imported(path, top_level_only=True) if name.split(".")[0] in ONLY_IN_CLI}
    assert not heavy or path.parent.name == "commands"


def test_the_program_holds_no_decision() -> None:
    program = (ROOT / "__main__.py").read_text()
    assert len(program.splitlines()) <= MAX_PROGRAM_LINES
    decisions = (ast.If, ast.IfExp, ast.While, ast.Match, ast.FunctionDef, ast.Lambda)
    assert not [node for node in ast.walk(ast.parse(program)) if isinstance(node, decisions)]
