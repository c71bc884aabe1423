"""A layer in a local folder. Follows no link that leads out, reads only regular files."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Event
from urllib.parse import unquote, urlsplit

from yamlgraph_prompts._files.regular_file import (
    SpecialFile,
    TooLarge,
    inode,
    read_regular,
    standing,
)
from yamlgraph_prompts.errors import (
    LayerError,
    LayerNotFound,
    LayerReadOnly,
    LayerUnavailable,
    Stale,
)
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources import Change, Snapshot
from yamlgraph_prompts.sources.layer_files import (
    LIMIT_BYTES,
    has_controls,
    is_read,
    prompt_name,
    shown,
    too_large,
    yml,
)
from yamlgraph_prompts.sources.polling import poll
from yamlgraph_prompts.sources.root import LIMIT_PATH_BYTES, Escapes, Root

_PASSES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EAGAIN})
_SHOWN = 80
_DANGLING = "This link points to nothing."
_HINTS = {
    "escaping-link": "Copy the file into the layer, or give its folder as a layer.",
    "escaping-name": "Rename the file, or the folder that it is in.",
    "too-deep": "Use fewer levels of folders.",
}

LIMIT_ENTRIES = 30_000  # that may be prompts
LIMIT_LOOKS = 500_000  # of any kind
ATTEMPTS = 5
SWAP_S, PAUSE_S = 0.5, 0.02  # for which a link may lead nowhere while it is replaced


class DirectorySource:
    """Reads the ``.yaml`` and ``.j2`` files of a folder, as they were together at one moment.

    A folder that is swapped while it is read (git-sync, a Kubernetes ConfigMap) is read again,
    so that the answer never mixes two states.
    """

    refresh_s = 1.0

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "file" and parts.netloc not in ("", "localhost"):
            text = f"{url} names the host {parts.netloc!r}, not a folder."
            hint = "Write a plain path, or file:/// before an absolute one."
            raise LayerUnavailable(text, layer=url, hint=hint)
        self.url = url
        # The working directory of this moment counts, whatever a program does later.
        self.root = Path(unquote(parts.path) if parts.scheme == "file" else url).absolute()
        self._inode: tuple[int, int] | None = None
        self.link_roots: tuple[Path, ...] = ()
        self._dangling: set[str | None] = set()  # the links that led nowhere, by the last read

    def read(self) -> Snapshot:
        self._inode = last = None
        ends, attempts = time.monotonic() + SWAP_S, 0
        while attempts < ATTEMPTS:
            before = standing(self.root)
            try:
                content, stands = self._read_once()
            except LayerNotFound:
                if not self.root.is_symlink() or time.monotonic() > ends:
                    raise
                time.sleep(PAUSE_S)
                continue
            is_whole = stands and before == standing(self.root)
            # Some FUSE mounts number a file anew each time. Twice the same is no mixture.
            is_same = content is not None and last is not None and content.version == last.version
            if content is None or not (is_whole or is_same):
                attempts, last = attempts + 1, content
                continue
            dangling = {f.file for f in content.findings if f.message == _DANGLING}
            if dangling <= self._dangling or time.monotonic() > ends:
                self._dangling = dangling
                self._inode = self._inode if is_whole else None
                return content
            time.sleep(PAUSE_S)
        raise LayerUnavailable(
            f"The folder {self.url} changes faster than it can be read.", layer=self.url
        )

    def changes(self, stop: Event) -> Iterator[None]:
        """For use without the file watch: file systems' times are too coarse to trust."""
        return poll(stop, self.refresh_s)

    def folders(self) -> list[str]:
        try:
            with os.scandir(self.root) as entries:
                return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
        except OSError:
            return []

    def watched(self) -> tuple[Path, ...]:
        return (self.root,)

    def write(self, change: Change) -> None:
        """Change one file, with its mode and owner; see `Writable.write`."""
        from yamlgraph_prompts.sources import writing

        path, data = change.path, change.data
        try:
            if data is not None and self._inode is None:
                writing.make_folder(Path(os.path.realpath(self.root)))
            with Root(self.root) as root, writing.one_writer(root):
                self._may_write(root)
                if writing.bytes_below(root, path) != change.replaces:
                    text = f"{shown(self.url, path)} was changed meanwhile; nothing was written."
                    hint = "Look at what is there now, and try again."
                    raise Stale(text, layer=self.url, hint=hint)
                if data is None:
                    writing.remove_below(root, path)
                else:
                    writing.write_below(root, path, data)
        except LayerError:
            raise
        except OSError as problem:
            text = f"{shown(self.url, path)} cannot be written: {problem.strerror or problem}."
            if problem.errno in _PASSES:
                busy = problem.errno == errno.EAGAIN
                hint = "Try again." if busy else "Free some space, then try again."
                raise LayerUnavailable(text, layer=self.url, hint=hint) from problem
            hint = "Make the folder writable for this user, or write to another layer."
            raise LayerReadOnly(text, layer=self.url, hint=hint) from problem

    def close(self) -> None:
        """Nothing is kept open."""

    def _may_write(self, root: Root) -> None:
        if self._inode not in (None, root.inode):
            raise LayerUnavailable(
                f"{self.url} was replaced by another folder in the meantime; nothing was written.",
                layer=self.url,
                hint="Read the current state, and try again.",
            )
        if root.leads("..data"):
            text = f"{self.url} is managed by Kubernetes (a ConfigMap)."
            hint = "Change the ConfigMap, or write to another layer."
            raise LayerReadOnly(text, layer=self.url, hint=hint)

    def _read_once(self) -> tuple[Snapshot | None, bool]:
        """The content, None if it changed meanwhile; and whether no link or folder was swapped."""
        try:
            with Root(self.root, self.link_roots) as root:
                self._inode = root.inode
                reading = _Reading(root, self.url)
                return reading.content(), reading.stands()
        except FileNotFoundError:
            self._inode = None
            text = f"The folder {self.url} does not exist."
            hint = "Create it, correct the path, or mark it with Layer(..., optional=True)."
            raise LayerNotFound(text, layer=self.url, hint=hint) from None
        except NotADirectoryError:
            raise LayerUnavailable(f"{self.url} is not a folder.", layer=self.url) from None
        except OSError as problem:
            return Snapshot.of({}, (_cannot("", self.url, problem),)), True


