"""Runs of several labs at once: what they share is made so that anybody who comes second finds it made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.guests import layers
from lab.network import netns
from lab.toolchain import golang
from tests.unit.lab.toolchain.toolmachine import UV, Machine, make_machine, program

RESOLV = "resolv.conf"


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the namespaces' own files, which does not exist yet."""
    monkeypatch.setattr(netns, "ETC", tmp_path / "netns")
    return tmp_path / "netns"


def test_a_namespace_gets_its_files_though_another_lab_removes_the_empty_directory(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    mkdir = Path.mkdir

    def interrupted(self: Path, *arguments: Any, **options: Any) -> None:
        mkdir(self, *arguments, **options)
        if self == etc and self not in made:
            made.append(self)
            self.rmdir()  # as `netns.remove` does

    monkeypatch.setattr(Path, "mkdir", interrupted)
    netns.write_etc("lbsx-cl", RESOLV, "nameserver 192.168.6.1\n")
    assert made == [etc]
    assert (etc / "lbsx-cl" / RESOLV).read_text() == "nameserver 192.168.6.1\n"


def test_a_directory_that_cannot_be_made_is_an_error_and_not_tried_for_ever(
    etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []

    def gone(self: Path, *_arguments: Any, **_options: Any) -> None:
        tried.append(self)
        raise FileNotFoundError

    monkeypatch.setattr(Path, "mkdir", gone)
    with pytest.raises(FileNotFoundError):
        netns.write_etc("lbsx-cl", RESOLV, "")
    assert tried == [etc / "lbsx-cl"] * netns.ETC_TRIES


@pytest.fixture
def overtaken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], list[Path]]:
    """Lets another run put the same directory in its place, just before this one does.

    It is given the directory, and gives a list that is empty until then.
    """
    rename = Path.rename

    def arrange(place: Path) -> list[Path]:
        seen: list[Path] = []

        def late(self: Path, target: Path) -> Path:
            if target == place and not seen:
                seen.append(target)
                shutil.copytree(self, target)
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", late)
        return seen

    return arrange


def test_a_guests_layer_that_another_run_has_made_meanwhile_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overtaken: Callable[[Path], list[Path]]
) -> None:
    layer, image = tmp_path / "layer", tmp_path / "image"
    monkeypatch.setattr(layers, "layers", lambda _name: (layer, image))
    monkeypatch.setattr(layers, "ensure_image", lambda _name, _progress: image)
    monkeypatch.setattr(layers, "_build", lambda _name, _image, made, *_: (made / "file").touch())
    monkeypatch.setattr("os.geteuid", lambda: 0)
    seen = overtaken(layer)
    assert layers.ensure_layers("bookworm", lambda _line: None) == (layer, image)
    assert seen == [layer]
    assert [path.name for path in tmp_path.iterdir()] == ["layer"]


@pytest.fixture
def without_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine that has no Go and a stand-in for uv that installs one."""
    made = make_machine(tmp_path, monkeypatch)
    made.go.rename(made.here / "go-of-the-wheel")
    program(made.bin / "uv", UV.format(here=made.here))
    made.instruct("version", f"go{golang.GO_WHEEL_VERSION}\n")
    monkeypatch.setattr(golang, "own_go", lambda: None)
    return made


def test_a_go_that_another_run_has_installed_meanwhile_is_used(
    without_go: Machine, overtaken: Callable[[Path], list[Path]]
) -> None:
    place = golang.wheel_go().parent.parent.parent
    seen = overtaken(place)
    assert golang.ensure_go(without_go.printed.append).program.exists()
    assert seen == [place]


def test_half_a_go_that_a_killed_run_left_is_replaced(without_go: Machine) -> None:
    (golang.wheel_go().parent.parent / "half").mkdir(parents=True)
    assert golang.ensure_go(without_go.printed.append).program.exists()
