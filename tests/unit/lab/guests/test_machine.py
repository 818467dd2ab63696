"""Machines, as far as they can be looked at without starting one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lab.guests import groups

if TYPE_CHECKING:
    import pytest


def test_a_group_that_goes_while_it_is_walked_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for group, pid in (("going.service", 7), ("staying.service", 8)):
        (tmp_path / group).mkdir()
        (tmp_path / group / groups.PROCESSES).write_text(f"{pid}\n", encoding="ascii")
    scan = os.scandir

    def gone_before_it_is_read(place: str | Path) -> object:
        if str(place).endswith("going.service"):
            Path(place, groups.PROCESSES).unlink()
            Path(place).rmdir()
        return scan(place)

    monkeypatch.setattr(os, "scandir", gone_before_it_is_read)
    assert groups.members(tmp_path) == [8]


def test_a_group_is_populated_while_anything_lives_in_it_and_not_when_it_is_gone(tmp_path: Path) -> None:
    events = tmp_path / "cgroup.events"
    assert not groups.populated(tmp_path)
    for text, populated in (("populated 1\nfrozen 0\n", True), ("populated 0\nfrozen 0\n", False)):
        events.write_text(text, encoding="ascii")
        assert groups.populated(tmp_path) is populated
