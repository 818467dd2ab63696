"""`lbstack render --out`: it removes and overwrites its own files, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lbstack.offline.directory import LIST, write_files
from lbstack.problems import LbstackError
from lbstack.render.files import File


def nodes(*names: str, files: tuple[str, ...] = ("/etc/a.conf", "/etc/b/c.conf")) -> dict[str, dict[str, File]]:
    return {name: {path: File(f"{name} {path}\n", "root:root", 0o600) for path in files} for name in names}


def tree(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    directory = tmp_path / "out"
    assert write_files(nodes("lb1", "lb2"), directory) == 4
    return directory


def test_a_users_files_in_the_directory_stay(out: Path) -> None:
    own = [out / name for name in ("notes.txt", "lb2/notes.txt", "lb2/etc/b/mine.conf", "lb3/x", ".git/config")]
    for path in own:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    write_files(nodes("lb1"), out)
    assert [path.read_text() for path in own] == ["mine"] * len(own)
    assert not (out / "lb2" / "etc" / "a.conf").exists()
    assert not (out / "lb2.files").exists()


def test_what_is_not_rendered_any_more_is_removed_with_its_empty_directories(out: Path) -> None:
    write_files(nodes("lb1", files=("/etc/a.conf",)), out)
    assert tree(out) == {LIST, "lb1.files", "lb1/etc/a.conf"}
    assert not (out / "lb2").exists()
    assert not (out / "lb1" / "etc" / "b").exists()


def test_a_users_file_where_one_has_to_be_written_is_named_and_nothing_is_written(out: Path) -> None:
    before = (out / "lb1" / "etc" / "a.conf").stat().st_mtime_ns
    (out / "lb1" / "etc" / "new.conf").write_text("mine")
    with pytest.raises(LbstackError, match=r"did not write, where it has to: lb1/etc/new\.conf\. Nothing was written"):
        write_files(nodes("lb1", "lb2", files=("/etc/a.conf", "/etc/new.conf")), out)
    assert (out / "lb1" / "etc" / "new.conf").read_text() == "mine"
    assert (out / "lb1" / "etc" / "a.conf").stat().st_mtime_ns == before


@pytest.mark.parametrize("link", ["lb1", "lb1/etc", "lb1/etc/a.conf"])
def test_nothing_is_written_or_removed_through_a_link(out: Path, tmp_path: Path, link: str) -> None:
    place = out / link
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    before = tree(tmp_path / "elsewhere")
    with pytest.raises(LbstackError, match="did not write"):
        write_files(nodes("lb1", "lb2"), out)
    write_files(nodes("lb2"), out)
    assert tree(tmp_path / "elsewhere") == before
    assert elsewhere.exists()


def test_a_list_that_names_files_elsewhere_removes_none_of_them(out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    with (out / LIST).open("a") as stream:
        stream.write(f"../outside.txt\n{outside}\nlb1/../../outside.txt\n\n.\nlb1\n")
    write_files(nodes("lb1"), out)
    assert outside.read_text() == "mine"
    assert (out / "lb1" / "etc" / "a.conf").exists()


def test_a_directory_of_an_older_version_is_known_by_its_lists_of_modes(out: Path) -> None:
    (out / LIST).write_text("")
    (out / "lb1" / "notes.txt").write_text("mine")
    write_files(nodes("lb2"), out)
    assert tree(out) == {LIST, "lb2.files", "lb2/etc/a.conf", "lb2/etc/b/c.conf", "lb1/notes.txt"}


def test_what_a_killed_run_wrote_is_known_as_its_own(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_text, []

    def killed(path: Path, text: str, **options: str) -> int:
        written.append(path)
        if path.name == "new.conf" and len(written) > 2:
            write(path, text[:3], **options)
            raise KeyboardInterrupt
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        write_files(nodes("lb1", files=("/etc/new.conf",)), out)
    monkeypatch.undo()
    write_files(nodes("lb1", files=("/etc/new.conf",)), out)
    assert tree(out) == {LIST, "lb1.files", "lb1/etc/new.conf"}
    assert (out / "lb1" / "etc" / "new.conf").read_text() == "lb1 /etc/new.conf\n"
