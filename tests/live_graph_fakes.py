"""A feed that a test publishes to by hand, and small graphs that say which release they ran on."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from yamlgraph_prompts._live import Build, LiveGraph, LiveStateGraph, Pin, Recipe
from yamlgraph_prompts.errors import ReleaseNotFound


class Said(TypedDict, total=False):
    said: Annotated[list[str], operator.add]


def talks(release: str, *names: str) -> StateGraph:
    """Nodes one after the other; each says its name and the release that it was built from."""
    graph = StateGraph(Said)
    before = START
    for name in names or ("a", "b"):
        graph.add_node(name, lambda state, name=name: {"said": [f"{name}@{release}"]})
        graph.add_edge(before, name)
        before = name
    return graph


def asks(release: str, node: str = "ask") -> StateGraph:
    """Says something, asks a person, says the answer."""

    def ask(state: Said) -> Said:
        return {"said": [f"{interrupt(f'question of {release}')}@{release}"]}

    graph = talks(release, "first")
    graph.add_node(node, ask)
    graph.add_node("last", lambda state: {"said": [f"last@{release}"]})
    return graph.add_edge("first", node).add_edge(node, "last")


class FakeFeed:
    """Builds `source(release)` for every release that is published; keeps all of them."""

    chosen = False

    def __init__(
        self,
        source: Callable[..., StateGraph] = talks,
        *,
        pin: Pin = "run",
        owner: object = None,
        allow_release_override: bool = False,
        release: str = "r1",
        graph: str = "g1",
        recipe: Recipe | None = None,
        **arguments: Any,
    ) -> None:
        self.pin: Pin = pin
        self.key = b"the key of a test"
        self.owner = owner or self
        self.allow_release_override = allow_release_override
        self.source = source
        self.recipe = recipe or Recipe((), arguments)
        self.known: dict[tuple[str, str], Build] = {}
        self.runs: list[str] = []
        self.fetched: list[tuple[str, str | None]] = []
        self.publish(release, graph)

    def publish(self, release: str, graph: str | None = None) -> Build:
        revision = graph or self.live.graph
        build = self.known.get((release, revision))
        if build is None:
            build = self.recipe.make(self.source(release), release, revision)
            self.known[release, revision] = build
        self.live = build
        return build

    def at_once(self) -> Build | None:
        return self.live

    def now(self) -> Build:
        return self.current()

    def current(self) -> Build:
        return self.live

    async def acurrent(self) -> Build:
        return self.current()

    def at(self, release: str, graph: str | None) -> Build:
        self.fetched.append((release, graph))
        if build := self.known.get((release, graph or self.live.graph)):
            return build
        for (known, _), build in self.known.items():
            if known == release:
                return build
        raise ReleaseNotFound(f"There is no release {release!r}.", release_id=release)

    def lost(self, release: str) -> Build:
        raise ReleaseNotFound(f"Another store has release {release!r}.", release_id=release)

    def live_release(self) -> object:
        return f"release {self.live.release}"

    def ran(self, build: Build) -> None:
        self.runs.append(build.release)


def live(source: Callable[..., StateGraph] = talks, **options: Any) -> tuple[LiveGraph, FakeFeed]:
    feed = FakeFeed(source, **options)
    return LiveGraph.of(feed, "the prompts", feed.live.compiled), feed


def editable(
    source: Callable[..., StateGraph] = talks, **options: Any
) -> tuple[LiveStateGraph, list[FakeFeed]]:
    """A LiveStateGraph, and the list that the feed of each compile lands in."""
    feeds: list[FakeFeed] = []

    def attach(recipe: Recipe) -> LiveGraph:
        feed = FakeFeed(source, recipe=recipe, **options)
        feeds.append(feed)
        return LiveGraph.of(feed, "the prompts", feed.live.compiled)

    return LiveStateGraph(source("r1"), attach), feeds


class CountingSaver(InMemorySaver):
    """Counts how often a checkpoint is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    def get_tuple(self, config: Any) -> Any:
        self.reads += 1
        return super().get_tuple(config)

    async def aget_tuple(self, config: Any) -> Any:
        self.reads += 1
        return super().get_tuple(config)


def thread(name: str = "t", **more: Any) -> Any:
    return {"configurable": {"thread_id": name, **more}}


def releases(said: Any) -> list[str]:
    """The releases that the nodes said, in order."""
    return [one.rpartition("@")[2] for one in said["said"]]
