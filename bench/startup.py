"""What each start-up measure of the program gains: a preview of the pair with all of them, and without each one alone.

A measure is taken out of a copy of the program, by replacing text that has to be there exactly once. Each copy is
previewed in pairs with a plain copy, one right after the other and in alternating order, so that what disturbs the
machine disturbs both. What counts is the median of the ratios: a measure that gains less than ``WORTH`` is not worth
its lines.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Kind, Progress, Series
from lab.engine.workspace import Workspace
from lab.errors import LabError
from lab.home.state import Paths
from lab.running import lifecycle
from lab.system.cache import CHECKOUT
from lab.toolchain import tools

WORTH = 1.03  # a preview without the measure takes at least this many times as long
FEWEST_PAIRS = 20
PREVIEW_TIMEOUT_S = 120.0
PARTS = ("__main__.py", "Pulumi.yaml", "lbstack", "cloudinit")


@dataclass(frozen=True)
class Measure:
    """One start-up measure, and how to take it out.

    Args:
        name: What it is.
        changes: File → (text that is there exactly once, what stands there without the measure).
    """

    name: str
    changes: Mapping[str, tuple[str, str]]


MEASURES = (
    Measure(
        "no garbage collection",
        {"lbstack/deploy/main.py": ("gc.disable()\n\nimport", "gc.freeze = lambda: None\n\nimport")},
    ),
    Measure(
        "no debug messages of the SDK",
        {"lbstack/deploy/sdk.py": ("        pulumi.log.debug = _unheard\n", "        pass\n")},
    ),
    Measure(
        "SDK modules imported when used",
        {"lbstack/deploy/sdk.py": ('    vsphere = lazily("pulumi_vsphere")', "    import pulumi_vsphere as vsphere")},
    ),
    Measure(
        "the VM's class imported while the plugin starts",
        {
            "lbstack/deploy/pair.py": (
                "_VirtualMachine = vsphere.VirtualMachine\n",
                "def _VirtualMachine(*args, **options): return vsphere.VirtualMachine(*args, **options)\n",
            )
        },
    ),
)


def without(measure: Measure | None, place: Path) -> Path:
    """A copy of the program without a measure.

    Args:
        measure: The measure; None for a plain copy.
        place: The directory to make.

    Raises:
        LabError: The text that stands for the measure is not there exactly once.
    """
    for part in PARTS:
        source = CHECKOUT / part
        if source.is_dir():
            shutil.copytree(source, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place / part)
    for file, (there, instead) in (measure.changes if measure else {}).items():
        text = (place / file).read_text(encoding="utf-8")
        if text.count(there) != 1:
            raise LabError(
                f"{file} does not have the text of «{measure.name if measure else ''}» exactly once: {there!r}"
            )
        (place / file).write_text(text.replace(there, instead), encoding="utf-8")
    return place


def measure(runs: int, progress: Progress) -> list[Figure]:
    """Deploy the pair to a lab of its own, and preview it with every measure and without each one, in pairs.

    Args:
        runs: How many pairs each measure gets; at least ``FEWEST_PAIRS``.
        progress: Receives what happens.

    Returns:
        For each measure the ratios of its pairs, in elapsed time and in CPU time: without it over with it.

    Raises:
        LabError: The lab does not come up, or a preview fails.
    """
    pairs = max(runs, FEWEST_PAIRS)
    with tempfile.TemporaryDirectory(prefix="lab-") as directory:
        paths = Paths(Path(directory) / "lab")
        try:
            progress("a lab of its own")
            lifecycle.up(paths, port=None, progress=lambda _: None, show=lambda _: None, guests=False)
            workspace = Workspace(paths, tools.ensure_tools(progress))
            whole = without(None, Path(directory) / "whole")
            copies = {
                each.name: without(each, Path(directory) / f"without-{index}") for index, each in enumerate(MEASURES)
            }
            return _figures(_pairs(workspace, whole, copies, pairs, progress))
        finally:
            lifecycle.down(paths, progress=lambda _: None, show=lambda _: None)


Ratios = dict[str, list[tuple[float, float]]]


def _pairs(workspace: Workspace, whole: Path, copies: Mapping[str, Path], pairs: int, progress: Progress) -> Ratios:
    """Elapsed and CPU ratios of each pair; the first round fills the caches and does not count."""
    found: Ratios = {name: [] for name in copies}
    for turn in range(pairs + 1):
        progress(f"round {turn} of {pairs}" if turn else "warming up")
        for name, place in copies.items():
            order = (place, whole) if turn % 2 else (whole, place)
            seconds = {program: _preview(workspace, program) for program in order}
            if turn:
                ratios = [one / other for one, other in zip(seconds[place], seconds[whole], strict=True)]
                found[name].append((ratios[0], ratios[1]))
    return found


def _preview(workspace: Workspace, program: Path) -> tuple[float, float]:
    """Preview a program; elapsed and CPU time (of the engine, the program and the plugin) in seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    result = subprocess.run(
        [str(workspace.pulumi), "preview", "--non-interactive", "--expect-no-changes"],
        cwd=program,
        env=workspace.environment(),
        capture_output=True,
        text=True,
        timeout=PREVIEW_TIMEOUT_S,
        check=False,
    )
    elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if result.returncode != 0:
        raise LabError(f"A preview of {program.name} failed:\n{result.stdout}{result.stderr}")
    return elapsed, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def _figures(ratios: Ratios) -> list[Figure]:
    """One figure for each measure and kind of time; over its bar means that the measure is worth its lines."""
    return [
        Figure(
            f"without «{name}», {kind} time",
            Series(f"{name} ({kind})", tuple(pair[position] for pair in found), "x"),
            None,
            WORTH,
            Kind.AMOUNT,
        )
        for position, kind in enumerate(("elapsed", "CPU"))
        for name, found in ratios.items()
    ]
