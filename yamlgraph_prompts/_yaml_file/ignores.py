"""The comments in a YAML file that silence warnings: `# prompts: ignore[code] reason`."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

from yamlgraph_prompts._yaml_file.lines import split_lines
from yamlgraph_prompts.findings import ALWAYS_SHOWN, Finding

MARK = b"ignore["
MAX_IGNORES, _MAX_CODES = 100, 20
_Loader: Any = getattr(yaml, "CLoader", yaml.Loader)
_COMMENT = re.compile(r"#[ \t]*+prompts:[ \t]*+ignore\[([^\]]*+)\]")
_BEFORE_CONTENT = (yaml.StreamStartToken, yaml.DirectiveToken, yaml.DocumentStartToken)


class Ignore(NamedTuple):
    """One comment, and the lines whose warnings it silences; lines and columns from 1."""

    line: int
    column: int
    codes: tuple[str, ...]
    first: int
    last: int
    on_top: bool  # before any content: it counts for what has no line too

    def covers(self, finding: Finding) -> bool:
        """Whether a finding in the file is of its codes, and in its lines."""
        if finding.code not in self.codes or finding.code in ALWAYS_SHOWN:
            return False
        return self.first <= finding.line <= self.last if finding.line else self.on_top


def ignores_in(data: bytes) -> tuple[Ignore, ...]:
    """The comments of a file that is valid YAML, at most `MAX_IGNORES`; in a text there are none.

    Example:
        >>> [one.codes for one in ignores_in(b"user: |  # prompts: ignore[a, b] why\\n  # Hi\\n")]
        [('a', 'b')]
    """
    if MARK not in data:
        return ()
    text = data.decode("utf-8-sig", "replace")
    lines = split_lines(text)
    found = ((at, [*_COMMENT.finditer(line)]) for at, line in enumerate(lines))
    comments = dict([(at, matches[-1]) for at, matches in found if matches][:MAX_IGNORES])
    own = {at for at in comments if lines[at].lstrip().startswith("#")}
    about = {at: _below(lines, at) if at in own else at for at in comments}
    first = dict.fromkeys(about.values(), len(lines))
    last = dict.fromkeys(about.values(), 0)
    begins = len(lines)
    try:
        for token in yaml.scan(text, _Loader) if comments else ():
            start, end = token.start_mark, token.end_mark
            if start.line < begins and not isinstance(token, _BEFORE_CONTENT):
                begins = start.line
            if type(token) is not yaml.ScalarToken:
                continue
            if start.line == end.line:
                in_text = comments.get(start.line)
                if in_text and start.column <= in_text.start() < end.column:
                    del comments[start.line]
                continue
            # Of a block the first line is its header, and the last one is whole.
            is_block = token.style in ("|", ">")
            final = end.line - (is_block and end.column == 0)
            for at in [at for at in comments if start.line + is_block <= at <= final]:
                here = (at, comments[at].start())
                if (start.line, start.column) <= here < (end.line, end.column):
                    del comments[at]
            if start.line in last:
                last[start.line] = final
            if final in first:
                first[final] = min(first[final], start.line)
    except yaml.YAMLError:
        return ()
    return tuple(
        Ignore(
            at + 1,
            comment.start() + 1,
            tuple(code.strip() for code in comment[1].split(",")[:_MAX_CODES]),
            min(first[about[at]], about[at]) + 1,
            max(last[about[at]], about[at]) + 1,
            at in own and at < begins,
        )
        for at, comment in comments.items()
    )


def _below(lines: list[str], at: int) -> int:
    """The first line below that is no comment."""
    while at < len(lines) and lines[at].lstrip().startswith("#"):
        at += 1
    return at
