"""The rendered files of known configurations equal the goldens, which a reviewer can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lbstack.facts.releases import NEW_KEY
from lbstack.render.files import HASH_PLACEHOLDER, RenderedPair
from lbstack.render.pack import guestinfo
from lbstack.render.paths import MANIFEST, PROGRAM_DIRECTORY, PUBLIC_KEY, SET_FILES, SIGNATURE
from tests.goldens.cases import CASES, GOLDENS, cases, rendered
from tests.guestinfo import METADATA, decoded, userdata

# They have the same bytes in every set, and are reviewed in their source.
SHARED = (f"{PROGRAM_DIRECTORY}/", NEW_KEY)


def with_zeros(text: str, pair: RenderedPair) -> str:
    """Replace the set's hash, which changes with every file, so that a golden shows only changes of its own file."""
    return text.replace(pair.config_hash, HASH_PLACEHOLDER)


def reviewable(document: dict[str, Any]) -> dict[str, Any]:
    """The document without parts that differ in every run (key, signature) or have their own goldens (files)."""
    for entry in document["write_files"]:
        if entry["path"] == PUBLIC_KEY:
            entry["content"] = "<public key>"
        elif entry["path"] == SIGNATURE:
            entry["content"] = "<signature>"
        elif entry["path"] == MANIFEST or entry["path"].startswith(f"{SET_FILES}/"):
            entry["content"] = "<the file of this name>"
    return document


def expected(name: str) -> dict[str, str]:
    """Golden path below the case's directory → content."""
    case, pair = cases()[name], rendered(name)
    found: dict[str, str] = {}
    for node, files in pair.nodes.items():
        listing = "".join(f"{file.mode:04o} {file.owner} {path}\n" for path, file in files.items())
        found[f"{node}.files"] = listing
        found |= {
            f"{node}{path}": with_zeros(file.content, pair)
            for path, file in files.items()
            if not path.startswith(SHARED)
        }
        values = guestinfo(case.config, pair, node, case.secrets)
        found[f"{node}.userdata.json"] = json.dumps(reviewable(userdata(values)), indent=1) + "\n"
        found[f"{node}.metadata.json"] = decoded(values, METADATA)
    return found


def write(directory: Path, files: Mapping[str, str]) -> None:
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
        else:
            path.rmdir()
    for name, content in files.items():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")


@pytest.mark.parametrize("name", CASES)
def test_rendered_files_equal_the_goldens(name: str, *, update_goldens: bool) -> None:
    directory = GOLDENS / name
    wanted = expected(name)
    if update_goldens:
        write(directory, wanted)
    goldens = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    remedy = "; `pytest tests/unit/render --update-goldens` writes them, review the difference"
    assert sorted(goldens) == sorted(wanted), f"missing or stale goldens of {name}{remedy}"
    for path, content in wanted.items():
        assert goldens[path].read_text(encoding="utf-8") == content, f"{name}/{path} has changed{remedy}"


def test_there_is_no_golden_of_a_removed_case() -> None:
    assert sorted(path.name for path in GOLDENS.iterdir() if path.is_dir() and path.name != "__pycache__") == sorted(
        CASES
    )


def test_the_names_of_the_cases_are_complete() -> None:
    assert sorted(cases()) == sorted(CASES)
