"""What a graph's config asks for: which node which prompt, and the files that it loads besides.

Reads no prompt, and no file but that in which YAMLGraph looks whether a child pauses.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yamlgraph_prompts.model.graph import PromptUse

# The prompt that YAMLGraph gives to an agent that names none.
_AGENT_PROMPT = "agent"
_READS_PROMPTS = {"llm", "router", "agent", "race", "interrupt", "copilot"}


def _nodes(config: Any) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """(name, config, is the inner node of a map) of every node that may read a prompt."""
    for name, node in (config.nodes or {}).items():
        if not isinstance(node, Mapping):
            continue
        inner = node.get("node")
        if node.get("type") == "map" and isinstance(inner, Mapping):
            passed = {**(inner.get("variables") or {}), str(node.get("as")): ""}
            yield name, {**inner, "variables": passed}, True
        else:
            yield name, node, False


def prompt_uses(config: Any) -> Iterator[PromptUse]:
    """What each node asks for, in the config's order."""
    for name, node, in_map in _nodes(config):
        kind = str(node.get("type", "llm"))
        if kind not in _READS_PROMPTS:
            continue
        prompt = node.get("prompt", _AGENT_PROMPT if kind == "agent" else None)
        if not prompt or not isinstance(prompt, str):
            continue
        if kind == "copilot":
            prompt = prompt.removesuffix(".yaml").removesuffix(".yml")
        passes = node.get("variables")
        from_state = kind in ("agent", "interrupt") or (not passes and kind != "copilot")
        yield PromptUse(
            node=name,
            kind=f"map/{kind}" if in_map else kind,
            prompt=prompt,
            passes=None if from_state else frozenset(map(str, passes or ())),
            validates=kind != "agent" and not (kind == "copilot" and node.get("backend") != "api"),
        )


def children_of(config: Any) -> tuple[tuple[Path, ...], frozenset[Path]]:
    """The graphs that subgraph nodes and graph tools name, and those that pause in the middle."""
    from yamlgraph.models.relay_fields import subgraph_relay_capable

    folder = config.source_path.parent
    paths: dict[Path, None] = {}
    relays: set[Path] = set()
    direct: set[Path] = set()
    for _, node, _ in _nodes(config):
        if node.get("type") == "subgraph" and isinstance(node.get("graph"), str):
            child = folder / node["graph"]
            paths[child] = None
            if subgraph_relay_capable(dict(node), config.source_path):
                relays.add(child)
            if node.get("mode") == "direct":
                direct.add(child)
    for tool in config.tools.values():
        if isinstance(tool, Mapping) and tool.get("type") == "graph" and "path" in tool:
            paths[folder / tool["path"]] = None
    resumed = {child.resolve() for child in direct}
    return tuple(paths), frozenset(child for child in relays if child.resolve() not in resumed)


def files_beside(content: Any, folder: Path) -> tuple[Path, ...]:
    """Files that a graph is built from too: data files, tools' code and manifests, children."""
    named: list[Any] = [*_values(_get(content, "data_files"))]
    for tool in _values(_get(content, "tools")):
        named.append(_get(tool, "manifest"))
        if _get(tool, "type") == "python":
            named.append(_get(tool, "path"))
    return (*_named(folder, named), *children_named(content, folder))


def children_named(content: Any, folder: Path) -> tuple[Path, ...]:
    """As `children_of`, for what YAMLGraph may have refused to load."""
    named: list[Any] = []
    for node in _values(_get(content, "nodes")):
        named += [_get(node, "graph"), _get(_get(node, "node"), "graph")]
    return _named(folder, named)


def _named(folder: Path, names: Iterable[Any]) -> tuple[Path, ...]:
    # Patterns that lead out of the folder or down any depth are refused by YAMLGraph too.
    paths = (
        folder / name
        for name in names
        if isinstance(name, str) and not ("*" in name and ("**" in name or name[0] in "/."))
    )
    return tuple(path for path in paths if can_be(path))


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _values(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, Mapping) else ()


def can_be(path: Path) -> bool:
    """Whether a file can have this path at all."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False
