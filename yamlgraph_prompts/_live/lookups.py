"""The lookups that the choice of a build needs, and two ways to run them: sync and async."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_ID, CONFIG_KEY_CHECKPOINT_NS
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from yamlgraph_prompts._live.feed import Build, Feed
from yamlgraph_prompts._live.marks import Pair
from yamlgraph_prompts._live.roots import Earlier
from yamlgraph_prompts.errors import ReleaseNotFound

logger = logging.getLogger("yamlgraph_prompts")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Read:
    saver: BaseCheckpointSaver[Any]
    config: RunnableConfig

    def now(self) -> CheckpointTuple | None:
        return self.saver.get_tuple(self.config)

    async def later(self) -> CheckpointTuple | None:
        return await self.saver.aget_tuple(self.config)

    def within(self, namespace: str) -> Read:
        conf = {k: v for k, v in self.config[CONF].items() if k != CONFIG_KEY_CHECKPOINT_ID}
        conf[CONFIG_KEY_CHECKPOINT_NS] = namespace
        return Read(self.saver, {**self.config, CONF: conf})


@dataclass(frozen=True, slots=True)
class Fetch:
    """Gets the build of a pair; `instead` is taken where the release is gone."""

    feed: Feed
    pair: Pair
    instead: Build | None = None

    def now(self) -> Build:
        release = self.pair.release
        assert release is not None
        try:
            if self.pair.ours:
                return self.feed.at(release, self.pair.graph)
            logger.warning(
                "Another store has recorded release %r of a run. Processes that share threads "
                "share a store, or the value of YAMLGRAPH_PROMPTS_KEY.",
                release[:12],
            )
            return self.feed.lost(release)
        except ReleaseNotFound as gone:
            if self.instead is None:
                raise
            logger.warning(
                "The state of a thread is read with the live graph instead of release %r: %s",
                release[:12],
                gone,
            )
            return self.instead

    async def later(self) -> Build:
        return await asyncio.to_thread(self.now)


Steps: TypeAlias = Generator[Read | Fetch | Earlier, Any, T]


def settle(steps: Steps[T]) -> T:
    """The result of `steps`, looked up in this thread."""
    answer: Any = None
    while True:
        try:
            lookup = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = lookup.now()


async def asettle(steps: Steps[T]) -> T:
    """The result of `steps`, without ever blocking the event loop."""
    answer: Any = None
    while True:
        try:
            lookup = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result
        answer = await lookup.later()
