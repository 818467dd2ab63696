"""`lbstack init`: a whole repository or nothing, made of the product's own files."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from lbstack import shipped
from lbstack.cli import main
from lbstack.problems import LbstackError
from lbstack.scaffold import repository, source
from lbstack.stackfile import schema

WHEEL = f"lbstack-{source.version()}-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    file = tmp_path / "dist" / WHEEL
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"lbstack-{source.version()}.dist-info/METADATA", "Name: lbstack")
    return file


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def project(directory: Path) -> dict[str, object]:
    return tomllib.loads((directory / "pyproject.toml").read_text())


def test_it_writes_the_program_the_example_the_schema_and_the_workflows(tmp_path: Path, wheel: Path) -> None:
    made = tmp_path / "ours"
    assert main(["init", str(made), "--from", str(wheel)]) == 0
    own = {"pyproject.toml", "README.md", ".gitignore", ".ci/set-up", schema.FILE_NAME, f"wheels/{WHEEL}"}
    assert files(made) == {*repository.SHIPPED, *own}
    for name in repository.SHIPPED:
        assert (made / name).read_bytes() == shipped.path(name).read_bytes()
    assert (made / schema.FILE_NAME).read_text() == schema.text()
    assert (made / "wheels" / WHEEL).read_bytes() == wheel.read_bytes()
    for name in repository.PROGRAMS:
        assert os.access(made / name, os.X_OK)
    assert list(tmp_path.glob(".lbstack-init-*")) == []


def test_the_program_has_five_lines_and_the_project_the_name_that_is_in_every_urn(tmp_path: Path, wheel: Path) -> None:
    repository.write(tmp_path / "ours", source.named(str(wheel)))
    assert len((tmp_path / "ours" / "__main__.py").read_text().splitlines()) <= 5
    assert yaml.safe_load((tmp_path / "ours" / "Pulumi.yaml").read_text())["name"] == "lbstack"


def test_the_script_that_sets_a_job_up_passes_shellcheck(tmp_path: Path, wheel: Path) -> None:
    repository.write(tmp_path / "ours", source.named(str(wheel)))
    program = Path(sys.executable).with_name("shellcheck")
    result = subprocess.run(
        [program, tmp_path / "ours" / ".ci" / "set-up"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_lbstack_is_a_dependency_with_a_version_and_a_source(tmp_path: Path, wheel: Path) -> None:
    repository.write(tmp_path / "ours", source.named(str(wheel)))
    found = project(tmp_path / "ours")
    assert found["project"]["dependencies"] == [f"lbstack[cli]=={source.version()}"]  # type: ignore[index]
    assert found["tool"]["uv"]["sources"] == {"lbstack": {"path": f"wheels/{WHEEL}"}}  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("git+https://git.example/a/lbstack@v1.2", {"git": "https://git.example/a/lbstack", "rev": "v1.2"}),
        ("git+https://git.example/a/lbstack", {"git": "https://git.example/a/lbstack"}),
        ("git+ssh://git@git.example/lbstack@0a1b", {"git": "ssh://git@git.example/lbstack", "rev": "0a1b"}),
    ],
)
def test_a_git_address_is_a_source(text: str, wanted: dict[str, str]) -> None:
    found = source.named(text)
    assert tomllib.loads(f"lbstack = {found.line}") == {"lbstack": wanted}
    assert bool(found.note) == ("rev" not in wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "neither a wheel of lbstack nor a Git address"),
        (f"missing/{WHEEL}", "there is no file"),
        ("git+ftp://git.example/x", "is not a Git address"),
        ("git+https://git.example", "is not a Git address"),
        ('git+https://git.example/x" }', "is not a Git address"),
        ("git+https://git.example/x@v1\x01", "is not a Git address"),
        ("git+https://git.example/x@v1#egg=lbstack", "is not a Git address"),
        ("git+https://git.example/x@-upload-pack=x", "is not a Git address"),
        ("git+https://[::1/x", "is not a Git address"),
        ("git+ssh://-oProxyCommand=touch/x", "is not a Git address"),
        ("git+git@git.example:a/b", "is not a Git address"),
        ("git+https://me:secret@git.example/x", "has a login in it"),
        ("git+https://secret@git.example/x@v1", "has a login in it"),
        ("git+ssh://me:secret@git.example/x", "has a login in it"),
    ],
)
def test_a_source_that_is_none_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert main(["init", str(tmp_path / "ours"), "--from", text]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "secret" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_a_file_that_only_has_the_name_of_a_wheel_is_refused(
    tmp_path: Path, wheel: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    wheel.write_bytes(content)
    assert main(["init", str(tmp_path / "ours"), "--from", str(wheel)]) == 2
    assert "is not a wheel of lbstack" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


def test_the_working_directory_is_not_replaced(
    tmp_path: Path, wheel: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["init", ".", "--from", str(wheel)]) == 2
    assert "is the working directory" in capsys.readouterr().err


def test_an_empty_directory_keeps_its_mode(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "ours").mkdir(mode=0o700)
    (tmp_path / "ours").chmod(0o2750)
    repository.write(tmp_path / "ours", source.named(str(wheel)))
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o2750


def test_a_path_that_no_file_system_takes_is_a_message(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / ("x" * 300))]) == 2
    assert "File name too long" in capsys.readouterr().err


def test_a_checkout_with_odd_characters_in_its_path_is_valid_toml(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Path('/a "b" \\c')
    monkeypatch.setattr(shipped, "checkout", lambda: place)
    assert tomllib.loads(f"lbstack = {source.own().line}") == {"lbstack": {"path": str(place)}}


def test_a_wheel_of_another_version_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "lbstack-99.0-py3-none-any.whl"
    other.touch()
    assert main(["init", str(tmp_path / "ours"), "--from", str(other)]) == 2
    assert f"is not version {source.version()}" in capsys.readouterr().err


def test_an_empty_directory_is_filled_and_a_full_one_is_left_alone(
    tmp_path: Path, wheel: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "ours"
    made.mkdir()
    command = ["init", str(made), "--from", str(wheel)]
    assert main(command) == 0
    before = {name: (made / name).read_bytes() for name in files(made)}
    assert main(command) == 2
    assert "is not empty (.ci, .github" in capsys.readouterr().err
    assert {name: (made / name).read_bytes() for name in files(made)} == before


@pytest.mark.parametrize("kind", ["file", "link", "no parent"])
def test_a_place_that_cannot_be_a_new_directory_is_refused(
    tmp_path: Path, wheel: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    place = tmp_path / "ours"
    match kind:
        case "file":
            place.touch()
        case "link":
            place.symlink_to(wheel.parent)
        case _:
            place = tmp_path / "missing" / "ours"
    assert main(["init", str(place), "--from", str(wheel)]) == 2
    assert "othing was made" in capsys.readouterr().err
    assert files(wheel.parent) == {WHEEL}


def test_a_write_that_fails_in_the_middle_leaves_nothing(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(schema, "text", full)
    with pytest.raises(LbstackError, match="No space left on device"):
        repository.write(tmp_path / "ours", source.named(str(wheel)))
    assert [path.name for path in tmp_path.iterdir()] == ["dist"]


def test_a_run_that_is_killed_leaves_the_place_as_it_was(tmp_path: Path, wheel: Path) -> None:
    program = (
        "import os, sys, signal; from pathlib import Path; from lbstack.scaffold import repository, source\n"
        "repository.schema.text = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "repository.write(Path(sys.argv[1]), source.named(sys.argv[2]))\n"
    )
    place = tmp_path / "ours"
    killed = subprocess.run([sys.executable, "-c", program, str(place), str(wheel)], check=False)
    assert killed.returncode == -9
    assert not place.exists()
    repository.write(place, source.named(str(wheel)))
    assert "__main__.py" in files(place)


def test_a_checkout_is_a_source_with_a_note(tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "ours")]) == 0
    assert project(tmp_path / "ours")["tool"]["uv"]["sources"] == {"lbstack": {"path": str(checkout)}}  # type: ignore[index]
    assert "which other machines do not have" in capsys.readouterr().err


class Installed:
    """Stands for ``importlib.metadata.Distribution`` of an lbstack with a record of its origin (PEP 610)."""

    version = source.version()

    def __init__(self, record: object) -> None:
        self.record = record

    def read_text(self, _name: str) -> str | None:
        return json.dumps(self.record) if self.record else None


def installed(monkeypatch: pytest.MonkeyPatch, record: object) -> None:
    monkeypatch.setattr(shipped, "checkout", lambda: None)
    monkeypatch.setattr(source, "distribution", lambda _: Installed(record))


def test_an_installed_wheel_is_its_own_source(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"url": wheel.as_uri(), "archive_info": {}})
    assert source.own().wheel == wheel


def test_an_installation_from_git_is_pinned_to_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"url": "https://git.example/lbstack", "vcs_info": {"vcs": "git", "commit_id": "0a1b2c"}})
    assert source.own().line == '{ git = "https://git.example/lbstack", rev = "0a1b2c" }'


def test_an_installation_of_unknown_origin_needs_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, None)
    with pytest.raises(LbstackError, match=r"It is not known where .* Give `--from"):
        source.own()


def test_a_package_without_its_files_says_so(tmp_path: Path, checkout: Path) -> None:
    """As a wheel was before: templates were missing, and the command ended with a traceback."""
    shutil.copytree(checkout / "lbstack", tmp_path / "lbstack", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "Pulumi.yaml").touch()
    shutil.copy(checkout / "stack.example.yaml", tmp_path / "Pulumi.prod.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "lbstack", "render", "prod"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "This installation of lbstack is incomplete" in done.stderr
    assert "Traceback" not in done.stderr


def test_everything_that_the_checkout_ships_is_in_the_wheels_list(checkout: Path) -> None:
    build = tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert (
        build["force-include"]
        == {name: f"lbstack/{shipped.INSTALLED.name}/{name}" for name in sorted({*repository.SHIPPED, "cloudinit"})}
        | {}
    )
    for name in build["force-include"]:
        assert (checkout / name).exists()
        assert not stat.S_ISLNK((checkout / name).lstat().st_mode)
