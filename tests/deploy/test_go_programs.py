"""The unit tests that the lab's Go programs bring themselves."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.toolchain import golang
from tests import tiers

LIMIT_S = 900  # with nothing compiled yet; 10 s else


@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("module", ["vcenter/simulator", "toolchain/plugin"])
def test_the_go_programs_pass_their_own_tests(checkout: Path, tmp_path: Path, module: str) -> None:
    go = golang.find_go()
    if not go.program.exists():
        tiers.refuse("missing: go; `make lab` installs it when it builds the lab's programs")
    result = subprocess.run(
        [str(go.program), "test", "./..."],
        cwd=checkout / "lab" / module,
        env=golang.environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
