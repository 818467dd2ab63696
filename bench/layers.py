"""Draw the import rule of both packages as CONTRIBUTING.md shows it: ``python -m bench.layers`` writes docs/layers.svg.

The layers are read from the contracts in ``pyproject.toml``: the picture shows what `make check` enforces.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from html import escape
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PICTURE = CHECKOUT / "docs" / "layers.svg"
PACKAGES = ("lbstack", "lab")

WIDTH, MARGIN, GAP = 860, 20, 8
BOX, STEP, TOP = 34, 46, 58
INK, EDGE, FILL, PULUMI_FILL = "#0f172a", "#2563eb", "#eff6ff", "#fef3c7"
ONLY_WITH_PULUMI = "deploy"
LINE = 18
LEGEND = (
    "Packages of one layer do not import each other, none imports one above it, and there are no circles.",
    "lab may import lbstack; lbstack never imports lab. Yellow: the only package that imports Pulumi.",
)

Layers = Sequence[Sequence[str]]


def layers_of(package: str, project: Path = CHECKOUT / "pyproject.toml") -> Layers:
    """The layers of a package from top to bottom, each with its packages.

    Args:
        package: ``lbstack`` or ``lab``.
        project: The file with the contracts.
    """
    contracts = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    (found,) = (each for each in contracts if each["type"] == "layers" and each["containers"] == [package])
    return [[name.strip() for name in layer.replace(":", "|").split("|")] for layer in found["layers"]]


def svg() -> str:
    """The picture: one column for each package; what stands higher may import what stands lower."""
    columns = [layers_of(package) for package in PACKAGES]
    column = (WIDTH - MARGIN * (len(columns) + 1)) / len(columns)
    foot = TOP + STEP * max(map(len, columns)) + MARGIN
    height = foot + len(LEGEND) * LINE
    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, '
            'sans-serif" font-size="14" role="img" aria-label="Packages in layers; imports go down only">'
        ),
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for index, (package, layers) in enumerate(zip(PACKAGES, columns, strict=True)):
        drawn += _column(package, layers, MARGIN + index * (column + MARGIN), column)
    drawn += [
        f'<text x="{MARGIN}" y="{foot + row * LINE}" font-size="12" fill="{INK}">{escape(text)}</text>'
        for row, text in enumerate(LEGEND)
    ]
    return "\n".join([*drawn, "</svg>", ""])


def _column(package: str, layers: Layers, left: float, width: float) -> list[str]:
    """One package's layers."""
    drawn = [
        f'<text x="{left:.0f}" y="26" font-weight="bold" fill="{INK}">{package}</text>',
        f'<text x="{left:.0f}" y="44" font-size="12" fill="{INK}">A package may import what stands below it.</text>',
    ]
    for row, packages in enumerate(layers):
        box, y = (width - GAP * (len(packages) - 1)) / len(packages), TOP + row * STEP
        for place, name in enumerate(packages):
            x, fill = left + place * (box + GAP), PULUMI_FILL if name == ONLY_WITH_PULUMI else FILL
            shape = f'x="{x:.1f}" y="{y}" width="{box:.1f}" height="{BOX}" rx="6" fill="{fill}" stroke="{EDGE}"'
            text = f'x="{x + box / 2:.1f}" y="{y + 22}" text-anchor="middle" fill="{INK}"'
            drawn += [f"<rect {shape}/>", f"<text {text}>{escape(name)}</text>"]
    return drawn


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
