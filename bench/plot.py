"""Figures as a picture: one bar for each run's median, whiskers from the least to the most. Plain SVG."""

from __future__ import annotations

from html import escape

from bench.figures import Figure, Series

WIDTH, LABEL, ROW, TOP, GAP = 800, 300, 30, 34, 10
THICK = 14
TITLES = {"s": "Seconds", "ms": "Milliseconds", "GiB": "GiB", "MiB": "MiB", "%": "Per cent", "x": "Ratios"}
INK, BAR, BASE = "#1f2933", "#2f6f9f", "#9fb3c8"


def svg(figures: list[Figure]) -> str:
    """Return the picture.

    Args:
        figures: What was measured; every series gets a row, each unit a part of the picture and a scale of its own.
    """
    parts: dict[str, dict[str, tuple[Series, str]]] = {}
    for figure in figures:
        for series, colour in ((figure.measured, BAR), (figure.baseline, BASE)):
            if series is not None:
                # What is the baseline of several figures stands there once.
                parts.setdefault(series.unit, {}).setdefault(series.name, (series, colour))
    drawn: list[str] = []
    height = 0
    for unit, rows in parts.items():
        drawn += _part(TITLES[unit], list(rows.values()), height)
        height += TOP + ROW * len(rows) + GAP
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<g font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    return "\n".join([*head, *drawn, "</g>", "</svg>", ""])


def _part(title: str, rows: list[tuple[Series, str]], offset: int) -> list[str]:
    """The rows of one unit, from a height on."""
    scale = (WIDTH - LABEL - 90) / (max(max(series.values) for series, _ in rows) or 1.0)
    parts = [f'<text x="12" y="{offset + 20}" font-weight="bold">{title}: median, least to most</text>']
    for index, (series, colour) in enumerate(rows):
        middle = offset + TOP + ROW * index + ROW / 2
        low, high = (LABEL + value * scale for value in (min(series.values), max(series.values)))
        parts += [
            f'<text x="12" y="{middle + 4:.0f}">{escape(series.name)}</text>',
            f'<path d="M{LABEL} {middle}h{series.median * scale:.1f}" stroke="{colour}" stroke-width="{THICK}"/>',
            f'<path d="M{low:.1f} {middle}h{high - low:.1f}m0 -5v10M{low:.1f} {middle - 5}v10" stroke="{INK}"/>',
            f'<text x="{high + 8:.1f}" y="{middle + 4:.0f}">{series.median:.2f}</text>',
        ]
    return parts
