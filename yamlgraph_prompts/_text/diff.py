"""What differs between two texts, as a unified diff or side by side, for a bounded amount of work.

Pure. The bound counts steps, not seconds: the same texts give the same answer everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from itertools import accumulate, islice, takewhile, zip_longest
from typing import Literal, TypeAlias

CONTEXT = 3
MAX_ROWS = 2_000
WORK = 2_000_000
MAX_LINE = 20_000  # characters of a line whose words are compared
_WORD = re.compile(r"\w+|\s+|[^\w\s]")

Kind = Literal["same", "changed", "added", "removed", "skip", "too-different"]
Pieces: TypeAlias = tuple[tuple[str, bool], ...]  # of a line, each with whether it differs
Opcode: TypeAlias = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Side:
    """One line of one text: its number, from 1, and its text."""

    number: int
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class Row:
    """A line of each text; None where the other has no line for it."""

    kind: Kind  # "skip" for lines that are not shown
    old: Side | None = None
    new: Side | None = None
    text: str = ""  # stands instead of texts that are too different


class TooDifferent(Exception):
    """Comparing takes more work than may be spent."""


@dataclass(slots=True)
class Effort:
    """What may still be spent, over all texts that are compared for one view."""

    work: int = WORK  # steps of comparing
    rows: int = 5 * MAX_ROWS  # shown side by side

    def spend(self, steps: int) -> None:
        if steps > self.work:
            raise TooDifferent
        self.work -= steps


def unified(old: str, new: str, old_file: str, new_file: str, effort: Effort | None = None) -> str:
    """The difference as a unified diff; ``""`` where there is none."""
    before, after = old.splitlines(), new.splitlines()
    try:
        groups = _groups(before, after, effort or Effort())
    except TooDifferent:
        lines = [f"@@ {too_different(len(before), len(after))} @@"]
    else:
        lines = [line for group in groups for line in _hunk(group, before, after)]
    head = [f"--- {old_file}", f"+++ {new_file}"] if lines else []
    return "".join(f"{line}\n" for line in head + lines)


def side_by_side(old: str, new: str, effort: Effort | None = None) -> list[Row]:
    """The rows that differ, with some that do not around them.

    Example:
        >>> [row.kind for row in side_by_side("a\\nb\\n", "a\\nB\\nc\\n")]
        ['same', 'changed', 'added']
    """
    before, after, effort = old.splitlines(), new.splitlines(), effort or Effort()
    try:
        groups = _groups(before, after, effort)
    except TooDifferent:
        return [Row("too-different", text=f"{too_different(len(before), len(after))}.")]
    most = max(0, min(MAX_ROWS, effort.rows))
    rows = list(islice(_rows(groups, before, after, effort), most + 1))
    if len(rows) > most:
        rows[most:] = [Row("skip")]
    effort.rows -= len(rows)
    return rows


def too_different(before: int, after: int) -> str:
    """The statement that stands instead of a diff."""
    return f"too different to show: {before:,} lines before, {after:,} lines after"


# -- lines -----------------------------------------------------------------------------------------


class _Matcher(SequenceMatcher[int]):
    """Pays for each step before it takes it: `SequenceMatcher` alone is cubic at worst."""

    def __init__(
        self, before: Sequence[str], after: Sequence[str], effort: Effort, *, autojunk: bool
    ) -> None:
        self._effort = effort
        effort.spend(len(before) + len(after))
        # Numbers compare in one step, whatever their texts.
        numbers: dict[str, int] = {}
        old = [numbers.setdefault(item, len(numbers)) for item in before]
        new = [numbers.setdefault(item, len(numbers)) for item in after]
        super().__init__(None, old, new, autojunk)
        self._end = len(old)
        self.b2j: dict[int, list[int]]
        steps = (1 + len(self.b2j.get(item, ())) for item in old)
        self._steps = [0, *accumulate(steps)]

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> Match:
        end = self._end if ahi is None else ahi
        self._effort.spend(self._steps[end] - self._steps[alo])
        return super().find_longest_match(alo, ahi, blo, bhi)


def _groups(before: Sequence[str], after: Sequence[str], effort: Effort) -> list[list[Opcode]]:
    """Groups of opcodes, as `SequenceMatcher.get_grouped_opcodes` gives them."""
    head = _equal(zip(before, after, strict=False))
    most = min(len(before), len(after)) - head
    tail = _equal(islice(zip(reversed(before), reversed(after), strict=False), most))
    # The lines around what differs are needed; the rest of what is equal is not.
    start, end = max(0, head - CONTEXT), max(0, tail - CONTEXT)
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    matcher = _Matcher(old, new, effort, autojunk=True)
    return [
        [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in group]
        for group in matcher.get_grouped_opcodes(CONTEXT)
    ]


def _equal(pairs: Iterable[tuple[str, str]]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _hunk(group: Sequence[Opcode], before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    (_, a, _, c, _), (_, _, b, _, d) = group[0], group[-1]
    yield f"@@ -{_range(a, b)} +{_range(c, d)} @@"
    for tag, i, j, k, m in group:
        if tag == "equal":
            yield from (f" {line}" for line in before[i:j])
        else:
            yield from (f"-{line}" for line in before[i:j])
            yield from (f"+{line}" for line in after[k:m])


def _range(start: int, end: int) -> str:
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


# -- side by side ----------------------------------------------------------------------------------


def _rows(
    groups: Sequence[Sequence[Opcode]], before: Sequence[str], after: Sequence[str], effort: Effort
) -> Iterator[Row]:
    for at, group in enumerate(groups):
        if at or group[0][1] > 0 or group[0][3] > 0:
            yield Row("skip")
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (_same(before, a + i, c + i) for i in range(b - a))
            else:
                yield from _changed(before, range(a, b), after, range(c, d), effort)
    if groups and groups[-1][-1][2] < len(before):
        yield Row("skip")


def _same(lines: Sequence[str], old: int, new: int) -> Row:
    pieces = ((lines[old], False),)
    return Row("same", Side(old + 1, pieces), Side(new + 1, pieces))


def _changed(
    before: Sequence[str], a: range, after: Sequence[str], b: range, effort: Effort
) -> Iterator[Row]:
    for i, j in zip_longest(a, b):
        if j is None:
            yield Row("removed", Side(i + 1, ((before[i], True),)), None)
        elif i is None:
            yield Row("added", None, Side(j + 1, ((after[j], True),)))
        else:
            old, new = _words(before[i], after[j], effort)
            yield Row("changed", Side(i + 1, old), Side(j + 1, new))


def _words(old: str, new: str, effort: Effort) -> tuple[Pieces, Pieces]:
    if max(len(old), len(new)) > MAX_LINE:
        return ((old, True),), ((new, True),)
    before, after = _WORD.findall(old), _WORD.findall(new)
    try:
        opcodes = _Matcher(before, after, effort, autojunk=False).get_opcodes()
    except TooDifferent:
        return ((old, True),), ((new, True),)
    mine: list[tuple[str, bool]] = []
    theirs: list[tuple[str, bool]] = []
    for tag, a, b, c, d in opcodes:
        if b > a:
            mine.append(("".join(before[a:b]), tag != "equal"))
        if d > c:
            theirs.append(("".join(after[c:d]), tag != "equal"))
    return tuple(mine), tuple(theirs)
