"""Two texts side by side: which lines differ, and which words in them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Literal

CONTEXT = 3
# What is compared at most: whoever may write a prompt must not keep the server busy.
MAX_LINES = 20_000
MAX_ROWS = 2_000
WORDS = 2_000_000
_WORD = re.compile(r"\w+|\s+|[^\w\s]")

Kind = Literal["same", "changed", "added", "removed", "skip"]


@dataclass(frozen=True, slots=True)
class Side:
    """One line of one text.

    Args:
        number: Its number, from 1.
        pieces: Its text, each piece with whether it differs.
    """

    number: int
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of each text; None where the other has no like of it."""

    kind: Kind
    old: Side | None
    new: Side | None


@dataclass(slots=True)
class Effort:
    """How much may still be spent on words, over all texts that are compared for one view.

    Args:
        left: Pairs of words.
    """

    left: int = WORDS


def side_by_side(old: str, new: str, effort: Effort | None = None) -> list[Row]:
    """The rows that differ, with some that do not around them.

    Args:
        old: The one text.
        new: The other.
        effort: What may be spent; without any left, a line differs as a whole.

    Example:
        >>> [row.kind for row in side_by_side("a\\nb\\n", "a\\nB\\nc\\n")]
        ['same', 'changed', 'added']
    """
    before, after = old.splitlines(), new.splitlines()
    is_cut = max(len(before), len(after)) > MAX_LINES
    before, after = before[:MAX_LINES], after[:MAX_LINES]
    effort = effort or Effort()
    rows: list[Row] = []
    groups = list(SequenceMatcher(None, before, after).get_grouped_opcodes(CONTEXT))
    for at, group in enumerate(groups):
        if at or group[0][1] > 0 or group[0][3] > 0:
            rows.append(Row("skip", None, None))
        for tag, a, b, c, d in group:
            if tag == "equal":
                rows += [_same(before, a + i, c + i) for i in range(b - a)]
            else:
                rows += _changed(before, range(a, b), after, range(c, d), effort)
            if len(rows) >= MAX_ROWS:
                return [*rows[:MAX_ROWS], Row("skip", None, None)]
    if is_cut or (groups and groups[-1][-1][2] < len(before)):
        rows.append(Row("skip", None, None))
    return rows


def _same(lines: Sequence[str], old: int, new: int) -> Row:
    pieces = ((lines[old], False),)
    return Row("same", Side(old + 1, pieces), Side(new + 1, pieces))


def _changed(
    before: Sequence[str], a: range, after: Sequence[str], b: range, effort: Effort
) -> Iterable[Row]:
    for i, j in zip_longest(a[:MAX_ROWS], b[:MAX_ROWS]):
        if j is None:
            yield Row("removed", Side(i + 1, ((before[i], True),)), None)
        elif i is None:
            yield Row("added", None, Side(j + 1, ((after[j], True),)))
        else:
            old, new = _words(before[i], after[j], effort)
            yield Row("changed", Side(i + 1, old), Side(j + 1, new))


Pieces = tuple[tuple[str, bool], ...]


def _words(old: str, new: str, effort: Effort) -> tuple[Pieces, Pieces]:
    before, after = _WORD.findall(old), _WORD.findall(new)
    effort.left -= len(before) * len(after)
    if effort.left < 0:
        return ((old, True),), ((new, True),)
    found = SequenceMatcher(None, before, after, autojunk=False)
    mine: list[tuple[str, bool]] = []
    theirs: list[tuple[str, bool]] = []
    for tag, a, b, c, d in found.get_opcodes():
        if b > a:
            mine.append(("".join(before[a:b]), tag != "equal"))
        if d > c:
            theirs.append(("".join(after[c:d]), tag != "equal"))
    return tuple(mine), tuple(theirs)
