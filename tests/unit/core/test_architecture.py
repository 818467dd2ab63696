"""The house's one rule about imports: data goes one way, so imports do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "lbstack"

# Rank of each module: it may import only modules of a lower rank. A new module must be given a place here.
RANKS = {
    "__init__": 0,
    "problems": 0,
    "deflate": 0,
    "sdk": 0,
    "forms": 1,
    "releases": 1,
    "services": 1,
    "gate": 1,
    "guard": 1,
    "inventory": 1,
    "descriptions": 0,
    "messages": 2,
    "sshkey": 2,
    "fields": 3,
    "config": 4,
    "addressing": 5,
    "credentials": 5,
    "status": 5,
    "schema": 8,
    "rules": 6,
    "yamlfile": 6,
    "stackfile": 7,
    "context": 8,
    "render": 9,
    "redact": 10,
    "userdata": 10,
    "outputs": 10,
    "project": 1,
    "engine_errors": 1,
    "engine": 2,
    "backend": 3,
    "offline": 11,
    "checkers": 11,
    "known": 0,
    "contents": 11,
    "report": 1,
    "failures": 11,
    "filediff": 10,
    "stateview": 12,
    "impact": 13,
    "drift": 14,
    "report_build": 15,
    "report_text": 12,
    "report_markdown": 13,
    "preview": 16,
    "report_applied": 16,
    "up": 17,
    "teardown": 17,
    "check": 12,
    "settings": 11,
    "placement": 11,
    "pair": 12,
    "deployment": 13,
    "commands": 18,
    "cli": 19,
    "__main__": 20,
}
# The only modules that may know the engine.
PULUMI_ROOMS = {"settings", "sdk", "placement", "pair", "deployment"}
# What costs start-up time in every `pulumi preview`, or belongs to the command line alone.
ONLY_IN_CLI = {"typer", "rich", "passlib", "pyVim", "pyVmomi"}
MAX_PROGRAM_LINES = 40
# The lab's own things, also in a comment or by way of a text.
OF_THE_LAB = re.compile(r"python -m lab|\blab/|\blab\.\w+\(|vcsim|govmomi|simulat", re.IGNORECASE)
# An import in disguise could be of the lab's package.
BY_NAME = re.compile(r"import_module|__import__")
IMPORTS_BY_NAME = {"sdk"}  # one package's modules; its test says which


def modules() -> list[Path]:
    return sorted(PACKAGE.glob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lbstack_modules(path: Path) -> set[str]:
    found = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "lbstack" and len(parts) > 1:
            found.add(parts[1])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_imports_go_one_way(path: Path) -> None:
    assert path.stem in RANKS, f"give {path.name} a rank: what may it import, who may import it?"
    wrong = {name for name in lbstack_modules(path) if RANKS[name] >= RANKS[path.stem]}
    assert not wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.stem)
def test_the_core_knows_no_engine(path: Path) -> None:
    engine = {name for name in imported(path) if name.split(".")[0] in {"pulumi", "pulumi_vsphere"}}
    assert not engine or path.stem in PULUMI_ROOMS


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=lambda path: path.stem)
def test_the_product_knows_no_lab(path: Path) -> None:
    assert not {name for name in imported(path) if name.split(".")[0] in {"lab", "tests", "bench"}}
    assert "lab" not in {part.lower() for part in path.stem.split("_")}


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=lambda path: path.stem)
def test_the_program_has_no_place_for_the_lab(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for line in lines if OF_THE_LAB.search(line)] == []
    assert path.stem in IMPORTS_BY_NAME or [line for line in lines if BY_NAME.search(line)] == []


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=lambda path: path.stem)
def test_no_stack_is_treated_in_its_own_way_because_of_its_name(path: Path) -> None:
    """The names of project and stack go into texts for people and into the VMs' marker, and nowhere else."""
    tree = ast.parse(path.read_text())
    asked = [node for node in ast.walk(tree) if _name_of(node) in {"get_stack", "get_project"}]
    told: list[ast.expr] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue):
            told.append(node.value)
        elif _name_of(node) == "marker":
            told += node.args if isinstance(node, ast.Call) else []
    assert [ast.unparse(node) for node in asked if node not in told] == []


def _name_of(node: ast.AST) -> str | None:
    """The name of what is called, without what it belongs to."""
    if not isinstance(node, ast.Call):
        return None
    return getattr(node.func, "attr", None) or getattr(node.func, "id", None)


@pytest.mark.parametrize("path", [*modules(), ROOT / "__main__.py"], ids=lambda path: path.stem)
def test_a_preview_does_not_pay_for_the_command_line(path: Path) -> None:
    heavy = {name for name in imported(path, top_level_only=True) if name.split(".")[0] in ONLY_IN_CLI}
    assert not heavy or path.stem in {"commands", "cli", "__main__"}


def test_the_program_holds_no_decision() -> None:
    program = (ROOT / "__main__.py").read_text()
    assert len(program.splitlines()) <= MAX_PROGRAM_LINES
    decisions = (ast.If, ast.IfExp, ast.While, ast.Match, ast.FunctionDef, ast.Lambda)
    assert not [node for node in ast.walk(ast.parse(program)) if isinstance(node, decisions)]
