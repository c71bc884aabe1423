"""Which build a run takes: the live one, its thread's own, or its parent's.

The choice is written once, as generators of lookups that a sync or an async caller runs. It never
runs a graph and never holds a lock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._config import ensure_config
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CACHE,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
    NS_SEP,
)
from langgraph._internal._scratchpad import PregelScratchpad
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple
from langgraph.types import Command

from yamlgraph_prompts._live.feed import Build, Compiled, Feed
from yamlgraph_prompts._live.lookups import Fetch, Read, Steps
from yamlgraph_prompts._live.marks import ARM, GRAPH, RELEASE, MarkingSaver, Pair
from yamlgraph_prompts._live.release_cache import ReleaseCache
from yamlgraph_prompts._live.roots import root_run
from yamlgraph_prompts._live.waiting import refuse_lost_answers, waiting, without_tasks


class RunRelease(str):
    """The release in a running graph's metadata; the live graphs inside recognise it by its type.

    Whatever leaves the process (a checkpoint, a trace, a RemoteGraph's request) holds a plain
    string, so no client can send one.
    """

    __slots__ = ("above", "owner")

    owner: object
    above: RunRelease | None

    def __new__(cls, release: str, owner: object, above: RunRelease | None = None) -> RunRelease:
        self = str.__new__(cls, release)
        self.owner = owner
        self.above = above
        return self

    def of(self, owner: object) -> str | None:
        """The release that the run of `owner` is on."""
        run: RunRelease | None = self
        while run is not None:
            if run.owner is owner:
                return str.__str__(run)
            run = run.above
        return None

    def __deepcopy__(self, memo: Any) -> RunRelease:
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str.__str__(self),)


# A caller may not set these; what a parent lends knows nothing of releases.
_OURS = frozenset({RELEASE, GRAPH, ARM, CONFIG_KEY_CACHE, CONFIG_KEY_CHECKPOINTER})
# Whether a graph inside another one resumes; the graph around it sets these.
_CLAIMS = frozenset({CONFIG_KEY_RESUMING, CONFIG_KEY_REPLAY_STATE})
# A call with none of these in its configurable or metadata, and with no run around it, is fresh.
TELLING = _OURS | _CLAIMS | {CONFIG_KEY_TASK_ID, "run_id"}


def run_on(
    feed: Feed, live: Build, graph: Compiled, run_input: Any, config: RunnableConfig | None
) -> Steps[tuple[Build, RunnableConfig]]:
    """The build and config of a run that is not taken `plainly`. `graph` is the live one."""
    full = ensure_config(graph.config, config)
    conf = full[CONF] = _without_claims(full[CONF])
    above = full["metadata"].get(RELEASE)
    above = above if isinstance(above, RunRelease) else None
    parent = None if feed.chosen or above is None else above.of(feed.owner)
    root = None if feed.chosen or parent is not None else root_run(full)
    if root is not None:
        parent = root.releases.get(feed.owner)
        if parent is None and (earlier := root.earlier(full)) is not None:
            parent = earlier.release((yield earlier), feed.owner, feed.key)
    saved: CheckpointTuple | None = None
    read: Read | None = None
    patch: dict[str, Any] = {}
    if _may_resume(run_input, full) or (feed.pin == "thread" and parent is None):
        read, patch = _own_checkpoint(graph, full)
        if read:
            saved = yield read
    pair = Pair.of(saved, feed.key)
    resuming = saved is not None and _resumes(run_input, full, saved)
    wanted = Pair()
    if parent is not None:
        wanted = pair if resuming and pair.release == parent and pair.ours else Pair(parent)
    elif resuming and feed.pin != "none":
        wanted = pair
    elif not resuming and (chosen := _override(feed, full, above)):
        wanted = Pair(chosen)
    elif feed.pin == "thread":
        wanted = pair
    if root is not None:
        agreed = root.releases.setdefault(feed.owner, wanted.release or live.release)
        if agreed != (wanted.release or live.release):  # another one of this run was quicker
            wanted = Pair(agreed)
    if wanted.release in (None, live.release) and wanted.graph in (None, live.graph):
        build = live.for_run(full) if wanted.release is None else live
    else:
        build = yield Fetch(feed, wanted)
    if resuming and read and saved:
        # A graph that a function builds has no revision to compare; its nodes are compared.
        deep = build.graph != pair.graph
        yield from refuse_lost_answers(build.compiled, read, saved, deep=deep)
    # Older LangGraphs replace what they should merge, so it is merged here.
    merged: RunnableConfig = {**(config or {}), "metadata": full["metadata"]}
    merged[CONF] = {**conf, **patch}
    release = RunRelease(build.release, feed.owner, above)
    return build, stamped(merged, {RELEASE: release, GRAPH: build.graph, ARM: build.arm}, feed.key)


def state_on(
    feed: Feed, live: Build, graph: Compiled, config: RunnableConfig
) -> Steps[tuple[Build, Read | None, Pair]]:
    """The build that shows a thread's state, where it was read, and the thread's pair.

    A namespace that no parent lends its saver for is a subgraph's: then the build is the one of
    the thread's root, which has that subgraph.
    """
    full = ensure_config(graph.config, config)
    conf = full[CONF]
    saver = _saver(graph, conf)
    if saver is None or conf.get("thread_id") is None:
        return live, None, Pair()
    namespace = conf.get(CONFIG_KEY_CHECKPOINT_NS, "")
    if graph.checkpointer is True:
        namespace = without_tasks(namespace)
    addressed = _read(saver, full, namespace, conf.get(CONFIG_KEY_CHECKPOINT_ID))
    lent = CONFIG_KEY_CHECKPOINTER in conf
    saved = yield addressed if lent or not namespace else addressed.within("")
    pair = Pair.of(saved, feed.key)
    if feed.pin == "none" or pair.release is None or pair == Pair(live.release, live.graph):
        return live, addressed, pair
    build = yield Fetch(feed, pair, instead=live)
    return build, addressed, pair


def update_on(
    feed: Feed, live: Build, graph: Compiled, config: RunnableConfig
) -> Steps[tuple[Build, Pair]]:
    """The build that a state update runs on, and the pair that its checkpoint must carry on."""
    build, addressed, pair = yield from state_on(feed, live, graph, config)
    conf = config.get(CONF) or {}
    if addressed and CONFIG_KEY_CHECKPOINTER not in conf and conf.get(CONFIG_KEY_CHECKPOINT_NS):
        pair = Pair.of((yield addressed), feed.key)
    return build, pair


def stamped(config: RunnableConfig, stamp: Mapping[str, str], key: bytes) -> RunnableConfig:
    """`config` with a build's pair in its metadata, for checkpoints, traces and graphs inside."""
    out: RunnableConfig = {**config}
    out["metadata"] = {**(config.get("metadata") or {}), **stamp}
    conf = out.get(CONF)
    if conf and not _OURS.isdisjoint(conf):
        conf = {key: value for key, value in conf.items() if key not in (RELEASE, GRAPH, ARM)}
        if isinstance(cache := conf.get(CONFIG_KEY_CACHE), BaseCache):
            conf[CONFIG_KEY_CACHE] = ReleaseCache(cache, str(stamp[RELEASE]), stamp[GRAPH])
        if isinstance(saver := conf.get(CONFIG_KEY_CHECKPOINTER), BaseCheckpointSaver):
            pair = Pair(str(stamp[RELEASE]), stamp[GRAPH])
            conf[CONFIG_KEY_CHECKPOINTER] = MarkingSaver(saver, pair, key)
        out[CONF] = conf
    return out


def _without_claims(conf: Mapping[str, Any]) -> dict[str, Any]:
    """The configurable, without LangGraph's own keys where LangGraph has not set them.

    A client's request holds no function, so it cannot pass for a task of a graph around this one.
    """
    own = callable(conf.get(CONFIG_KEY_SEND))
    return {name: value for name, value in conf.items() if own or name not in _CLAIMS}


def _override(feed: Feed, full: RunnableConfig, above: RunRelease | None) -> str | None:
    # Below a live graph the metadata holds that graph's release, not a caller's wish.
    if above or not feed.allow_release_override:
        return None
    wish = full[CONF].get(RELEASE) or full["metadata"].get(RELEASE)
    return wish if isinstance(wish, str) else None


def _continues(run_input: Any, conf: Mapping[str, Any]) -> bool:
    return bool(conf.get(CONFIG_KEY_RESUMING, run_input is None or isinstance(run_input, Command)))


def _may_resume(run_input: Any, full: RunnableConfig) -> bool:
    """LangGraph's rule, as far as it holds without the checkpoint."""
    conf, metadata = full[CONF], full["metadata"]
    if _continues(run_input, conf):
        return True
    if CONFIG_KEY_RESUMING in conf or CONFIG_KEY_TASK_ID in conf:
        return False
    # The same run id continues a run; the LangGraph server sets the number of the attempt.
    return "run_id" in metadata and metadata.get("run_attempt") != 1


def _resumes(run_input: Any, full: RunnableConfig, saved: CheckpointTuple) -> bool:
    """Whether this call continues an interrupted run: one that still has something to do."""
    if not saved.checkpoint["channel_versions"] or not waiting(saved):
        return False
    if _continues(run_input, full[CONF]):
        return True
    run_id = full["metadata"].get("run_id")
    return _may_resume(run_input, full) and run_id == (saved.metadata or {}).get("run_id")


def _saver(graph: Compiled, conf: Mapping[str, Any]) -> BaseCheckpointSaver[Any] | None:
    if graph.checkpointer is False:
        return None
    saver = conf.get(CONFIG_KEY_CHECKPOINTER, graph.checkpointer)
    return saver if isinstance(saver, BaseCheckpointSaver) else None


def _own_checkpoint(graph: Compiled, full: RunnableConfig) -> tuple[Read | None, dict[str, Any]]:
    """Where LangGraph's loop will look for this run's checkpoint, and a patch of its config."""
    conf = full[CONF]
    saver = _saver(graph, conf)
    if saver is None or conf.get("thread_id") is None:
        return None, {}
    namespace = conf.get(CONFIG_KEY_CHECKPOINT_NS, "")
    checkpoint_id = conf.get(CONFIG_KEY_CHECKPOINT_ID)
    patch: dict[str, Any] = {}
    if graph.checkpointer is True:
        namespace = without_tasks(namespace)
    if isinstance(scratchpad := conf.get(CONFIG_KEY_SCRATCHPAD), PregelScratchpad):
        # The loop draws this number to tell a task's second subgraph from its first. It can be
        # drawn once only, so the loop gets the one that was drawn here.
        count = scratchpad.subgraph_counter()
        patch[CONFIG_KEY_SCRATCHPAD] = dataclasses.replace(
            scratchpad, subgraph_counter=lambda: count
        )
        namespace = f"{namespace}{NS_SEP}{count}" if count else namespace
    if CONFIG_KEY_TASK_ID not in conf and namespace:
        namespace, checkpoint_id = "", None
    addresses = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
    checkpoint_id = addresses.get(namespace, checkpoint_id)
    if checkpoint_id is None and conf.get(CONFIG_KEY_REPLAY_STATE):
        return None, patch  # LangGraph starts this subgraph over, from its input
    return _read(saver, full, namespace, checkpoint_id), patch


def _read(
    saver: BaseCheckpointSaver[Any], full: RunnableConfig, namespace: str, checkpoint_id: Any
) -> Read:
    conf = {
        **full[CONF],
        "thread_id": str(full[CONF]["thread_id"]),
        CONFIG_KEY_CHECKPOINT_NS: namespace,
        CONFIG_KEY_CHECKPOINT_ID: checkpoint_id,
    }
    if checkpoint_id is None:
        del conf[CONFIG_KEY_CHECKPOINT_ID]
    return Read(saver, {**full, CONF: conf})
