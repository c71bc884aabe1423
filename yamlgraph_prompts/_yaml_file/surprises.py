"""Where YAML makes another text or value of what is written than its author sees."""

from __future__ import annotations

import re
from collections.abc import Iterator

from yaml.constructor import SafeConstructor
from yaml.nodes import MappingNode, ScalarNode

from yamlgraph_prompts._yaml_file.bounds import MERGE_TAG, place, scalars
from yamlgraph_prompts._yaml_file.lines import Place
from yamlgraph_prompts._yaml_file.parse import PromptFile
from yamlgraph_prompts.findings import Finding, shown

_COMMENT = re.compile(r"[ \t]++#(?![ \t]*+prompts:[ \t]*+ignore\[)")
_COMMENT_MARK = re.compile(r"[ \t]++#(?=[^\s#!])")  # with no space, as in `#general`
_ITEM = re.compile(r"[ \t]*+(?:[-*•]|\d{1,2}[.)])[ \t]++\S")
# Jinja has strings of its own, in which a backslash counts.
_ESCAPE = re.compile(r"\{[{%][^}]*+|(?<!\\)(\\(?:[nt]|u[0-9a-fA-F]{4}))")
_BEGINNING = 12  # characters by which a line is found again
_MEANT = frozenset({"true", "false", "null", "~", ""})
_TEXT_TAG = "tag:yaml.org,2002:str"
_BLOCK = "Write the text as a block under `|`, which keeps its lines."
_QUOTES = "Put the text in quotes, or write it as a block under `|`."


def in_text(file: PromptFile, node: ScalarNode, *, comments: bool) -> Iterator[Finding]:
    """Lost comments, folded lists, backslashes; `comments`: a `#` before a space counts too."""
    first, end = place(node)[0], node.end_mark
    if not node.style and end.line < len(file.lines):
        line = file.lines[end.line]
        if found := (_COMMENT.match if comments else _COMMENT_MARK.match)(line, end.column):
            message = "` #` begins a comment: what stands behind it is not part of the text"
            yield _at((end.line, found.end() - 1), "text-comment", message, _QUOTES)
    if node.style != "|" and end.line > first:
        begins = {line.lstrip()[:_BEGINNING] for line in node.value.split("\n")}
        for number in range(first + 1, min(end.line + (node.style != ">"), len(file.lines))):
            line = file.lines[number]
            item = line.strip()
            if _ITEM.match(line) and item[:_BEGINNING] not in begins:
                message = "this line is folded: it is joined to the line above it by a space"
                yield _at((number, line.index(item)), "text-folded", message, _BLOCK)
                break
    escapes = _ESCAPE.finditer(node.value if node.style in (None, "", "'") else "")
    if escape := next((found for found in escapes if found[1]), None):
        message = f"`{escape[1]}` is not an escape here: the backslash stays in the text"
        before = node.value[: escape.start()].split("\n")
        at = file.position_in(node, len(before), len(before[-1]) + 1)
        yield _at((at[0] - 1, at[1] - 1), "text-escape", message, f"Use double quotes. {_BLOCK}")


def in_values(file: PromptFile) -> Iterator[Finding]:
    """What of a file of names and values is printed in another way than it is written."""
    root = file.node(())
    names = {key for key, _ in root.value} if isinstance(root, MappingNode) else set()
    for name in names:
        if isinstance(name, ScalarNode) and name.tag not in (_TEXT_TAG, MERGE_TAG):
            message = f"YAML reads the name {shown(name.value)} as no text, so no template finds it"
            yield _at(place(name), "yaml-value", message, f"Put it in quotes: {name.value[:60]!r}.")
    for node in scalars(root) if root else ():
        if node.tag == _TEXT_TAG:
            yield from in_text(file, node, comments=False)
        elif node not in names:
            yield from _read_otherwise(node)


def _read_otherwise(node: ScalarNode) -> Iterator[Finding]:
    """The warning for a word that YAML reads as a value which is printed in another way."""
    if node.style or node.tag == MERGE_TAG or node.value.lower() in _MEANT:
        return
    printed = str(SafeConstructor().construct_object(node))
    if printed != node.value:
        message = f"YAML reads {shown(node.value)} as a value that is printed as {shown(printed)}"
        yield _at(place(node), "yaml-value", message, f"Put it in quotes: {shown(node.value)}.")


def _at(at: Place, code: str, message: str, hint: str) -> Finding:
    return Finding("warning", code, message, line=at[0] + 1, column=at[1] + 1, hint=hint)
