"""What runs, and who publishes it: a build, its pair, and the feed that a live graph asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

Compiled: TypeAlias = "CompiledStateGraph[Any, Any, Any, Any]"
Pin: TypeAlias = Literal["run", "thread", "none"]


@dataclass(frozen=True, slots=True)
class Build:
    """What runs: a pair of release and graph revision, and the graph compiled from it.

    Args:
        release: The release's id.
        graph: The graph revision.
        compiled: The graph, compiled for exactly this pair. Never changed afterwards.
        arm: Which share of the new runs it serves; ``"A"`` is the live release.

    Example:
        >>> from langgraph.graph import START, StateGraph
        >>> graph = StateGraph(dict).add_node("a", lambda state: state).add_edge(START, "a")
        >>> Build("r1", "g1", graph.compile()).release
        'r1'
    """

    release: str
    graph: str
    compiled: Compiled
    arm: str = "A"

    def for_run(self, config: RunnableConfig | None) -> Build:
        """The build of a run that begins with this config: this one, where there is one arm."""
        return self


class Feed(Protocol):
    """What a live graph asks of the publisher of its builds. Every method is thread-safe.

    What is live is taken first, `for_run` of it once a run's config is known, then `ran`.
    """

    @property
    def pin(self) -> Pin:
        """Which release a run takes when the live one has moved on."""
        ...

    @property
    def allow_release_override(self) -> bool:
        """Whether a caller's ``prompts_release`` chooses the release of a fresh run."""
        ...

    @property
    def key(self) -> bytes:
        """What the marks in checkpoints are made with; see `live.marks`."""
        ...

    @property
    def owner(self) -> object:
        """Live graphs with the same owner share the release of one run."""
        ...

    def at_once(self) -> Build | None:
        """What is live, unless there is something to wait for: then ask `current`."""
        ...

    def current(self) -> Build:
        """The live build, at once or after a moment; never blocks an event loop."""
        ...

    async def acurrent(self) -> Build:
        """As `current`, on an event loop."""
        ...

    def at(self, release: str, graph: str | None) -> Build:
        """The build of that pair, compiled now if need be.

        Raises:
            ReleaseNotFound: The release is nowhere.
        """
        ...

    def lost(self, release: str) -> Build:
        """The build for a run whose release cannot be had.

        Raises:
            ReleaseNotFound: Such runs must not go on.
        """
        ...

    def live_release(self) -> Any:
        """The release that is live, as an object."""
        ...

    def ran(self, build: Build) -> None:
        """Called once for each run, with what it runs on; must be cheap."""
        ...
