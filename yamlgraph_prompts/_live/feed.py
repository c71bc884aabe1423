"""What a live graph runs, and where it comes from: a build, and the feed that publishes builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from yamlgraph_prompts._model.events import Hook
from yamlgraph_prompts._model.health import Health
from yamlgraph_prompts._model.release import Outcome, Prompt, Release, StoredRelease

Compiled: TypeAlias = "CompiledStateGraph[Any, Any, Any, Any]"
Pin: TypeAlias = Literal["run", "thread", "none"]


@dataclass(frozen=True, slots=True)
class Build:
    """A pair of release and graph revision, and the graph compiled from it; never changed."""

    release: str  # its id
    graph: str  # the graph revision
    compiled: Compiled
    arm: str = "A"  # which share of the new runs it serves; "A" is the live release

    def for_run(self, config: RunnableConfig | None) -> Build:
        """The build of a run that begins with this config: this one, where there is one arm."""
        return self


class Prompts(Protocol):
    """What a live graph shows of its `LivePrompts`."""

    environment: str

    @property
    def release(self) -> Release: ...
    @property
    def held(self) -> bool: ...
    @property
    def health(self) -> Health: ...
    def __getitem__(self, name: str) -> Prompt: ...
    def __contains__(self, name: object) -> bool: ...
    def find(self, release_id: str) -> Release: ...
    def releases(self) -> list[StoredRelease]: ...
    def publish(self, reason: str = "call") -> Outcome: ...
    def activate(self, release_id: str, *, reason: str = "activate") -> Outcome: ...
    def rollback(self) -> Outcome: ...
    def follow(self) -> Outcome: ...
    def observe(self, hook: Hook) -> Callable[[], None]: ...
    def close(self) -> None: ...


class Feed(Protocol):
    """The publisher of a live graph's builds. Every method is thread-safe.

    The live build is taken first, its `for_run` once a run's config is known, then `ran`.
    """

    pin: Pin  # which release a run takes when the live one has moved on
    allow_release_override: bool  # whether a caller's `prompts_release` chooses a fresh run's
    chosen: bool  # whether code chose its release, which a run around it then does not
    key: bytes  # of the marks in checkpoints; see `live.marks`
    owner: Any  # live graphs with the same owner share the release of one run

    def at_once(self) -> Build | None:
        """The live build; None where `current` may have to wait."""

    def now(self) -> Build:
        """The live build, whatever may be on its way."""

    def current(self) -> Build:
        """The live build for a run, at once or after a moment, in which it blocks."""

    async def acurrent(self) -> Build:
        """As `current`, on an event loop, which it does not block."""

    def at(self, release: str, graph: str | None) -> Build:
        """The build of that pair, compiled now if need be; may raise `ReleaseNotFound`."""

    def lost(self, release: str) -> Build:
        """The build for a run whose release is lost; `ReleaseNotFound` if it must not go on."""

    def live_release(self) -> Release:
        """The live release, as an object."""

    def released(self, release: str) -> Any:
        """A release by its id or the beginning of it; `ReleaseNotFound` if there is none."""

    def ran(self, build: Build) -> None:
        """Called once for each run, with its build; must be cheap."""
