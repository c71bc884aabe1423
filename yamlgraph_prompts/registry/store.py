"""The local folder of releases, so that the last good one survives restarts and outages.

Writes beside, syncs and renames once; never serves a release that is not what its id says.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from itertools import chain
from pathlib import Path

from yamlgraph_prompts.errors import ReleaseNotFound, StoreCorrupted, StoreError
from yamlgraph_prompts.files import disk
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.model.pack import PackFacts, read_digests, read_facts, read_head, read_pack
from yamlgraph_prompts.model.release import Release, StoredRelease, full_id
from yamlgraph_prompts.registry.checkouts import Nest, Views, leave
from yamlgraph_prompts.registry.history import History, Pointer
from yamlgraph_prompts.registry.place import LOCK_TIMEOUT_S, Place, user_cache
from yamlgraph_prompts.registry.shelf import Shelf, sweep_temporaries

__all__ = ["PackFacts", "Pointer", "Store"]

logger = logging.getLogger("yamlgraph_prompts")

_MARK_EVERY_S = 600.0

SECRET_BYTES = 32


class Store:
    """Releases on disk, shared by every process that names the same folder. Thread-safe.

    Args:
        folder: Where to keep them; made, with mode 0700, when it is not there. None: a private
            temporary folder, made when first needed and removed by `close`.
        keep: How many of the newest releases to keep.
        keep_used_s: For how long, in seconds, to keep a release after it was last used.
        make: False: a folder that is not there is made by the first writing, not at once.

    Raises:
        StoreError: The folder belongs to another user, is a link, or others may write to it.
            A folder that merely cannot be written is read, and `trouble` says so.

    Example:
        >>> from yamlgraph_prompts.model.release import Prompt, Release
        >>> release = Release.of([Prompt("greeting", b"user: Hi {name}")])
        >>> with Store(None) as store:
        ...     store.put(release)
        ...     _ = store.make_live(release.id, reason="start")
        ...     store.last_good()["greeting"].data
        b'user: Hi {name}'
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        keep: int = 50,
        keep_used_s: float = 30 * 86400.0,
        make: bool = True,
    ) -> None:
        if keep < 1:
            raise ValueError("keep must be at least 1: the live release is always kept.")
        self.keep = keep
        self.keep_used_s = keep_used_s
        self.trouble: str | None = None
        self._puts = 0
        self._marked: dict[str, float] = {}
        self._histories: tuple[History, ...] = ()
        self._shelves: tuple[Shelf, ...] = ()
        self._place = Place(folder, make=make)
        self._views = Views(lambda: self.folder / "views", self.lock)
        weakref.finalize(self, _leave_nothing, self._views.nests, self._place.made)
        if folder is not None:
            self._settle()

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
        """The store for one environment and these layers; without any, for a graph's own prompts.

        Args:
            environment: The environment's name.
            layers: The layers' places, highest priority first.
            root: The folder that holds the stores; else what ``YAMLGRAPH_PROMPTS_STORE`` names,
                else ``yamlgraph-prompts`` in the user's cache folder.
            graph: The graph's file, where there are no layers.
            make: As in `Store`.

        Raises:
            StoreError: As in `Store`.
        """
        chosen = root or os.environ.get("YAMLGRAPH_PROMPTS_STORE")
        whose = [environment, list(layers) or [f"graph:{graph}"]]
        digest = sha256(json.dumps(whose).encode()).hexdigest()[:12]
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", environment or "none")[:64].lstrip(".")
        try:
            place = Path(chosen).expanduser() if chosen else user_cache() / "yamlgraph-prompts"
        except RuntimeError as error:
            store = cls(None)
            store._place.retreat(f"There is no home folder for the store: {error}")
            store._settle()
            return store
        folder = place / f"{readable}-{digest}"
        return cls(folder, make=make)

    @property
    def folder(self) -> Path:
        """Where this store writes."""
        if not self._shelves:
            self._settle()
        return self._place.folders[0]

    def secret(self) -> bytes | None:
        """The secret of every process that shares this store, made when first asked for.

        None: it can be neither read nor written.
        """
        try:
            if (kept := self._secret()) is None:
                with self.lock():
                    if (kept := self._secret()) is None:
                        kept = os.urandom(SECRET_BYTES)
                        disk.replace(self.folder / "secret", kept)
            return kept
        except OSError as error:
            logger.warning("No other process can resume the runs of this one: %s", error)
            return None

    def _secret(self) -> bytes | None:
        for folder in (self.folder, *self._place.folders[1:]):
            with suppress(FileNotFoundError):
                data, _ = disk.read_file(folder / "secret", SECRET_BYTES)
                if len(data) == SECRET_BYTES:
                    return data
        return None

    @property
    def writable(self) -> bool:
        """Whether it writes where it was told to, and not to a temporary folder."""
        return self._place.trouble is None

    def put(
        self,
        release: Release,
        *,
        findings: Iterable[Finding] = (),
        clean: Iterable[str] = (),
        check_version: str = "",
    ) -> None:
        """Keep a release. It is not live yet.

        Args:
            release: The release.
            findings: What the check had to say about it.
            clean: The SHA-256 of everything that the check found clean; see `facts`.
            check_version: The version of that check.

        Raises:
            StoreError: It could not be written; everything is as it was before.
        """
        known, told = frozenset(clean), tuple(findings)
        with self._writing("Could not store the release in", self.folder):
            if self._shelves[0].keep(release, told, known, check_version):
                self._puts += 1
                if self._puts % max(4, self.keep // 4) == 0:
                    self._retire()

    def make_live(
        self, release_id: str, *, reason: str, held: bool = False, since: int | None = None
    ) -> bool:
        """Point at a release that is stored, for every process that shares the store.

        Args:
            release_id: The release's full id.
            reason: Why, such as ``"file change"``.
            held: Whether the layers are not followed from now on.
            since: The serial of the pointer that was obeyed: a hold that came since is left as it
                is. None: it is ended.

        Returns:
            Whether it is live now: False where another process holds one since.

        Raises:
            ReleaseNotFound: It is not stored.
            StoreCorrupted: It is stored, but damaged.
            StoreError: The pointer could not be written; what was live still is.
        """
        with self._writing("Could not change the live release in", self.folder):
            read_head(self._pack(release_id), release_id)
            self._shelves[0].touch(release_id)
            live = self.pointer()
            serial = live.serial if live else 0
            if live is not None and live.held and since is not None and serial > since:
                return False
            self._histories[0].advance(release_id, held=held, reason=reason, above=serial)
            return True

    def pointer(self) -> Pointer | None:
        """Which release is live; None where none is, or where the pointer is damaged."""
        found = (history.pointer() for history in self._histories)
        return next((pointer for pointer in found if pointer), None)

    def get(self, release_id: str) -> Release:
        """A stored release, every byte verified. It counts as used now.

        Raises:
            ReleaseNotFound: It is not stored.
            StoreCorrupted: It is stored, but damaged.
            StoreError: It cannot be read.
        """
        release = self._load(release_id)
        self.mark_used(release_id)
        return release

    def mark_used(self, release_id: str) -> None:
        """Say that a run uses a release, so that it is kept. Cheap; never raises."""
        now = time.monotonic()
        if now - self._marked.get(release_id, -_MARK_EVERY_S) < _MARK_EVERY_S:
            return
        if len(self._marked) > 10_000:
            self._marked.clear()
        self._marked[release_id] = now
        for shelf in self._shelves[:1]:
            shelf.mark_used(release_id)

    def facts(self, release_id: str) -> PackFacts | None:
        """What is known of a stored release without reading it; None if it is not there whole."""
        try:
            return read_facts(self._pack(release_id), release_id)
        except (ReleaseNotFound, OSError):
            return None

    def digests(self, release_id: str) -> Mapping[str, str]:
        """Each prompt's digest in a stored release, without reading the prompts.

        Raises:
            ReleaseNotFound: It is not stored.
            StoreError: It is damaged, or cannot be read.
        """
        path = self._pack(release_id)
        with disk.told("Could not read the release", path):
            return read_digests(path, release_id)

    def last_good(self) -> Release | None:
        """The live release, or the newest earlier one that is whole; None if there is none."""
        live = self.pointer()
        tried: set[str] = set()
        for change in chain([live] if live else [], self._changes()):
            release_id = change.release
            if release_id in tried:
                continue
            tried.add(release_id)
            try:
                return self._load(release_id)
            except (ReleaseNotFound, OSError) as error:
                logger.error("Release %s cannot be served: %s", release_id[:12], error)
        return None

    def previous(self, release_id: str) -> str | None:
        """What was live before `release_id` last became live; None if nothing is known."""
        before = None
        for change in self._changes():
            if before is None and change.release == release_id:
                before = release_id
            elif before is not None and change.release != release_id:
                return change.release
        return None

    def releases(self) -> list[StoredRelease]:
        """Every stored release, the one that was last made live first."""
        live = self.pointer()
        changes: dict[str, tuple[float, Pointer]] = {}
        newest_s = math.inf
        for change in self._changes():
            # A clock that was set back must not put what came later behind what was before it.
            newest_s = min(newest_s, change.at_s)
            changes.setdefault(change.release, (newest_s, change))
        found: list[tuple[float, int, StoredRelease]] = []
        for release_id in self._ids():
            try:
                head = read_head(self._pack(release_id), release_id)
            except (ReleaseNotFound, OSError) as error:
                logger.warning("Release %s is not listed: %s", release_id[:12], error)
                continue
            by_s, last = changes.get(release_id, (head.created_s, None))
            line = StoredRelease(
                id=release_id,
                environment=head.environment,
                at_s=last.at_s if last else head.created_s,
                reason=last.reason if last else "stored",
                live=live is not None and live.release == release_id,
                prompts=head.prompts,
            )
            found.append((by_s, last.serial if last else 0, line))
        found.sort(key=lambda entry: entry[:2], reverse=True)
        return [line for *_, line in found]

    def find(self, prefix: str) -> str:
        """The full id of the one stored release whose id begins with `prefix`.

        Raises:
            ReleaseNotFound: There is none, or more than one.
        """
        return full_id(prefix, self._ids())

    def view(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A folder of ordinary files, for readers in this process that want a path.

        Args:
            name: A digest of the content, chosen by the caller; an equal name is reused.
            files: Path in the folder, with ``/`` → the file's bytes.

        Raises:
            StoreError: It could not be written, or a path leads out of the folder.
        """
        return self._views.view(name, files)

    def drop_views(self, keep: Collection[str]) -> None:
        """Remove this process's views except those named in `keep`."""
        self._views.drop(keep)

    def lock(self, timeout_s: float = LOCK_TIMEOUT_S) -> AbstractContextManager[None]:
        """Keep every other writer out, in this process and in others; gone when the process is.

        Args:
            timeout_s: How long to wait for another writer, in seconds.

        Raises:
            StoreError: Another writer did not finish in time.
        """
        return self._place.lock(timeout_s)

    @contextmanager
    def changing(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        """Keep every other process from changing prompts in the layers. Not the store's own lock.

        Args:
            timeout_s: How long to wait for another change, in seconds.

        Raises:
            StoreError: Another change did not finish in time.
        """
        with disk.told("Could not lock", self.folder):
            fd = disk.take_lock(self.folder / "changing", timeout_s)
        try:
            yield
        finally:
            disk.unlock(fd)

    def sweep(self, timeout_s: float = LOCK_TIMEOUT_S) -> None:
        """Remove what killed processes left behind, and releases that need not be kept.

        Args:
            timeout_s: How long to wait for another writer, in seconds.

        Raises:
            StoreError: Another writer did not finish in time.
        """
        with self.lock(timeout_s):
            sweep_temporaries(self.folder)
            sweep_temporaries(self._shelves[0].packs)
            self._retire()
            self._views.sweep()

    def changed_paths(self) -> tuple[Path, ...]:
        """The files to watch for another process's change of what is live."""
        return tuple(history.live for history in self._histories)

    def close(self) -> None:
        """Remove this process's views and, if it had to be made, the temporary folder."""
        _leave_nothing(self._views.nests, self._place.made)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _settle(self) -> None:
        folders = self._place.open()
        self._histories = tuple(History(folder) for folder in folders)
        self._shelves = tuple(Shelf(folder) for folder in folders)
        self.trouble = self._place.trouble
        if self.writable and folders[0].exists():
            with suppress(StoreError):
                self.sweep(timeout_s=0.0)

    @contextmanager
    def _writing(self, doing: str, path: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        try:
            with self.lock(timeout_s), disk.told(doing, path):
                yield
        except StoreCorrupted:
            raise
        except StoreError as error:
            self.trouble = str(error)
            raise
        self.trouble = self._place.trouble

    def _load(self, release_id: str) -> Release:
        path = self._pack(release_id)
        try:
            return read_pack(path, release_id)
        except FileNotFoundError:
            raise _not_found(release_id) from None
        except StoreError:
            raise
        except OSError as error:
            raise disk.refusal("Could not read the release", path, error) from error

    def _pack(self, release_id: str) -> Path:
        for shelf in self._shelves:
            if path := shelf.find(release_id):
                return path
        raise _not_found(release_id)

    def _ids(self) -> set[str]:
        return {release_id for shelf in self._shelves for release_id in shelf.ids()}

    def _changes(self) -> Iterator[Pointer]:
        """What was live, newest first."""
        return chain.from_iterable(history.changes() for history in self._histories)

    def _retire(self) -> None:
        live = next(self._changes(), None)
        # What is live, and what a rollback would make live.
        spared = (live.release, self.previous(live.release)) if live else ()
        self._shelves[0].retire(self.keep, self.keep_used_s, [one for one in spared if one])


def _leave_nothing(nests: list[Nest], made: list[tuple[Path, int]]) -> None:
    for nest in list(nests):
        leave(nests, nest)
    for folder, maker in made:
        if os.getpid() == maker:
            disk.remove_tree(folder)


def _not_found(release_id: str) -> ReleaseNotFound:
    return ReleaseNotFound(
        f"Release {release_id[:12]!r} is not stored.",
        release_id=release_id,
        hint="The command `yamlgraph-prompts releases` lists what is.",
    )
