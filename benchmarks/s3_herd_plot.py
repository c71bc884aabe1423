"""Draws how often replicas look, second by second, as an SVG. Needs nothing but Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

LEFT, TOP, WIDTH, HEIGHT, GAP = 60, 44, 720, 90, 52
INK, FAINT, BAR, AWAY, LIMIT = "#24292f", "#8c959f", "#0969da", "#ffebe9", "#cf222e"


@dataclass(frozen=True)
class Panel:
    """One story: looks in each second, when the server was away, and what the seconds have to hold.

    Args:
        what: The story, in words.
        seconds: How many looks there were in each second.
        mean: The mean second.
        limit: What no second may be above.
        away: From which second to which the server was away.
    """

    what: str
    seconds: Sequence[int]
    mean: float
    limit: float
    away: tuple[int, int] | None = None


def drawn(title: str, panels: Sequence[Panel]) -> str:
    """All panels below each other, as the text of an SVG file."""
    high = TOP + len(panels) * (HEIGHT + GAP)
    shown = "".join(_panel(one, TOP + at * (HEIGHT + GAP)) for at, one in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 90}" height="{high}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n'
        '<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>\n{shown}</svg>\n'
    )


def _panel(panel: Panel, top: int) -> str:
    lasts = len(panel.seconds)
    most = max(*panel.seconds, panel.limit)
    bottom = top + 16 + HEIGHT

    def x(second: float) -> str:
        return f"{LEFT + second / lasts * WIDTH:.1f}"

    def y(looks: float) -> str:
        return f"{bottom - looks / most * HEIGHT:.1f}"

    lines = [f'<text x="{LEFT}" y="{top + 8}">{escape(panel.what)}</text>']
    if panel.away:
        begin, end = panel.away
        wide = (end - begin) / lasts * WIDTH
        lines.append(
            f'<rect x="{x(begin)}" y="{top + 16}" width="{wide:.1f}" height="{HEIGHT}" '
            f'fill="{AWAY}"/>'
        )
    bars = "".join(f"M{x(at)} {bottom}V{y(n)}" for at, n in enumerate(panel.seconds) if n)
    lines.append(f'<path d="{bars}" stroke="{BAR}" stroke-width="{WIDTH / lasts:.2f}"/>')
    for looks, colour, word in (
        (panel.limit, LIMIT, f"2× mean, {panel.limit:.0f}"),
        (panel.mean, INK, f"mean, {panel.mean:.0f}"),
    ):
        lines.append(
            f'<path d="M{LEFT} {y(looks)}h{WIDTH}" stroke="{colour}" stroke-dasharray="4 3"/>'
        )
        # Where the scale is large the two lines lie close together.
        if panel.limit > most / 4 or looks == panel.limit:
            lines.append(
                f'<text x="{LEFT + WIDTH + 6}" y="{y(looks)}" fill="{colour}" font-size="10" '
                f'dominant-baseline="middle">{word}</text>'
            )
    peak = max(panel.seconds)
    lines.append(
        f'<text x="{LEFT - 6}" y="{y(peak)}" text-anchor="end" font-size="10" '
        f'dominant-baseline="middle">{peak}/s</text>'
    )
    lines.append(f'<path d="M{LEFT} {bottom}h{WIDTH}" stroke="{FAINT}"/>')
    lines += [
        f'<text x="{x(second)}" y="{bottom + 13}" text-anchor="middle" font-size="10" '
        f'fill="{FAINT}">{second // 60} min</text>'
        for second in range(0, lasts + 1, 60)
    ]
    return "\n".join(lines) + "\n"
