"""The folder of a local registry: whether it can be written, and the lock of its writers."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from yamlgraph_prompts._files import disk
from yamlgraph_prompts._files.forks import follow_forks
from yamlgraph_prompts.errors import StoreError, UnsupportedStore

FORMAT = 1  # a number higher than that in the file `format` makes earlier versions refuse it
LOCK_TIMEOUT_S = 10.0
RESERVE = "reserve"
_RESERVE_BYTES, _STEP_BYTES = 1 << 20, 64 << 10
SECRET_BYTES = 32

logger = logging.getLogger("yamlgraph_prompts")


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
            with disk.store_errors("Could not lock the store with", self._path):
                # The cache folder may have been cleared.
                disk.private_folder(self._path.parent)
                self._fd = disk.take_lock(self._path, timeout_s)
            try:
                yield
            finally:
                fd, self._fd = self._fd, -1
                # A child that was forked in here has given its copy up already.
                if fd >= 0:
                    disk.unlock(fd)
        finally:
            mutex.release()

    def forked(self, *, child: bool) -> None:
        if child:
            self._mutex = threading.RLock()
            fd, self._fd = self._fd, -1
            if fd >= 0:
                os.close(fd)


def stand_in(store: str, *, make: bool) -> Path | None:
    """The temporary folder for a store that cannot be used: the same for each process of the user.

    None: no temporary folder can be written.
    """
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    name = f"yamlgraph-prompts-{user}-{sha256(store.encode()).hexdigest()[:16]}"
    folders = [base / name for base in _temporary_bases()]
    known = [folder for folder in folders if not is_missing(folder)]
    for folder in folders if make else known:
        try:
            disk.private_folder(folder)
            probe(folder)
        except OSError:
            if folder not in known:
                disk.remove_tree(folder)
        else:
            return folder
    return None if make else next(iter(folders), None)


def own_folder() -> Path:
    """A new temporary folder of this process alone."""
    if folder := stand_in(os.urandom(16).hex(), make=True):
        return folder
    text = "No temporary folder can be written."
    hint = "Mount a small writable folder, for example at /tmp, or name one in TMPDIR."
    raise StoreError(text, hint=hint)


def _temporary_bases() -> Iterator[Path]:
    import tempfile

    with suppress(FileNotFoundError):
        yield Path(tempfile.gettempdir())
    # Containers with a read-only root have it all the same.
    yield Path("/dev/shm")


def user_cache() -> Path:
    """The user's cache folder. RuntimeError where there is no home."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return Path(chosen) if os.path.isabs(chosen) else Path.home() / ".cache"


def store_root(chosen: Path | str | None) -> Path:
    """The folder that stores are in. RuntimeError where none is named and there is no home."""
    chosen = chosen or os.environ.get("YAMLGRAPH_PROMPTS_STORE")
    return Path(chosen).expanduser() if chosen else user_cache() / "yamlgraph-prompts"


def store_names(
    environment: str | None, layers: Sequence[str], graph: Path | None
) -> tuple[str, str]:
    """What a store calls its environment, and the name of its folder."""
    whose = [environment, list(layers) or [f"graph:{graph}"]]
    digest = sha256(json.dumps(whose).encode()).hexdigest()[:12]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", environment or "none")[:64].lstrip(".")
    return name, f"{name}-{digest}"


def mention_others(folder: Path) -> None:
    """Log which stores of the same environment there are when a new one is made."""
    name = folder.name.rpartition("-")[0]
    others = [one for one in disk.names_in(folder.parent) if one.rpartition("-")[0] == name]
    if name and others and is_missing(folder):
        logger.info(
            "The new store %s begins without a history or a hold. Beside it is what was kept for "
            "other layers, or other paths to them (%d): see `yamlgraph-prompts store list`.",
            folder,
            len(others),
        )


def check_format(folder: Path) -> None:
    """Refuse a store that a later version wrote in a form that this one does not know."""
    with suppress(FileNotFoundError, NotADirectoryError):
        number, _ = disk.read_file(folder / "format", 20)
        if number.strip().isdigit() and int(number) > FORMAT:
            found = f"format {int(number)}; this version reads format {FORMAT}"
            raise UnsupportedStore(folder, found)


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
        disk.try_lock(fd)
    finally:
        disk.unlock(fd)
    file = packs / disk.temporary_name()
    try:
        disk.write_new(file, b"\0" * 4096, sync=False)
    finally:
        disk.unlink(file)


def keep_reserve(folder: Path) -> None:
    """Set space aside for `from_reserve`: at most an eighth of what is free."""
    from shutil import disk_usage

    path = folder / RESERVE
    with suppress(OSError):
        if (kept := reserve_bytes(folder)) == _RESERVE_BYTES:
            return
        size = min(_RESERVE_BYTES, disk_usage(folder).free // 8)
        if kept >= size:
            return
        disk.unlink(path)
        # Not zeros: some file systems need no space for them.
        disk.write_new(path, os.urandom(size), sync=False)


def full(folder: Path | None) -> str | None:
    """What is wrong where there is no more room than what came from the reserve."""
    from shutil import disk_usage

    with suppress(OSError):
        if folder is not None and disk_usage(folder).free < _STEP_BYTES:
            return f"The disk of the store {folder} is full. {disk.HINT_FULL}"
    return None


def reserve_bytes(folder: Path) -> int:
    """How much space is set aside."""
    try:
        return os.stat(folder / RESERVE).st_size
    except OSError:
        return 0


def from_reserve(folder: Path, write: Callable[[], object]) -> None:
    """Do a small write that must work on a full disk: a rollback, and its line in the audit log."""
    while True:
        try:
            write()
        except OSError as error:
            kept = reserve_bytes(folder)
            if error.errno not in disk.FULL or not kept:
                raise
            os.truncate(folder / RESERVE, max(0, kept - _STEP_BYTES))
        else:
            return


def shared_secret(
    folder: Path | None, folders: Iterable[Path], lock: Callable[[], AbstractContextManager[None]]
) -> bytes | None:
    """The secret in the first of `folders` that has one, else a new one in `folder`."""
    read = [folder / "secret" for folder in folders]
    try:
        if (kept := _secret(read)) is None and folder is not None:
            with lock():
                if (kept := _secret(read)) is None:
                    kept = os.urandom(SECRET_BYTES)
                    disk.replace(folder / "secret", kept)
        return kept
    except OSError as error:
        logger.warning("No other process can resume the runs of this one: %s", error)
        return None


def _secret(files: Iterable[Path]) -> bytes | None:
    for file in files:
        with suppress(FileNotFoundError):
            data, _ = disk.read_file(file, SECRET_BYTES)
            if len(data) == SECRET_BYTES:
                return data
    return None
