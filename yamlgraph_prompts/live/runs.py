"""Which compiled graph, with which config, each call of a live graph gets. It runs none itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINTER
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import Command, StateUpdate

from yamlgraph_prompts.live.feed import GRAPH, RELEASE, Build, Compiled, Feed, Pair
from yamlgraph_prompts.live.lookups import Steps, asettle, settle
from yamlgraph_prompts.live.pinning import (
    RunRelease,
    run_on,
    stamped,
    state_on,
    surely_fresh,
    update_on,
)
from yamlgraph_prompts.live.release_cache import ReleaseCache

KEPT_COPIES = 4


class Runs:
    """A feed, and the changes that a copy of its live graph makes to every build."""

    __slots__ = ("carried", "changes", "copies", "feed", "plain")

    def __init__(self, feed: Feed, changes: Mapping[str, Any]) -> None:
        self.feed = feed
        self.changes = changes
        self.copies: tuple[tuple[Build, Compiled], ...] = ()
        self.carried: tuple[Build, RunRelease] | None = None
        self.plain = not changes and feed.pin != "thread" and not feed.allow_release_override

    def changed(self, update: Mapping[str, Any]) -> Runs:
        return Runs(self.feed, {**self.changes, **update}) if update else self

    def held(self) -> Runs:
        """The same, staying on the build that is live now."""
        runs = Runs(_Held(self.feed), self.changes)
        runs.copies = self.copies
        return runs

    def graph(self, build: Build) -> Compiled:
        """The build's graph with the changes; a build itself is never changed."""
        if not self.changes:
            return build.compiled
        for known, graph in self.copies:
            if known is build:
                return graph
        changes = dict(self.changes)
        if (cache := changes.get("cache")) is not None:
            changes["cache"] = ReleaseCache(cache, build.release, build.graph)
        graph = build.compiled.copy(changes)
        self.copies = ((build, graph), *self.copies[: KEPT_COPIES - 1])
        return graph

    def release(self, build: Build) -> RunRelease:
        """What a fresh run carries as its release; made once for a build."""
        known = self.carried
        if known is None or known[0] is not build:
            self.carried = known = (build, RunRelease(build.release, self.feed.owner))
        return known[1]

    def live_graph(self) -> Compiled:
        return self.graph(self.feed.current())

    def begin(self, given: Any, config: RunnableConfig | None) -> tuple[Compiled, RunnableConfig]:
        """What a call that begins now runs, and with which config."""
        feed = self.feed
        live = feed.current()
        # Most calls are such; `start` would come to the same with more steps.
        if (
            config is None
            and self.plain
            and given is not None
            and not isinstance(given, Command)
            and var_child_runnable_config.get() is None
        ):
            feed.ran(live)
            return live.compiled, {"metadata": {RELEASE: self.release(live), GRAPH: live.graph}}
        return self.start(live, given, config)

    def start(
        self, live: Build, given: Any, config: RunnableConfig | None
    ) -> tuple[Compiled, RunnableConfig]:
        feed, graph = self.feed, self.graph(live)
        if surely_fresh(feed, graph, given, config):
            feed.ran(live)
            return graph, stamped(config or {}, live, self.release(live))
        build, chosen = settle(run_on(feed, live, graph, given, config))
        feed.ran(build)
        return self.graph(build), chosen

    async def astart(
        self, live: Build, given: Any, config: RunnableConfig | None
    ) -> tuple[Compiled, RunnableConfig]:
        feed, graph = self.feed, self.graph(live)
        if surely_fresh(feed, graph, given, config):
            feed.ran(live)
            return graph, stamped(config or {}, live, self.release(live))
        build, chosen = await asettle(run_on(feed, live, graph, given, config))
        feed.ran(build)
        return self.graph(build), chosen

    def reading(self, config: RunnableConfig) -> Steps[Compiled]:
        live = self.feed.current()
        build, _, _ = yield from state_on(self.feed, live, self.graph(live), config)
        return self.graph(build)

    def updating(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> Steps[tuple[Compiled, RunnableConfig]]:
        """The graph and the config with which an update keeps the thread's pair."""
        live = self.feed.current()
        build, pair = yield from update_on(self.feed, live, self.graph(live), config)
        graph = self.graph(build)
        config = {**config, "metadata": pair.stamp(config.get("metadata"))}
        if any(update[1] == "__copy__" for updates in supersteps for update in updates):
            # LangGraph writes a copied checkpoint without the caller's metadata.
            conf = config.get(CONF) or {}
            if CONFIG_KEY_CHECKPOINTER in conf:
                saver = _stamping(conf[CONFIG_KEY_CHECKPOINTER], pair)
                config[CONF] = {**conf, CONFIG_KEY_CHECKPOINTER: saver}
            else:
                graph = graph.copy({"checkpointer": _stamping(graph.checkpointer, pair)})
        return graph, config


class _Held:
    """A feed that stays on the build that was live when it was made."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._build = feed.current()

    def current(self) -> Build:
        return self._build

    async def acurrent(self) -> Build:
        return self._build

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)


def _stamping(saver: Any, pair: Pair) -> Any:
    """The same saver, putting the pair into the metadata of what it saves."""
    if not isinstance(saver, BaseCheckpointSaver):
        return saver
    clone: Any = copy.copy(saver)

    def put(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        return saver.put(config, checkpoint, pair.stamp(metadata), versions)

    async def aput(config: Any, checkpoint: Any, metadata: Any, versions: Any) -> Any:
        return await saver.aput(config, checkpoint, pair.stamp(metadata), versions)

    clone.put, clone.aput = put, aput
    return clone
