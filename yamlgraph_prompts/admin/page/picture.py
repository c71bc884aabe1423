"""A graph → Mermaid's text, in which no name is ever read as Mermaid's own words. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph as Drawing

_PRIVATE = 0xE000
_MARKS = re.compile(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|[^\w \x80-\U0010ffff]")
_ENDS = {"__start__": ("Start", "first"), "__end__": ("End", "last")}


def mermaid(drawn: Drawing) -> str:
    """The text that is drawn: its nodes are n0, n1, ... in the order of the graph's."""
    ids = {node: f"n{number}" for number, node in enumerate(drawn.nodes)}
    lines = ["graph TD"]
    for node, safe in ids.items():
        name, kind = _ENDS.get(node, (node, ""))
        lines.append(f'{safe}(["{name}"]):::{kind}' if kind else f'{safe}("{_label(node)}")')
    for edge in drawn.edges:
        arrow = "-.->" if edge.conditional else "-->"
        said = "" if edge.data is None else f'|"{_label(str(edge.data))}"|'
        lines.append(f"{ids[edge.source]} {arrow}{said} {ids[edge.target]}")
    return "\n".join(lines)


def _label(name: str) -> str:
    # Mermaid reads quotes, HTML and Markdown in labels: so what is neither letter nor digit is
    # drawn from Unicode's private area, and the page's script puts it back into the picture.
    return _MARKS.sub(lambda mark: chr(_PRIVATE + ord(mark[0])), name)
