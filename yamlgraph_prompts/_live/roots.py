"""The releases of a run whose root is no live graph: the live graphs inside agree on them.

What identifies such a run is an object that LangGraph makes for each root run. In a run that may
have begun before an interrupt, what its live graphs saved then tells their release.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_TASK_ID,
)
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from yamlgraph_prompts._live.marks import Pair, unmarking

KEPT = 10_000  # runs, and threads of a checkpointer
LISTED = 50  # checkpoints of a thread

Releases = WeakKeyDictionary[Any, str]  # by owner
# The root's checkpoint where a live graph was first met, and the releases of that run.
Seen = tuple[str | None, Releases]


@dataclass(frozen=True, slots=True)
class RootRun:
    """The run around some live graphs."""

    control: object  # LangGraph's; while it is kept, its id is its own
    checkpoint: str | None
    before: Seen | None  # the last run that was seen in this thread
    releases: Releases = field(default_factory=WeakKeyDictionary)

    def earlier(self, full: RunnableConfig) -> Earlier | None:
        """What must be read to know what it took before this process saw it."""
        saver, thread = _thread(full[CONF])
        return None if saver is None else Earlier(self, saver, thread)


@dataclass(frozen=True, slots=True)
class Earlier:
    """Reads what a root run has saved, until now and before an interrupt."""

    run: RootRun
    saver: BaseCheckpointSaver[Any]
    thread: str

    def now(self) -> list[CheckpointTuple]:
        return [*self.saver.list(self._config, limit=LISTED)]

    async def later(self) -> list[CheckpointTuple]:
        return [one async for one in self.saver.alist(self._config, limit=LISTED)]

    @property
    def _config(self) -> RunnableConfig:
        return {CONF: {"thread_id": self.thread}}

    def release(self, saved: list[CheckpointTuple], owner: Any, key: bytes) -> str | None:
        """Which release the graphs of an owner, whose marks have this key, took in this run."""
        chain = self._chain(saved)
        if self.run.before is not None and self.run.before[0] in chain:
            return self.run.before[1].get(owner)
        for one in sorted(saved, key=lambda one: one.checkpoint["id"], reverse=True):
            if _namespace(one) and one.metadata.get("parents", {}).get("") in chain:
                pair = Pair.of(one, key)
                if pair.release is not None and pair.ours:
                    return pair.release
        return None

    def _chain(self, saved: list[CheckpointTuple]) -> set[str]:
        """The root's checkpoints from this step back to the input."""
        roots = {one.checkpoint["id"]: one for one in saved if not _namespace(one)}
        chain: set[str] = set()
        at = self.run.checkpoint
        while at in roots and at not in chain:
            chain.add(at)
            parent = roots[at].parent_config
            is_input = roots[at].metadata.get("source") == "input"
            at = None if is_input or parent is None else parent[CONF].get(CONFIG_KEY_CHECKPOINT_ID)
        return chain


def _namespace(saved: CheckpointTuple) -> Any:
    return saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS)


_lock = threading.Lock()
_runs: OrderedDict[int, RootRun] = OrderedDict()
_threads: WeakKeyDictionary[Any, OrderedDict[str, Seen]] = WeakKeyDictionary()


def root_run(full: RunnableConfig) -> RootRun | None:
    """The run around a call; None where there is none."""
    conf = full[CONF]
    control = getattr(conf.get(CONFIG_KEY_RUNTIME), "control", None)
    if control is None or CONFIG_KEY_TASK_ID not in conf:
        return None
    with _lock:
        run = _runs.get(id(control))
        return _begun(control, conf) if run is None else run


def _begun(control: object, conf: Mapping[str, Any]) -> RootRun:
    checkpoint = (conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}).get("")
    saver, thread = _thread(conf)
    if saver is None:
        run = RootRun(control, checkpoint, None)
    else:
        threads = _threads.setdefault(saver, OrderedDict())
        run = RootRun(control, checkpoint, threads.get(thread))
        _keep(threads, thread, (checkpoint, run.releases))
    _keep(_runs, id(control), run)
    return run


def _thread(conf: Mapping[str, Any]) -> tuple[BaseCheckpointSaver[Any] | None, str]:
    saver, thread = unmarking(conf.get(CONFIG_KEY_CHECKPOINTER)), conf.get("thread_id")
    if thread is None or not isinstance(saver, BaseCheckpointSaver):
        return None, ""
    return saver, str(thread)


def _keep(among: OrderedDict[Any, Any], key: object, value: object) -> None:
    among[key] = value
    among.move_to_end(key)
    while len(among) > KEPT:
        among.popitem(last=False)
