"""A node cache that keeps each release's results apart. It never looks at what it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.cache.base import BaseCache, FullKey, Namespace


class ReleaseCache(BaseCache[Any]):
    """Puts a release and a graph revision into every namespace of `inner`, which has neither."""

    def __init__(self, inner: BaseCache[Any], release: str, graph: str) -> None:
        super().__init__(serde=inner.serde)
        self.inner: BaseCache[Any] = inner.inner if isinstance(inner, ReleaseCache) else inner
        self._of = (release, graph)

    def get(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        """The results under these keys that were kept for this release."""
        return self._known(self.inner.get([self._key(key) for key in keys]))

    async def aget(self, keys: Sequence[FullKey]) -> dict[FullKey, Any]:
        return self._known(await self.inner.aget([self._key(key) for key in keys]))

    def set(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        """Keeps the results for this release; the int is their life in seconds."""
        self.inner.set({self._key(key): value for key, value in pairs.items()})

    async def aset(self, pairs: Mapping[FullKey, tuple[Any, int | None]]) -> None:
        await self.inner.aset({self._key(key): value for key, value in pairs.items()})

    def clear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        """Forgets this release's results in these namespaces; without any, everything."""
        self.inner.clear(self._all(namespaces))

    async def aclear(self, namespaces: Sequence[Namespace] | None = None) -> None:
        await self.inner.aclear(self._all(namespaces))

    def _key(self, key: FullKey) -> FullKey:
        namespace, name = key
        return (*namespace, *self._of), name

    def _known(self, results: Mapping[FullKey, Any]) -> dict[FullKey, Any]:
        cut = -len(self._of)
        return {(tuple(namespace)[:cut], name): v for (namespace, name), v in results.items()}

    def _all(self, namespaces: Sequence[Namespace] | None) -> list[Namespace] | None:
        return None if namespaces is None else [(*one, *self._of) for one in namespaces]
