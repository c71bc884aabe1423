"""Colours where there is a terminal, one way to print findings, and the log on standard error."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TextIO

from yamlgraph_prompts.errors import PromptsError, PromptsRejected
from yamlgraph_prompts.findings import Finding

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_PAINTS = {"error": "red", "warning": "yellow"}

# Whoever writes a prompt must not be able to move the reader's cursor.
_CONTROL = {code: "�" for code in (*range(32), 127, *range(128, 160)) if chr(code) not in "\n\t"}


def paint(text: str, *styles: str, stream: TextIO | None = None) -> str:
    """`text` in these styles, where the stream (standard output) shows colours."""
    text = text.translate(_CONTROL)
    if not text or not _coloured(stream or sys.stdout):
        return text
    return f"\x1b[{';'.join(str(_CODES[style]) for style in styles)}m{text}\x1b[0m"


def say(text: str = "") -> None:
    """One line on standard output."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """One line on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"{text}\n")


def say_json(value: Any) -> None:
    """One JSON value on standard output."""
    say(json.dumps(value, indent=2))


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> list[str]:
    """The rows as lines whose columns stand under each other. Paint only whole lines."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(
            cell.translate(_CONTROL).ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def tell_problem(problem: PromptsError) -> None:
    """An error in words on standard error."""
    if isinstance(problem, PromptsRejected):
        for line in finding_lines(problem.outcome.findings, sys.stderr):
            note(line)
        note(paint("The prompts were refused, and there is no earlier good release.", "red",
                   stream=sys.stderr))  # fmt: skip
        return
    note(
        f"{paint('error:', 'bold', 'red', stream=sys.stderr)} {problem.message.translate(_CONTROL)}"
    )
    if problem.hint:
        note(f"  {problem.hint.translate(_CONTROL)}")


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
            yield f"  {place:>7}  {severity}  {finding.message.translate(_CONTROL)}  {code}"
            if finding.hint:
                yield f"{'':>20}{paint(finding.hint, 'cyan', stream=stream)}"


@contextmanager
def hear_log(*, debug: bool, quiet: bool) -> Iterator[None]:
    """Put the package's log on standard error for as long as the command runs.

    Args:
        debug: Everything that is logged, by anybody.
        quiet: Of other packages warnings only: YAMLGraph logs each node that it builds.
    """
    logger = logging.getLogger("yamlgraph_prompts")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        # Whoever runs the command is shown the findings themselves.
        handler.addFilter(lambda record: not str(record.msg).startswith("Not published"))
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s" if debug else "%(message)s"))
    level, propagate, disabled = logger.level, logger.propagate, logging.root.manager.disable
    logger.addHandler(handler)
    logger.propagate = False
    if debug:
        logger.setLevel(logging.DEBUG)
    elif quiet:
        logging.disable(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
        logging.disable(disabled)


def _coloured(stream: TextIO) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"
