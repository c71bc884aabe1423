"""The releases of this host: the last good one survives restarts and outages.

Writes beside, syncs and renames once; never serves a release that is not what its id says.
"""

from __future__ import annotations

import logging
import math
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path

from yamlgraph_prompts._files import disk
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import NO_FACTS, ReleaseFacts
from yamlgraph_prompts._model.release import Release, StoredRelease, full_id
from yamlgraph_prompts.errors import ReleaseNotFound, StoreCorrupted, StoreError, UnsupportedStore
from yamlgraph_prompts.registry import folder as places
from yamlgraph_prompts.registry.checkouts import Checkouts, leave_all
from yamlgraph_prompts.registry.journal import journal_path
from yamlgraph_prompts.registry.local import LocalRegistry
from yamlgraph_prompts.registry.memory import MemoryRegistry

logger = logging.getLogger("yamlgraph_prompts")

_MARK_EVERY_S = 600.0
AUDIT_FILE = "audit.jsonl"


class Store(AbstractContextManager["Store"]):
    """One environment's releases in a local registry, and what is this host's alone. Thread-safe.

    The entries, the packs and holds are shared by every process that names the same folder. How
    long a release is kept, when it was last used, and the checkouts are this host's.

    A folder that cannot be written, that belongs to another user or that others may write to is
    not an error: a temporary folder stands in for it, the same for every process of this user;
    memory, where there is none. `trouble` says so.

    Without a folder it is in memory. With `make=False`, a folder that is not there is made by the
    first writing, not at once.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        environment: str = "default",
        keep: int = 50,
        keep_used_s: float = 30 * 86400.0,
        make: bool = True,
    ) -> None:
        if keep < 1:
            raise ValueError("keep must be at least 1: the live release is always kept.")
        self.environment = environment
        self.keep = keep
        self.keep_used_s = keep_used_s
        self.trouble: str | None = None
        # Why it writes to a stand-in and not to its own folder, if it does.
        self.retreated: str | None = None
        self._puts = 0
        self._marked: dict[str, float] = {}
        # Temporary folders, each with the process that made it.
        self._made: list[tuple[Path, int]] = []
        self.registry: LocalRegistry | MemoryRegistry = MemoryRegistry()
        self._checkouts = Checkouts(lambda: self.folder, cache(self._temporary), self.lock)
        weakref.finalize(self, leave_all, self._checkouts.directories, self._made)
        if folder is not None:
            self._open(Path(folder).absolute(), make)

    @classmethod
    def default(
        cls,
        environment: str | None,
        layers: Sequence[str],
        root: Path | str | None = None,
        *,
        graph: Path | None = None,
        make: bool = True,
    ) -> Store:
        """The store for one environment and these layers, or for a graph's own prompts."""
        name, folder = places.store_names(environment, layers, graph)
        try:
            return cls(places.store_root(root) / folder, environment=name, make=make)
        except RuntimeError as error:
            store = cls(None, environment=name)
            store._retreat(f"There is no home folder for the store: {error}", folder)
            return store

    @property
    def folder(self) -> Path | None:
        """Where this store writes; None: only in memory."""
        return self.registry.folder

    # Which release is live

    def current(self) -> Entry | None:
        """Which release is live; None where none is, or nothing can be read."""
        self._stay_private()
        return self.registry.current(self.environment)

    def history(self) -> Iterator[Entry]:
        """What was live, newest first."""
        return self.registry.history(self.environment)

    def make_live(
        self,
        release_id: str,
        *,
        reason: str,
        held: bool = False,
        since: int | None = None,
        who: str = "",
        message: str = "",
        written: Callable[[], object] = bool,
    ) -> bool:
        """Point at a release that is stored, for every process that shares the store.

        A hold that came after entry `since` is left as it is, and the answer is False. `written`
        may be called when others see it, before it is durable.
        """
        with self._writing(), self.registry.lock():
            live = self.current()
            if live is not None and live.held and since is not None and live.number > since:
                return False
            entry = Entry.now(release_id, held=held, who=who, why=reason, message=message)
            self.registry.append(self.environment, entry, after=live, written=written)
            return True

    def last_good(self) -> Release | None:
        """The live release, or the newest earlier one that is whole; None if there is none."""
        for release_id in dict.fromkeys(entry.release for entry in self.history()):
            try:
                return self.registry.get(release_id)
            except (ReleaseNotFound, OSError) as error:
                logger.error("Release %s cannot be served: %s", release_id[:12], error)
        return None

    def previous(self, release_id: str) -> str | None:
        """What was live before `release_id` last became live; None if nothing is known."""
        found = False
        for entry in self.history():
            if found and entry.release != release_id:
                return entry.release
            found = found or entry.release == release_id
        return None

    def releases(self) -> list[StoredRelease]:
        """Every stored release, the one that was last made live first."""
        live, newest_s = self.current(), math.inf
        last: dict[str, tuple[float, Entry]] = {}
        for entry in self.history():
            # A clock that was set back must not put what came later behind what was before it.
            newest_s = min(newest_s, entry.at_s)
            last.setdefault(entry.release, (newest_s, entry))
        found: list[tuple[float, int, StoredRelease]] = []
        for release_id in self.registry.ids():
            try:
                head = self.registry.head(release_id)
            except (ReleaseNotFound, OSError) as error:
                logger.warning("Release %s is not listed: %s", release_id[:12], error)
                continue
            by_s, known = last.get(release_id, (head.created_s, None))
            known = known or Entry.of(release_id, why="stored", at_s=head.created_s)
            is_live = live is not None and live.release == release_id
            facts = (release_id, head.environment, known.at_s, known.why, is_live, head.prompts)
            line = StoredRelease(*facts, known.who, known.message)
            found.append((by_s, known.number, line))
        found.sort(key=lambda one: one[:2], reverse=True)
        return [line for *_, line in found]

    # Releases

    def put(self, release: Release, facts: ReleaseFacts = NO_FACTS) -> None:
        """Keep a release. It is not live yet."""
        with self._writing():
            if self.registry.put(release, facts):
                self._puts += 1
                if self._puts % max(4, self.keep // 4) == 0:
                    self._retire()
                if self.folder is not None:
                    places.keep_reserve(self.folder)

    def get(self, release_id: str) -> Release:
        """A stored release, every byte verified. It counts as used now."""
        release = self.registry.get(release_id)
        self.mark_used(release_id)
        return release

    def find(self, prefix: str) -> str:
        """The full id of the one stored release whose id begins with `prefix`."""
        return full_id(prefix, self.registry.ids())

    def facts(self, release_id: str) -> ReleaseFacts | None:
        """What is known of a stored release without reading it; None if it is not there whole."""
        try:
            return self.registry.read_facts(release_id)
        except (ReleaseNotFound, OSError):
            return None

    def digests(self, release_id: str) -> Mapping[str, str]:
        """Each prompt's digest in a stored release, without reading the prompts."""
        return self.registry.digests(release_id)

    # This host's

    def mark_used(self, release_id: str) -> None:
        """Say that a run uses a release, so that it is kept. Cheap; never raises."""
        now = time.monotonic()
        if now - self._marked.get(release_id, -_MARK_EVERY_S) < _MARK_EVERY_S:
            return
        if len(self._marked) > 10_000:
            self._marked.clear()
        self._marked[release_id] = now
        self.registry.mark_used(release_id)

    def secret(self) -> bytes | None:
        """The secret of every process that shares this store; None: there can be none."""
        return places.shared_secret(self.folder, self._folders(), self.lock)

    def view(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A folder of ordinary files, for readers in this process that want a path."""
        return self._checkouts.view(name, files)

    def drop_views(self, keep: Collection[str]) -> None:
        """Remove this process's views except those named in `keep`."""
        self._checkouts.drop(keep)

    def lock(self, timeout_s: float = places.LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Keep every other writer out, in this process and in others; gone when the process is."""
        return self.registry.lock(timeout_s)

    @contextmanager
    def changing(self, timeout_s: float = places.LOCK_TIMEOUT_S) -> Iterator[None]:
        """Keep every other process from changing prompts in the layers; not the store's lock."""
        folder = self.folder
        if folder is None:
            yield
            return
        with disk.store_errors("Could not lock", folder):
            fd = disk.take_lock(folder / "changing", timeout_s)
        try:
            yield
        finally:
            disk.unlock(fd)

    def sweep(self, timeout_s: float = places.LOCK_TIMEOUT_S) -> None:
        """Remove what killed processes left behind, and releases that need not be kept."""
        with self.lock(timeout_s):
            self.registry.sweep_temporaries()
            self._retire()
            self._checkouts.sweep()

    def changed_paths(self) -> tuple[Path, ...]:
        """The files to watch for another process's change of what is live."""
        return tuple(journal_path(folder, self.environment) for folder in self._folders())

    def close(self) -> None:
        """Remove this process's views and, if it had to be made, the temporary folder."""
        leave_all(self._checkouts.directories, self._made)

    def __exit__(self, *_: object) -> None:
        self.close()

    def _folders(self) -> Iterator[Path]:
        """The folders that this store reads, the one that it writes first."""
        for registry in (self.registry, self.registry.behind):
            if registry is not None and registry.folder is not None:
                yield registry.folder

    def _open(self, folder: Path, make: bool) -> None:
        self.registry = LocalRegistry(folder)
        if not make and places.is_missing(folder):
            return
        places.mention_others(folder)
        behind = None
        try:
            disk.private_folder(folder)
            places.check_format(folder)
            behind = LocalRegistry(folder)
            places.probe(folder)
            if places.is_missing(folder / "format"):
                disk.replace(folder / "format", b"%d\n" % places.FORMAT, sync=False)
        except UnsupportedStore:
            raise
        except StoreError as error:
            self._retreat(str(error), str(folder), None, make=make)
            return
        except OSError as error:
            why = str(disk.refusal("The store cannot be written:", folder, error))
            if error.errno not in disk.FULL or not places.reserve_bytes(folder):
                self._retreat(why, str(folder), behind, make=make)
                return
            # What is stored can be gone back to; news has to wait for room.
            logger.error("%s", why)
        with suppress(StoreError):
            self.sweep(timeout_s=0.0)
        places.keep_reserve(folder)
        self.trouble = places.full(folder)

    def _retreat(
        self, why: str, store: str, behind: LocalRegistry | None = None, *, make: bool = True
    ) -> None:
        """Write to a temporary folder from now on, and read the one that can still be read."""
        folder = places.stand_in(store, make=make)
        if folder is None:
            where = "in memory, as no temporary folder can be written"
            self.registry = MemoryRegistry(behind=behind)
        else:
            where = f"in {folder}"
            self.registry = LocalRegistry(folder, behind=behind)
        self.trouble = self.retreated = f"{why} Releases are kept {where} instead."
        logger.log(logging.ERROR if folder else logging.WARNING, "%s", self.trouble)

    def _temporary(self) -> Path:
        folder = places.own_folder()
        self._made.append((folder, os.getpid()))
        return folder

    def _stay_private(self) -> None:
        """Retreat where others can change the folder by now: news and rollbacks must go on."""
        folder = self.folder
        if folder is not None and self.retreated is None and not places.is_missing(folder):
            try:
                disk.private_folder(folder)
            except OSError as error:
                if isinstance(error, StoreError):
                    self._retreat(str(error), str(folder))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._stay_private()
        try:
            if self.folder is not None:
                places.check_format(self.folder)
            yield
        except StoreError as error:
            if not isinstance(error, StoreCorrupted):
                self.trouble = str(error)
            raise
        self.trouble = self.retreated or places.full(self.folder)

    def _retire(self) -> None:
        live = next(self.history(), None)
        # What is live, and what a rollback would make live.
        spared = {live.release, self.previous(live.release)} if live else set()
        self.registry.retire(self.keep, self.keep_used_s, spared)
