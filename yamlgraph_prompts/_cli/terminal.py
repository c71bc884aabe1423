"""Colours on a terminal, the output of findings, and the log on standard error."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TextIO

from yamlgraph_prompts._text.escaping import Lines, escaped, printable
from yamlgraph_prompts._text.log_escaping import EscapingFilter
from yamlgraph_prompts.errors import PromptsError, PromptsRejected
from yamlgraph_prompts.findings import Finding

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_PAINTS = {"error": "red", "warning": "yellow"}

# Marks a colour on its way to the terminal. A prompt author cannot guess it, so all other escape
# sequences can be escaped when a line is written.
_COLOUR = f"\ue000{secrets.token_hex(8)}:"
_COLOURS = re.compile(re.escape(_COLOUR) + "([0-9;]+)m")


def paint(text: str, *styles: str, stream: TextIO | None = None) -> str:
    """`text` in these styles, if the stream (default: standard output) shows colours."""
    if not text or not _coloured(stream or sys.stdout):
        return text
    codes = ";".join(str(_CODES[style]) for style in styles)
    return f"{_COLOUR}{codes}m{text}{_COLOUR}0m"


def say(text: str = "") -> None:
    """One line on standard output."""
    sys.stdout.write(f"{_shown(text)}\n")


def say_lines(text: str, *styles: str, indent: str = "") -> None:
    """A text of several lines on standard output, such as a message."""
    for line in text.split("\n"):
        say(indent + paint(line.removesuffix("\r").expandtabs(), *styles))


def note(text: str) -> None:
    """One line on standard error, or several of our own."""
    sys.stdout.flush()
    lines = text.split("\n  ") if isinstance(text, Lines) else [text]
    sys.stderr.write("\n  ".join(map(_shown, lines)) + "\n")


def say_json(value: Any) -> None:
    """One JSON value on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _shown(text: str) -> str:
    """The line as the terminal gets it: our colours, and everything else escaped."""
    parts = _COLOURS.split(text)
    return "".join(
        f"\x1b[{part}m" if number % 2 else printable(part, limit=None)
        for number, part in enumerate(parts)
    )


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """The rows as lines with aligned columns. Paint only whole lines."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def say_table(rows: Sequence[tuple[str, ...]]) -> None:
    """A table with a head on standard output; lines whose last cell says something are green."""
    head, *lines = table(rows)
    say(paint(head, "dim"))
    for line, row in zip(lines, rows[1:], strict=True):
        say(paint(line, "green") if row[-1] else line)


def tell_problem(problem: PromptsError) -> None:
    """Print an error on standard error."""
    if isinstance(problem, PromptsRejected):
        for line in finding_lines(problem.outcome.findings, sys.stderr):
            note(line)
        is_first = getattr(problem.outcome, "release", None) is None
        end = ", and there is no earlier good release." if is_first else "."
        note(paint(f"The prompts were rejected{end}", "red", stream=sys.stderr))
        return
    first, *more = Lines.of(escaped(problem.message)).split("\n  ")
    note(f"{paint('error:', 'bold', 'red', stream=sys.stderr)} {first}")
    for line in [*more, *([problem.hint] if problem.hint else [])]:
        note(f"  {line}")


def finding_lines(findings: Iterable[Finding], stream: TextIO | None = None) -> Iterator[str]:
    """Findings for people, grouped by the file that they are in."""

    def where(finding: Finding) -> str:
        return finding.file or finding.prompt or finding.graph or "prompts"

    ordered = sorted(findings, key=lambda f: (where(f), f.line or 0, f.column or 0, f.code))
    for file, group in groupby(ordered, where):
        yield paint(file, "bold", stream=stream)
        for finding in group:
            place = ":".join(str(part) for part in (finding.line, finding.column) if part)
            severity = paint(f"{finding.severity:<7}", _PAINTS[finding.severity], stream=stream)
            code = paint(finding.code, "dim", stream=stream)
            yield f"  {place:>7}  {severity}  {finding.message}  {code}"
            if finding.hint:
                yield f"{'':>20}{paint(finding.hint, 'cyan', stream=stream)}"


@contextmanager
def hear_log(*, debug: bool, quiet: bool, serves: bool = False) -> Iterator[None]:
    """Put the package's log on standard error for as long as the command runs.

    Args:
        debug: Show all records, of every package.
        quiet: Show only warnings of other packages: YAMLGraph logs each node that it builds.
        serves: Show what happens, one line a record, with its time.
    """
    logger = logging.getLogger("yamlgraph_prompts")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.DEBUG if debug else logging.INFO if serves else logging.WARNING)
    if not debug and not serves:
        # The command prints the findings itself.
        handler.addFilter(lambda record: not str(record.msg).startswith("Not published"))
    text = "%(levelname)s %(message)s" if debug or serves else "%(message)s"
    handler.setFormatter(_OneLine(f"%(asctime)s {text}") if serves else logging.Formatter(text))
    if serves:
        handler.addFilter(EscapingFilter())
        logging.getLogger("uvicorn").addHandler(handler)
    level, propagate, disabled = logger.level, logger.propagate, logging.root.manager.disable
    logger.addHandler(handler)
    logger.propagate = False
    if debug or serves:
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
    elif quiet:
        logging.disable(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logging.getLogger("uvicorn").removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        logging.disable(disabled)


class _OneLine(logging.Formatter):
    """A traceback too is on the line of its record."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", " | ")


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
