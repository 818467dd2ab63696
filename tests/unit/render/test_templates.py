"""Templates are compiled once, like modules, and an old one is never used."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lbstack.render import files as render
from lbstack.render.files import RenderedPair, render_pair
from lbstack.render.paths import SYSCTL_FILE
from tests.goldens.cases import cases

ADDED = "# added later\n"


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the templates that is used instead of them."""
    copy = tmp_path / "cloudinit"
    shutil.copytree(render.TEMPLATES, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(render, "TEMPLATES", copy)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    render._environment.cache_clear()
    yield copy
    render._environment.cache_clear()


def rendered() -> RenderedPair:
    """What a program that was started just now renders."""
    render._environment.cache_clear()
    case = cases()["post-5.0"]
    return render_pair(case.config, case.secrets)


def kept(templates: Path) -> dict[str, int]:
    """The compiled templates, and when each was written."""
    return {file.name: file.stat().st_mtime_ns for file in (templates / "__pycache__").glob("*.cache")}


def test_they_are_compiled_once(templates: Path) -> None:
    first = rendered()
    written = kept(templates)
    assert len(written) > len(render.FILES) / 2
    assert rendered() == first
    assert kept(templates) == written


def test_a_changed_one_is_compiled_anew(templates: Path) -> None:
    before = rendered()
    file = templates / "55-keepalived.conf.j2"
    file.write_text(file.read_text() + ADDED)
    for node, files in rendered().nodes.items():
        assert files[SYSCTL_FILE].content == before.nodes[node][SYSCTL_FILE].content + ADDED


def test_a_checkout_that_cannot_be_written_to_does_without(templates: Path) -> None:
    before = rendered()
    shutil.rmtree(templates / "__pycache__")
    (templates / "__pycache__").touch()  # permissions would not stop root
    assert rendered() == before
    assert (templates / "__pycache__").is_file()


def test_none_are_kept_where_python_keeps_no_modules(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    rendered()
    assert not (templates / "__pycache__").exists()


def test_other_options_compile_anew(templates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rendered()
    monkeypatch.setattr(render, "_OPTIONS", {**render._OPTIONS, "keep_trailing_newline": False})
    for node, files in rendered().nodes.items():
        assert files[SYSCTL_FILE].content == before.nodes[node][SYSCTL_FILE].content.removesuffix("\n")


@pytest.mark.parametrize("kept_bytes", [0, 20, 60])
def test_a_damaged_one_is_compiled_anew(templates: Path, kept_bytes: int) -> None:
    before = rendered()
    whole = {file: file.read_bytes() for file in (templates / "__pycache__").glob("*.cache")}
    for file in whole:
        os.truncate(file, kept_bytes)
    assert rendered() == before
    assert {file: file.read_bytes() for file in whole} == whole
