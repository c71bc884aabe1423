"""YAML bytes → their content, what is wrong with them, and the place of each value in the file.

Reads exactly what ``yaml.safe_load`` reads, within bounds. Never opens a file, knows no templates.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from yamlgraph_prompts._yaml_file.bounds import (
    MERGE_TAG,
    before_parsing,
    in_nodes,
    place,
    tab_outside_text,
)
from yamlgraph_prompts._yaml_file.lines import Place, Places, places, split_lines
from yamlgraph_prompts._yaml_file.words import construct_finding, no_yaml_space, syntax_finding
from yamlgraph_prompts.findings import Finding

Path: TypeAlias = Iterable[str | int]
Pairs: TypeAlias = dict[str, tuple[Node, Node]]

LIMIT_BYTES = 1024 * 1024
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class PromptFile:
    """The content of a prompt's YAML file, and the positions in it.

    Example:
        >>> file = parse_prompt(b"system: Be kind.\\nuser: |\\n  Hi\\n  {name}\\n")
        >>> file.content["user"]
        'Hi\\n{name}\\n'
        >>> file.position("system"), file.text_position(["user"], 2)
        ((1, 9), (4, 3))
    """

    content: dict[str, Any]  # as yaml.safe_load returns it; empty where a finding is an error
    findings: tuple[Finding, ...] = ()  # without `prompt` and `file`
    data: bytes = field(default=b"", repr=False, compare=False)

    def position(self, *path: str | int) -> tuple[int, int] | None:
        """The line and column, from 1, of the value at a path of keys; None if nothing is there."""
        node = self.node(path)
        return _from_one(place(node)) if node else None

    def key_position(self, *path: str | int) -> tuple[int, int] | None:
        """The line and column, from 1, of the key itself; of the item in a list."""
        *parents, last = path
        node = self.node(parents)
        if isinstance(node, MappingNode) and (pair := self._pairs(node)[0].get(str(last))):
            return _from_one(place(pair[0]))
        return self.position(*path)

    def text_position(
        self, path: Path, line: int, column: int | None = None
    ) -> tuple[int, int] | None:
        """The file's line and column of a line and column of the text at `path`, all from 1.

        Right for every scalar style.
        """
        node = self.node(path)
        return self.position_in(node, line, column) if node else None

    def position_in(self, node: Node, line: int, column: int | None = None) -> tuple[int, int]:
        """As `text_position`, for the text of a node."""
        if not isinstance(node, ScalarNode):
            return _from_one(place(node))
        # By node, not by path: aliases share one.
        if node not in self._places:
            self._places[node] = places(self.lines, place(node), node.style or "", node.value)
        known = self._places[node]
        return _from_one(known.at(line - 1, (column or 1) - 1) if known else place(node))

    @cached_property
    def lines(self) -> list[str]:
        return split_lines(self.data.decode("utf-8-sig", "replace"))

    @cached_property
    def _places(self) -> dict[Node, Places | None]:
        return {}

    @cached_property
    def _mappings(self) -> dict[MappingNode, tuple[Pairs, list[Node]]]:
        return {}

    def _pairs(self, node: MappingNode) -> tuple[Pairs, list[Node]]:
        """The pairs of a mapping that count, by key, and what it merges; found once."""
        if node not in self._mappings:
            pairs: Pairs = {}
            merged: list[Node] = []
            for key, value in node.value:
                if key.tag == MERGE_TAG:
                    merged[:0] = value.value if isinstance(value, SequenceNode) else [value]
                elif isinstance(key, ScalarNode):
                    pairs[key.value] = key, value
            self._mappings[node] = pairs, merged
        return self._mappings[node]

    @cached_property
    def _root(self) -> Node | None:
        # A file that was refused may not be safe to compose.
        if any(finding.severity == "error" for finding in self.findings):
            return None
        loader = _Loader(self.data)
        try:
            root: Node | None = loader.get_single_node()
            return root
        finally:
            loader.dispose()

    def node(self, path: Path) -> Node | None:
        """The YAML node at a path; the whole document for an empty one."""
        node = self._root
        for step in path:
            if node is None:
                return None
            node = self._child(node, step)
        return node

    def _child(self, node: Node, step: str | int) -> Node | None:
        if isinstance(node, SequenceNode):
            fits = isinstance(step, int) and -len(node.value) <= step < len(node.value)
            return node.value[step] if fits else None
        if not isinstance(node, MappingNode):
            return None
        pairs, merged = self._pairs(node)
        if pair := pairs.get(str(step)):
            return pair[1]
        return next((found for other in merged if (found := self._child(other, step))), None)


def parse_prompt(data: bytes, *, limit_bytes: int = LIMIT_BYTES) -> PromptFile:
    """Read one prompt's YAML. What is wrong with it becomes findings; nothing is raised."""
    value, findings = parse_yaml(data, limit_bytes=limit_bytes)
    if isinstance(value, dict):
        return PromptFile(value, findings, data)
    if not any(finding.severity == "error" for finding in findings):
        first = split_lines(data.decode("utf-8-sig"))[0]
        findings = (*findings, no_yaml_space(first, 0) or _not_a_mapping(value))
    return PromptFile({}, findings, data)


