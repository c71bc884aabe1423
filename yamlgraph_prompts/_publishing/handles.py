"""What the runs of one compiled graph ask of its `LivePrompts`: which build each of them takes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

from yamlgraph_prompts._following.arrival import Arrival, on_event_loop
from yamlgraph_prompts._live import Build, Pin, Recipe
from yamlgraph_prompts._model.graph import Graph, GraphFacts
from yamlgraph_prompts._model.release import Release, is_full_id
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.builds import Builds
from yamlgraph_prompts._publishing.engine import Engine
from yamlgraph_prompts._publishing.report import Report
from yamlgraph_prompts.errors import GraphRefused, PromptNotFound, PromptsError, ReleaseNotFound

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")

MARK_EVERY_S = 60.0

KEY_VARIABLE = "YAMLGRAPH_PROMPTS_KEY"
KEY_LENGTH = 32

# Where no store keeps one; a forked process has its parent's.
_secret_of_this_process = os.urandom(32)

_tokens = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handles of one `LivePrompts` share."""

    engine: Engine
    builds: Builds
    store: Store
    report: Report
    arrival: Arrival
    missing_release: Literal["raise", "live"]


class Owner(Protocol):
    """The `LivePrompts` that a handle belongs to."""

    environment: str

    @property
    def release(self) -> Release: ...

    def find(self, release_id: str) -> Release: ...

    def follow_changes(self) -> None: ...

    def _publish(self, trigger: Trigger) -> object: ...

    def _reread(self, graph: Graph, release: Release) -> GraphFacts: ...


class Handle:
    """The feed of one compiled graph; see `live.Feed`."""

    chosen = False

    def __init__(
        self,
        prompts: Owner,
        parts: Parts,
        graph: Graph,
        recipe: Recipe,
        pin: Pin,
        allow_release_override: bool,
    ) -> None:
        self.owner = prompts
        self.graph = graph
        self.recipe = recipe
        self.pin = pin
        self.allow_release_override = allow_release_override
        self.key = _key(parts.store, prompts.environment)
        self.token = next(_tokens)
        self._builds = parts.builds
        self._missing_release = parts.missing_release
        # Every run comes by these, and each further step to them would be felt.
        self._engine = parts.engine
        self._arrival = parts.arrival
        self._store = parts.store
        self._report = parts.report
        self._marked, self._mark_again = "", 0.0

    def at_once(self) -> Build | None:
        """The live build, unless there is something to wait for."""
        arrival = self._arrival
        if arrival.due or arrival.coming is not None or arrival.late or arrival.unread():
            return None
        return self._live()

    def now(self) -> Build:
        """The live build; blocks only for the first look after a load, and never an event loop."""
        if self._arrival.due or self._arrival.late:
            self._first_use()
        return self._live()

    def current(self) -> Build:
        """The live build, for a run: waits for a saved file, `MOST_S` at most, on a loop too."""
        if self._arrival.due or self._arrival.late:
            self._first_use()
        if not self._arrival.wait():
            self._report.stale_run()
        return self._live()

    async def acurrent(self) -> Build:
        """As `current`, without blocking the event loop."""
        if self._arrival.due or self._arrival.late:
            await asyncio.to_thread(self._first_use)
        if not await self._arrival.awaited():
            self._report.stale_run()
        return self._live()

    def at(self, release: str, graph: str | None) -> Build:
        """The build for a pair that need not be live.

        The ids come from checkpoints and callers, and what is raised goes to the caller, which
        may be a server's client: a full id only, and nothing about what is stored, and where.
        """
        live = self._engine.live
        assert live is not None
        now = live.builds[self.token]
        if now.release == release and graph in (None, now.graph):
            return now
        if not is_full_id(release):
            return self.lost(release)
        today = live.candidate.graphs[self.graph]
        try:
            try:
                return self._builds.at(self, release, graph, today, self.owner.find)
            except GraphRefused:
                # A commit's folder, say, is gone, and what came instead is not live: not yet, or
                # it was refused. The run cannot wait for that.
                today = self.owner._reread(self.graph, self.owner.find(release))
                return self._builds.at(self, release, graph, today, self.owner.find)
        except ReleaseNotFound as problem:
            logger.warning("%s", problem)
            return self.lost(release)
        except PromptNotFound as problem:
            text = f"The release of this run has no prompt {problem.name!r}."
            raise PromptNotFound(text, name=problem.name, tried=problem.tried) from problem
        except PromptsError as problem:
            logger.warning("A run cannot continue with release %s: %s", release[:12], problem)
            raise GraphRefused(
                "The graph cannot be built on the release of this run.",
                findings=getattr(problem, "findings", ()),
                hint="See the log for the cause.",
            ) from problem

    def lost(self, release: str) -> Build:
        """The live build, for a run whose release cannot be had."""
        if self._missing_release == "raise":
            raise ReleaseNotFound(
                "The release of this run was not found.",
                release_id=release,
                hint="Start the thread anew with a fresh input, or let such runs take the live "
                'release: missing_release="live". Replicas that share threads and no store need '
                f"the same {KEY_VARIABLE}; the log says where that is it.",
            )
        message = f"Release {release[:12]!r} of a run was not found. The live release is used."
        logger.warning("%s", message)
        self._report.event("missing-release", message, release=release)
        return self._live()

    def _live(self) -> Build:
        live = self._engine.live
        assert live is not None
        return live.builds[self.token]

    def live_release(self) -> Release:
        return self.owner.release

    def released(self, release: str) -> Release:
        """A release by its id or the beginning of it: an app's own code asks, no client."""
        return self.owner.find(release)

    def ran(self, build: Build) -> None:
        """A run begins: its release is kept for as long as it may wait for a human."""
        now = monotonic()
        if build.release != self._marked or now >= self._mark_again:
            self._store.mark_used(build.release)
            self._mark_again, self._marked = now + MARK_EVERY_S, build.release
        self._report.run_started(build.release)

    def _first_use(self) -> None:
        """After an idle time or a freeze, the first runs must not get old prompts."""
        is_first = self._arrival.due
        with self._arrival.taken():
            self.owner.follow_changes()
            # A sync call on a loop has to do with the look that following takes in its thread.
            if is_first and not on_event_loop():
                with suppress(PromptsError):
                    self.owner._publish(Trigger.FIRST_RUN)


def _key(store: Store, environment: str) -> bytes:
    """What marks the checkpoints of one environment: the store's secret, or the one that is set."""
    if (chosen := os.environ.get(KEY_VARIABLE)) is None:
        secret = store.secret() or _secret_of_this_process
    elif len(chosen) < KEY_LENGTH:
        raise ValueError(f"{KEY_VARIABLE} must have at least {KEY_LENGTH} characters.")
    else:
        secret = os.fsencode(chosen)
    return sha256(b"yamlgraph-prompts key 1\n%b\n%b" % (environment.encode(), secret)).digest()
