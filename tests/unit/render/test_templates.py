"""Templates are compiled once, like modules, and an outdated compiled template is never used."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbstack.render import templates
from lbstack.render.files import FILES, RenderedPair, render_pair
from lbstack.render.paths import SYSCTL_FILE
from tests.goldens.cases import cases

ADDED = "# added later\n"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the templates, which the renderer uses."""
    copy = tmp_path / "cloudinit"
    shutil.copytree(templates.DIRECTORY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(templates, "DIRECTORY", copy)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    templates.environment.cache_clear()
    yield copy
    templates.environment.cache_clear()


def rendered() -> RenderedPair:
    """Render like a program that has just been started."""
    templates.environment.cache_clear()
    case = cases()["post-5.0"]
    return render_pair(case.config, case.secrets)


def stored(directory: Path) -> dict[str, int]:
    """The names of the stored compiled templates, and their times of modification in nanoseconds."""
    return {file.name: file.stat().st_mtime_ns for file in (directory / "__pycache__").glob("*.cache")}


def test_templates_are_compiled_once(directory: Path) -> None:
    first = rendered()
    written = stored(directory)
    assert len(written) > len(FILES) / 2
    assert rendered() == first
    assert stored(directory) == written


def test_a_changed_template_is_compiled_again(directory: Path) -> None:
    before = rendered()
    file = directory / "55-keepalived.conf.j2"
    file.write_text(file.read_text() + ADDED)
    for node, files in rendered().nodes.items():
        assert files[SYSCTL_FILE].content == before.nodes[node][SYSCTL_FILE].content + ADDED


def test_a_checkout_that_is_not_writable_works_without_compiled_templates(directory: Path) -> None:
    before = rendered()
    shutil.rmtree(directory / "__pycache__")
    (directory / "__pycache__").touch()  # root ignores permissions
    assert rendered() == before
    assert (directory / "__pycache__").is_file()


def test_no_compiled_template_is_stored_where_python_stores_no_modules(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    rendered()
    assert not (directory / "__pycache__").exists()


def test_templates_are_compiled_again_for_other_options(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rendered()
    monkeypatch.setattr(templates, "OPTIONS", {**templates.OPTIONS, "keep_trailing_newline": False})
    for node, files in rendered().nodes.items():
        assert files[SYSCTL_FILE].content == before.nodes[node][SYSCTL_FILE].content.removesuffix("\n")


@pytest.mark.parametrize("kept_bytes", [0, 20, 60])
def test_a_damaged_compiled_template_is_compiled_again(directory: Path, kept_bytes: int) -> None:
    before = rendered()
    intact = {file: file.read_bytes() for file in (directory / "__pycache__").glob("*.cache")}
    for file in intact:
        os.truncate(file, kept_bytes)
    assert rendered() == before
    assert {file: file.read_bytes() for file in intact} == intact
