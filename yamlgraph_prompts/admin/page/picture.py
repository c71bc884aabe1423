"""A graph → a picture in layers, as boxes and arrows for an SVG. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph as Drawing

HEIGHT = 38
_ROW, _GAP, _MARGIN, _LETTER = 84, 28, 14, 8
_TITLES = {"__start__": "Start", "__end__": "End"}
_MOST_PIECES = 4_000  # of arrows; a larger picture would not be readable
_SWEEPS = 4

# A node, or the place where an arrow (by its number) passes a row.
Item = str | tuple[int, int]


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its middle, in pixels, and its width."""

    node: str
    title: str
    x: int
    y: int
    width: int


@dataclass(frozen=True, slots=True)
class Arrow:
    """An edge: the path of its line, and the middle of its label."""

    path: str
    conditional: bool
    label: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Boxes and arrows, and the size of the whole in pixels."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


class TooLarge(ValueError):
    """The graph has too many arrows across too many rows."""


def picture(drawn: Drawing) -> Picture:
    """Draw a graph from top to bottom."""
    ends = [(edge.source, edge.target) for edge in drawn.edges]
    rank = _ranks(list(drawn.nodes), ends)
    if sum(1 + abs(rank[source] - rank[target]) for source, target in ends) > _MOST_PIECES:
        raise TooLarge
    chains = [_chain(number, rank[s], rank[t], s, t) for number, (s, t) in enumerate(ends)]
    rows = _rows(rank, chains)
    at, width = _places(rows)
    boxes = tuple(
        Box(node, _title(node), at[node], _y(rank[node]), _width(node)) for node in drawn.nodes
    )
    arrows = tuple(
        _arrow(chain, rank, at, edge.conditional, "" if edge.data is None else str(edge.data))
        for chain, edge in zip(chains, drawn.edges, strict=True)
    )
    return Picture(width, _y(len(rows) - 1) + HEIGHT // 2 + _MARGIN, boxes, arrows)


def _ranks(nodes: list[str], ends: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The row of each node: below all that lead to it, but for edges that close a circle."""
    after: dict[str, list[str]] = {node: [] for node in nodes}
    for source, target in ends:
        after[source].append(target)
    done: list[str] = []
    seen: set[str] = set()
    forward: dict[str, list[str]] = {node: [] for node in nodes}
    for root in nodes:
        path = [(root, iter(after[root]))] if root not in seen else []
        seen.add(root)
        above = {root}
        while path:
            node, rest = path[-1]
            for target in rest:
                if target not in above:
                    forward[node].append(target)
                if target not in seen:
                    seen.add(target)
                    above.add(target)
                    path.append((target, iter(after[target])))
                    break
            else:
                done.append(node)
                above.discard(node)
                path.pop()
    rank = dict.fromkeys(nodes, 0)
    for node in reversed(done):
        for target in forward[node]:
            rank[target] = max(rank[target], rank[node] + 1)
    return rank


def _chain(number: int, start: int, end: int, source: str, target: str) -> list[Item]:
    """The items that an arrow passes, one in each row."""
    step = 1 if end > start else -1
    between = range(start + step, end, step)
    if start == end:
        return [source, target]
    return [source, *((number, row) for row in between), target]


def _rows(rank: Mapping[str, int], chains: Iterable[list[Item]]) -> list[list[Item]]:
    """The items of each row from left to right, with few crossings."""
    rows: list[list[Item]] = [[] for _ in range(max(rank.values(), default=0) + 1)]
    for node, row in rank.items():
        rows[row].append(node)
    beside: dict[Item, list[Item]] = {}
    for chain in chains:
        for item in chain[1:-1]:
            assert isinstance(item, tuple)
            rows[item[1]].append(item)
        for one, other in pairwise(chain):
            beside.setdefault(one, []).append(other)
            beside.setdefault(other, []).append(one)
    for sweep in range(_SWEEPS):
        order = range(1, len(rows)) if sweep % 2 == 0 else range(len(rows) - 2, -1, -1)
        for row in order:
            last = rows[row - 1 if sweep % 2 == 0 else row + 1]
            # As parts of a row's length, so that rows of different lengths can be compared.
            place = {item: (n + 0.5) / len(last) for n, item in enumerate(last)}
            here = {item: (n + 0.5) / len(rows[row]) for n, item in enumerate(rows[row])}

            def middle(
                item: Item, place: dict[Item, float] = place, here: dict[Item, float] = here
            ) -> float:
                found = [place[other] for other in beside.get(item, ()) if other in place]
                return sum(found) / len(found) if found else here[item]

            rows[row].sort(key=middle)
    return rows


def _places(rows: list[list[Item]]) -> tuple[dict[Item, int], int]:
    """The middle of each item, every row centred; and the width of the whole."""
    widths = [sum(map(_width, row)) + _GAP * (len(row) - 1) for row in rows]
    whole = max(widths, default=0) + 2 * _MARGIN
    at: dict[Item, int] = {}
    for row, width in zip(rows, widths, strict=True):
        left = (whole - width) // 2
        for item in row:
            at[item] = left + _width(item) // 2
            left += _width(item) + _GAP
    return at, whole


def _arrow(
    chain: list[Item],
    rank: Mapping[str, int],
    at: Mapping[Item, int],
    conditional: bool,
    label: str,
) -> Arrow:
    points = list(_points(chain, rank, at))
    (x, y), *rest = points
    path = f"M{x} {y}"
    for next_x, next_y in rest:
        # A curve that leaves and arrives upright.
        path += f"C{x} {(y + next_y) // 2} {next_x} {(y + next_y) // 2} {next_x} {next_y}"
        x, y = next_x, next_y
    one, other = points[(len(points) - 1) // 2], points[len(points) // 2]
    return Arrow(path, conditional, label, (one[0] + other[0]) // 2, (one[1] + other[1]) // 2)


def _points(
    chain: list[Item], rank: Mapping[str, int], at: Mapping[Item, int]
) -> Iterator[tuple[int, int]]:
    rows = [item[1] if isinstance(item, tuple) else rank[item] for item in chain]
    half = HEIGHT // 2
    if rows[0] == rows[-1]:
        # Within a row, or a node to itself: out at the bottom, in at the top.
        x, y = at[chain[0]] + _width(chain[0]) // 2, _y(rows[0])
        yield at[chain[0]], y + half
        yield x + _GAP // 2, y
        yield at[chain[-1]], y - half
        return
    step = half if rows[-1] > rows[0] else -half
    for item, row in zip(chain, rows, strict=True):
        if item == chain[0]:
            yield at[item], _y(row) + step
        elif item == chain[-1]:
            yield at[item], _y(row) - step
        else:
            yield at[item], _y(row)


def _y(row: int) -> int:
    return _MARGIN + HEIGHT // 2 + row * _ROW


def _title(node: str) -> str:
    return _TITLES.get(node, node)


def _width(item: Item) -> int:
    if isinstance(item, tuple):
        return _GAP // 2
    letters = sum(2 if east_asian_width(letter) in "WF" else 1 for letter in _title(item))
    return _GAP + _LETTER * letters
