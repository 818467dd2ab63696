"""The rendered files of known configurations, kept as files that a reviewer can read."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lbstack.facts.releases import NEW_KEY
from lbstack.render.files import HASH_PLACEHOLDER, RenderedPair
from lbstack.render.pack import guestinfo
from lbstack.render.paths import PUBLIC_KEY, STAGING
from tests.goldens.cases import CASES, GOLDENS, cases, rendered

# The same bytes in every set: their own tests and their source are the place to review them.
SHARED = ("/usr/local/lib/lbstack/", NEW_KEY)


def with_zeros(text: str, pair: RenderedPair) -> str:
    """The set's hash changes with every byte of any file; a golden shows changes of one file."""
    return text.replace(pair.config_hash, HASH_PLACEHOLDER)


def document_of(values: Mapping[str, str]) -> dict[str, Any]:
    data = base64.b64decode(values["guestinfo.userdata"])
    if values["guestinfo.userdata.encoding"] == "gzip+base64":
        data = gzip.decompress(data)
    head, _, body = data.decode().partition("\n")
    assert head == "#cloud-config"
    document: dict[str, Any] = json.loads(body)
    return document


def reviewable(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what differs in every run (keys, signature) or stands in a golden of its own (files)."""
    for entry in document["write_files"]:
        if entry["path"] == PUBLIC_KEY:
            entry["content"] = "<public key>"
        elif entry["path"].endswith("/manifest.sig"):
            entry["content"] = "<signature>"
        elif entry["path"].startswith(STAGING):
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
        document = reviewable(document_of(values))
        found[f"{node}.userdata.json"] = json.dumps(document, indent=1) + "\n"
        found[f"{node}.metadata.json"] = base64.b64decode(values["guestinfo.metadata"]).decode()
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
def test_rendered_files_are_the_goldens(name: str, *, update_goldens: bool) -> None:
    directory = GOLDENS / name
    wanted = expected(name)
    if update_goldens:
        write(directory, wanted)
    there = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
    remedy = "; `pytest tests/unit/render --update-goldens` writes them, review the difference"
    assert sorted(there) == sorted(wanted), f"missing or stale goldens of {name}{remedy}"
    for path, content in wanted.items():
        assert there[path].read_text(encoding="utf-8") == content, f"{name}/{path} has changed{remedy}"


def test_there_is_no_golden_of_a_case_that_is_gone() -> None:
    assert sorted(path.name for path in GOLDENS.iterdir() if path.is_dir() and path.name != "__pycache__") == sorted(
        CASES
    )


def test_the_named_cases_are_the_cases() -> None:
    assert sorted(cases()) == sorted(CASES)
