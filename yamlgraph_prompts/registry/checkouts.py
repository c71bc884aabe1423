"""Checks files out as folders, for libraries that can only read paths. Only a cache of the packs.

Each process owns a directory and locks it; an unlocked one is garbage and is swept.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from yamlgraph_prompts._files import disk
from yamlgraph_prompts._files.forks import follow_forks
from yamlgraph_prompts.errors import StoreError

logger = logging.getLogger("yamlgraph_prompts")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
# Read-only files cannot be removed on Windows.
_MODE = 0o600 if os.name == "nt" else 0o400
_LOCK = ".lock"


@dataclass
class Directory:
    """A process's own; the lock on `fd` says that it still reads it."""

    path: Path
    fd: int
    names: set[str] = field(default_factory=set)
    shared: bool = False


class Checkouts:
    """The checkouts of this process. A fork shares all so far: both sides may read them."""

    def __init__(
        self,
        store: Callable[[], Path | None],
        spare: Callable[[], Path],
        lock: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.directories: list[Directory] = []
        self._store = store
        # Where the store's folder cannot be written.
        self._spare = spare
        self._lock = lock
        self._mutex = threading.RLock()
        follow_forks(self)

    def forked(self, *, child: bool) -> None:
        if child:
            self._mutex = threading.RLock()
        for directory in self.directories:
            directory.shared = True

    def view(self, name: str, files: Mapping[str, bytes]) -> Path:
        if not _NAME.fullmatch(name):
            raise StoreError(f"A view cannot be named {name!r}.", hint="Use a digest.")
        with self._mutex:
            for directory in self.directories:
                if name in directory.names and _is_whole(directory.path / name, files):
                    return directory.path / name
            store = self._store()
            try:
                return self._check_out(self._spare() if store is None else store, name, files)
            except StoreError:
                if store is None:
                    raise
                return self._check_out(self._spare(), name, files)

    def _check_out(self, store: Path, name: str, files: Mapping[str, bytes]) -> Path:
        directory = self._own(store / "views")
        with disk.store_errors("Could not write the view", directory.path / name):
            check_out(directory.path / name, files)
        directory.names.add(name)
        return directory.path / name

    def drop(self, keep: Collection[str]) -> None:
        with self._mutex:
            for directory in list(self.directories):
                unused = directory.names.difference(keep)
                if not directory.shared:
                    for name in unused:
                        disk.remove_tree(directory.path / name)
                    directory.names -= unused
                elif unused == directory.names:
                    leave(self.directories, directory)

    def sweep(self) -> None:
        """Remove what dead processes left behind. The caller holds the lock."""
        if (store := self._store()) is not None:
            for name in disk.names_in(store / "views"):
                _remove_if_free(store / "views" / name)

    def _own(self, folder: Path) -> Directory:
        for directory in self.directories:
            if not directory.shared and directory.path.parent == folder and directory.path.is_dir():
                return directory
        with self._lock(), disk.store_errors("Could not make a folder for views in", folder):
            path = folder / f"{os.getpid()}-{os.urandom(6).hex()}"
            folder.mkdir(mode=0o700, exist_ok=True)
            os.mkdir(path, 0o700)
            fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            disk.try_lock(fd)
        directory = Directory(path, fd)
        self.directories.append(directory)
        return directory


def leave(directories: list[Directory], directory: Directory) -> None:
    """Forget a directory; remove it unless another process has inherited it."""
    directories.remove(directory)
    # Closing keeps the lock of a forked process alive; unlocking would take it away.
    os.close(directory.fd)
    _remove_if_free(directory.path)


def leave_all(directories: list[Directory], made: list[tuple[Path, int]]) -> None:
    """Forget all; remove the temporary folders that this process made."""
    for directory in list(directories):
        leave(directories, directory)
    for folder, maker in made:
        if os.getpid() == maker:
            disk.remove_tree(folder)


def _remove_if_free(directory: Path) -> None:
    try:
        fd = os.open(directory / _LOCK, os.O_RDWR)
    except OSError:
        disk.remove_tree(directory)
        return
    try:
        with suppress(OSError):
            if disk.try_lock(fd):
                disk.remove_tree(directory)
    finally:
        os.close(fd)


def _is_whole(view: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all(os.stat(f"{view}/{name}").st_size == len(files[name]) for name in files)
    except OSError:
        return False


def check_out(folder: Path, files: Mapping[str, bytes], *, private: bool = True) -> None:
    """Write `files` as a folder, at once."""
    beside = folder.parent / disk.temporary_name()
    file_mode, folder_mode = (_MODE, 0o700) if private else (0o666, 0o777)
    try:
        os.mkdir(beside, folder_mode)
        made = {""}
        for name, data in files.items():
            if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
                raise StoreError(f"A view cannot hold a file named {name!r}.")
            inside = name.rpartition("/")[0]
            if inside not in made:
                os.makedirs(f"{beside}/{inside}", folder_mode, exist_ok=True)
                made.add(inside)
            disk.write_new(f"{beside}/{name}", data, file_mode, sync=False)
        if folder.exists():
            logger.warning("The view %s was changed from outside; it is made anew", folder)
            os.rename(folder, folder.parent / disk.temporary_name())
        os.rename(beside, folder)
    except BaseException:
        disk.remove_tree(beside)
        raise
