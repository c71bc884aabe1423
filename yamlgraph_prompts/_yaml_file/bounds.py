"""Bounds on YAML: nesting, alias expansion, numbers; and duplicate keys.

Works on events and nodes before any value is made, and never recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from yamlgraph_prompts._yaml_file.lines import Place, split_lines
from yamlgraph_prompts._yaml_file.words import yaml_finding
from yamlgraph_prompts.findings import Finding, bounded

MAX_DEPTH = 100
MAX_EXPANSION = 100_000
MAX_CHARACTERS = 4 << 20
MAX_NUMBER_LENGTH = 1_000
MAX_NUMBER_KEYS = 5_000
MAX_MERGE_KEYS = 100
MAX_TAG_DIRECTIVES = 100
MAX_DUPLICATES = 99
MERGE_TAG = "tag:yaml.org,2002:merge"

# The C parser uses about 450 bytes of stack a level; this many levels fit in any thread's stack.
_SAFE_DEPTH = 250
_COLLECTION_MARKS = (b"[", b"{", b"-", b"?", b":")
_INDENT = re.compile(rb"[ \t?:-]+")
_COMMENT = re.compile(r"(?:^|(?<=[ \t\]}]))#.*")
_CONFLICT = re.compile(rb"^(?:<{7}|\|{7}|>{7}) \S", re.MULTILINE)
_NUMBER_TAGS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})


def before_parsing(data: bytes, loader_class: Any) -> Finding | None:
    """What must not reach the parser: nesting that overflows its stack, endless directives."""
    if conflict := merge_conflict(data):
        return conflict
    if data.count(b"%TAG") > MAX_TAG_DIRECTIVES:
        return Finding("error", "yaml-syntax", "the file has too many %TAG directives")
    if sum(map(data.count, _COLLECTION_MARKS)) > _SAFE_DEPTH and _may_be_deep(data):
        return _scan_for_depth(data, loader_class)
    return None


def merge_conflict(data: bytes) -> Finding | None:
    """The error for a file in which a version control system left both sides of a conflict."""
    if (found := _CONFLICT.search(data)) is None:
        return None
    message = "the file has the markers of a merge conflict"
    hint = "Keep one side of the conflict, and delete the lines with <<<<<<<, ======= and >>>>>>>."
    line = data.count(b"\n", 0, found.start()) + 1
    return Finding("error", "merge-conflict", message, line=line, column=1, hint=hint)


def _may_be_deep(data: bytes) -> bool:
    """Each level needs a bracket (two for one with ``[a: b]``) or more indent than its parent."""
    widest = max(map(len, _INDENT.findall(data)), default=0)
    return 2 * (data.count(b"[") + data.count(b"{") + widest + 1) > _SAFE_DEPTH


def _scan_for_depth(data: bytes, loader_class: Any) -> Finding | None:
    text = data.decode("utf-8-sig")
    try:
        return _first_too_deep(text, loader_class)
    except yaml.YAMLError as error:
        # The scanner runs ahead of the events, and some versions of it limit nesting by
        # themselves: what stands before the error may already be too deep.
        mark = getattr(error, "problem_mark", None)
    try:
        return _first_too_deep(text[: mark.index], loader_class) if mark else None
    except yaml.YAMLError:
        return None  # composing it meets the first error, no deeper than these scans came


def _first_too_deep(text: str, loader_class: Any) -> Finding | None:
    depth = 0
    for event in yaml.parse(text, loader_class):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return _too_deep(event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def in_nodes(root: Node) -> tuple[Finding, ...]:
    """Duplicate keys as warnings, in their order; where a bound is broken, one error alone."""
    warnings: list[Finding] = []
    seen: set[Node] = set()
    shared = False
    number_keys = 0
    todo = [(root, 1)]
    while todo:
        node, depth = todo.pop()
        if node in seen:
            shared = True
            continue
        seen.add(node)
        if type(node) is ScalarNode:
            if len(node.value) > MAX_NUMBER_LENGTH and node.tag in _NUMBER_TAGS:
                return (_long_number(node),)
            continue
        if depth > MAX_DEPTH:
            return (_too_deep(node.start_mark),)
        if type(node) is not MappingNode:
            todo.extend((child, depth + 1) for child in node.value)
            continue
        keys: dict[tuple[str, str], Node] = {}
        merges = 0
        for key, value in node.value:
            todo += ((value, depth + 1), (key, depth + 1))
            if type(key) is not ScalarNode:
                continue
            name = (key.tag, key.value)
            if key.tag == MERGE_TAG:
                merges += 1
            elif name in keys:
                warnings.append(_duplicate(key, keys[name]))
            elif key.tag in _NUMBER_TAGS:
                number_keys += 1
            keys[name] = key
        if merges > MAX_MERGE_KEYS or number_keys > MAX_NUMBER_KEYS:
            return (_bomb(node, "a mapping has too many `<<` or number keys"),)
    if shared and (bomb := _expand(root)):
        return (bomb,)
    warnings.sort(key=lambda w: (w.line or 0, w.column or 0))
    return bounded(warnings, MAX_DUPLICATES)


def _expand(root: Node) -> Finding | None:
    """What aliases come to when they are written out; each anchor is counted once."""
    sizes: dict[Node, tuple[int, int, int]] = {}  # values, levels, characters
    path: set[Node] = set()
    todo = [root]
    while todo:
        node = todo[-1]
        if node in sizes:
            todo.pop()
            continue
        if type(node) is ScalarNode:
            sizes[node] = (1, 0, len(node.value))
            continue
        children = _children(node)
        waiting = [child for child in children if child not in sizes]
        if waiting:
            path.add(node)
            if any(child in path for child in waiting):
                return _bomb(node, "an anchor contains an alias of itself")
            todo.extend(waiting)
            continue
        below = [sizes[child] for child in children]
        values = 1 + sum(count for count, _, _ in below)
        levels = 1 + max((height for _, height, _ in below), default=0)
        characters = sum(length for _, _, length in below)
        if values > MAX_EXPANSION + len(sizes):
            return _bomb(node, f"its aliases stand for more than {MAX_EXPANSION:,} values")
        if characters > MAX_CHARACTERS:
            return _bomb(node, f"its aliases stand for more than {MAX_CHARACTERS:,} characters")
        if levels > MAX_DEPTH:
            return _too_deep(node.start_mark)
        sizes[node] = (values, levels, characters)
        path.discard(node)
    return None


def tab_outside_text(root: Node, data: bytes) -> Finding | None:
    """A tab that libyaml skips and PyYAML's own parser, which YAMLGraph uses, refuses."""
    if b"\t" not in data:
        return None
    lines = split_lines(data.decode("utf-8-sig"))
    texts: dict[int, list[tuple[int, int]]] = {}  # line → the columns of texts in it
    for node in scalars(root):
        begin, end = place(node), (node.end_mark.line, node.end_mark.column)
        if node.style in ("|", ">"):
            begin = (begin[0] + 1, 0)
        elif node.style not in ("'", '"'):
            continue
        for number in range(begin[0], min(end[0] + 1, len(lines))):
            left = begin[1] if number == begin[0] else 0
            right = end[1] if number == end[0] else len(lines[number])
            texts.setdefault(number, []).append((left, right))
    for number, text in enumerate(lines):
        if "\t" not in text:
            continue
        column = _COMMENT.sub("", _blanked(text, texts.get(number, []))).find("\t")
        if column >= 0:
            message = "there is a tab where YAML allows only spaces"
            hint = "Use spaces; a tab may stand inside quotes or in a block under `|`."
            line, column = number + 1, column + 1
            return Finding("error", "yaml-syntax", message, line=line, column=column, hint=hint)
    return None


