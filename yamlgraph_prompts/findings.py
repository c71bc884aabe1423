"""A problem that a check found: a frozen fact with a stable code. Knows no prompts, no files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import yamlgraph_prompts._text.log_escaping  # noqa: F401 - all that logs has findings
from yamlgraph_prompts._text.escaping import printable

__all__ = ["Finding", "Severity", "printable"]

Severity = Literal["error", "warning"]

# What a prompt's author must not hide from its readers, or what `check` takes for an error.
ALWAYS_SHOWN = frozenset({"missing-prompt", "model-changed", "provider-changed"})

MAX_FINDINGS = 1_000
"""The most findings of one file that are listed; further ones are counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem that a check found.

    Args:
        severity: ``"error"`` rejects the release; ``"warning"`` is only reported.
        code: A stable code for this kind of finding, such as ``"template-syntax"``.
        message: What is wrong, in words for a prompt author.
        prompt: The prompt's name.
        file: The file, for messages.
        line: The line in the file, from 1.
        column: The column in the line, from 1.
        hint: What to do about it.
        graph: The graph that the finding is about.

    Example:
        >>> str(Finding("error", "yaml-syntax", "a quote is not closed", file="a.yaml", line=3))
        'a.yaml:3: error: a quote is not closed [yaml-syntax]'
    """

    severity: Severity
    code: str
    message: str
    prompt: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    graph: str | None = None

    def __post_init__(self) -> None:
        # It may quote a file. The names stay as they are: they are compared with others.
        object.__setattr__(self, "message", _legible(self.message))
        object.__setattr__(self, "hint", self.hint and _legible(self.hint))

    def __str__(self) -> str:
        where = self.file or self.prompt or self.graph or "prompts"
        parts = (printable(where), self.line, self.column)
        place = ":".join(str(part) for part in parts if part is not None)
        tail = f" {printable(self.hint)}" if self.hint else ""
        return f"{place}: {self.severity}: {printable(self.message)} [{self.code}]{tail}"

    def at(self, **changes: Any) -> Finding:
        """The same finding with some attributes replaced."""
        return replace(self, **changes)


def _legible(text: str) -> str:
    """Several lines may be several lines: what shows a finding on one line escapes their ends."""
    return printable(text, keep="\n\r\t")


@dataclass(frozen=True, slots=True)
class FurtherFindings(Finding):
    """Stands for findings of one severity and code that are counted and not listed."""

    @classmethod
    def of(cls, number: int, like: Finding) -> FurtherFindings:
        """The note that `number` findings such as `like` are not listed."""
        message = f"{number:,} more findings of this kind are not listed"
        return cls(like.severity, like.code, message, like.prompt, like.file)

    @property
    def number(self) -> int:
        """How many findings it stands for."""
        return int(self.message.partition(" ")[0].replace(",", ""))


class BoundedFindings:
    """The first findings of one file without repetitions; then, by kind, how many follow.

    An error that is not listed leaves a note that is an error, of the same code.
    """

    def __init__(self, most: int = MAX_FINDINGS) -> None:
        self._most = most
        self._listed: dict[Finding, None] = {}
        self._notes: dict[tuple[str | None, ...], tuple[int, Finding]] = {}

    def add(self, finding: Finding) -> bool:
        """Take a finding; False where it is only counted."""
        is_note = isinstance(finding, FurtherFindings)
        if not is_note and (finding in self._listed or len(self._listed) < self._most):
            self._listed[finding] = None
            return True
        kind = (finding.severity, finding.code, finding.file or finding.prompt)
        number, like = self._notes.get(kind, (0, finding))
        if like.prompt not in (None, finding.prompt):
            like = like.at(prompt=None)
        number += finding.number if isinstance(finding, FurtherFindings) else 1
        self._notes[kind] = number, like
        return False

    def __iter__(self) -> Iterator[Finding]:
        yield from self._listed
        for number, like in self._notes.values():
            yield FurtherFindings.of(number, like)


def bounded(findings: Iterable[Finding], most: int = MAX_FINDINGS) -> tuple[Finding, ...]:
    """The findings of one file as `BoundedFindings` lists and counts them."""
    listed = BoundedFindings(most)
    for finding in findings:
        listed.add(finding)
    return tuple(listed)


def shown(value: object) -> str:
    """A value of untrusted content for a message: short, whatever its size.

    Example:
        >>> shown("list"), shown("a" * 99), shown([1, 2])
        ("'list'", "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...'", 'a list')
    """
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else f"{value[:40]}...")
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 200:
        return "a large number"
    if isinstance(value, int | float):
        return repr(value)
    return {"dict": "a mapping"}.get(type(value).__name__, f"a {type(value).__name__}")
