"""The `str.format` dialect: what its braces mean, and filling them in without giving anything away.

Which braces YAMLGraph takes for fields is YAMLGraph's rule (`yamlgraph.utils.template`), kept here.
"""

from __future__ import annotations

import re
from _string import formatter_field_name_split  # type: ignore[import-not-found]
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from yamlgraph_prompts._sandbox.access import BoundedFormatter
from yamlgraph_prompts._sandbox.budget import Refused, current
from yamlgraph_prompts._sandbox.printing import measure
from yamlgraph_prompts._sandbox.views import SequenceView, view

_BRACE = re.compile(r"[{}]")
_RAW = re.compile(r"\{%-?\s*raw\s*-?%\}")
_ENDRAW = re.compile(r"\{%-?\s*endraw\s*-?%\}")
# A wrong brace makes YAMLGraph scan again what follows it: what that may cost, in characters.
_RESCANS = 60  # of the whole text
_FEW_RESCANS = 40_000
_FIELD_COST = 100
_MAX_DEPTH = 20  # of specs in specs; str.format itself renders two
_MANY_FIELDS = 1_000

Field = tuple[str, str, str | None]  # name, format spec, conversion


@dataclass(frozen=True, slots=True)
class FieldScan:
    """What `str.format` would make of a text: YAMLGraph's `SimpleFieldScan`."""

    roots: frozenset[str]
    invalid: tuple[str, ...]
    brace_error: str | None

    @property
    def wrong(self) -> bool:
        """Whether `str.format` cannot fill the text in."""
        return bool(self.brace_error or self.invalid)


def without_raw(text: str) -> str:
    """`text` without its ``{% raw %}`` blocks."""
    kept, position = [], 0
    while start := _RAW.search(text, position):
        end = _ENDRAW.search(text, start.end())
        if end is None:
            break
        kept.append(text[position : start.start()])
        position = end.end()
    kept.append(text[position:])
    return "".join(kept)


def scan(text: str) -> FieldScan:
    """The fields of `text`, and YAMLGraph's complaint about its braces."""
    left = _FEW_RESCANS + _RESCANS * len(text)

    def scanned(remaining: str, depth: int) -> FieldScan:
        nonlocal left
        roots: set[str] = set()
        invalid: set[str] = set()
        brace_error: str | None = None
        while remaining:
            left -= len(remaining)
            try:
                for name, spec, _conversion in _parsed(remaining):
                    left -= _FIELD_COST
                    root = _root(name)
                    if not root.isidentifier():
                        invalid.add(name)
                        continue
                    roots.add(root)
                    if "{" in spec and depth < _MAX_DEPTH:
                        roots |= scanned(spec, depth + 1).roots
                break
            except ValueError as error:
                brace_error = brace_error or str(error)
                brace = _BRACE.search(remaining)
                if brace is None or left < 0:
                    break
                remaining = remaining[brace.end() :]
        return FieldScan(frozenset(roots), tuple(sorted(invalid)), brace_error)

    return scanned(text, 0)


def _parsed(text: str) -> Iterator[Field]:
    for _literal, name, spec, conversion in Formatter().parse(text):
        if name is not None:
            yield name, spec or "", conversion


def _root(name: str) -> str:
    return name.partition(".")[0].partition("[")[0]


def located_fields(text: str, begin: int = 0, depth: int = 2) -> Iterator[tuple[int, Field]]:
    """Every field of a text, nested ones too, each with the offset of its opening brace.

    Raises `ValueError` where the braces are wrong, or nest deeper than `str.format` allows.
    """
    if not depth:
        raise ValueError("Max string recursion exceeded")
    at = 0
    for literal, name, spec, conversion in Formatter().parse(text):
        at += len(literal)
        if name is None:
            at += 1  # the second of two braces that stand for one
            continue
        spec = spec or ""
        yield begin + at, (name, spec, conversion)
        at += 1 + len(name) + (2 if conversion else 0)
        at += text[at] == ":"
        if "{" in spec:
            yield from located_fields(spec, begin + at, depth - 1)
        at += len(spec) + 1


def private_part(name: str) -> str | None:
    """The part of a field's name that reaches for something private, if one does."""
    try:
        _first, rest = formatter_field_name_split(name)
        for is_attribute, part in rest:
            if isinstance(part, str) and part.startswith("_" if is_attribute else "__"):
                return part
    except ValueError:
        return None
    return None


class FormatText:
    """A text of the `str.format` dialect, read once."""

    __slots__ = ("_counts", "_is_simple", "_roots", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        found = [field for _offset, field in located_fields(text)]
        self._counts = Counter(name for name, _spec, _conversion in found)
        self._roots = frozenset(map(_root, self._counts))
        self._is_simple = len(found) <= _MANY_FIELDS and not any(
            spec or conversion or not name.isidentifier() for name, spec, conversion in found
        )

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text with its fields filled in; within `budget.using`."""
        given = {name: _shown(variables[name]) for name in self._roots if name in variables}
        if not self._is_simple:
            return BoundedFormatter().vformat(self.text, (), given)
        length = len(self.text)
        for name, count in self._counts.items():
            value = given[name]
            if type(value) is not str:
                value = given[name] = format(value)
            length += count * len(value)
        current().room(length)
        return self.text.format(**given)

    def culprit(self, variables: Mapping[str, Any]) -> tuple[str, type] | None:
        """The first field that cannot be filled in, as it is written, and its value's type."""
        for name, spec, conversion in _parsed(self.text):
            written = "{" + name + (f"!{conversion}" if conversion else "")
            written += (f":{spec}" if spec else "") + "}"
            try:
                FormatText(written).render(variables)
            except Refused:
                raise
            except Exception:  # noqa: BLE001 - the value's own code may raise anything
                return written, type(variables.get(_root(name)))
        return None


def _shown(value: Any) -> Any:
    """A variable as YAMLGraph hands it to `str.format`: a list is joined."""
    seen = view(value)
    if type(seen) is SequenceView and seen.base is list:
        measure(seen)
        return ", ".join(map(str, seen))
    return seen
