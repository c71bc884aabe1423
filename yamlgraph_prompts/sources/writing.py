"""Changes one file of a folder at once and for good. Never leaves the folder, never half a file."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from yamlgraph_prompts._files.disk import write_all
from yamlgraph_prompts._files.regular_file import SpecialFile, TooLarge, read_regular
from yamlgraph_prompts.sources.root import Root, bounded, sync

# Readers do not look at names that begin with a dot.
_BESIDE = ".yamlgraph-prompts-"
_LEFT_BEHIND_S = 60.0
_BUSY_S = 5.0


@contextmanager
def one_writer(root: Root) -> Iterator[None]:
    """Let one process at a time compare and write, where the file system has locks."""
    import fcntl

    ends_s = time.monotonic() + _BUSY_S
    while True:
        try:
            fcntl.flock(root.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > ends_s:
                raise
            time.sleep(0.005)
            continue
        except OSError:
            # A network mount may lock no folders. What is compared is still nearly always right.
            pass
        break
    try:
        yield
    finally:
        # Closing would do, but for a child that was forked meanwhile.
        with suppress(OSError):
            fcntl.flock(root.descriptor, fcntl.LOCK_UN)


def bytes_below(root: Root, path: str) -> bytes | None:
    """What a reading of the folder finds in the file `path`; None: no file that can be taken."""
    try:
        with root.reach(_plain(path)) as (folder, name, _):
            return None if name is None else read_regular(name, follow=False, dir_fd=folder)
    except (FileNotFoundError, PermissionError, SpecialFile, TooLarge):
        return None


def write_below(root: Root, path: str, data: bytes) -> None:
    """Write `data` to the file `path` atomically; an existing file keeps its mode and owner.

    A link to a file stays a link: what it leads to is changed. An OSError changes nothing.
    """
    with root.reach(_plain(path), make=True) as (folder, name, _):
        if name is None:
            raise IsADirectoryError("it is a folder")
        _sweep(folder)
        beside = f"{_BESIDE}{os.getpid()}-{os.urandom(6).hex()}"
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(beside, new, 0o666, dir_fd=folder)
        try:
            try:
                _as_before(fd, folder, name)
                write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(beside, dir_fd=folder)
            raise
        sync(folder)


def remove_below(root: Root, path: str) -> None:
    """Remove the file or link `path`; never what the link leads to."""
    above, _, name = _plain(path).rpartition("/")
    with root.reach(above) as (folder, file, _):
        if file is not None:
            raise NotADirectoryError(f"{above!a} is not a folder")
        os.unlink(name, dir_fd=folder)
        sync(folder)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with suppress(FileExistsError):
            os.mkdir(folder)
        with Root(folder.parent) as parent:
            sync(parent.descriptor)


def _plain(path: str) -> str:
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise PermissionError(f"{path!a} is no path within the folder")
    return bounded(path)


def _as_before(fd: int, folder: int, name: str) -> None:
    try:
        before = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(before.st_mode):
        raise PermissionError("it is not an ordinary file")
    mine = os.fstat(fd)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        # Raises where the owner cannot be kept: better not written than taken from its owner.
        os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, stat.S_IMODE(before.st_mode) & 0o777)


def _sweep(folder: int) -> None:
    """Remove what a writer that was killed left behind."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(_BESIDE):
                left = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if time.time() - left.st_mtime > _LEFT_BEHIND_S:
                    os.unlink(name, dir_fd=folder)
