"""Reads regular files only, and never blocks on a pipe; detects a folder that was swapped."""

from __future__ import annotations

import os
import stat

LIMIT_FILE_BYTES = 1 << 20


class SpecialFile(OSError):
    """A pipe, socket, device or folder, or a link where none may be."""


class TooLarge(OSError):
    """The file has more bytes than the limit; `size` is the count as far as it is known."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes")
        self.size = size


def read_regular(
    path: str | os.PathLike[str],
    *,
    limit_bytes: int = LIMIT_FILE_BYTES,
    follow: bool = True,
    dir_fd: int | None = None,
) -> bytes:
    """The bytes of an ordinary file."""
    # O_NONBLOCK: opening a pipe without a writer would wait for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags, dir_fd=dir_fd)
    except OSError as problem:
        if _is_special(path, follow, dir_fd):
            raise SpecialFile(str(problem)) from None
        raise
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise SpecialFile("not an ordinary file")
        if facts.st_size > limit_bytes:
            raise TooLarge(facts.st_size)
        data = os.read(handle, facts.st_size + 1)
        if len(data) != facts.st_size:
            data = _read_on(handle, data, limit_bytes)
        if len(data) > limit_bytes:
            raise TooLarge(len(data))
        return data
    finally:
        os.close(handle)


def standing(path: str | os.PathLike[str]) -> tuple[object, ...]:
    """Where a folder or file really is; the value changes when it is swapped for another one.

    git-sync swaps a link on the way to it, Kubernetes the link ``..data`` in a ConfigMap's; others
    rename the whole folder.
    """
    try:
        data = os.readlink(os.path.join(path, "..data"))
    except OSError:
        data = ""
    return os.path.realpath(path), inode(path), data


def inode(
    path: int | str | os.PathLike[str], *, follow: bool = True, dir_fd: int | None = None
) -> tuple[int, int] | None:
    """Which folder or file this is: another one after it was renamed; None where none is."""
    try:
        facts = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _read_on(handle: int, data: bytes, limit_bytes: int) -> bytes:
    """The rest of a file whose size has changed because it is being written."""
    pieces = [data]
    while data and sum(map(len, pieces)) <= limit_bytes:
        data = os.read(handle, limit_bytes)
        pieces.append(data)
    return b"".join(pieces)


def _is_special(path: str | os.PathLike[str], follow: bool, dir_fd: int | None) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path, dir_fd=dir_fd, follow_symlinks=follow).st_mode)
    except OSError:
        return False