def scalars(root: Node) -> Iterator[ScalarNode]:
    """Every scalar of a document, once."""
    return (node for node in nodes_of(root) if isinstance(node, ScalarNode))


def nodes_of(root: Node) -> Iterator[Node]:
    """Every node of a document, once."""
    seen: set[Node] = set()
    todo = [root]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        yield node
        todo.extend(_children(node))


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    pieces: list[str] = []
    at = 0
    for left, right in sorted(spans):
        pieces += (text[at:left], " " * (right - left))
        at = right
    return "".join((*pieces, text[at:]))


def _children(node: Node) -> list[Node]:
    if type(node) is MappingNode:
        return [part for pair in node.value for part in pair]
    return list(node.value) if type(node) is SequenceNode else []


def place(node: Any) -> Place:
    """Where a node or event begins, its anchor and tag included."""
    return node.start_mark.line, node.start_mark.column


def _too_deep(mark: Any) -> Finding:
    message = f"the YAML is nested more than {MAX_DEPTH} levels deep"
    return yaml_finding(mark, "error", "too-deep", message, "Flatten it.")


def _duplicate(key: ScalarNode, first: Node) -> Finding:
    message = (
        f"the key {key.value[:80]!r} is already given at line {place(first)[0] + 1};"
        " only the last one counts"
    )
    hint = "Delete or rename one of them."
    return yaml_finding(key.start_mark, "warning", "duplicate-key", message, hint)


def _long_number(node: Node) -> Finding:
    message = f"a number has more than {MAX_NUMBER_LENGTH:,} characters"
    hint = "Put it in quotes if it is text."
    return yaml_finding(node.start_mark, "error", "too-large", message, hint)


def _bomb(node: Node, why: str) -> Finding:
    hint = "Write the values out, with fewer `*aliases` and `<<` merges."
    return yaml_finding(
        node.start_mark, "error", "alias-bomb", f"the YAML is rejected: {why}", hint
    )
