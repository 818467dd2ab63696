"""`python -m bench`: measure, print a table, and leave results.json and results.svg.

python -m bench [--runs N] [--only PART] [--out DIRECTORY] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from bench import changing, plot, previews, rehearsal, rendering, startup
from bench.figures import Figure, Progress
from lab.errors import LabError

RUNS = 7
FEWEST, MOST = 1, 50
OUT = Path("bench") / "results"
EXIT_CODE_TROUBLE = 2
PARTS: Mapping[str, Callable[[int, Progress], list[Figure]]] = {
    "previews": previews.measure,
    "rendering": lambda runs, progress: [rendering.measure(runs, progress)],
    "rehearsal": rehearsal.measure,
    "changing": changing.measure,
    "startup": startup.measure,
}
ON_REQUEST = ("startup",)  # it takes half an hour, and is asked when a measure comes or goes


def progress(line: str) -> None:
    """Say what happens, apart from the results."""
    print(f"  {line}", file=sys.stderr, flush=True)


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def table(figures: list[Figure], sizes: list[rendering.Size]) -> str:
    """The results for people."""
    lines = [f"{'figure':<48} {'median':>8} {'min':>8} {'max':>8}      n", ""]
    for figure in figures:
        for series in filter(None, (figure.measured, figure.baseline)):
            amounts = (series.median, min(series.values), max(series.values))
            numbers = " ".join(f"{amount:>8.2f}" for amount in amounts)
            lines.append(f"{series.name:<48} {numbers} {series.unit:<3} {len(series.values):>2}")
        verdict = "within" if figure.value <= figure.bar else "OVER"
        lines += [f"  {figure.name}: {figure.value:.2f} {figure.unit}, {verdict} {figure.bar:g} {figure.unit}", ""]
    lines.append("set of one node, as guestinfo carries it")
    lines += [f"  Photon {size.release:<7} {size.encoded:>6} of {size.limit} bytes ({size.encoding})" for size in sizes]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run everything; 0 when it was measured, whatever came out, 2 when it could not be."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure, each figure besides its baseline.")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how often each thing is timed (default {RUNS})")
    parser.add_argument("--only", choices=PARTS, help="measure this part alone")
    parser.add_argument("--out", type=Path, default=OUT, help=f"where results.json and results.svg go ({OUT})")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args(arguments)
    if not FEWEST <= options.runs <= MOST:
        parser.error(f"--runs: {options.runs} is not between {FEWEST} and {MOST}")
    try:
        chosen = [options.only] if options.only else [part for part in PARTS if part not in ON_REQUEST]
        figures = [figure for part in chosen for figure in PARTS[part](options.runs, progress)]
        sizes = rendering.sizes()
    except LabError as error:
        print(error, file=sys.stderr)
        return EXIT_CODE_TROUBLE
    results = {
        "machine": machine(),
        "figures": [figure.as_dict() for figure in figures],
        "sizes": [asdict(size) for size in sizes],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1) + "\n"
    (options.out / "results.json").write_text(text, encoding="utf-8")
    (options.out / "results.svg").write_text(plot.svg(figures), encoding="utf-8")
    print(text if options.json else table(figures, sizes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
