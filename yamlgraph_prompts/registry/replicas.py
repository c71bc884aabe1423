"""Which processes of this host share a store, and what each serves: a small locked file each.

A file whose lock is free belongs to a process that is gone. Never decides anything.
"""

from __future__ import annotations

import json
import os
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from yamlgraph_prompts.files.disk import names_in, try_lock

_SIZE = 256
_MAKING = ".new-"


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that shares the store.

    Args:
        pid: Its process id.
        release: The release that it serves.
        held: Whether it holds that release.
    """

    pid: int
    release: str
    held: bool


class Workers:
    """Says what this process serves, and reads what the others do. Never raises for a bad disk.

    Args:
        folder: Gives the folder that the files of all workers are in.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        # At most one. Whoever is dropped leaves too, or would count as a process that is behind.
        self._files: list[tuple[Path, int]] = []
        weakref.finalize(self, _leave, self._files)

    @property
    def joined(self) -> bool:
        """Whether this process is one of them."""
        return bool(self._files)

    def serve(self, release: str, held: bool) -> None:
        """Say what this process serves from now on."""
        said = json.dumps({"pid": os.getpid(), "release": release, "held": held})
        with suppress(OSError):
            if self._files:
                os.pwrite(self._files[0][1], said.ljust(_SIZE).encode(), 0)
            else:
                self._register(said)

    def others(self) -> list[Worker]:
        """Every living worker, this one too."""
        folder = self._folder()
        found = (_living(folder / name) for name in names_in(folder) if name[0] != ".")
        return [worker for worker in found if worker is not None]

    def forked(self) -> None:
        """The file belongs to the parent; a child makes its own."""
        for _, fd in self._files:
            os.close(fd)
        self._files.clear()

    def close(self) -> None:
        """Leave."""
        _leave(self._files)

    def _register(self, said: str) -> None:
        folder = self._folder()
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        beside = folder / f"{_MAKING}{name}"
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            # Locked before it can be seen: a file without a lock is swept.
            try_lock(fd)
            os.pwrite(fd, said.ljust(_SIZE).encode(), 0)
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


def taken_by(workers: Workers, release: str, held: bool, within_s: float) -> tuple[int, int]:
    """How many of the living workers serve this, and how many there are.

    Args:
        workers: The workers of one store.
        release: The release that they should serve.
        held: Whether they should hold it.
        within_s: How long to wait for all of them, in seconds.
    """
    ends = time.monotonic() + within_s
    while True:
        living = workers.others()
        taken = sum((one.release, one.held) == (release, held) for one in living)
        if taken == len(living) or time.monotonic() >= ends:
            return taken, len(living)
        time.sleep(0.02)


def _living(path: Path) -> Worker | None:
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        if try_lock(fd):
            with suppress(OSError):
                os.unlink(path)
            return None
        said = json.loads(os.pread(fd, _SIZE, 0))
        return Worker(said["pid"], said["release"], said["held"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    finally:
        os.close(fd)
