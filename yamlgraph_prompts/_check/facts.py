"""What a check of a release needs to know of one file; of a draft a worker finds it out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import cached_property
from heapq import nsmallest
from typing import Any, TypedDict

import yaml

from yamlgraph_prompts._check.prompts import (
    Need,
    Path,
    Position,
    examine_prompt,
    has_foreign_items,
    needs,
    read_prompt,
    variable_positions,
)
from yamlgraph_prompts._yaml_file import parse_yaml
from yamlgraph_prompts._yaml_file.ignores import Ignore, ignores_in
from yamlgraph_prompts.findings import MAX_FINDINGS, Finding, FurtherFindings

_SCHEMAS = ("schema", "output_schema")
_DESTINATIONS = ("provider", "model")
_KEYS = ("system", "system_segments", *_SCHEMAS, *_DESTINATIONS)
MAX_SCHEMA_BYTES = 32 << 10


class Key(TypedDict):
    """One top-level key of a file: of what type its value is, and where both stand."""

    kind: str
    text: str
    position: Position
    key_position: Position


class FileFacts:
    """Reads a file when a fact is first needed."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        # A file with its inline schema; None where that is too large to be built for a check.
        self.schema: bytes | None = data

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong with it by itself."""
        return examine_prompt(self._data)

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        """The variables that its messages need."""
        return needs(read_prompt(self._data).content)

    @cached_property
    def kind(self) -> str:
        """The name of the Python type of the file's content."""
        return type(parse_yaml(self._data)[0]).__name__

    @cached_property
    def keys(self) -> Mapping[str, Key]:
        """The top-level keys that a check of a release looks at."""
        file = read_prompt(self._data)
        return {
            name: {
                "kind": type(file.content[name]).__name__,
                "text": str(file.content[name] or "") if name in _DESTINATIONS else "",
                "position": file.position(name),
                "key_position": file.key_position(name),
            }
            for name in _KEYS
            if name in file.content
        }

    @cached_property
    def has_foreign_items(self) -> bool:
        """Whether `system` holds what is neither text nor a mapping with a text."""
        return has_foreign_items(read_prompt(self._data).content)

    @cached_property
    def ignores(self) -> tuple[Ignore, ...]:
        """The comments that silence warnings."""
        return ignores_in(self._data)

    def variable_positions(self, path: Path, variables: Collection[str]) -> Mapping[str, Position]:
        """Where a message first names each of these variables, as far as that is known."""
        return variable_positions(read_prompt(self._data), path, variables)


class KnownFacts(FileFacts):
    """The `file_facts` of a worker; nothing of the file is read here."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(b"")
        self.kind = facts["kind"]
        self.keys = facts["keys"]
        self.has_foreign_items = facts["has_foreign_items"]
        self.ignores = tuple(Ignore(*one) for one in facts["ignores"])
        self.schema = facts["schema"] and facts["schema"].encode()
        self.findings = (
            *(Finding(**finding) for finding in facts["findings"]),
            *(FurtherFindings(**finding) for finding in facts["further"]),
        )
        self.needs = tuple(
            Need(tuple(path), dialect, frozenset(variables), frozenset(optional))
            for path, dialect, variables, optional in facts["needs"]
        )
        self._positions = {tuple(path): positions for path, positions in facts["positions"]}

    def variable_positions(self, path: Path, variables: Collection[str]) -> Mapping[str, Position]:
        positions: Mapping[str, Position] = self._positions.get(path, {})
        return positions


def file_facts(data: bytes) -> dict[str, Any]:
    """All facts of a file, as JSON can hold them; what `KnownFacts` takes."""
    facts = FileFacts(data)
    content = read_prompt(data).content
    is_read = not any(finding.severity == "error" for finding in facts.findings)
    needed = facts.needs if is_read else ()
    notes = [finding for finding in facts.findings if isinstance(finding, FurtherFindings)]
    listed = facts.findings[: len(facts.findings) - len(notes)]  # the notes come last
    positions, left = [], MAX_FINDINGS
    for need in needed:
        variables = nsmallest(left, need.variables)
        left -= len(variables)
        positions.append([need.path, facts.variable_positions(need.path, variables)])
        if not left:
            break
    return {
        "findings": [asdict(finding) for finding in listed],
        "further": [asdict(finding) for finding in notes],
        "needs": [
            [need.path, need.dialect, sorted(need.variables), sorted(need.optional)]
            for need in needed
        ],
        "positions": positions,
        "kind": facts.kind,
        "has_foreign_items": facts.has_foreign_items,
        "ignores": facts.ignores,
        "keys": dict(facts.keys),
        "schema": _schema({name: content[name] for name in _SCHEMAS if name in content}),
    }


def _schema(content: Mapping[str, Any]) -> str | None:
    text: str = yaml.safe_dump(dict(content), allow_unicode=True, sort_keys=False)
    return text if len(text.encode()) <= MAX_SCHEMA_BYTES else None
