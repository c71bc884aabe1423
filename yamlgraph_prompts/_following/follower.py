"""Follows changes of the layers, the graphs and the store, in each process that uses them."""

from __future__ import annotations

import _thread
import hashlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._files.forks import forks_wait_for
from yamlgraph_prompts._following.arrival import Arrival
from yamlgraph_prompts._model.graph import Graph
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from yamlgraph_prompts._following.remote import RemoteFollower
    from yamlgraph_prompts._following.watch import Watch
    from yamlgraph_prompts.errors import LayerError

logger = logging.getLogger("yamlgraph_prompts")


class Following:
    """Watches all that a publication would look at, and the store. Starts with the first use.

    Its callbacks are methods and held weakly: a watching thread keeps no unused object alive.
    """

    def __init__(
        self,
        readers: Sequence[LayerReader],
        graphs: Callable[[], Iterable[Graph]],
        store_paths: Callable[[], Iterable[Path]],
        changed: Callable[[Trigger], object],
        pointed: Callable[[Trigger], object],
        trouble: Callable[[str, str], object],
        unreadable: Callable[[LayerError], object],
        readable: Callable[[], object],
        refresh_s: float,
        arrival: Arrival,
    ) -> None:
        self._readers = readers
        self._graphs = graphs
        self._store_paths = store_paths
        self._take = _weakly(changed)
        self._pointed = _weakly(pointed)
        self._trouble = _weakly(trouble)
        self._unreadable = _weakly(unreadable)
        self._readable = _weakly(readable)
        self._refresh_s = refresh_s
        self.arrival = arrival
        self._watches: tuple[Watch | RemoteFollower, ...] | None = None
        self._files: Watch | None = None
        self._starting = threading.Lock()

    @property
    def started(self) -> bool:
        return self._watches is not None

    @property
    def polling(self) -> bool:
        """Whether files are compared now and then, as there are no file events."""
        return any(getattr(watch, "mode", "") == "polling" for watch in self._watches or ())

    @property
    def will_tell(self) -> bool:
        """Whether files may be half written just now; their change will be reported."""
        return self._files is not None and self._files.unsettled

    def start(self) -> None:
        with self._starting:
            self.arrival.due = False
            if self._watches is not None or os.environ.get("YAMLGRAPH_PROMPTS_WATCH") == "0":
                return
            self._watches = watches = tuple(self._made())
        if watches:
            # Looking where to watch takes time that the event loop of a first run does not have.
            threading.Thread(
                target=self._begin, args=(watches,), name="yamlgraph-prompts-look", daemon=True
            ).start()

    def _begin(self, watches: tuple[Watch | RemoteFollower, ...]) -> None:
        with _importing:
            import yamlgraph_prompts._following.watch.file_events  # noqa: F401
        for watch in watches:
            watch.start()
            if self._watches is not watches:
                watch.close()
        # A watch does not see what changed between the load and now.
        if self._watches is watches:
            self._take(Trigger.FIRST_LOOK)

    def _made(self) -> Iterator[Watch | RemoteFollower]:
        from yamlgraph_prompts._following.remote import RemoteFollower
        from yamlgraph_prompts._following.watch import Watch

        for reader in self._readers:
            if reader.remote:
                yield RemoteFollower(reader, self._take, self._unreadable, self._readable)
        if any(True for _ in self._paths()):
            self._files = Watch(
                self._take,
                paths=self._paths,
                fingerprint=self._fingerprint,
                poll_s=self._refresh_s,
                on_trouble=self._trouble,
                arrival=self.arrival,
                on_tick=self.arrival.tick,
            )
            yield self._files
        if any(True for _ in self._store_paths()):
            tick = self.arrival.tick
            yield Watch(
                self._pointed, paths=self._store_paths, poll_s=self._refresh_s, on_tick=tick
            )

    def rearm(self) -> None:
        """There may be more to follow than before."""
        for watch in self._watches or ():
            watch.rearm()

    def forget(self) -> None:
        """The watches belong to the process that this one was forked from."""
        self._watches = self._files = None
        self._starting = threading.Lock()
        self.arrival.renew()

    def close_soon(self) -> None:
        """As `close`, from a thread of its own: during a GC any lock may be held."""
        if self._watches:
            # Not through `threading`, whose own lock may be the one that is held.
            with suppress(RuntimeError):
                _thread.start_new_thread(self.close, ())

    def close(self) -> None:
        """Stop for good; no thread stays behind."""
        self.arrival.due = False
        watches, self._watches, self._files = self._watches, (), None
        for watch in watches or ():
            watch.close()

    def _paths(self) -> Iterator[Path]:
        for reader in self._readers:
            yield from reader.watched()
        for graph in self._graphs():
            yield from graph.watched()

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for reader in self._readers:
            if not reader.remote:
                digest.update(reader.version().encode())
        for path in (path for graph in self._graphs() for path in graph.watched()):
            try:
                digest.update(path.read_bytes() if path.is_file() else b"-")
            except OSError as problem:
                digest.update(str(problem.errno).encode())
        return digest.hexdigest()


def _weakly(method: Callable[..., object]) -> Callable[..., object]:
    weak = weakref.WeakMethod(method)

    def call(*args: Any) -> object:
        alive = weak()
        return alive(*args) if alive is not None else None

    return call


# A fork waits for it: what another thread is just importing, the child could never import.
_importing = threading.Lock()
forks_wait_for(_importing)
