"""The graphs that run on some prompts, for as long as they are in use."""

from __future__ import annotations

from collections.abc import Hashable
from weakref import WeakKeyDictionary

from yamlgraph_prompts._model.graph import Graph


class Attached:
    """The attached graphs; call it for all of them. Its caller holds the lock to change them."""

    def __init__(self) -> None:
        self._all: WeakKeyDictionary[Graph, None] = WeakKeyDictionary()
        # An app that loads a graph for each request drops it again; the first one stays.
        self._first: dict[Hashable, Graph] = {}

    def __call__(self) -> tuple[Graph, ...]:
        # A snapshot: another thread may add one meanwhile.
        return tuple(graph for ref in self._all.keyrefs() if (graph := ref()) is not None)

    def add(self, graph: Graph) -> None:
        self._all[graph] = None
        self._first.setdefault(graph.identity, graph)

    def remove(self, graph: Graph) -> None:
        del self._all[graph]
        if self._first.get(graph.identity) is graph:
            del self._first[graph.identity]
