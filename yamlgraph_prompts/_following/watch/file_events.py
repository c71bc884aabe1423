"""Where file events come from: which folders to watch, links included, and the process's one
watchdog observer. Never decides when to act, and never reads a file."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from watchdog import events
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, EventEmitter, ObservedWatch
from watchdog.version import VERSION_INFO

from yamlgraph_prompts._files.forks import in_child
from yamlgraph_prompts._files.regular_file import inode

logger = logging.getLogger("yamlgraph_prompts")

Folder = tuple[str, bool]
"""A real folder, and whether everything below it is watched too."""

MOST_ENTRIES = 20_000
MOST_LINKS = 40
_READ = (".yaml", ".yml", ".j2")  # in a folder; another file may be a graph's data, or a log

# Opening and reading are left out: a reload that reads 10,000 files would hear itself 20,000 times.
_HEARD: list[type[FileSystemEvent]] = [
    kind
    for name in (
        *("FileCreatedEvent", "FileModifiedEvent", "FileClosedEvent", "FileMovedEvent"),
        *("FileDeletedEvent", "DirCreatedEvent", "DirMovedEvent", "DirDeletedEvent"),
        "FileAttribEvent",
    )
    if (kind := getattr(events, name, None)) is not None
]


_TELLS_CLOSE = sys.platform.startswith("linux")


@dataclass(frozen=True, slots=True)
class FileChange:
    """What a file event means."""

    path: str
    # "opened": its writer will close it; "closed", "moved", "other"; "beside": may not matter.
    kind: str
    turned: bool  # whether it may lead elsewhere now
    source: str = ""  # of one that was moved


@dataclass(frozen=True)
class Places:
    """What there is to watch, all in real paths."""

    folders: frozenset[Folder] = frozenset()  # to ask the observer for
    roots: tuple[str, ...] = ()  # folders, with a slash at the end, in which everything matters
    names: frozenset[str] = frozenset()  # single files that matter
    # Links, roots and names that are missing: after a change there, survey again.
    turns: frozenset[str] = frozenset()

    def matters(self, path: str) -> bool:
        """Whether a change at `path` may matter."""
        if path in self.names or path in self.turns:
            return True
        return any(
            path.startswith(root) and not _is_ignored(path[len(root) - 1 :]) for root in self.roots
        )

    def change(self, event: FileSystemEvent) -> FileChange | None:
        """What changed; None if nothing that matters."""
        source, target = (os.fsdecode(path) for path in (event.src_path, event.dest_path))
        paths = [path for path in (target, source) if path and self.matters(path)]
        if not paths:
            return None
        kind, path, is_empty = event.event_type, paths[0], False
        turned = event.is_directory or not self.turns.isdisjoint((path, source))
        if kind in ("created", "moved") and not turned:
            with contextlib.suppress(OSError):
                facts = os.lstat(path)
                turned, is_empty = stat.S_ISLNK(facts.st_mode), facts.st_size == 0
        if turned:
            return FileChange(path, "other", turned=True)
        read = [path for path in paths if path in self.names or path.endswith(_READ)]
        if not read:
            return FileChange(path, "beside", turned=False)
        if kind == "closed" or (kind == "moved" and read[0] == target):
            return FileChange(read[0], kind, turned=False, source=source)
        # The writer of an empty file is about to write it.
        opened = _TELLS_CLOSE and (kind == "modified" or (kind == "created" and is_empty))
        return FileChange(read[0], "opened" if opened else "other", turned=False)


def survey(paths: Iterable[Path]) -> Places:
    """Where to watch so that no change of `paths` goes unheard, however links lead there.

    Looks at `MOST_ENTRIES` directory entries at most; links beyond them are not followed.
    """
    walk = _Walk()
    for path in paths:
        # A deploy may have removed the working directory, and nothing can come back there.
        with contextlib.suppress(FileNotFoundError):
            walk.todo.append(str(path.absolute()))
    while walk.todo:
        walk.follow(walk.todo.pop())
    return walk.places()


class Subscription(FileSystemEventHandler):
    """One listener's part of the shared observer. `listener` must be quick."""

    def __init__(self, listener: Callable[[FileSystemEvent], None]) -> None:
        self._listener = listener
        self.held: dict[Folder, EventEmitter] = {}

    def watch(self, folders: frozenset[Folder]) -> bool:
        """Hear from exactly `folders`; False if one of them has just gone."""
        with _shared.lock:
            _shared.start(self)
            for folder in self.held.keys() - folders:
                _shared.leave(folder, self)
                del self.held[folder]
            for folder in folders:
                try:
                    self.held[folder] = _shared.join(folder, self)
                except (FileNotFoundError, NotADirectoryError):
                    self.held.pop(folder, None)
            return len(self.held) == len(folders)

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._listener(event)
        except Exception:  # an exception would end the thread of all listeners
            logger.exception("A file event could not be handled")

    def healthy(self) -> bool:
        with _shared.lock:
            return _shared.observer_lives() and all(
                emitter.is_alive()
                and folder in _shared.entries
                and _shared.entries[folder].emitter is emitter
                for folder, emitter in self.held.items()
            )

    def close(self) -> None:
        """Hear nothing more. The last one to close stops the observer."""
        with _shared.lock:
            for folder in self.held:
                _shared.leave(folder, self)
            self.held = {}
            _shared.stop(self)


