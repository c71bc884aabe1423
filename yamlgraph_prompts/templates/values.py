"""Values of vars files may neither break the YAML of a rendered file nor make keys of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yaml.nodes import MappingNode

from yamlgraph_prompts._yaml_file import PromptFile, parse_yaml
from yamlgraph_prompts._yaml_file.bounds import nodes_of, place
from yamlgraph_prompts.findings import Finding, shown

_EXPRESSION = re.compile(r"\{[{%][^}]*+")
_MAX_LINE = 1_000  # characters of a line in which a value is looked for
_MOST = 100  # keys of which the value is looked for
_WORD = re.compile(r"\w++")


def value_trouble(
    text: str,
    values: Mapping[str, Any],
    render: Callable[[Mapping[str, Any]], str],
    files: Mapping[str, str],
) -> Finding | None:
    """The error where a value breaks the YAML of a text, or makes a key."""
    texts = [(name, leaf) for name, value in values.items() for leaf in _texts(value)]
    if not any("\n" in leaf or ":" in leaf for _, leaf in texts):
        return None
    file = _read(text)
    if broken := next((found for found in file.findings if found.severity == "error"), None):
        name = _culprit(texts, file.lines[(broken.line or 1) - 1 :][:2], broken.column or 1)
        problem = f"the value of {shown(name)} breaks the YAML here"
        return _finding(problem, name, files) if name else None
    try:
        other = _read(render({name: _without_colons(value) for name, value in values.items()}))
    except Exception:  # noqa: BLE001 - other values may make it fail in any way
        return None
    made = dict(_keys(file).items() - _keys(other).items())
    if not made or len(other.data) != len(file.data):  # then the template depends on the colons
        return None
    keys = sorted(made.items())[:_MOST]
    guilty = ((name, key) for _, key in keys for name, leaf in texts if f"{key}:" in leaf)
    name, key = next(guilty, ("", keys[0][1]))
    what = f"the value of {shown(name)}" if name else "a value"
    return _finding(f"{what} makes the key {shown(key)}", name, files)


def _culprit(texts: list[tuple[str, str]], near: list[str], column: int) -> str | None:
    """Whose value stands in the line of an error, at its column, or goes on in the line below."""
    for line in near:
        for name, leaf in texts:
            first, *others = leaf.strip().split("\n")
            at = near[0][:_MAX_LINE].find(first) if first else -1
            if line.strip() in filter(None, map(str.strip, others)):
                return name
            if line is near[0] and 0 <= at < column <= at + len(first) + 1:
                return name
    return None


def _finding(problem: str, name: str, files: Mapping[str, str]) -> Finding:
    for file, source in files.items():
        for found in _EXPRESSION.finditer(source):
            if name in _WORD.findall(found[0]):
                line = source[source.rfind("\n", 0, found.start()) + 1 : found.start()]
                spaces = len(line) - len(line.lstrip()) or 2
                hint = f"Write {{{{ {name} | indent({spaces}) }}}} in a block under `|`."
                at = source.count("\n", 0, found.start()) + 1, len(line) + 1
                return Finding("error", "j2-value", problem, None, file, *at, hint)
    hint = "Indent the value with the filter `indent`, in a block under `|`."
    return Finding("error", "j2-value", problem, file=next(iter(files)), hint=hint)


def _read(text: str) -> PromptFile:
    data = text.encode()
    value, findings = parse_yaml(data)
    return PromptFile(value if isinstance(value, dict) else {}, findings, data)


def _keys(file: PromptFile) -> dict[tuple[int, int], str]:
    """The keys of every mapping, by the places where they stand."""
    root = file.node(())
    return {
        place(key): str(key.value)
        for node in (nodes_of(root) if root else ())
        if isinstance(node, MappingNode)
        for key, _ in node.value
    }


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _texts(inner)


def _without_colons(value: Any) -> Any:
    """The value with dots for colons, which make the keys of YAML; as long as before."""
    if isinstance(value, str):
        return value.replace(":", ".")
    if isinstance(value, dict):
        return {key: _without_colons(inner) for key, inner in value.items()}
    return [*map(_without_colons, value)] if isinstance(value, list) else value
