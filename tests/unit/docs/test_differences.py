"""What the documents state about tests is true: each test that they name exists."""

from __future__ import annotations

import re
from pathlib import Path

DEFINED = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
A_DOZEN = 12
NAMED = re.compile(r"`(test_\w+)`")


def test_every_test_that_a_document_names_exists(checkout: Path) -> None:
    defined = {name for file in (checkout / "tests").rglob("test_*.py") for name in DEFINED.findall(file.read_text())}
    documents = [checkout / "SECURITY.md", *(checkout / "docs").rglob("*.md")]
    named = {name: document for document in documents for name in NAMED.findall(document.read_text())}
    assert len(named) >= A_DOZEN, "the documents name their tests in backquotes"
    assert {name: str(document) for name, document in named.items() if name not in defined} == {}


def test_each_promise_about_security_names_a_test(checkout: Path) -> None:
    text = (checkout / "SECURITY.md").read_text()
    promises = text.split("each with tests:\n\n")[1].split("\n\n")[0].split("\n- ")
    assert len(promises) >= 5
    assert [promise for promise in promises if not NAMED.search(promise)] == []
