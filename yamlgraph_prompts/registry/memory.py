"""A registry in memory, for tests and for prompts that are given as a mapping."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import NamedTuple

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import NO_FACTS, PackHead, ReleaseFacts
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts.errors import Conflict, ReleaseNotFound
from yamlgraph_prompts.registry.local import LocalRegistry
from yamlgraph_prompts.registry.ports import poll_changes


class MemoryHead(NamedTuple):
    """What `LocalRegistry.head` says too."""

    environment: str | None
    prompts: int
    created_s: float


class MemoryRegistry:
    """Releases and their history for as long as the process lives. Thread-safe."""

    folder = None

    def __init__(self, url: str = "memory:", *, behind: LocalRegistry | None = None) -> None:
        self.url = url
        self.behind = behind
        self._releases: dict[str, tuple[Release, float]] = {}
        self._entries: dict[str, list[Entry]] = {}
        self._lock = threading.RLock()

    @contextmanager
    def lock(self, timeout_s: float | None = None) -> Iterator[None]:
        """Keep every other writer out."""
        with self._lock:
            yield

    def put(self, release: Release, facts: ReleaseFacts = NO_FACTS) -> bool:
        is_new = release.id not in self._releases
        self._releases[release.id] = (release, time.time())
        return is_new

    def get(self, release_id: str) -> Release:
        if self.behind is not None and release_id not in self._releases:
            return self.behind.get(release_id)
        return self._known(release_id)[0]

    def ids(self, prefix: str = "") -> Iterator[str]:
        behind = self.behind.ids(prefix) if self.behind is not None else ()
        known = (one for one in list(self._releases) if one.startswith(prefix))
        return iter(dict.fromkeys((*known, *behind)))

    def head(self, release_id: str) -> MemoryHead | PackHead:
        """A release's environment, number of prompts, and when it came."""
        if self.behind is not None and release_id not in self._releases:
            return self.behind.head(release_id)
        release, at_s = self._known(release_id)
        return MemoryHead(release.environment, len(release), at_s)

    def read_facts(self, release_id: str) -> None:
        """None: nothing outlives the process that could be spared a check."""

    def digests(self, release_id: str) -> Mapping[str, str]:
        """Each prompt's digest in a kept release."""
        return {name: prompt.sha256 for name, prompt in self.get(release_id).prompts.items()}

    def current(self, environment: str) -> Entry | None:
        return next(self.history(environment), None)

    def history(self, environment: str) -> Iterator[Entry]:
        yield from reversed(self._entries.get(environment, ()))
        if self.behind is not None:
            yield from self.behind.history(environment)

    def append(
        self, environment: str, entry: Entry, *, after: Entry | None, written: object = None
    ) -> Entry:
        with self._lock:
            current = self.current(environment)
            if current != after:
                raise Conflict.between(self.url, environment, current)
            entry = replace(entry.after(current), prompts=len(self.get(entry.release)))
            # A new list: readers go on with the one that they have.
            self._entries[environment] = [*self._entries.get(environment, ()), entry]
        return entry

    def changes(self, environment: str, stop: Event) -> Iterator[Entry]:
        return poll_changes(lambda: self.current(environment), stop)

    def sweep_temporaries(self) -> None:
        """Nothing: there are no files."""

    def mark_used(self, release_id: str) -> None:
        """Nothing: a release is kept by number, not by use."""

    def retire(self, keep: int, keep_used_s: float, spared: Collection[str | None]) -> None:
        """Remove all but the newest `keep` releases and the spared ones, and old entries."""
        with self._lock:
            for environment, entries in self._entries.items():
                self._entries[environment] = entries[-2 * keep :]
            live = {one.release for entries in self._entries.values() for one in entries[-keep:]}
            for old in list(self._releases)[:-keep]:
                if old not in live and old not in spared:
                    del self._releases[old]

    def _known(self, release_id: str) -> tuple[Release, float]:
        try:
            return self._releases[release_id]
        except KeyError:
            raise ReleaseNotFound(
                f"Release {release_id[:12]!r} is not kept.", release_id=release_id
            ) from None
