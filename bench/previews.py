"""The cost of a preview of the deployed pair, compared with an empty program's; and of a second `make lab`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from bench import review
from bench.figures import Figure, Progress, by_turns
from lab.engine.workspace import Workspace
from lab.errors import LabError
from lab.home.state import Paths
from lab.running import lifecycle
from lab.toolchain import tools

EMPTY_PROGRAM = Path(__file__).parent / "empty"
EMPTY_STACK = "empty"
BAR = 1.6
SECOND_RUN_BAR_S = 40.0
PREVIEW_TIMEOUT_S = 120.0
FEW = 3  # of what takes several seconds


def measure(runs: int, progress: Progress) -> list[Figure]:
    """Deploy the pair to a lab of its own, time what is done with it, take the lab down.

    Args:
        runs: How often each preview is timed.
        progress: Receives what happens.

    Raises:
        LabError: The lab does not come up, or a preview fails.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as directory:
        paths = Paths(Path(directory) / "lab")

        def up() -> None:
            lifecycle.up(paths, port=None, progress=lambda _: None, show=lambda _: None, guests=False)

        try:
            progress("a lab of its own")
            (second,) = by_turns({"lab up again, nothing changed": up}, min(runs, FEW), progress).values()
            again = Figure("a second `make lab`", second, None, SECOND_RUN_BAR_S)
            workspace = Workspace(paths, tools.ensure_tools(progress))
            return [_measure(workspace, runs, progress), review.measure(workspace, runs, progress), again]
        finally:
            lifecycle.down(paths, progress=lambda _: None, show=lambda _: None)


def _measure(workspace: Workspace, runs: int, progress: Progress) -> Figure:
    pair = workspace.environment()
    # In the same checkout, since the engine asks Git about every program. Its stack file is the lab's: `stack init`
    # writes one next to the Pulumi.yaml that it finds, and the checkout stays clean.
    nursery = workspace.paths.root / "empty"
    nursery.mkdir(exist_ok=True)
    shutil.copy(EMPTY_PROGRAM / "Pulumi.yaml", nursery)
    empty = pair | {
        "PULUMI_STACK": EMPTY_STACK,
        "PULUMI_OPTION_CONFIG_FILE": str(nursery / f"Pulumi.{EMPTY_STACK}.yaml"),
    }
    _pulumi(workspace, ["stack", "init", EMPTY_STACK, "--no-select"], nursery, empty)
    series = by_turns(
        {
            "preview of the pair": lambda: _pulumi(workspace, ["preview"], workspace.program, pair),
            "preview of an empty program": lambda: _pulumi(workspace, ["preview"], EMPTY_PROGRAM, empty),
        },
        runs,
        progress,
    )
    measured, baseline = series.values()
    return Figure("preview of the deployed pair, nothing changed", measured, baseline, BAR)


def _pulumi(workspace: Workspace, arguments: list[str], directory: Path, environment: dict[str, str]) -> None:
    result = subprocess.run(
        [str(workspace.pulumi), *arguments, "--non-interactive"],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PREVIEW_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise LabError(f"`pulumi {' '.join(arguments)}` failed:\n{result.stdout}{result.stderr}")
