"""Findings in what a ``.yaml.j2`` renders to → the template's own lines, where these are known.

Guesses no line: a finding without one names the line of the rendered text instead. Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts.findings import Finding

# After one of these, lines of the output need not stand where the template has them.
_MOVES_LINES = re.compile(r"\{%[-+]?\s*(for|include|extends|import|from|macro|call|block)\b")


def in_templates(
    findings: Iterable[Finding], release: Release, texts: Mapping[str, str]
) -> Iterator[Finding]:
    """The findings, those in rendered prompts moved to their lines in the templates."""
    lines: dict[str, _Lines] = {}
    for finding in findings:
        prompt = release.prompts.get(finding.prompt or "")
        if prompt and finding.line and finding.file == prompt.file and prompt.file.endswith(".j2"):
            if prompt.name not in lines:
                rendered = prompt.data.decode("utf-8", "replace").splitlines()
                lines[prompt.name] = _Lines(rendered, texts.get(prompt.name, "").splitlines())
            finding = _moved(finding, finding.line, lines[prompt.name])
        yield finding


def _moved(finding: Finding, line: int, lines: _Lines) -> Finding:
    own = lines.in_template(line)
    if own is None:
        where = f"That is line {line} of what the file renders to; `show` prints it."
        hint = f"{finding.hint} {where}" if finding.hint else where
        return finding.at(line=None, column=None, hint=hint)
    same = lines.rendered[line - 1] == lines.template[own - 1]
    return finding.at(line=own, column=finding.column if same else None)


class _Lines:
    def __init__(self, rendered: list[str], template: list[str]) -> None:
        self.rendered = rendered
        self.template = template
        self._same_above = _in_common(rendered, template)
        self._same_below = _in_common(rendered[::-1], template[::-1])
        self._in_rendered = Counter(rendered)
        self._in_template = {text: at for at, text in enumerate(template)}
        self._template_counts = Counter(template)

    def in_template(self, line: int) -> int | None:
        """Which line of the template, from 1, became this line; None where that is not certain.

        Example:
            >>> _Lines(["", "", "a: 1"], ["{% if a %}", "{% endif %}", "a: 1"]).in_template(3)
            3
            >>> _Lines(["a", "a"], ["{% for x in 'ab' %}a", "{% endfor %}"]).in_template(2) is None
            True
        """
        if not 0 < line <= len(self.rendered):
            return None
        if line <= self._same_above:
            return line
        left = len(self.rendered) - line + 1
        if left <= self._same_below:
            return len(self.template) - left + 1
        text = self.rendered[line - 1]
        if text.strip() and self._in_rendered[text] == 1 == self._template_counts[text]:
            return self._in_template[text] + 1
        return line if self._keeps_lines else None

    @cached_property
    def _keeps_lines(self) -> bool:
        same = len(self.rendered) == len(self.template)
        return same and not any(map(_MOVES_LINES.search, self.template))


def _in_common(one: list[str], other: list[str]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))
