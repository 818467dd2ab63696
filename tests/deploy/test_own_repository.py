"""A repository of one's own: the wheel in a fresh environment, `lbstack init`, and a deployment from there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.system.uv import find_uv
from tests.deploy.harness import Harness

LIMIT_S = 300.0  # a first download of the packages; 20 s where uv has them in its cache
STACK = "Pulumi.prod.yaml"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command without anything of this test's own environment."""
    kept = ("HOME", "PATH", "UV_CACHE_DIR", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "SSL_CERT_FILE", "PIP_INDEX_URL")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def done(*command: str | Path, cwd: Path) -> str:
    result = run(*command, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass(frozen=True)
class Own:
    """A repository of one's own with its environment.

    Args:
        directory: The repository.
        wheel: The wheel that it installs.
    """

    directory: Path
    wheel: Path

    @property
    def bin(self) -> Path:
        """The programs of its environment."""
        return self.directory / ".venv" / "bin"


def steps(checkout: Path, name: str) -> str:
    """The commands of one block of docs/own-repository.md."""
    text = (checkout / "docs" / "own-repository.md").read_text()
    found = re.search(rf"<!-- steps: {name} -->\n```console\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def own(checkout: Path, short_directory: Callable[[], Path]) -> Own:
    """The repository that docs/own-repository.md makes, by the commands that stand there."""
    place = short_directory()
    copy = place / "lbstack"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git", ".venv", ".lab", "__pycache__", ".*_cache"))
    path = f"PATH={Path(find_uv()).parent}:$PATH"
    done("bash", "-euc", f"{path}\n{steps(checkout, 'new')}", cwd=copy)
    (wheel,) = (place / "wheels").glob("*.whl")
    made = Own(place / "load-balancers", wheel)
    # Pulumi's older host asks `pip` which plugins the program needs; the official one does not.
    done(find_uv(), "pip", "install", "--quiet", "--python", made.bin / "python", "pip", cwd=made.directory)
    return made


def test_the_wheel_renders_and_checks_what_the_checkout_does(own: Own, checkout: Path, tmp_path: Path) -> None:
    text = done("bash", "-euc", f". .venv/bin/activate\n{steps(checkout, 'check')}", cwd=own.directory)
    assert "NOT CHECKED" in text or shutil.which("haproxy")
    shutil.move(own.directory / "rendered", tmp_path / "own")
    shutil.copy(checkout / "stack.example.yaml", tmp_path / STACK)
    done(checkout / ".venv/bin/lbstack", "render", tmp_path / STACK, "--out", tmp_path / "checkout", cwd=tmp_path)
    seen = {
        side: {
            str(file.relative_to(tmp_path / side)): file.read_bytes()
            for file in (tmp_path / side).rglob("*")
            if file.is_file()
        }
        for side in ("own", "checkout")
    }
    assert len(seen["own"]) > 40
    assert seen["own"] == seen["checkout"]
    (own.directory / STACK).unlink()


def test_the_wheel_has_no_compiled_file_of_the_checkout(own: Own) -> None:
    names = zipfile.ZipFile(own.wheel).namelist()
    assert "lbstack/_shipped/cloudinit/haproxy.cfg.j2" in names
    assert [name for name in names if "__pycache__" in name or name.endswith((".cache", ".pyc"))] == []


def test_the_repository_runs_the_installed_package_and_not_the_checkout(own: Own) -> None:
    found = done(own.bin / "python", "-c", "import lbstack; print(lbstack.__file__)", cwd=own.directory)
    assert Path(found.strip()).is_relative_to(own.directory / ".venv")


def test_outside_of_a_repository_the_command_shows_what_to_do(own: Own, tmp_path: Path) -> None:
    result = run(own.bin / "lbstack", "render", "prod", cwd=tmp_path)
    assert result.returncode == 2
    assert "or make one with `lbstack init DIR`" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_schema_that_is_old_is_noticed_and_written_anew(own: Own) -> None:
    done(own.bin / "lbstack", "schema", "--check", cwd=own.directory)
    schema = own.directory / "stack.schema.json"
    schema.write_text("{}")
    assert run(own.bin / "lbstack", "schema", "--check", cwd=own.directory).returncode == 2
    done(own.bin / "lbstack", "schema", "--write", cwd=own.directory)
    done(own.bin / "lbstack", "schema", "--check", cwd=own.directory)


@pytest.fixture(scope="module")
def own_lab(own: Own, tools: None, short_directory: Callable[[], Path]) -> Iterator[Harness]:
    """A lab whose program is the repository's, run by the repository's own environment."""
    lab = Harness(short_directory() / "lab", own.directory)
    try:
        lab.prepare()
        yield lab
    finally:
        lab.remove()


def test_such_a_repository_deploys_the_pair_and_the_checkout_finds_nothing_to_change(
    own: Own, own_lab: Harness, checkout: Path
) -> None:
    path = f"{own.bin}:{own_lab.workspace.environment()['PATH']}"
    own_lab.pulumi("up", environment={"PATH": path}).ok()
    assert len(own_lab.machines()) == 2
    own_lab.pulumi("preview", "--expect-no-changes", environment={"PATH": path}).ok()
    own_lab.program = checkout
    try:
        own_lab.preview("--expect-no-changes").ok()
    finally:
        own_lab.program = own.directory
    assert set(own_lab.outputs()) >= {"vips", "nodes", "config_hash", "horizon_settings"}
