"""Builds a YAMLGraph graph, children too, on the folders of one release. Knows no layers.

While one of our builds is under way in this thread, YAMLGraph's graph loader is handed configs
whose `prompts_dir` is the release's absolute folder; nothing has to be patched when the graph
runs. A load that is not ours goes through untouched.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langgraph.graph import StateGraph

from yamlgraph_prompts._yamlgraph_bridge.fast_yaml import children_in_c
from yamlgraph_prompts._yamlgraph_bridge.known import wrap
from yamlgraph_prompts.errors import UnsupportedYamlgraph


@dataclass
class Adoption:
    """One build under way: which config each graph file gets."""

    configs: Mapping[Path, Any]  # by graph file, `prompts_dir` already absolute
    original: Mapping[Path, Path | None]  # graph file → the prompts folder that it names itself
    guarded: tuple[Path, ...]  # folders of layers that a graph's own tools may not write to
    keys: Mapping[Path, str]  # graph file → its key in the facts, which no swapped folder changes
    # Key → a child's in-memory checkpointer: one that waits for a human is found by a later build.
    savers: dict[str, Any]
    relays: frozenset[Path]  # the children that get such a checkpointer although they declare none
    seen: set[int] = field(default_factory=set)


_under_way: ContextVar[Adoption | None] = ContextVar("yamlgraph_prompts_adoption", default=None)


def adopted_config(config: Any, folder: Path) -> Any:
    """A copy of a GraphConfig that reads its prompts from `folder` and nowhere else."""
    adopted = copy.copy(config)
    adopted.prompts_dir = str(folder)
    adopted.prompts_relative = False
    return adopted


def build(root: Path, adoption: Adoption) -> StateGraph[Any, Any, Any, Any]:
    """The root graph as a fresh StateGraph."""
    install()
    from yamlgraph.compile import graph_loader

    token = _under_way.set(adoption)
    try:
        with children_in_c():
            return graph_loader.compile_graph(graph_loader.load_graph_config(root))  # type: ignore[no-any-return]
    finally:
        _under_way.reset(token)


def install() -> None:
    """Wrap the graph loader's functions, once; each acts only within `build`."""
    loader = "yamlgraph.compile.graph_loader"
    wrap(loader, "load_graph_config", _in_build(_load_graph_config))
    wrap(loader, "compile_graph", _in_build(_compile_graph))
    wrap(loader, "get_checkpointer_for_graph", _in_build(_get_checkpointer))
    wrap(loader, "load_python_function", _in_build(_load_python_function))
    # Where every kind of node gets this tool from.
    tool = "build_write_data_file_tool"
    wrap("yamlgraph.tools.python_tool", tool, _in_build(_build_write_data_file_tool))


def _in_build(act: Callable[..., Any]) -> Callable[..., Any]:
    def ours(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        adoption = _under_way.get()
        if adoption is None:
            return original(*args, **kwargs)
        return act(adoption, original, *args, **kwargs)

    return ours


def _load_graph_config(
    adoption: Adoption, original: Callable[..., Any], path: str | Path, *args: Any, **kwargs: Any
) -> Any:
    config = adoption.configs.get(Path(path).resolve())
    if config is None:
        text = f"YAMLGraph loads {path} during the build, and the check did not know that file."
        hint = "Name the graph in a subgraph node or a graph tool of the parent's YAML."
        raise UnsupportedYamlgraph(text, hint=hint)
    adoption.seen.add(id(config))
    return config


def _compile_graph(adoption: Adoption, original: Callable[..., Any], config: Any) -> Any:
    if id(config) not in adoption.seen:
        raise UnsupportedYamlgraph(
            "YAMLGraph built a graph from a config that did not come from its loader, so it would "
            "read its prompts past the release.",
            hint="Report this, with the version of yamlgraph: it is not a supported one.",
        )
    return original(config)


def _get_checkpointer(adoption: Adoption, original: Callable[..., Any], config: Any) -> Any:
    from langgraph.checkpoint.memory import MemorySaver

    key = adoption.keys[config.source_path]
    if key in adoption.savers:
        return adoption.savers[key]
    saver = original(config)
    if saver is None and config.source_path in adoption.relays:
        saver = MemorySaver()
    if isinstance(saver, MemorySaver):
        adoption.savers[key] = saver
    return saver


def _load_python_function(
    adoption: Adoption, original: Callable[..., Any], config: Any, *args: Any, **kwargs: Any
) -> Any:
    graph = kwargs.get("graph_path")
    if graph is not None and "prompts_dir" in kwargs:
        # A tool that writes data files must not write prompts: keep the real folders guarded.
        kwargs["prompts_dir"] = adoption.original.get(Path(graph).resolve())
    return original(config, *args, **kwargs)


def _build_write_data_file_tool(
    adoption: Adoption, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    return _guarded(original(*args, **kwargs), Path(kwargs["graph_root"]), adoption.guarded)


def _guarded(
    write: Callable[..., Any], root: Path, folders: tuple[Path, ...]
) -> Callable[..., Any]:
    @functools.wraps(write)
    def guarded(state: Any = None, **kwargs: Any) -> Any:
        arguments = state if isinstance(state, dict) else kwargs
        target = (root / str(arguments.get("path"))).resolve()
        for folder in folders:
            # Now, not when it was built: the folder may be a link that is swapped.
            if target.is_relative_to(folder.resolve()):
                raise ValueError(
                    f"self-modification not allowed — cannot write to prompts layer '{folder}'"
                )
        return write(state, **kwargs)

    return guarded
