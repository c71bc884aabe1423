"""Text that comes from elsewhere, made safe to write: in a log, on a terminal, in an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

LIMIT_CHARS = 4_000
LIMIT_TRACEBACK = 200  # lines


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


class _Escaping(logging.Filter):
    """Escapes everything that is logged, so that each record stays one record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = escaped(record.msg)
        if isinstance(record.args, Mapping):
            record.args = {name: _argument(value) for name, value in record.args.items()}
        elif record.args:
            record.args = tuple(map(_argument, record.args))
        if record.exc_info and not record.exc_text:
            lines = logging.Formatter().formatException(record.exc_info).splitlines()
            # The last lines are the error itself.
            record.exc_text = Lines.of(*lines[-LIMIT_TRACEBACK:])
        return True


def _argument(value: Any) -> Any:
    return value if isinstance(value, int | float) or value is None else escaped(value)


# At the logger, so that new messages are covered too.
logging.getLogger("yamlgraph_prompts").addFilter(_Escaping())
