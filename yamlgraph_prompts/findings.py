"""What a check has to say: a frozen fact with a stable code. Knows no prompts, reads nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

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

    def __str__(self) -> str:
        where = self.file or self.prompt or self.graph or "prompts"
        place = ":".join(str(part) for part in (where, self.line, self.column) if part is not None)
        tail = f" {self.hint}" if self.hint else ""
        return f"{place}: {self.severity}: {self.message} [{self.code}]{tail}"

    def at(self, **changes: Any) -> Finding:
        """The same finding with some facts filled in."""
        return replace(self, **changes)
