"""What the documents say about tests is true: each test that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

DEFINED = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
A_DOZEN = 12
NAMED = re.compile(r"`(test_\w+)`")


def test_every_test_that_a_document_names_exists(checkout: Path) -> None:
    defined = {name for file in (checkout / "tests").rglob("test_*.py") for name in DEFINED.findall(file.read_text())}
    named = {
        name: document for document in (checkout / "docs").rglob("*.md") for name in NAMED.findall(document.read_text())
    }
    assert len(named) >= A_DOZEN, "the documents name their tests in backquotes"
    assert {name: str(document) for name, document in named.items() if name not in defined} == {}
