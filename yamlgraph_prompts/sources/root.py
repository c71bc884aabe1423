"""A folder that is opened once: what is reached through it lies in it, whatever is swapped."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from yamlgraph_prompts._files.regular_file import inode

LIMIT_LINKS = 40
LIMIT_PATH_BYTES = 1024
LIMIT_STEPS = 1_000_000


class Escapes(PermissionError):
    """A link leads out of the folder."""


@dataclass(frozen=True, slots=True)
class _Base:
    descriptor: int
    inode: tuple[int, int] | None
    path: str
    prefix: str  # before a path below it

    @classmethod
    def open(cls, path: Path, prefix: str) -> _Base:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        above = os.path.join(prefix, "") if prefix else ""
        return cls(descriptor, inode(descriptor), os.path.realpath(path), above)


class Root(AbstractContextManager["Root"]):
    """Opens what lies below a folder, part by part from its descriptor; no part may be a link.

    A link is read, and its target is walked in the same way: a folder that is swapped for a link
    leads out at no moment. (Go's ``os.Root`` makes the same promise.)
    """

    def __init__(self, path: Path, also: Iterable[Path] = ()) -> None:
        self.links: dict[str, str] = {}
        self._left = LIMIT_STEPS
        # The root first, then the folders that links may lead to as well.
        self._bases = [_Base.open(path, "")]
        for other in also:
            with suppress(FileNotFoundError):
                self._bases.append(_Base.open(other, os.path.realpath(other)))
        self.descriptor, self.inode = self._bases[0].descriptor, self._bases[0].inode

    def __exit__(self, *_: object) -> None:
        for base in self._bases:
            os.close(base.descriptor)

    @contextmanager
    def reach(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str | None, str]]:
        """What a path below the root leads to.

        Gives the descriptor of a folder, open within the block, the name of the file in it (None
        where the path leads to the folder itself), and the path below the root without links;
        the whole path where links may lead out, and do. With `make`, missing folders are made, and
        the file may be missing. Raises `Escapes` for a path that leads elsewhere.
        """
        folder = os.dup(self.descriptor)
        try:
            yield folder, *self._walk(folder, path, make)
        finally:
            os.close(folder)

    def leads(self, path: str) -> str | None:
        """Where the link at `path` leads; None where no link is."""
        try:
            return os.readlink(path, dir_fd=self.descriptor)
        except OSError:
            return None

    def _walk(self, folder: int, path: str, make: bool) -> tuple[str | None, str]:
        """Makes `folder` the descriptor of what the path leads to."""
        above: list[str] = []
        base, todo = self._bases[0], path.split("/")[::-1]
        if path.startswith("/"):
            base, todo = self._below(path, [])
            os.dup2(base.descriptor, folder, inheritable=False)
        links = 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            self._spend(1)
            if part == "..":
                # Not the descriptor's "..": the folder may have been moved out meanwhile.
                if above:
                    todo += above[-2::-1]
                else:
                    base, todo = self._below(os.path.dirname(base.path), todo)
            elif _enter(folder, part, make and bool(todo)):
                above.append(part)
                continue
            else:
                here = base.prefix + "/".join([*above, part])
                target = _link(folder, part, may_miss=make and not todo)
                if target is None:
                    if todo:
                        raise _error(errno.ENOTDIR)
                    return part, bounded(here)
                links += 1
                if links > LIMIT_LINKS:
                    raise _error(errno.ELOOP)
                self.links.setdefault(bounded(here), target)
                if not target.startswith("/"):
                    todo += target.split("/")[::-1]
                    continue
                base, todo = self._below(target, todo)
            os.dup2(base.descriptor, folder, inheritable=False)
            above = []
        return None, bounded((base.prefix + "/".join(above)).rstrip("/"))

    def _below(self, path: str, todo: list[str]) -> tuple[_Base, list[str]]:
        """The base that an absolute path and the rest lead into, and what is left to walk there."""
        parts = [part for part in path.split("/") + todo[::-1] if part not in ("", ".")]
        for end in range(len(parts) + 1):
            self._spend(end + 1)
            # Outside the bases, a folder is only compared with them.
            path = "/" + "/".join(parts[:end])
            found = inode(path)
            for base in self._bases:
                if found == base.inode or path == base.path:
                    return base, parts[end:][::-1]
        raise Escapes("a link leads out of the folder")

    def _spend(self, steps: int) -> None:
        self._left -= steps
        if self._left < 0:
            raise _error(errno.ELOOP)


def sync(folder: int) -> None:
    """Make what was renamed, made or removed in a folder last."""
    # It is visible to everybody already: calling it failed would be the larger lie.
    with suppress(OSError):
        os.fsync(folder)


def _enter(folder: int, part: str, make: bool) -> bool:
    """Makes `folder` the descriptor of the folder `part` in it, if it is one."""
    try:
        child = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            return False
        with suppress(FileExistsError):
            os.mkdir(part, dir_fd=folder)
        sync(folder)
        return _enter(folder, part, make=False)
    except OSError as problem:
        if problem.errno in (errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    try:
        os.dup2(child, folder, inheritable=False)
    finally:
        os.close(child)
    return True


def _link(folder: int, part: str, may_miss: bool) -> str | None:
    """Where a link leads; None for what is not a link."""
    try:
        return os.readlink(part, dir_fd=folder)
    except OSError as problem:
        if problem.errno == errno.EINVAL or (may_miss and problem.errno == errno.ENOENT):
            return None
        raise


def bounded(path: str) -> str:
    """The path, if it is not too long."""
    if len(os.fsencode(path)) > LIMIT_PATH_BYTES:
        raise _error(errno.ENAMETOOLONG)
    return path


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
