"""Figures as a picture: one bar for each run's median, whiskers from the fastest to the slowest. Plain SVG."""

from __future__ import annotations

from html import escape

from bench.figures import Figure, Series

WIDTH, LABEL, ROW, TOP = 760, 260, 30, 34
THICK = 14
INK, BAR, BASE = "#1f2933", "#2f6f9f", "#9fb3c8"


def svg(figures: list[Figure]) -> str:
    """Return the picture.

    Args:
        figures: What was measured; every series gets a row, in seconds on one scale.
    """
    rows: list[tuple[Series, str]] = []
    for figure in figures:
        rows.append((figure.measured, BAR))
        if figure.baseline:
            rows.append((figure.baseline, BASE))
    longest = max(max(series.seconds) for series, _ in rows)
    scale = (WIDTH - LABEL - 90) / longest
    height = TOP + ROW * len(rows) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<g font-size="13" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="20" font-weight="bold">Seconds: median, fastest to slowest</text>',
    ]
    for index, (series, colour) in enumerate(rows):
        top = TOP + ROW * index
        middle = top + ROW / 2
        low, high = (LABEL + value * scale for value in (min(series.seconds), max(series.seconds)))
        parts += [
            f'<text x="12" y="{middle + 4:.0f}">{escape(series.name)}</text>',
            f'<path d="M{LABEL} {middle}h{series.median * scale:.1f}" stroke="{colour}" stroke-width="{THICK}"/>',
            f'<path d="M{low:.1f} {middle}h{high - low:.1f}m0 -5v10M{low:.1f} {middle - 5}v10" stroke="{INK}"/>',
            f'<text x="{high + 8:.1f}" y="{middle + 4:.0f}">{series.median:.2f}</text>',
        ]
    return "\n".join([*parts, "</g>", "</svg>", ""])
