"""What a graph's config uses: which node which prompt, which other files, and what bypasses the
release. Reads no prompt and imports no tool.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from yamlgraph_prompts._files.regular_file import read_regular
from yamlgraph_prompts._model.graph import PromptUse
from yamlgraph_prompts.findings import Finding

# The prompt that YAMLGraph gives to an agent that names none.
_AGENT_PROMPT = "agent"
_READS_PROMPTS = {"llm", "router", "agent", "race", "interrupt", "copilot"}
_LOADS_PROMPTS = re.compile(
    rb"\b(execute_prompt(?:_async|_streaming|s_concurrent)?|load_prompt(?:_path)?"
    rb"|prepare_messages(?:_async)?)[ \t]*\("
)


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
    """The prompt that each node uses, in the config's order."""
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


def bypass_warnings(config: Any, uses: Iterable[PromptUse], file: str) -> Iterator[Finding]:
    """A warning for each tool that loads prompts itself, and each absolute path of a prompt."""
    for name, tool in config.tools.items():
        if isinstance(tool, Mapping) and tool.get("type") == "python":
            source = _source(tool, config.source_path.parent)
            if call := _LOADS_PROMPTS.search(source or b""):
                yield _bypass(
                    f"The tool {name!r} calls {call[1].decode()} itself, so it reads its prompts "
                    "from disk at every call, not from the release.",
                    file,
                )
    for use in uses:
        if Path(use.prompt).is_absolute():
            yield _bypass(
                f"The node {use.node!r} names its prompt by an absolute path, so it reads that "
                "file at every call, not the release.",
                file,
            )


def _bypass(message: str, file: str) -> Finding:
    hint = "Let a node of the graph use the prompt instead."
    return Finding("warning", "reads-past-release", message, file=file, graph=file, hint=hint)


def _source(tool: Mapping[str, Any], folder: Path) -> bytes | None:
    place: str | Path | None = None
    if isinstance(tool.get("path"), str):
        place = folder / tool["path"]
    elif isinstance(tool.get("module"), str):
        try:
            spec = find_spec(tool["module"].partition(".")[0])
        except (ImportError, ValueError):
            return None
        # A parent package must not be imported only to look for a submodule's file.
        if spec is not None and "." not in tool["module"]:
            place = spec.origin
    try:
        return read_regular(place) if place else None
    except OSError:
        return None