KNOWN_WATCHDOG = (7, 1)  # of which `inotify` knows the internals; with others no run can ask


def make_observer() -> BaseObserver:
    """A new observer, not started. A test replaces this."""
    if sys.platform.startswith("linux") and VERSION_INFO[:2] == KNOWN_WATCHDOG:
        from yamlgraph_prompts._following.watch.inotify import DirectObserver

        return DirectObserver()
    return Observer()


def unread() -> bool:
    """Whether file events wait that no listener knows; False where the system does not tell."""
    return _shared.unread()


class _Walk:
    def __init__(self) -> None:
        self.todo: list[str] = []
        self.folders: set[Folder] = set()
        self.roots: set[str] = set()
        self.names: set[str] = set()
        self.turns: set[str] = set()
        self.left = MOST_ENTRIES

    def follow(self, path: str) -> None:
        here, *rest = Path(path).parts
        parts = rest[::-1]
        links = 0
        while parts:
            part = parts.pop()
            if part == "..":
                here = os.path.dirname(here)
                continue
            step = os.path.join(here, part)
            try:
                mode = os.lstat(step).st_mode
                target = Path(os.readlink(step)) if stat.S_ISLNK(mode) else None
            except OSError:
                self._turn(step)
                return
            if target is not None:
                self._turn(step)
                links += 1
                if links > MOST_LINKS:
                    return
                here = target.anchor or here
                parts.extend(reversed(target.parts[1:] if target.anchor else target.parts))
            elif stat.S_ISDIR(mode):
                here = step
            else:
                self.names.add(step)
                self.folders.add((here, False))
                return
        if here not in self.roots:
            self.roots.add(here)
            self.folders.add((here, True))
            self._turn(here)
            self._find_links(here)

    def _turn(self, path: str) -> None:
        self.turns.add(path)
        self.folders.add((os.path.dirname(path), False))

    def _find_links(self, root: str) -> None:
        folders = [root]
        while folders and self.left > 0:
            with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    self.left -= 1
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        self.todo.append(entry.path)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)

    def places(self) -> Places:
        deep = {path for path, below in self.folders if below}
        kept = {
            (path, below)
            for path, below in self.folders
            if not any(parent in deep for parent in _parents(path)) and (below or path not in deep)
        }
        roots = tuple(sorted(os.path.join(root, "") for root in self.roots))
        return Places(frozenset(kept), roots, frozenset(self.names), frozenset(self.turns))


