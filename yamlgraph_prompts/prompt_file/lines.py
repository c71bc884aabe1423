"""Where each character of a YAML scalar's text stands in its file, for every scalar style.

Replays YAML's folding rules over the source and compares; a text that does not match is given up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

Place = tuple[int, int]  # line and column, from 0
Char = tuple[str, int, int]

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
_ESCAPES = dict(zip("0abt\tnvfreN_LP", "\0\a\b\t\t\n\v\f\r\x1b\x85\xa0\u2028\u2029", strict=True))


def split_lines(source: str) -> list[str]:
    """The lines of a YAML source, as YAML counts them."""
    return _BREAK.split(source)


def places(lines: list[str], start: Place, style: str, value: str) -> list[Place] | None:
    """The place of each character of `value`; None where the source does not explain it.

    Args:
        lines: The file's lines.
        start: Where the scalar begins, its anchor and tag included.
        style: The node's style: ``""`` for plain, else ``'``, ``"``, ``|`` or ``>``.
        value: The scalar's text as YAML reads it.
    """
    line, column = _after_properties(lines, *start)
    if style in ("|", ">"):
        return _match(_block(lines, line, style == ">", _indent(lines, line, value)), value)
    return _match(_flow(lines, line, column + bool(style), style), value)


def _match(chars: Iterator[Char], value: str) -> list[Place] | None:
    found = list(islice(chars, len(value)))
    if "".join(char for char, _, _ in found) != value:
        return None
    return [(line, column) for _, line, column in found]


def _after_properties(lines: list[str], line: int, column: int) -> Place:
    while line < len(lines):
        rest = lines[line][column:]
        if rest[:1] in ("&", "!"):
            column += len(rest.split(None, 1)[0])
        elif rest[:1] in (" ", "\t"):
            column += len(rest) - len(rest.lstrip(" \t"))
        elif not rest or rest.startswith("#"):
            line, column = line + 1, 0
        else:
            break
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
    in_source = next((text for text in lines[header + 1 :] if text.strip(" ")), "")
    in_value = next((text for text in value.split("\n") if text.strip(" ")), "")
    return max(1, _leading(in_source) - _leading(in_value))


def _leading(text: str) -> int:
    return len(text) - len(text.lstrip(" "))


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
