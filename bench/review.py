"""The cost of `lbstack preview` on top of the engine's own two runs, which it starts at the same time."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

from bench.figures import Figure, Kind, Progress, by_turns
from lab.engine.checkpoint import STACK
from lab.engine.workspace import Workspace
from lab.errors import LabError
from lbstack.review.preview import LOOK, PLAN

BAR_S = 1.0
TIMEOUT_S = 120.0


def measure(workspace: Workspace, runs: int, progress: Progress) -> Figure:
    """Time a report of the deployed pair, next to the two runs that it is made of without a reader.

    Args:
        workspace: A lab with the pair deployed.
        runs: How often each is timed.
        progress: Receives what happens.

    Raises:
        LabError: One of them fails.
    """
    pulumi = [str(workspace.pulumi)]
    engine = [[*pulumi, *arguments, "--non-interactive", "--color", "never"] for arguments in (PLAN, LOOK)]
    series = by_turns(
        {
            "lbstack preview": lambda: _together(workspace, [[sys.executable, "-m", "lbstack", "preview", STACK]]),
            "the engine's two runs, next to each other": lambda: _together(workspace, engine),
        },
        runs,
        progress,
    )
    measured, baseline = series.values()
    return Figure("what lbstack preview adds to the engine", measured, baseline, BAR_S, Kind.DIFFERENCE)


def _together(workspace: Workspace, commands: list[list[str]]) -> None:
    """Run commands at once, and wait for all of them."""
    environment = workspace.environment()
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=workspace.program,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for command in commands
        ]
        for command, process in zip(commands, processes, strict=True):
            try:
                output, _ = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                for other in processes:
                    other.kill()
                raise LabError(f"`{' '.join(command)}` did not end within {TIMEOUT_S:.0f} s") from None
            if process.returncode != 0:
                raise LabError(f"`{' '.join(command)}` failed:\n{output}")
