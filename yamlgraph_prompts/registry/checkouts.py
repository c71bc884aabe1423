"""Folders of ordinary files made from memory, for readers that want a path. Never the truth.

Each process keeps its views in a nest of its own; a nest whose lock is free belongs to nobody.
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

from yamlgraph_prompts.errors import StoreError
from yamlgraph_prompts.files.disk import (
    follow_forks,
    names_in,
    remove_tree,
    temporary_name,
    told,
    try_lock,
    write_new,
)

logger = logging.getLogger("yamlgraph_prompts")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
# Read-only files cannot be removed on Windows.
_MODE = 0o600 if os.name == "nt" else 0o400
_LOCK = ".lock"


@dataclass
class Nest:
    """One folder of views. The lock on `fd` says that a process still reads it."""

    path: Path
    fd: int
    names: set[str] = field(default_factory=set)
    shared: bool = False


class Views:
    """The views of this process. A fork makes all views so far shared: both sides may read them."""

    def __init__(
        self, folder: Callable[[], Path], lock: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self.nests: list[Nest] = []
        self._folder = folder
        self._lock = lock
        self._mutex = threading.RLock()
        follow_forks(self)

    def forked(self, *, child: bool) -> None:
        if child:
            self._mutex = threading.RLock()
        for nest in self.nests:
            nest.shared = True

    def view(self, name: str, files: Mapping[str, bytes]) -> Path:
        if not _NAME.fullmatch(name):
            raise StoreError(f"A view cannot be named {name!r}.", hint="Use a digest.")
        with self._mutex:
            for nest in self.nests:
                if name in nest.names and _is_whole(nest.path / name, files):
                    return nest.path / name
            nest = self._own()
            with told("Could not write the view", nest.path / name):
                check_out(nest.path / name, files)
            nest.names.add(name)
            return nest.path / name

    def drop(self, keep: Collection[str]) -> None:
        with self._mutex:
            for nest in list(self.nests):
                unused = nest.names.difference(keep)
                if not nest.shared:
                    for name in unused:
                        remove_tree(nest.path / name)
                    nest.names -= unused
                elif unused == nest.names:
                    leave(self.nests, nest)

    def sweep(self) -> None:
        """Remove what dead processes left behind. The caller holds the lock."""
        for name in names_in(self._folder()):
            _remove_if_free(self._folder() / name)

    def _own(self) -> Nest:
        for nest in self.nests:
            if not nest.shared and nest.path.is_dir():
                return nest
        with self._lock(), told("Could not make a folder for views in", self._folder()):
            path = self._folder() / f"{os.getpid()}-{os.urandom(6).hex()}"
            self._folder().mkdir(mode=0o700, exist_ok=True)
            os.mkdir(path, 0o700)
            fd = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try_lock(fd)
        nest = Nest(path, fd)
        self.nests.append(nest)
        return nest


def leave(nests: list[Nest], nest: Nest) -> None:
    """Forget a nest; remove it unless another process has inherited it."""
    nests.remove(nest)
    # Closing keeps the lock of a forked process alive; unlocking would take it away.
    os.close(nest.fd)
    _remove_if_free(nest.path)


def _remove_if_free(nest: Path) -> None:
    try:
        fd = os.open(nest / _LOCK, os.O_RDWR)
    except OSError:
        remove_tree(nest)
        return
    try:
        with suppress(OSError):
            if try_lock(fd):
                remove_tree(nest)
    finally:
        os.close(fd)


def _is_whole(view: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all(os.stat(f"{view}/{name}").st_size == len(files[name]) for name in files)
    except OSError:
        return False


def check_out(folder: Path, files: Mapping[str, bytes], *, private: bool = True) -> None:
    """Write `files` as a folder, at once."""
    beside = folder.parent / temporary_name()
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
            write_new(f"{beside}/{name}", data, file_mode, sync=False)
        if folder.exists():
            logger.warning("The view %s had been changed by somebody; it is made anew", folder)
            os.rename(folder, folder.parent / temporary_name())
        os.rename(beside, folder)
    except BaseException:
        remove_tree(beside)
        raise
