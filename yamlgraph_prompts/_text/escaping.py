"""Text that comes from elsewhere, made safe to write: in a log, on a terminal, in an error."""

from __future__ import annotations

import re
import unicodedata

LIMIT_CHARS = 4_000
_INVISIBLE = re.compile(
    "[\u00a0\u00ad\u034f\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)


def invisible(text: str) -> tuple[int, str] | None:
    """Where the first character that cannot be seen stands, and its code point and name."""
    if (found := _INVISIBLE.search(text)) is None:
        return None
    name = unicodedata.name(found[0], "a format character")
    return found.start(), f"U+{ord(found[0]):04X} ({name})"


def printable(text: object, limit: int | None = LIMIT_CHARS, *, keep: str = "") -> str:
    """`text` on one line: what is not visible as itself is escaped as Python's `repr` escapes it.

    Controls, line ends, marks that change the direction of writing, and characters without width
    forge lines, names and terminals' output. Idempotent.

    Example:
        >>> print(printable("a\\x1b[2Jb\\nERROR c"))
        a\\x1b[2Jb\\nERROR c
    """
    line = str(text)
    # Bounded before and after: an escape has up to ten characters.
    if limit is not None:
        line = line[: limit + 1]
    if not line.isprintable():
        line = "".join(
            char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
            for char in line
        )
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"


class Lines(str):
    """Several lines of our own, in which everything from elsewhere is escaped already."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    @classmethod
    def of(cls, *parts: object) -> Lines:
        """The parts below each other, all but the first indented; each is escaped to one line."""
        lines = []
        for part in parts:
            lines += part.split("\n  ") if isinstance(part, Lines) else [printable(part)]
        return cls("\n  ".join(lines))


def escaped(text: object) -> str:
    """`text` as one line, or as the `Lines` that it is."""
    line = str(text)
    return line if isinstance(line, Lines) else printable(line)
