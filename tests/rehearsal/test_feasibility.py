"""The trial that `make lab` makes before it promises guests: a container over their image, started and gone again."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guests import container, groups, preflight
from lab.guests.layers import ensure_layers
from tests.tiers import refuse, require


@pytest.fixture(scope="module")
def layers() -> tuple[Path, Path]:
    """The usual guest's root."""
    require("root")
    if problems := list(preflight.preflight()):
        refuse("; ".join(problems))
    try:
        return ensure_layers("bookworm", print)
    except LabError as error:
        refuse(str(error))


def remains(place: Path) -> list[Path]:
    """What a trial could leave."""
    return [*place.iterdir(), *(group for root in groups.hierarchies() for group in root.glob("lbs-trial-*"))]


def test_a_container_over_the_image_starts_and_leaves_nothing(layers: tuple[Path, Path], tmp_path: Path) -> None:
    assert preflight.trial(layers, tmp_path) == ""
    assert remains(tmp_path) == []


def test_an_overlay_that_cannot_be_mounted_is_reported(layers: tuple[Path, Path], tmp_path: Path) -> None:
    reported = preflight.trial((tmp_path / "missing", layers[1]), tmp_path)
    assert "does not start here: mount: " in reported
    assert "root may mount overlays" in reported
    assert remains(tmp_path) == []


def test_a_container_that_does_not_start_is_reported(
    layers: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "OPTIONS", (*container.OPTIONS, "--no-such-option"))
    assert "no-such-option" in preflight.trial(layers, tmp_path)
    assert remains(tmp_path) == []
