"""Offsets and words of a text → lines and columns, both from 1; each text is read once."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection
from itertools import accumulate

_WORD_OR_LINE_END = re.compile(r"\w++|\r\n|\r|\n")


class Positions:
    """The lines of one text."""

    def __init__(self, text: str) -> None:
        lengths = (len(line) + 1 for line in text.split("\n"))
        self._begins = list(accumulate(lengths, initial=0))

    def at(self, offset: int) -> tuple[int, int]:
        """The line and column of a character."""
        line = bisect_right(self._begins, offset)
        return line, offset - self._begins[line - 1] + 1


def word_columns(text: str, wanted: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """The column of each wanted (line, word) that stands once in its line.

    Example:
        >>> word_columns("a b\\nb c b", {(1, "b"), (2, "b"), (2, "c")})
        {(1, 'b'): 3, (2, 'c'): 3}
    """
    columns: dict[tuple[int, str], int] = {}
    repeated: set[tuple[int, str]] = set()
    line, begin = 1, 0
    for found in _WORD_OR_LINE_END.finditer(text) if wanted else ():
        word = found[0]
        if word[0] in "\r\n":
            line, begin = line + 1, found.end()
        elif (key := (line, word)) in wanted and columns.setdefault(
            key, found.start() - begin + 1
        ) != (found.start() - begin + 1):
            repeated.add(key)
    return {key: column for key, column in columns.items() if key not in repeated}
