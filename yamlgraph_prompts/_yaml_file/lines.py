"""Where each character of a YAML scalar's text stands in its file, for every scalar style.

Replays YAML's folding rules over the source and compares; a text that does not match is given up.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

Place = tuple[int, int]  # line and column, from 0
Char = tuple[str, int, int]

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_PROPERTIES = re.compile(r"(?:[&!]\S*+|[ \t]++)*+")
_TEXT = re.compile(r"( *+)[^ ]")
_FIRST_TEXT = re.compile(r"(?: *+\n)*+( *+)[^ \n]")
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_ESCAPES = dict(zip("0abt\tnvfreN_LP", "\0\a\b\t\t\n\v\f\r\x1b\x85\xa0\u2028\u2029", strict=True))


def split_lines(source: str) -> list[str]:
    """The lines of a YAML source, as YAML counts them."""
    return _BREAK.split(source)


class Places:
    """Where each character of one scalar's text stands in its file."""

    def __init__(self, value: str) -> None:
        self._breaks = [at for at, char in enumerate(value) if char == "\n"]
        self._last = len(value) - 1
        # Characters that stand side by side in the file are one run.
        self._starts: list[int] = []
        self._runs: list[Place] = []

    def explained_by(self, chars: Iterator[Char], value: str) -> bool:
        """Take the places of `chars`; False where they are not `value`."""
        next_place: Place | None = None
        for at, expected in enumerate(value):
            char, line, column = next(chars, ("", 0, 0))
            if char != expected:
                return False
            if (line, column) != next_place:
                self._starts.append(at)
                self._runs.append((line, column))
            next_place = (line, column + 1)
        return bool(value)

    def at(self, line: int, column: int) -> Place:
        """The place in the file of a line and column, from 0, of the text."""
        line = min(max(line, 0), len(self._breaks))
        begin = self._breaks[line - 1] + 1 if line else 0
        offset = min(begin + max(column, 0), self._last)
        run = bisect_right(self._starts, offset) - 1
        at_line, at_column = self._runs[run]
        return at_line, at_column + offset - self._starts[run]


def places(lines: list[str], start: Place, style: str, value: str) -> Places | None:
    """The places of the characters of `value`; None where the source does not explain it."""
    line, column = _after_properties(lines, *start)
    if style in ("|", ">"):
        chars = _block(lines, line, style == ">", _indent(lines, line, value))
    else:
        chars = _flow(lines, line, column + bool(style), style)
    result = Places(value)
    return result if result.explained_by(chars, value) else None


def _after_properties(lines: list[str], line: int, column: int) -> Place:
    while line < len(lines):
        text = lines[line]
        column = _PROPERTIES.match(text, column).end()  # type: ignore[union-attr]
        if column < len(text) and text[column] != "#":
            break
        line, column = line + 1, 0
    return line, column


def _flow(lines: list[str], line: int, column: int, quote: str) -> Iterator[Char]:
    while line < len(lines):
        text = lines[line]
        end = len(text.rstrip(" \t"))
        joined = False
        while column < end:
            char, length = text[column], 1
            if quote == "'" and text.startswith("''", column):
                length = 2
            elif quote == '"' and char == "\\":
                if column + 1 == len(text):
                    joined = True
                    break
                char, length = _escape(text, column)
            yield char, line, column
            column += length
        broken = (line, column)
        line += 1
        blank = line
        while line < len(lines) and not lines[line].strip(" \t"):
            line += 1
        if line == blank and not joined:
            yield " ", *broken
        for empty in range(blank, line):
            yield "\n", empty, 0
        if line < len(lines):
            column = len(lines[line]) - len(lines[line].lstrip(" \t"))


def _escape(text: str, column: int) -> tuple[str, int]:
    kind = text[column + 1]
    if digits := _HEX_DIGITS.get(kind):
        code = int(text[column + 2 : column + 2 + digits] or "0", 16)
        return chr(code), 2 + digits
    return _ESCAPES.get(kind, kind), 2


def _indent(lines: list[str], header: int, value: str) -> int:
    """How far a block scalar's text is indented: its first line of text, less the text's own."""
    below = (lines[at] for at in range(header + 1, len(lines)))
    in_source = next(filter(None, map(_TEXT.match, below)), None)
    in_value = _FIRST_TEXT.match(value)
    return max(1, _leading(in_source) - _leading(in_value))


def _leading(found: re.Match[str] | None) -> int:
    return len(found[1]) if found else 0


def _block(lines: list[str], header: int, folded: bool, indent: int) -> Iterator[Char]:
    def is_blank(at: int) -> bool:
        return len(lines[at]) <= indent and not lines[at].strip(" ")

    def is_text(at: int) -> bool:
        return at < len(lines) and lines[at].startswith(" " * indent) and not is_blank(at)

    line = header + 1
    while line < len(lines) and is_blank(line):
        yield "\n", line, 0
        line += 1
    while is_text(line):
        text, end = lines[line], (line, len(lines[line]))
        for column in range(indent, len(text)):
            yield text[column], line, column
        line += 1
        blank = line
        while line < len(lines) and is_blank(line):
            line += 1
        flush = text[indent] not in " \t" and is_text(line) and lines[line][indent] not in " \t"
        if not (folded and flush):
            yield "\n", *end
        elif line == blank:
            yield " ", *end
        for empty in range(blank, line):
            yield "\n", empty, 0
