"""A StateGraph whose edits can be made again on every release's own graph. It never compiles."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langgraph.graph.state import StateGraph

from yamlgraph_prompts._live.feed import Build, Compiled
from yamlgraph_prompts._live.release_cache import ReleaseCache

if TYPE_CHECKING:
    from langgraph.types import Checkpointer

    from yamlgraph_prompts._live.graph import LiveGraph

AnyStateGraph: TypeAlias = StateGraph[Any, Any, Any, Any]

_COMPILED = "_prompts_compiled"
EDITS = (
    "add_node",
    "add_edge",
    "add_conditional_edges",
    "add_sequence",
    "set_entry_point",
    "set_conditional_entry_point",
    "set_finish_point",
    "set_node_defaults",
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One call of one of the `EDITS`."""

    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A user's changes to a graph between loading and using it: edits, then `compile`."""

    edits: tuple[Edit, ...] = ()
    arguments: Mapping[str, Any] | None = None  # of `compile`

    @property
    def changes(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.edits or any((self.arguments or {}).values()))

    def make(self, built: AnyStateGraph, release: str, graph: str) -> Build:
        """Edits a copy of `built` and compiles it."""
        fresh = _unshared(built)
        for edit in self.edits:
            getattr(fresh, edit.method)(*edit.args, **edit.kwargs)
        given = {name: value for name, value in (self.arguments or {}).items() if value is not None}
        arguments, config = getattr(built, _COMPILED, ({}, None))
        arguments = {**arguments, **given}
        if (cache := arguments.get("cache")) is not None:
            arguments["cache"] = ReleaseCache(cache, release, graph)
        compiled = fresh.compile(**arguments)
        return Build(release, graph, compiled.with_config(config) if config else compiled)


def uncompiled(compiled: Compiled) -> AnyStateGraph:
    """The graph that a compiled one was made of; a `Recipe` compiles it as that one was."""
    graph = _unshared(compiled.builder)
    arguments = {
        "checkpointer": compiled.checkpointer,
        "store": compiled.store,
        "cache": compiled.cache,
        "interrupt_before": compiled.interrupt_before_nodes,
        "interrupt_after": compiled.interrupt_after_nodes,
        "debug": compiled.debug,
        "name": compiled.name,
    }
    if transformers := getattr(compiled, "stream_transformers", ()):  # since LangGraph 1.2.3
        arguments["transformers"] = transformers
    setattr(graph, _COMPILED, (arguments, compiled.config))
    return graph


class LiveStateGraph(StateGraph[Any, Any, Any, Any]):
    """A loaded graph, to be edited and compiled as any other; what comes out is live.

    Example:
        >>> built = StateGraph(dict).add_node("a", lambda state: state)
        >>> graph = LiveStateGraph(built, attach=lambda recipe: recipe)
        >>> recipe = graph.add_edge("__start__", "a").compile(name="greeter")
        >>> [edit.method for edit in recipe.edits], recipe.arguments["name"]
        (['add_edge'], 'greeter')
    """

    def __init__(self, built: AnyStateGraph, attach: Callable[[Recipe], LiveGraph]) -> None:
        self.__dict__.update(vars(_unshared(built)))
        self._edits: tuple[Edit, ...] = ()
        self._editing = False
        self._attach = attach

    def compile(self, checkpointer: Checkpointer = None, **kwargs: Any) -> LiveGraph:
        """As `StateGraph.compile`; the arguments are used again for every release."""
        live = self._attach(Recipe(self._edits, {"checkpointer": checkpointer, **kwargs}))
        self.compiled = True
        return live


def _recorded(method: str) -> Callable[..., LiveStateGraph]:
    original = getattr(StateGraph, method)

    @functools.wraps(original)
    def edit(self: LiveStateGraph, *args: Any, **kwargs: Any) -> LiveStateGraph:
        if self._editing:  # an edit that LangGraph makes of smaller ones
            original(self, *args, **kwargs)
            return self
        self._editing = True
        try:
            original(self, *args, **kwargs)
        finally:
            self._editing = False
        self._edits = (*self._edits, Edit(method, args, kwargs))
        return self

    return edit


for _method in EDITS:
    setattr(LiveStateGraph, _method, _recorded(_method))


def _unshared(built: AnyStateGraph) -> AnyStateGraph:
    """A copy that can be edited and compiled while `built` stays as it is."""
    clone = copy.copy(built)
    for name, value in vars(built).items():
        if isinstance(value, dict | set | list):
            setattr(clone, name, value.copy())
    clone.nodes = {name: copy.copy(spec) for name, spec in built.nodes.items()}
    for source, branches in built.branches.items():
        clone.branches[source] = branches.copy()
    if (defaults := getattr(built, "_node_defaults", None)) is not None:
        clone._node_defaults = copy.copy(defaults)
    return clone
