"""Which processes of this host serve a store's releases: a small locked file each.

A file whose lock is free is that of a process that is gone. Never decides anything.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from yamlgraph_prompts._files.disk import names_in, try_lock
from yamlgraph_prompts.registry.folder import from_reserve
from yamlgraph_prompts.registry.ports import Replica

_SIZE = 256
_MAKING = ".new-"
MADE_WITHIN_S = 60.0


class HostReplicas:
    """The port `Presence` in a folder, which `folder` gives. Never raises for a bad disk."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        # At most one. What is dropped leaves too, or would count as a process that is behind.
        self._files: list[tuple[Path, int]] = []
        weakref.finalize(self, _leave, self._files)

    @property
    def joined(self) -> bool:
        """Whether this process is one of them."""
        return bool(self._files)

    def announce(self, replica: Replica) -> None:
        facts = {"pid": replica.pid, "release": replica.release, "held": replica.held}
        data = json.dumps({**facts, "environment": replica.environment}).ljust(_SIZE).encode()
        with suppress(OSError):
            if self._files and self._files[0][0].parent != self._folder():
                # The store has moved, since its folder cannot be trusted any more.
                self.close()
            if self._files:
                os.pwrite(self._files[0][1], data, 0)
            else:
                from_reserve(self._folder().parent, lambda: self._register(data))

    def replicas(self, environment: str) -> list[Replica]:
        folder = self._folder()
        found = (_living(folder / name) for name in names_in(folder) if name[0] != ".")
        return [one for one in found if one and one.environment in ("", environment)]

    def reached(self, wanted: Replica, within_s: float) -> tuple[int, int]:
        """How many living replicas serve what `wanted` does, and how many there are.

        Waits at most `within_s` seconds for all of them.
        """
        ends = time.monotonic() + within_s
        while True:
            living = self.replicas(wanted.environment)
            reached = sum((r.release, r.held) == (wanted.release, wanted.held) for r in living)
            if reached == len(living) or time.monotonic() >= ends:
                return reached, len(living)
            time.sleep(0.02)

    def forked(self) -> None:
        """The file belongs to the parent; a child makes its own."""
        for _, fd in self._files:
            os.close(fd)
        self._files.clear()

    def close(self) -> None:
        """Leave."""
        _leave(self._files)

    def _sweep(self, folder: Path) -> None:
        """Remove what processes that are gone left behind."""
        for name in names_in(folder):
            path = folder / name
            with suppress(OSError):
                # One that is being made is not locked yet.
                is_old = time.time() - path.lstat().st_mtime > MADE_WITHIN_S
                if is_old or not name.startswith(_MAKING):
                    _living(path)

    def _register(self, data: bytes) -> None:
        folder = self._folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        self._sweep(folder)
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        beside = folder / f"{_MAKING}{name}"
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Locked before it can be seen: a file without a lock is swept.
            try_lock(fd)
            os.pwrite(fd, data, 0)
            os.rename(beside, folder / name)
        except OSError:
            os.close(fd)
            raise
        self._files.append((folder / name, fd))


def _leave(files: list[tuple[Path, int]]) -> None:
    for path, fd in files:
        with suppress(OSError):
            os.unlink(path)
        os.close(fd)
    files.clear()


def _living(path: Path) -> Replica | None:
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        if try_lock(fd):
            with suppress(OSError):
                os.unlink(path)
            return None
        known = json.loads(os.pread(fd, _SIZE, 0))
        return Replica(known.get("environment", ""), known["release"], known["held"], known["pid"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    finally:
        os.close(fd)
