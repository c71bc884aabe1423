"""The folder that a store writes to, and its lock; a temporary folder where that cannot be.

Refuses a folder that somebody else could change. Knows nothing of releases.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yamlgraph_prompts.errors import StoreError
from yamlgraph_prompts.files.disk import (
    follow_forks,
    private_folder,
    refusal,
    take_lock,
    temporary_name,
    told,
    try_lock,
    unlink,
    unlock,
    write_new,
)

logger = logging.getLogger("yamlgraph_prompts")

LOCK_TIMEOUT_S = 10.0


class Place:
    """`folders` once it is open: the first is written, all are read.

    Args:
        folder: The folder; None for a temporary one.
        make: Whether to make it, where it is not there, before something is written.
    """

    def __init__(self, folder: Path | None, *, make: bool = True) -> None:
        self.folders: tuple[Path, ...] = ()
        self.trouble: str | None = None
        # The temporary folders, each with the process that made it.
        self.made: list[tuple[Path, int]] = []
        self._wanted = Path(folder).absolute() if folder is not None else None
        self._make = make
        self._mutex = threading.RLock()
        self._lock_fd = -1
        follow_forks(self)

    def open(self) -> tuple[Path, ...]:
        if not self.folders:
            with self._mutex:
                if not self.folders:
                    self._find()
        return self.folders

    def retreat(self, why: str, *readable: Path) -> None:
        """Write to a temporary folder from now on, and read those that can still be read."""
        self.trouble = f"{why} Releases are kept in a temporary folder until the next start."
        logger.warning("%s", self.trouble)
        self.folders = (self._temporary(), *readable)

    @contextmanager
    def lock(self, timeout_s: float) -> Iterator[None]:
        path, mutex = self.open()[0] / "lock", self._mutex
        if not mutex.acquire(timeout=timeout_s):
            raise StoreError(f"Another thread has held the store's lock for {timeout_s:g} s.")
        try:
            if self._lock_fd >= 0:
                yield
                return
            with told("Could not lock the store with", path):
                # Somebody may have cleared the cache folder.
                private_folder(path.parent)
                self._lock_fd = take_lock(path, timeout_s)
            try:
                yield
            finally:
                fd, self._lock_fd = self._lock_fd, -1
                # A child that was forked in here has given its copy up already.
                if fd >= 0:
                    unlock(fd)
        finally:
            mutex.release()

    def forked(self, *, child: bool) -> None:
        if child:
            self._mutex = threading.RLock()
            fd, self._lock_fd = self._lock_fd, -1
            if fd >= 0:
                os.close(fd)

    def _find(self) -> None:
        folder, readable = self._wanted, False
        if folder is None:
            self.folders = (self._temporary(),)
            return
        if not self._make and _is_missing(folder):
            self.folders = (folder,)
            return
        try:
            private_folder(folder)
            readable = True
            _probe(folder)
        except StoreError:
            raise
        except OSError as error:
            why = refusal("The store cannot be written:", folder, error)
            self.retreat(str(why), *([folder] if readable else ()))
        else:
            self.folders = (folder,)

    def _temporary(self) -> Path:
        import tempfile

        with told("Could not make a temporary folder in", Path(tempfile.gettempdir())):
            made = Path(tempfile.mkdtemp(prefix="yamlgraph-prompts-"))
        self.made.append((made, os.getpid()))
        return made


def user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache"


def _is_missing(folder: Path) -> bool:
    try:
        folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        # Whatever it is, whoever tries to write there is told.
        return False
    return False


def _probe(folder: Path) -> None:
    """Find out whether the folder can be locked and written, as a publication would."""
    packs = folder / "packs"
    packs.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try_lock(fd)
    finally:
        unlock(fd)
    probe = packs / temporary_name()
    try:
        write_new(probe, b"\0" * 4096, sync=False)
    finally:
        unlink(probe)