class _Changed(Exception):
    """What is being read was moved or removed."""


class _TooMuch(Exception):
    """The layer holds more than may be read."""


class _Reading:
    """Reads everything below a layer's root once."""

    def __init__(self, root: Root, url: str) -> None:
        self._root = root
        self._url = url
        self._files: dict[str, bytes] = {}
        self._findings: list[Finding] = []
        self._left_entries, self._left_looks = LIMIT_ENTRIES, LIMIT_LOOKS
        self._left_bytes = LIMIT_BYTES
        self._folders: dict[str, tuple[int, int] | None] = {}
        # A folder's path without links, its path in the layer, and the folders that it is in.
        self._waiting: list[tuple[str, str, tuple[str, ...]]] = [("", "", ("",))]

    def content(self) -> Snapshot | None:
        """All of it; None if it changed meanwhile."""
        try:
            while self._waiting:
                self._folder(*self._waiting.pop())
        except _TooMuch as problem:
            self._findings.append(Finding("error", "too-large", str(problem), file=self._url))
        except _Changed:
            return None
        return Snapshot.of(self._files, tuple(self._findings))

    def stands(self) -> bool:
        """Whether no link or folder was swapped: a ConfigMap may be mounted further down."""
        links, at = self._root.links.items(), self._root.descriptor
        return all(self._root.leads(link) == target for link, target in links) and all(
            inode(folder or ".", follow=False, dir_fd=at) == was
            for folder, was in self._folders.items()
        )

    def _folder(self, real: str, path: str, above: tuple[str, ...]) -> None:
        try:
            with self._root.reach(real) as (folder, name, target):
                if name is not None or target != real:
                    raise _Changed
                self._folders.setdefault(real, inode(folder))
                with os.scandir(folder) as names:
                    entries = sorted(islice(names, self._left_looks + 1), key=lambda e: e.name)
                self._left_looks -= len(entries)
                self._left_entries -= sum(is_read(e.name) or e.is_symlink() for e in entries)
                if self._left_entries < 0:
                    # Links can multiply: forty folders with two to the next are 2^40 paths.
                    text = f"{LIMIT_ENTRIES:,} prompts, parts and links"
                    raise _TooMuch(f"The folder holds more than {text}.")
                if self._left_looks < 0:
                    raise _TooMuch(f"The folder holds more than {LIMIT_LOOKS:,} files.")
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        self._link(entry, os.path.join(real, entry.name), path + entry.name, above)
                    elif entry.is_dir(follow_symlinks=False):
                        self._wait(os.path.join(real, entry.name), path + entry.name, above)
                    else:
                        self._file(folder, entry.name, path + entry.name)
        except FileNotFoundError:
            pass
        except Escapes:
            raise _Changed from None
        except OSError as problem:
            self._findings.append(_cannot(path, self._url, problem))

    def _link(self, entry: os.DirEntry[str], real: str, path: str, above: tuple[str, ...]) -> None:
        try:
            with self._root.reach(real) as (folder, name, target):
                if name is None:
                    self._wait(target, path, above)
                else:
                    self._file(folder, name, path)
        except Escapes:
            if is_read(path) or _is_folder(entry):
                self._add("escaping-link", "This link leads out of the layer's folder.", path)
        except OSError as problem:
            if is_read(path) or problem.errno == errno.EACCES:
                self._findings.append(_cannot(path, self._url, problem))

    def _wait(self, real: str, path: str, above: tuple[str, ...]) -> None:
        if len(os.fsencode(path)) > LIMIT_PATH_BYTES:
            text = f"The path of a folder in a layer may have at most {LIMIT_PATH_BYTES:,} bytes."
            self._add("too-deep", text, f"{path[:_SHOWN]}...")
        elif real not in above:
            self._waiting.append((real, f"{path}/", (*above, real)))

    def _file(self, folder: int, name: str, path: str) -> None:
        if path.endswith(".yml"):
            self._findings.append(yml(shown(self._url, path)))
        elif is_read(path) and has_controls(path):
            text = "The name of this file is not UTF-8, or has control characters."
            self._add("escaping-name", text, path)
        elif is_read(path):
            self._read(folder, name, path)

    def _read(self, folder: int, name: str, path: str) -> None:
        try:
            data = read_regular(name, follow=False, dir_fd=folder)
        except FileNotFoundError:
            raise _Changed from None
        except SpecialFile:
            text = "This is not an ordinary file (a pipe, socket, device or link): it is not read."
            self._add("special-file", text, path)
        except TooLarge as problem:
            self._findings.append(too_large(path, shown(self._url, path), problem.size))
        except OSError as problem:
            self._findings.append(_cannot(path, self._url, problem))
        else:
            self._left_bytes -= len(data)
            if self._left_bytes < 0:
                raise _TooMuch(f"The folder holds more than {LIMIT_BYTES >> 20} MiB of prompts.")
            self._files[path] = data

    def _add(self, code: str, message: str, path: str) -> None:
        file = shown(self._url, path)
        self._findings.append(Finding("error", code, message, file=file, hint=_HINTS.get(code)))


def _is_folder(link: os.DirEntry[str]) -> bool:
    try:
        return link.is_dir()
    except OSError:
        return False


def _cannot(path: str, url: str, problem: OSError) -> Finding:
    text = f"This file cannot be read: {problem.strerror or problem}."
    return Finding(
        "error",
        "unreadable",
        _DANGLING if problem.errno == errno.ENOENT else text,
        prompt=prompt_name(path),
        file=shown(url, path),
    )
