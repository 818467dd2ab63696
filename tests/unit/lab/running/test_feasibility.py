"""Whether guests can boot here: message in words before anything is deployed, and never a reason not to deploy."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.guests import image, preflight
from lab.home.state import Paths
from lab.network import switch
from lab.running import lifecycle, surroundings

PLACE = "somewhere"


def nothing(line: str) -> None:
    """Nobody listens."""


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine that can do everything; a test takes something away. Gives the directory of a lab."""
    monkeypatch.setattr(preflight, "preflight", lambda: iter(()))
    monkeypatch.setattr(switch, "preflight", lambda: iter(()))
    monkeypatch.setattr(surroundings, "_on_overlay", lambda place: False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(image, "path_of", lambda name: tmp_path)
    monkeypatch.setattr(surroundings, "ensure_layers", lambda name, progress: (tmp_path, tmp_path))
    monkeypatch.setattr(preflight, "trial", lambda layers, place: "")
    return tmp_path / PLACE / "lab"


def test_a_machine_that_can_do_it_lacks_nothing(able: Path) -> None:
    assert surroundings.shortcomings(able, {}, nothing) == []


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (LabError("mmdebstrap ended with exit code 1. Is Debian's package archive reachable?"), "package archive"),
        (OSError(errno.ENOSPC, "No space left on device", "/cache"), "No space left on device"),
    ],
)
def test_an_image_that_cannot_be_made_is_a_shortcoming(
    able: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def cannot(name: str, progress: Callable[[str], None]) -> tuple[Path, Path]:
        raise error

    monkeypatch.setattr(surroundings, "ensure_layers", cannot)
    (found,) = surroundings.shortcomings(able, {}, nothing)
    assert message in found


def test_the_image_that_is_made_is_that_of_the_release(able: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(name: str, progress: Callable[[str], None]) -> tuple[Path, Path]:
        made.append(name)
        return able, able

    monkeypatch.setattr(surroundings, "ensure_layers", make)
    for release in ("3.0-r3", "3.0", "5.0"):
        surroundings.shortcomings(able, {"lbstack:image": {"release": release}}, nothing)
    assert made == ["bullseye", "bookworm", "bookworm"]


def test_a_container_that_does_not_start_is_a_shortcoming(able: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(layers: tuple[Path, ...], place: Path) -> str:
        tried.append(place)
        return "mount: permission denied"

    monkeypatch.setattr(preflight, "trial", refuse)
    assert surroundings.shortcomings(able, {}, nothing) == ["mount: permission denied"]
    assert tried == [able.parents[1].resolve()]  # the nearest directory that exists: the lab's own is not there yet


def test_what_is_seen_at_a_glance_is_reported_together_and_nothing_is_built(
    able: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, progress: Callable[[str], None]) -> tuple[Path, Path]:
        raise AssertionError(name)

    monkeypatch.setattr(surroundings, "ensure_layers", build)
    monkeypatch.setattr(preflight, "preflight", lambda: iter(["systemd-nspawn not found."]))
    monkeypatch.setattr(switch, "preflight", lambda: iter(["no veth."]))
    assert surroundings.shortcomings(able, {}, nothing) == ["systemd-nspawn not found.", "no veth."]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert surroundings.shortcomings(able, {}, nothing) == ["systemd-nspawn not found."]


def test_a_lab_without_guests_shows_what_is_missing_and_goes_on(able: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "preflight", lambda: iter(["systemd-nspawn not found.\nInstall it."]))
    output: list[str] = []
    assert lifecycle._guests_can_boot(Paths(able), {}, output.append) is False
    assert output == [
        "No guests boot here, so the pair is deployed and nothing is rehearsed. What is missing:",
        "  systemd-nspawn not found.",
        "  Install it.",
    ]


def test_the_labs_own_stack_file_chooses_the_image_once_there_is_one(
    able: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(able)
    paths.stack_file.parent.mkdir(parents=True)
    paths.stack_file.write_text('config: {"lbstack:image": {release: 3.0-r3}}\n')
    asked: list[object] = []

    def reported(place: Path, config: dict[str, object], progress: Callable[[str], None]) -> list[str]:
        asked.append(config["lbstack:image"])
        return []

    monkeypatch.setattr(surroundings, "shortcomings", reported)
    assert lifecycle._guests_can_boot(paths, {}, nothing) is True
    assert asked == [{"release": "3.0-r3"}]
