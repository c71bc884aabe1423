"""Follows changes of the layers, the graphs and the store, in whichever process is using them."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yamlgraph_prompts.candidate import Graph
from yamlgraph_prompts.fetch import LayerReader

if TYPE_CHECKING:
    from yamlgraph_prompts.watch import Watch

logger = logging.getLogger("yamlgraph_prompts")


class Following:
    """Watches everything that a publication would look at, and the store. Starts with the first use.

    Args:
        readers: The layers.
        graphs: The attached graphs; may grow.
        store_paths: The files by which another process says that it changed what is live.
        changed: Called with the reason when a layer or a graph may have changed.
        pointed: Called with the reason when the store's pointer may have changed.
        trouble: Called with what happened to the watcher and the same in words.
        refresh_s: Seconds between two looks at what tells no news by itself.
    """

    def __init__(
        self,
        readers: Sequence[LayerReader],
        graphs: Sequence[Graph],
        store_paths: Callable[[], Iterable[Path]],
        changed: Callable[[str], object],
        pointed: Callable[[str], object],
        trouble: Callable[[str, str], object],
        refresh_s: float,
    ) -> None:
        self._readers = readers
        self._graphs = graphs
        self._store_paths = store_paths
        self._changed = changed
        self._pointed = pointed
        self._trouble = trouble
        self._refresh_s = refresh_s
        self._watches: tuple[Watch, ...] | None = None

    @property
    def started(self) -> bool:
        """Whether changes are followed in this process."""
        return self._watches is not None

    def start(self) -> None:
        """Begin, for whatever there is that could change."""
        if self._watches is not None or os.environ.get("YAMLGRAPH_PROMPTS_WATCH") == "0":
            return
        from yamlgraph_prompts.watch import Watch

        watches = []
        if any(reader.remote for reader in self._readers) or any(True for _ in self._paths()):
            watches.append(
                Watch(
                    self._changed,
                    paths=self._paths,
                    fingerprint=self._fingerprint,
                    poll_s=self._refresh_s,
                    on_trouble=self._trouble,
                )
            )
        if any(True for _ in self._store_paths()):
            watches.append(Watch(self._pointed, paths=self._store_paths, poll_s=self._refresh_s))
        self._watches = tuple(watches)
        for watch in watches:
            watch.start()
        # What changed between the load and now is no news to a watch.
        look = threading.Thread(
            target=self._changed, args=("first look",), name="yamlgraph-prompts-look", daemon=True
        )
        look.start()

    def rearm(self) -> None:
        """There may be more to follow than before."""
        for watch in self._watches or ():
            watch.rearm()

    def forget(self) -> None:
        """The watches belong to the process that this one was forked from."""
        self._watches = None

    def close(self) -> None:
        """Stop; no thread stays behind."""
        watches, self._watches = self._watches, None
        for watch in watches or ():
            watch.close()

    def _paths(self) -> Iterator[Path]:
        for reader in self._readers:
            yield from reader.watched()
        for graph in list(self._graphs):
            yield from graph.watched()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for reader in self._readers:
            digest.update(reader.version().encode())
        for path in (path for graph in list(self._graphs) for path in graph.watched()):
            try:
                digest.update(path.read_bytes() if path.is_file() else b"-")
            except OSError as problem:
                digest.update(str(problem.errno).encode())
        return digest.hexdigest()
