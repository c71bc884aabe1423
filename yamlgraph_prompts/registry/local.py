"""A registry in a folder: a pack for each release, a journal for each environment.

Shared by every process that opens the folder. Never gives a release that is not what its id says.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace as replace_fields
from pathlib import Path
from threading import Event
from urllib.parse import unquote, urlsplit

from yamlgraph_prompts._files import disk
from yamlgraph_prompts._files.forks import follow_forks
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import (
    NO_FACTS,
    PackHead,
    ReleaseFacts,
    encode_pack,
    read_digests,
    read_facts,
    read_head,
    read_pack,
    read_whole,
)
from yamlgraph_prompts._model.release import Release, is_full_id
from yamlgraph_prompts.errors import Conflict, ReleaseNotFound, StoreError
from yamlgraph_prompts.registry.folder import LOCK_TIMEOUT_S, FolderLock, from_reserve
from yamlgraph_prompts.registry.journal import Journal
from yamlgraph_prompts.registry.ports import poll_changes

logger = logging.getLogger("yamlgraph_prompts")


class LocalRegistry:
    """Releases and their history in one folder. Thread-safe, and safe between processes."""

    def __init__(
        self,
        folder: Path | str,
        *,
        behind: LocalRegistry | None = None,
        timeout_s: float = LOCK_TIMEOUT_S,
        single_writer: bool = False,
    ) -> None:
        if isinstance(folder, str):
            folder = Path(unquote(urlsplit(folder).path) if "://" in folder else folder)
        self.folder = folder.absolute()
        self.url = self.folder.as_uri()
        self.packs = self.folder / "packs"
        self.behind = behind
        self._lock = FolderLock(self.folder)
        self._timeout_s = timeout_s
        self._journals: dict[str, Journal] = {}
        self._syncing: tuple[Path | None, Callable[[], None]] | None = None
        follow_forks(self)

    def lock(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Keep every other writer out, in this process and in others; gone when the process is."""
        return self._lock.held(self._timeout_s if timeout_s is None else timeout_s)

    # Releases

    def put(self, release: Release, facts: ReleaseFacts = NO_FACTS) -> bool:
        path = self._path(release.id)
        with self.lock(), disk.store_errors("Could not store the release in", self.folder):
            if _is_stored(path, release, facts):
                self.touch(release.id)
                return False
            self.packs.mkdir(mode=0o700, exist_ok=True)
            data = encode_pack(release, facts)
            self._wait_for_sync()
            is_new = not os.path.lexists(path)
            try:
                disk.replace(path, data, sync=False)
            except OSError as error:
                # A full disk must not keep from going back to what is stored already.
                if is_new or error.errno not in disk.FULL or read_pack(path, release.id) != release:
                    raise
                return False
            # It takes as long as graphs take to be built: the entry waits for it.
            self._syncing = (path if is_new else None, disk.syncing(path))
        return True

    def get(self, release_id: str) -> Release:
        path = self.pack(release_id)
        try:
            return read_pack(path, release_id)
        except FileNotFoundError:
            raise _not_found(release_id) from None
        except StoreError:
            raise
        except OSError as error:
            raise disk.refusal("Could not read the release", path, error) from error

    def ids(self, prefix: str = "") -> Iterator[str]:
        found = {name[:-5] for name in disk.names_in(self.packs) if name.endswith(".pack")}
        yield from (one for one in found if one.startswith(prefix) and is_full_id(one))
        if self.behind is not None:
            yield from (one for one in self.behind.ids(prefix) if one not in found)

    def head(self, release_id: str) -> PackHead:
        """What a release's pack says of itself."""
        try:
            return read_head(self.pack(release_id), release_id)
        except FileNotFoundError:
            raise _not_found(release_id) from None

    def read_facts(self, release_id: str) -> ReleaseFacts:
        """What is known of a release without reading it."""
        return read_facts(self.pack(release_id), release_id)

    def digests(self, release_id: str) -> Mapping[str, str]:
        """Each prompt's digest in a release, without reading the prompts."""
        path = self.pack(release_id)
        with disk.store_errors("Could not read the release", path):
            return read_digests(path, release_id)

    def pack(self, release_id: str) -> Path:
        """The file that holds a release."""
        path = self._path(release_id)
        if is_full_id(release_id) and os.path.exists(path):
            return path
        if self.behind is not None:
            return self.behind.pack(release_id)
        raise _not_found(release_id)

    def _path(self, release_id: str) -> Path:
        return self.packs / f"{release_id}.pack"

    # History

    def current(self, environment: str) -> Entry | None:
        entry = self._journal(environment).current()
        if entry is None and self.behind is not None:
            return self.behind.current(environment)
        return entry

    def history(self, environment: str) -> Iterator[Entry]:
        last = None
        for entry in self._journal(environment).history():
            last = entry.number
            yield entry
        if self.behind is not None:
            for entry in self.behind.history(environment):
                if last is None or entry.number < last:
                    yield entry

    def append(
        self,
        environment: str,
        entry: Entry,
        *,
        after: Entry | None,
        written: Callable[[], object] = bool,
    ) -> Entry:
        with self.lock(), disk.store_errors("Could not change the live release in", self.folder):
            current = self.current(environment)
            if current != after:
                raise Conflict.between(self.url, environment, current)
            entry = replace_fields(entry.after(current), prompts=self.head(entry.release).prompts)
            self.touch(entry.release)
            # The names of packs become durable beside the entry: neither waits for the other.
            synced = disk.syncing(self.packs) if self._wait_for_sync() else None
            from_reserve(self.folder, lambda: self._journal(environment).append(entry, written))
            if synced is not None:
                try:
                    synced()
                except OSError as error:
                    # Both can be seen already: calling it failed would be the larger lie.
                    logger.warning("Could not sync the folder %s: %s", self.packs, error)
        return entry

    def changes(self, environment: str, stop: Event) -> Iterator[Entry]:
        return poll_changes(lambda: self.current(environment), stop)

    def _wait_for_sync(self) -> bool:
        """Wait until the last pack is durable; whether there was one. Else a new one is removed."""
        if self._syncing is None:
            return False
        (new, wait), self._syncing = self._syncing, None
        try:
            wait()
        except OSError:
            if new is not None:
                disk.unlink(new)
            raise
        return True

    def forked(self, *, child: bool) -> None:
        if child:
            # The thread is the parent's.
            self._syncing = None

    def _journal(self, environment: str) -> Journal:
        return self._journals.setdefault(environment, Journal(self.folder, environment))

    # This host's bookkeeping

    def touch(self, release_id: str) -> None:
        """Count a release among the newest."""
        with suppress(OSError):
            os.utime(self._path(release_id))

    def mark_used(self, release_id: str) -> None:
        """Note that a run uses a release."""
        if is_full_id(release_id):
            marker = self.packs / f"{release_id}.used"
            with suppress(OSError):
                os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
                os.utime(marker)

    def retire(self, keep: int, keep_used_s: float, spared: Collection[str | None]) -> None:
        """Remove all but the newest `keep`, those used in `keep_used_s`, and the spared ones."""
        times = _times(self.packs)
        stored = {name[:-5]: at for name, at in times.items() if name.endswith(".pack")}
        used = {name[:-5]: at for name, at in times.items() if name.endswith(".used")}
        if len(stored) > keep:
            newest = sorted(stored, key=stored.__getitem__, reverse=True)[:keep]
            oldest_s = time.time() - keep_used_s
            for release_id in stored.keys() - {*newest, *spared}:
                if used.get(release_id, 0.0) < oldest_s:
                    disk.unlink(self._path(release_id))
                    del stored[release_id]
        for release_id in used.keys() - stored.keys():
            disk.unlink(self.packs / f"{release_id}.used")

    def sweep_temporaries(self) -> None:
        """Remove what writers that were killed left behind. The caller holds the lock."""
        for folder in (self.folder, self.packs):
            for name in disk.names_in(folder):
                if name.startswith(disk.TEMPORARY):
                    disk.unlink(folder / name)


def _is_stored(path: Path, release: Release, facts: ReleaseFacts) -> bool:
    try:
        known, stored = read_whole(path, release.id, release.prompts)
        return (known, stored) == (facts, release)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.error("Release %s is written again: %s", release.id[:12], error)
        return False


def _times(folder: Path) -> dict[str, float]:
    times: dict[str, float] = {}
    for name in disk.names_in(folder):
        with suppress(OSError):
            times[name] = os.stat(folder / name).st_mtime
    return times


def _not_found(release_id: str) -> ReleaseNotFound:
    text = f"Release {release_id[:12]!r} is not stored."
    hint = "The command `yamlgraph-prompts releases` lists what is."
    return ReleaseNotFound(text, release_id=release_id, hint=hint)
