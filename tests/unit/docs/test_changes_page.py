"""docs/changes.md: what it states of each change is what the program does."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbstack.facts.changes import Kind
from tests.unit.docs.changes_page import BEGIN, CHANGES, END, effect, table


def test_the_page_has_the_table_that_the_program_goes_by(checkout: Path, *, update_goldens: bool) -> None:
    page = checkout / "docs" / "changes.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    found, _, after = rest.partition(END)
    if update_goldens:
        page.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")
        return
    assert found == table(), "`pytest tests/unit/docs --update-goldens` writes it"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("a server drained, or back", Kind.RELOAD),
        ("a service more, with a VIP", Kind.RELOAD),
        ("the virtual router id", Kind.HAND_OVER),
        ("CPUs or memory", Kind.REBOOT),
        ("an own address or host name", Kind.NEW_VM),
    ],
)
def test_the_samples_show_every_kind_that_people_ask_for(words: str, kind: Kind) -> None:
    assert effect(CHANGES[words][1])[1] is kind
