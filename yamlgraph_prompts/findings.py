"""What a check has to say: a frozen fact with a stable code. Knows no prompts, reads nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import yamlgraph_prompts.log_escaping  # noqa: F401 - whatever logs has findings
from yamlgraph_prompts.escaping import printable

__all__ = ["Finding", "Severity", "printable"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found.

    Args:
        severity: ``"error"`` rejects the release; ``"warning"`` is only told.
        code: A stable name for this kind of finding, such as ``"template-syntax"``.
        message: What is wrong, in words for a prompt author.
        prompt: The prompt's name.
        file: The file, as a person would name it.
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
        """The same finding with some facts filled in."""
        return replace(self, **changes)


def _legible(text: str) -> str:
    """Several lines may be several lines: what shows a finding on one line escapes their ends."""
    return printable(text, keep="\n\r\t")