def _parents(path: str) -> Iterable[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _is_ignored(path: str) -> bool:
    return f"{os.sep}." in path or path.endswith(("~", ".swp", ".swx", f"{os.sep}4913"))


@dataclass
class _Entry:
    watch: ObservedWatch
    emitter: EventEmitter
    inode: tuple[int, int] | None
    handlers: set[Subscription] = field(default_factory=set)


class _Shared:
    """The one observer of this process, while there are listeners."""

    def __init__(self) -> None:
        # Never taken by a handler: watchdog calls handlers while it holds its own lock.
        self.lock = threading.RLock()
        self.observer: BaseObserver | None = None
        self.unread: Callable[[], bool] = bool
        self.entries: dict[Folder, _Entry] = {}
        self.users: set[Subscription] = set()

    def start(self, user: Subscription) -> None:
        if self.observer is not None and not self.observer_lives():
            self._stop()
        if self.observer is None:
            observer = make_observer()
            observer.start()
            self.observer = observer
            self.unread = getattr(observer, "unread", bool)
        self.users.add(user)

    def stop(self, user: Subscription) -> None:
        self.users.discard(user)
        if not self.users:
            self._stop()

    def join(self, folder: Folder, handler: Subscription) -> EventEmitter:
        entry = self.entries.get(folder)
        if entry is not None and not (entry.emitter.is_alive() and entry.inode == inode(folder[0])):
            self._forget(folder)
            others = entry.handlers
            entry = None
        else:
            others = set()
        if entry is None:
            entry = self.entries[folder] = self._schedule(folder, handler)
            for other in others - {handler}:
                self._add(entry, other)
        elif handler not in entry.handlers:
            self._add(entry, handler)
        return entry.emitter

    def _schedule(self, folder: Folder, handler: Subscription) -> _Entry:
        assert self.observer is not None
        path, below = folder
        was = inode(path)
        try:
            watch = self.observer.schedule(handler, path, recursive=below, event_filter=_HEARD)
        except RuntimeError as error:  # no more threads
            raise OSError(str(error)) from error
        emitter = next(each for each in self.observer.emitters if each.watch is watch)
        return _Entry(watch, emitter, was, {handler})

    def _add(self, entry: _Entry, handler: Subscription) -> None:
        assert self.observer is not None
        self.observer.add_handler_for_watch(handler, entry.watch)
        entry.handlers.add(handler)

    def leave(self, folder: Folder, handler: Subscription) -> None:
        entry = self.entries.get(folder)
        if entry is None or handler not in entry.handlers or self.observer is None:
            return
        entry.handlers.discard(handler)
        with contextlib.suppress(KeyError):
            self.observer.remove_handler_for_watch(handler, entry.watch)
        if not entry.handlers:
            self._forget(folder)

    def _forget(self, folder: Folder) -> None:
        entry = self.entries.pop(folder)
        if self.observer is not None:
            with contextlib.suppress(KeyError, OSError):
                self.observer.unschedule(entry.watch)

    def observer_lives(self) -> bool:
        reader = getattr(self.observer, "_inotify_fd", None)
        return (
            self.observer is not None
            and self.observer.is_alive()
            and (not isinstance(reader, threading.Thread) or reader.is_alive())
        )

    def _stop(self) -> None:
        observer, self.observer, self.unread = self.observer, None, bool
        self.entries.clear()
        if observer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                observer.stop()
                observer.join(5)


_shared = _Shared()


@in_child
def _forget_parent() -> None:
    """In a forked child: close the parent's descriptors here and begin anew."""
    global _shared
    observer, _shared = _shared.observer, _Shared()
    reader = getattr(observer, "_inotify_fd", None)
    for name in ("_inotify_fd", "_kill_r", "_kill_w"):
        descriptor = getattr(reader, name, None)
        if isinstance(descriptor, int):
            with contextlib.suppress(OSError):
                os.close(descriptor)
