"""The folder of a local registry: whether it can be written, and the lock of its writers."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yamlgraph_prompts._files.disk import (
    private_folder,
    store_errors,
    take_lock,
    temporary_name,
    try_lock,
    unlink,
    unlock,
    write_new,
)
from yamlgraph_prompts._files.forks import follow_forks
from yamlgraph_prompts.errors import StoreError

LOCK_TIMEOUT_S = 10.0


class FolderLock:
    """Keeps other threads and processes from writing to `folder`; a thread may take it twice."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._mutex = threading.RLock()
        self._fd = -1
        follow_forks(self)

    @contextmanager
    def held(self, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
        mutex = self._mutex
        if not mutex.acquire(timeout=timeout_s):
            raise StoreError(f"Another thread has held the store's lock for {timeout_s:g} s.")
        try:
            if self._fd >= 0:
                yield
                return
            with store_errors("Could not lock the store with", self._path):
                # Somebody may have cleared the cache folder.
                private_folder(self._path.parent)
                self._fd = take_lock(self._path, timeout_s)
            try:
                yield
            finally:
                fd, self._fd = self._fd, -1
                # A child that was forked in here has given its copy up already.
                if fd >= 0:
                    unlock(fd)
        finally:
            mutex.release()

    def forked(self, *, child: bool) -> None:
        if child:
            self._mutex = threading.RLock()
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)


def temporary_folder() -> Path:
    """The path of a new folder, for the first writing to make."""
    import tempfile

    return Path(tempfile.gettempdir()) / f"yamlgraph-prompts-{os.urandom(8).hex()}"


def user_cache() -> Path:
    """The user's cache folder. RuntimeError where there is no home."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache"


def is_missing(folder: Path) -> bool:
    """Whether nothing is there, not even something that cannot be looked at."""
    try:
        folder.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def probe(folder: Path) -> None:
    """Find out whether the folder can be locked and written, as a publication would."""
    packs = folder / "packs"
    packs.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try_lock(fd)
    finally:
        unlock(fd)
    file = packs / temporary_name()
    try:
        write_new(file, b"\0" * 4096, sync=False)
    finally:
        unlink(file)
