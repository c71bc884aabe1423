"""Findings in what a ``.yaml.j2`` renders to → the template's own lines, where these are known.

Guesses no line: a finding without one names the line of the rendered text instead. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.release import Release

# After one of these, lines of the output need not stand where the template has them.
_MOVES_LINES = re.compile(r"\{%[-+]?\s*(for|include|extends|import|from|macro|call|block)\b")


def in_templates(
    findings: Iterable[Finding], release: Release, texts: Mapping[str, str]
) -> Iterator[Finding]:
    """The findings, those in rendered prompts moved to their lines in the templates.

    Args:
        findings: Their lines count in each prompt's `data`.
        release: The prompts.
        texts: Prompt name → the text of its ``.yaml.j2``, where it is known.
    """
    for found in findings:
        prompt = release.prompts.get(found.prompt or "")
        if prompt and found.line and found.file == prompt.file and prompt.file.endswith(".j2"):
            rendered = prompt.data.decode("utf-8", "replace").splitlines()
            found = _moved(found, found.line, rendered, texts.get(prompt.name, "").splitlines())
        yield found


def _moved(found: Finding, line: int, rendered: list[str], template: list[str]) -> Finding:
    own = template_line(line, rendered, template)
    if own is None:
        where = f"That is line {line} of what the file renders to; `show` prints it."
        hint = f"{found.hint} {where}" if found.hint else where
        return found.at(line=None, column=None, hint=hint)
    same = rendered[line - 1] == template[own - 1]
    return found.at(line=own, column=found.column if same else None)


def template_line(line: int, rendered: list[str], template: list[str]) -> int | None:
    """Which line of a template, from 1, became this line; None where that is not certain.

    Example:
        >>> template_line(3, ["", "", "user: Hi"], ["{% if a %}", "{% endif %}", "user: Hi"])
        3
        >>> template_line(2, ["a: 1", "a: 1"], ["{% for x in 'ab' %}a: 1", "{% endfor %}"]) is None
        True
    """
    if not 0 < line <= len(rendered):
        return None
    if rendered[:line] == template[:line]:
        return line
    left = len(rendered) - line + 1
    if rendered[-left:] == template[-left:]:
        return len(template) - left + 1
    text = rendered[line - 1]
    if text.strip() and rendered.count(text) == 1 == template.count(text):
        return template.index(text) + 1
    moves = any(map(_MOVES_LINES.search, template))
    return line if len(rendered) == len(template) and not moves else None
