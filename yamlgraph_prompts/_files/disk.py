"""Small, durable file operations: private folders, writing beside and renaming, locks.

Never leaves half a file under its final name, and knows nothing of releases.
"""

from __future__ import annotations

import _thread
import errno
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from yamlgraph_prompts.errors import StoreCorrupted, StoreError

logger = logging.getLogger("yamlgraph_prompts")

TEMPORARY = ".tmp-"
_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFUL
FULL = (errno.ENOSPC, errno.EDQUOT)
HINT_FULL = "Free some space, or name a folder on another disk in YAMLGRAPH_PROMPTS_STORE."
_HINTS = dict.fromkeys(FULL, HINT_FULL)
_ANOTHER = "Make it writable for this user, or name another folder in YAMLGRAPH_PROMPTS_STORE."


@contextmanager
def store_errors(doing: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into a `StoreError` with a hint."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise refusal(doing, path, error) from error


def refusal(doing: str, path: Path, error: OSError) -> StoreError:
    """The `StoreError` for an `OSError`, with its errno kept."""
    refused = StoreError(
        f"{doing} {path}: {error.strerror or error}.", hint=_HINTS.get(error.errno or 0, _ANOTHER)
    )
    refused.errno = error.errno
    return refused


def private_folder(folder: Path) -> None:
    """Make `folder` (mode 0700) when it is not there; refuse one that others can change.

    One of ours that a group of ours may write to is closed again, as far as that can be done.
    """
    try:
        facts = os.lstat(folder)
    except FileNotFoundError:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        facts = os.lstat(folder)
    if stat.S_ISLNK(facts.st_mode):
        text = f"The store {folder} is a link."
        raise StoreError(text, hint="Name the folder that it leads to instead.")
    if not stat.S_ISDIR(facts.st_mode):
        raise StoreError(f"The store {folder} is not a folder.", hint="Move it out of the way.")
    if sys.platform == "win32":
        return
    if facts.st_uid != os.geteuid():
        raise StoreError(
            f"The store {folder} belongs to user {facts.st_uid}, not to {os.geteuid()}: "
            "its owner could change what is served.",
            hint="Change its owner, or name another folder in YAMLGRAPH_PROMPTS_STORE.",
        )
    if facts.st_mode & 0o002 or (
        facts.st_mode & 0o020 and facts.st_gid not in (os.getegid(), *os.getgroups())
    ):
        raise StoreError(
            f"The store {folder} can be written by other users: they could change what is served.",
            hint=f"Run: chmod go-w {folder}. Where the mount decides the mode (vfat, Azure Files), "
            "mount it with dir_mode=0700, or name another folder in YAMLGRAPH_PROMPTS_STORE.",
        )
    if facts.st_mode & 0o020:
        _close_to_group(folder)


def _close_to_group(folder: Path) -> None:
    """Undo what each mount with a Kubernetes fsGroup does to a folder and the files in it."""
    with suppress(OSError):
        os.chmod(folder, 0o700)
        for name in os.listdir(folder):
            if stat.S_ISREG(os.lstat(folder / name).st_mode):
                os.chmod(folder / name, 0o600)
    if folder not in _closed:
        _closed.add(folder)
        logger.warning(
            "The store %s was writable for a group of this user, as a volume with an fsGroup is. "
            "It is used; its mode is %o now",
            folder,
            stat.S_IMODE(os.lstat(folder).st_mode),
        )


_closed: set[Path] = set()


def read_file(path: Path, limit: int, start: int = 0) -> tuple[bytes, os.stat_result]:
    """At most `limit` bytes of a regular file from `start` on, and its facts; never blocks."""
    fd = os.open(path, os.O_RDONLY | _CAREFUL)
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode):
            raise StoreCorrupted(f"{path} is not a regular file.", hint="Remove it.")
        if start:
            os.lseek(fd, start, os.SEEK_SET)
        wanted = min(limit, max(facts.st_size - start, 0))
        data = os.read(fd, wanted) if wanted else b""
        while len(data) < wanted and (more := os.read(fd, wanted - len(data))):
            data += more
        return data, facts
    finally:
        os.close(fd)


def temporary_name() -> str:
    return f"{TEMPORARY}{os.getpid()}-{os.urandom(6).hex()}"


def write_new(path: Path | str, data: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Write a file that must not be there yet."""
    fd = os.open(path, _NEW, mode)
    try:
        write_all(fd, data)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def replace(path: Path, data: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Replace the content of `path` atomically; an error changes nothing.

    With `sync` it is durable when the call returns.
    """
    beside = path.parent / temporary_name()
    try:
        write_new(beside, data, mode, sync=sync)
        os.replace(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    if sync:
        sync_folder(path.parent)


def append(
    path: Path,
    data: bytes,
    *,
    sync: bool = True,
    alone: bool = False,
    written: Callable[[], object] = bool,
) -> None:
    """Add `data` to a file in one write; with no other writer (`alone`) errors change nothing.

    `written` is called when it can be read, before it is durable.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CAREFUL, 0o600)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, f"{path} is not a regular file")
        try:
            write_all(fd, data)
            written()
            if sync:
                os.fsync(fd)
        except BaseException:
            if alone:
                os.ftruncate(fd, before.st_size)
            raise
    finally:
        os.close(fd)


def syncing(path: Path) -> Callable[[], None]:
    """Sync a file or folder in a thread; the answer waits for it, and raises its `OSError`."""
    trouble: list[OSError] = []
    done = _thread.allocate_lock()

    def sync() -> None:
        try:
            is_folder = os.path.isdir(path)
            if is_folder and sys.platform == "win32":
                return
            flags = os.O_RDONLY if is_folder else os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
            fd = os.open(path, flags)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as problem:
            trouble.append(problem)
        finally:
            done.release()

    def wait() -> None:
        with done:
            pass
        if trouble:
            raise trouble[0]

    done.acquire()
    # Not through `threading`, which would wait for it to begin.
    _thread.start_new_thread(sync, ())
    return wait


def write_all(fd: int, data: bytes) -> None:
    done = os.write(fd, data)
    while done < len(data):
        done += os.write(fd, memoryview(data)[done:])


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    if sys.platform == "win32":
        return
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        # The rename is visible already, so this does not count as a failure.
        logger.warning("Could not sync the folder %s: %s", folder, error)


def names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def unlink(path: Path) -> None:
    with suppress(OSError):
        os.unlink(path)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it; what cannot be removed is left for the next sweep."""
    from shutil import rmtree

    rmtree(folder, ignore_errors=True)


def try_lock(fd: int) -> bool:
    """Take the lock on an open file unless it is held. The kernel releases it at exit."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Release the lock, even if a forked child has a copy of the descriptor; close it."""
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def take_lock(path: Path, timeout_s: float) -> int:
    """A descriptor of `path` that holds its lock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        deadline, pause_s = time.monotonic() + timeout_s, 0.001
        while not try_lock(fd):
            if time.monotonic() >= deadline:
                text = f"Another process has held the store's lock {path} for {timeout_s:g} s."
                hint = "Look for a suspended process that uses the same store."
                raise StoreError(text, hint=hint)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.02)
    except BaseException:
        os.close(fd)
        raise
    return fd
