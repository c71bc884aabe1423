"""The pair that a checkpoint was made with, and the mark without which it does not count.

Code that runs a graph on a thread can write any metadata into its checkpoints, and so can the
clients of a LangGraph server. So a release there counts only with a mark made with the key of this
process's store. A mark is valid for one checkpoint only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

RELEASE = "prompts_release"
GRAPH = "prompts_graph"
ARM = "prompts_arm"
MARK = "release_mark"

_STAMP = frozenset({RELEASE, GRAPH, ARM, MARK})


@dataclass(frozen=True, slots=True)
class Pair:
    """The release and graph revision that a checkpoint was made with, as far as they are known."""

    release: str | None = None  # its id; None: nothing that counts is recorded
    graph: str | None = None
    ours: bool = True  # False: another store recorded it, so it does not count

    @classmethod
    def of(cls, saved: CheckpointTuple | None, key: bytes) -> Pair:
        metadata: Mapping[str, Any] = saved.metadata if saved and saved.metadata else {}
        release, graph, mark = (metadata.get(name) for name in (RELEASE, GRAPH, MARK))
        if not (saved and isinstance(release, str) and isinstance(graph, str)):
            return cls()
        if not isinstance(mark, str):
            return cls()
        expected = _mark(key, release, graph, saved.checkpoint["id"])
        if compare_digest(mark.encode("utf-8", "replace"), expected.encode()):
            return cls(release, graph)
        # A wrong mark of this key was copied from another checkpoint.
        return cls() if mark.partition(".")[0] == _name(key) else cls(release, None, ours=False)


class MarkingSaver(BaseCheckpointSaver[Any]):
    """Another checkpointer that records in what it saves which pair that was made with."""

    def __init__(self, inner: BaseCheckpointSaver[Any], pair: Pair, key: bytes) -> None:
        # Not the base's __init__: the inner one's serializer is this one's.
        self.inner: BaseCheckpointSaver[Any] = unmarking(inner)
        self._pair = pair
        self._key = key

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        """Save, with the pair and its mark."""
        config, metadata = self._stamped(config, checkpoint, metadata)
        return self.inner.put(config, checkpoint, metadata, new_versions)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        config, metadata = self._stamped(config, checkpoint, metadata)
        return await self.inner.aput(config, checkpoint, metadata, new_versions)

    def with_allowlist(self, extra_allowlist: Any) -> MarkingSaver:
        """The same over the inner one's clone."""
        return MarkingSaver(self.inner.with_allowlist(extra_allowlist), self._pair, self._key)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _stamped(
        self, config: RunnableConfig, checkpoint: Any, metadata: Any
    ) -> tuple[RunnableConfig, Any]:
        pair, key = self._pair, self._key
        if pair.ours and pair.release is not None:
            release, graph = pair.release, str(pair.graph)
            mark = _mark(key, release, graph, checkpoint["id"])
            # Savers prefer this to the config.
            return config, {**metadata, RELEASE: release, GRAPH: graph, MARK: mark}
        clean: Any = {**config, CONF: _without_stamp(config.get(CONF))}
        clean["metadata"] = _without_stamp(config.get("metadata"))
        return clean, _without_stamp(metadata)


def unmarking(saver: Any) -> Any:
    """The checkpointer that a user gave; anything else as it is."""
    return saver.inner if isinstance(saver, MarkingSaver) else saver


class _Inner:
    """A name that every checkpointer has: on a `MarkingSaver` it means the inner one's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, saver: MarkingSaver | None, owner: type) -> Any:
        return getattr(BaseCheckpointSaver if saver is None else saver.inner, self.name)


for _one in vars(BaseCheckpointSaver).keys() - vars(MarkingSaver).keys():
    if not _one.startswith("__"):
        setattr(MarkingSaver, _one, _Inner(_one))


def _without_stamp(mapping: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (mapping or {}).items() if name not in _STAMP}


def _mark(key: bytes, release: str, graph: str, checkpoint_id: object) -> str:
    data = f"{release}\0{graph}\0{checkpoint_id}".encode("utf-8", "surrogatepass")
    return f"{_name(key)}.{blake2b(data, key=key, digest_size=16).hexdigest()}"


@lru_cache(maxsize=16)
def _name(key: bytes) -> str:
    """A name that distinguishes keys and reveals nothing else of them."""
    return blake2b(key=key, digest_size=4, person=b"name").hexdigest()
