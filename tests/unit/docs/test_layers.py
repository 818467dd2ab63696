"""CONTRIBUTING shows the packages that there are, and the import rule that is enforced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import layers

MAX_TOP_LEVEL = 16  # entries of lbstack/: a newcomer reads the list in a minute
MAX_LINES, LINES_WITHOUT_REASON = 350, 300
LINE_OF_THE_TREE = re.compile(r"^  (\w+)(/|\.py) {2,}\S", re.MULTILINE)


def top_level(package: Path) -> set[str]:
    """The packages and modules of a package, without the files that Python asks for."""
    return {
        path.name
        for path in package.iterdir()
        if (path.is_dir() and (path / "__init__.py").exists())
        or (path.suffix == ".py" and not path.name.startswith("__"))
    }


@pytest.mark.parametrize("package", layers.PACKAGES)
def test_the_tree_has_a_sentence_for_each_package(checkout: Path, package: str) -> None:
    text = (checkout / "CONTRIBUTING.md").read_text()
    tree = text.split(f"\n{package}/ ")[1].split("\n\n")[0]
    part = re.split(r"\n(?=\S)", tree)[0]
    shown = {f"{name}{'' if kind == '/' else kind}" for name, kind in LINE_OF_THE_TREE.findall(part)}
    assert shown == top_level(checkout / package)


def test_the_top_level_stays_short(checkout: Path) -> None:
    assert 0 < len(top_level(checkout / "lbstack")) <= MAX_TOP_LEVEL


def test_the_picture_is_drawn_from_the_contracts(checkout: Path) -> None:
    assert (checkout / "docs" / "layers.svg").read_text() == layers.svg(), "run `python -m bench.layers`"
    rooms = {name for layer in layers.layers_of("lbstack") for name in layer}
    assert {"facts", "deploy", "review"} <= rooms


def test_no_module_is_long_without_a_reason(checkout: Path) -> None:
    modules = [path for package in ("lbstack", "lab", "bench") for path in (checkout / package).rglob("*.py")]
    assert len(modules) > 100
    long: dict[str, int] = {}
    for path in modules:
        text = path.read_text()
        lines = len(text.splitlines())
        reason = text.startswith('"""') and "One module because" in text.split('"""')[1]
        if lines > MAX_LINES or (lines > LINES_WITHOUT_REASON and not reason):
            long[str(path.relative_to(checkout))] = lines
    assert long == {}
