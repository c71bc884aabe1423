"""Which compiled graph, with which config, each call of a live graph gets. It runs none itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._config import ensure_config
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINTER
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command

from yamlgraph_prompts._live.feed import Build, Compiled, Feed, Pin
from yamlgraph_prompts._live.lookups import Steps, asettle, settle
from yamlgraph_prompts._live.marks import ARM, GRAPH, RELEASE, MarkingSaver, Pair
from yamlgraph_prompts._live.pinning import TELLING, RunRelease, run_on, state_on, update_on
from yamlgraph_prompts._live.release_cache import ReleaseCache

KEPT = 4


@dataclass(frozen=True, slots=True)
class Ready:
    """A build with the changes of one `Runs`; made once, since every call needs it."""

    build: Build
    graph: Compiled
    stamp: Mapping[str, str]
    """The metadata of a fresh run."""
    plain: bool
    """Whether a fresh run is on this build without further lookups."""


class Runs:
    """A feed, and the changes that a copy of its live graph makes to every build."""

    __slots__ = ("changes", "feed", "kept")

    def __init__(self, feed: Feed, changes: Mapping[str, Any]) -> None:
        self.feed = feed
        self.changes = changes
        self.kept: tuple[Ready, ...] = ()

    def changed(self, update: Mapping[str, Any]) -> Runs:
        return Runs(self.feed, {**self.changes, **update}) if update else self

    def held(self, live: Build) -> Runs:
        """The same, staying on one build."""
        runs = Runs(_Held(self.feed, live), self.changes)
        runs.kept = self.kept
        return runs

    def on(self, release: str) -> Runs:
        """The same, with every run, resume and fork on one release, or on the ``"live"`` one."""
        feed = self.feed
        while isinstance(feed, (_Held, _Unpinned)):
            feed = feed._feed
        if release != "live":
            feed = _Held(feed, feed.at(feed.released(release).id, None))
        return Runs(_Unpinned(feed), self.changes)

    def ready(self, build: Build) -> Ready:
        """The build with the changes; a build itself is never changed."""
        for known in self.kept:
            if known.build is build:
                return known
        feed, graph, changes = self.feed, build.compiled, dict(self.changes)
        if (cache := changes.get("cache")) is not None:
            changes["cache"] = ReleaseCache(cache, build.release, build.graph)
        saver = changes.get("checkpointer", graph.checkpointer)
        if isinstance(saver, BaseCheckpointSaver):
            pair = Pair(build.release, build.graph)
            changes["checkpointer"] = MarkingSaver(saver, pair, feed.key)
        if changes:
            graph = graph.copy(changes)
        plain = feed.pin != "thread" and not feed.allow_release_override and not graph.config
        release = RunRelease(build.release, feed.owner)
        stamp = {RELEASE: release, GRAPH: build.graph, ARM: build.arm}
        ready = Ready(build, graph, stamp, plain)
        self.kept = (ready, *self.kept[: KEPT - 1])
        return ready

    def graph(self, build: Build) -> Compiled:
        return self.ready(build).graph

    def live_graph(self) -> Compiled:
        return self.graph(self.feed.now())

    def plainly(
        self, live: Build | None, run_input: Any, config: RunnableConfig | None
    ) -> tuple[Compiled, RunnableConfig] | None:
        """The graph and config of a call that is certainly fresh; None for any other.

        Most calls are such, and each further function would cost them time.
        """
        if live is None or run_input is None or isinstance(run_input, Command):
            return None
        build, kept = live.for_run(config), self.kept
        ready = kept[0] if kept and kept[0].build is build else self.ready(build)
        if not ready.plain or var_child_runnable_config.get() is not None:
            return None
        if not config:
            chosen: RunnableConfig = {"metadata": {**ready.stamp}}
        else:
            metadata = config.get("metadata") or {}
            if not TELLING.isdisjoint(config.get(CONF) or ()) or not TELLING.isdisjoint(metadata):
                return None
            chosen = {**config, "metadata": {**metadata, **ready.stamp}}
        self.feed.ran(build)
        return ready.graph, chosen

    def start(
        self, live: Build, run_input: Any, config: RunnableConfig | None
    ) -> tuple[Compiled, RunnableConfig]:
        """The graph and config of a call."""
        if plain := self.plainly(live, run_input, config):
            return plain
        return self._began(*settle(run_on(self.feed, live, self.graph(live), run_input, config)))

    async def astart(
        self, run_input: Any, config: RunnableConfig | None
    ) -> tuple[Compiled, RunnableConfig]:
        """As `start`, of the live build."""
        live = await self.feed.acurrent()
        if plain := self.plainly(live, run_input, config):
            return plain
        return self._began(
            *await asettle(run_on(self.feed, live, self.graph(live), run_input, config))
        )

    def _began(self, build: Build, config: RunnableConfig) -> tuple[Compiled, RunnableConfig]:
        self.feed.ran(build)
        return self.graph(build), config

    def reading(self, config: RunnableConfig) -> Steps[Compiled]:
        live = self.feed.now()
        build, _, _ = yield from state_on(self.feed, live, self.graph(live), config)
        return self.graph(build)

    def updating(self, config: RunnableConfig) -> Steps[tuple[Compiled, RunnableConfig]]:
        """The graph and the config with which an update keeps the thread's pair."""
        live = self.feed.now()
        build, pair = yield from update_on(self.feed, live, self.graph(live), config)
        graph = self.graph(build)
        conf = ensure_config(graph.config, config)[CONF]
        lent = conf.get(CONFIG_KEY_CHECKPOINTER)
        saver = graph.checkpointer if lent is None else lent
        if isinstance(saver, BaseCheckpointSaver):
            saver = MarkingSaver(saver, pair, self.feed.key)
            if lent is None:
                return graph.copy({"checkpointer": saver}), config
            config = {**config, CONF: {**conf, CONFIG_KEY_CHECKPOINTER: saver}}
        return graph, config


class _Held:
    """A feed that stays on one build."""

    def __init__(self, feed: Feed, build: Build) -> None:
        self._feed = feed
        self._build = build

    def at_once(self) -> Build:
        return self._build

    now = current = at_once

    async def acurrent(self) -> Build:
        return self._build

    def live_release(self) -> Any:
        return self._feed.released(self._build.release)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)


class _Unpinned:
    """A feed whose runs, resumes and forks take its current build, whatever they began with."""

    pin: Pin = "none"
    allow_release_override = False
    chosen = True

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)
