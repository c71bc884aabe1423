"""Changes one file of a folder at once and for good. Never leaves the folder, never half a file."""

from __future__ import annotations

import os
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

# Readers do not look at names that begin with a dot.
_BESIDE = ".yamlgraph-prompts-"
_LEFT_BEHIND_S = 60.0


def write_below(root: Path, path: str, data: bytes) -> None:
    """Give `root`/`path` the content `data`; the mode and owner that it has are kept.

    Raises:
        OSError: Nothing has changed.
    """
    target = _inside(root, path)
    _make_folders(target.parent)
    _sweep(target.parent)
    beside = target.parent / f"{_BESIDE}{os.getpid()}-{os.urandom(6).hex()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            _as_before(fd, target)
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, memoryview(data)[written:])
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(beside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise
    _sync(target.parent)


def remove_below(root: Path, path: str) -> None:
    """Remove `root`/`path`.

    Raises:
        OSError: Nothing has changed.
    """
    target = _inside(root, path)
    os.unlink(target)
    _sync(target.parent)


def _inside(root: Path, path: str) -> Path:
    """Where a link leads, so that it stays a link; never out of the folder."""
    parts = path.split("/")
    if "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise PermissionError(f"{path!r} is no path within the folder")
    real = os.path.realpath(root)
    target = os.path.realpath(os.path.join(real, *parts))
    if not target.startswith(real.rstrip(os.sep) + os.sep):
        raise PermissionError("a link leads out of the folder")
    return Path(target)


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(new)
        _sync(new.parent)


def _as_before(fd: int, target: Path) -> None:
    try:
        before = os.lstat(target)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(before.st_mode):
        raise PermissionError("it is not an ordinary file")
    if sys.platform == "win32":
        return
    mine = os.fstat(fd)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        # Raises where the owner cannot be kept: better not written than taken from its owner.
        os.fchown(fd, before.st_uid, before.st_gid)
    os.fchmod(fd, stat.S_IMODE(before.st_mode))


def _sweep(folder: Path) -> None:
    """Remove what a writer that was killed left behind."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(_BESIDE):
                left = folder / name
                if time.time() - left.stat().st_mtime > _LEFT_BEHIND_S:
                    left.unlink()


def _sync(folder: Path) -> None:
    if sys.platform == "win32":
        return
    # The rename is visible to everybody already: calling it failed would be the larger lie.
    with suppress(OSError):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