def parse_yaml(data: bytes, *, limit_bytes: int = LIMIT_BYTES) -> tuple[Any, tuple[Finding, ...]]:
    """Read any YAML as ``yaml.safe_load`` does, within bounds. Nothing is raised."""
    refused = _too_large(data, limit_bytes) or _not_utf8(data) or before_parsing(data, _Loader)
    if refused:
        return None, (refused,)
    loader = _Loader(data)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, ()
        findings = in_nodes(root)
        if findings and findings[0].severity == "error":
            return None, findings
        if tab := tab_outside_text(root, data):
            return None, (tab,)
        return _construct(loader, root, data), findings
    except _Unmakeable as error:
        return None, (error.finding,)
    except yaml.YAMLError as error:
        return None, (syntax_finding(error, data),)
    except (RecursionError, MemoryError):
        return None, (Finding("error", "too-deep", "the YAML is nested too deep to be read here"),)
    finally:
        loader.dispose()


class _Unmakeable(Exception):
    def __init__(self, finding: Finding) -> None:
        self.finding = finding


def _construct(loader: Any, root: Node, data: bytes) -> Any:
    try:
        return loader.construct_document(root)
    except (RecursionError, MemoryError):
        raise
    except Exception as error:  # int(), datetime() and others raise through PyYAML as they are
        raise _Unmakeable(construct_finding(error, data, _Loader)) from error


def _from_one(at: Place) -> tuple[int, int]:
    return at[0] + 1, at[1] + 1


def _too_large(data: bytes, limit_bytes: int) -> Finding | None:
    if len(data) <= limit_bytes:
        return None
    message = f"the file has {len(data):,} bytes; the limit is {limit_bytes:,}"
    hint = "Move long material into a variable that the graph passes."
    return Finding("error", "too-large", message, hint=hint)


def _not_utf8(data: bytes) -> Finding | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        before = split_lines(data[: error.start].decode("utf-8-sig", "replace"))
        is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        message = "the file is UTF-16, not UTF-8" if is_utf16 else "the file is not UTF-8 here"
        hint = "Save it again as UTF-8 in your editor."
        line, column = len(before), len(before[-1]) + 1
        return Finding("error", "not-utf8", message, line=line, column=column, hint=hint)
    return None


def _not_a_mapping(value: Any) -> Finding:
    if value is None:
        message, hint = "the file is empty", "Write at least `user: ...`."
    elif isinstance(value, str):
        message = "the file is one piece of text, not a mapping"
        hint = "Write `user: ...`; the colon needs a space after it."
    else:
        message = f"the file is a {type(value).__name__}, not a mapping"
        hint = "Its first level must be keys such as `system:` and `user:`."
    return Finding("error", "not-a-mapping", message, line=1, column=1, hint=hint)
