"""One environment's history in one file that is only appended to; its last whole line is current.

Never raises on garbage: what cannot be read is logged and counts as absent.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from yamlgraph_prompts._files.disk import append, read_file, replace, unlink
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts.errors import UnsupportedStore

logger = logging.getLogger("yamlgraph_prompts")

MAX_BYTES = 1 << 20
_MAX_READ = 8 << 20
# More than the longest entry takes.
_TAIL = 128 << 10

_Key = tuple[int, int, int]


def journal_path(folder: Path, environment: str) -> Path:
    """The file that holds an environment's history; watched for another process's entry."""
    return folder / f"log-{environment}.jsonl"


class Journal:
    """The entries of one environment in `folder`. Writers hold its lock, readers need none."""

    def __init__(self, folder: Path, environment: str) -> None:
        self.path = journal_path(folder, environment)
        self._folder = folder
        self._seen: tuple[_Key, Entry | None] | None = None
        self._known: Entry | None = None
        self._unreadable = ""

    def current(self) -> Entry | None:
        try:
            found = os.stat(self.path, follow_symlinks=False)
            key = (found.st_mtime_ns, found.st_ino, found.st_size)
            if self._seen is not None and self._seen[0] == key:
                return self._seen[1]
            lines = self._lines(_TAIL)
        except FileNotFoundError:
            return next(_former(self._folder), None)
        except OSError as error:
            self._report(error)
            return None
        entry = next((entry for line in lines if (entry := _unseal(line))), None)
        if entry is None and found.st_size > _TAIL:
            entry = next(self.history(), None)
        if lines and _is_of_another_version(lines[0]):
            problem = UnsupportedStore(self.path, "another form of history")
            if self._known is None:
                raise problem
            # A process that runs goes on with what it knows.
            self._report(problem)
            return self._known
        # A line without its end is one whose writer was killed.
        if lines and lines[0] and _unseal(lines[0]) is None:
            logger.error("The last line of %s is damaged; the one before it counts", self.path)
        self._seen, self._known = (key, entry), entry
        return entry

    def history(self) -> Iterator[Entry]:
        try:
            lines = self._lines(_MAX_READ)
        except FileNotFoundError:
            yield from _former(self._folder)
            return
        except OSError as error:
            self._report(error)
            return
        last = None
        for line in lines:
            entry = _unseal(line)
            if entry is not None and (last is None or entry.number < last):
                last = entry.number
                yield entry

    def append(self, entry: Entry, written: Callable[[], object] = bool) -> None:
        """Write the next entry, for good; `written` may be called before it is durable.

        Raises:
            OSError: Nothing has changed.
        """
        sealed = _seal(entry)
        # Twice: a hold must not end because a disk lost a bit.
        data = b"\n" + sealed + b"\n" + sealed
        self._seen = None
        if self.path.is_file() and not self.path.is_symlink():
            append(self.path, data, alone=True, written=written)
        else:
            former = [_seal(old) for old in _former(self._folder)]
            replace(self.path, b"".join(reversed(former)) + data)
            for name in (_FORMER_POINTER, _FORMER_LOG):
                unlink(self._folder / name)
        self._known = entry
        try:
            if os.stat(self.path).st_size > MAX_BYTES:
                self._shorten()
        except OSError as error:
            logger.error("The history %s could not be shortened: %s", self.path, error)

    def _shorten(self) -> None:
        kept: list[bytes] = []
        size = 0
        for entry in self.history():
            kept.append(_seal(entry))
            size += len(kept[-1])
            if size > MAX_BYTES // 2:
                break
        # The newest twice, as it was.
        replace(self.path, b"".join(reversed(kept)) + b"\n" + kept[0])

    def _lines(self, limit: int) -> list[bytes]:
        """The lines in the last `limit` bytes, newest first."""
        start = max(0, os.stat(self.path).st_size - limit)
        data, _ = read_file(self.path, limit, start)
        lines = [line for line in data.split(b"\n") if line]
        return lines[::-1]

    def _report(self, error: OSError) -> None:
        if str(error) != self._unreadable:
            self._unreadable = str(error)
            logger.error("The history %s cannot be read: %s", self.path, error)


def _seal(entry: Entry) -> bytes:
    facts = json.dumps(entry.facts())[1:].encode()
    return b'{"sum": "%s", %s\n' % (_sum(facts), facts)


def _unseal(line: bytes) -> Entry | None:
    try:
        return Entry.of_facts(_unsealed(line))
    except ValueError:
        return None


def _unsealed(line: bytes) -> dict[str, Any]:
    """What a line says; nothing where it is damaged."""
    try:
        facts = json.loads(line) if line[9:25] == _sum(line[28:]) else {}
    except (ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _is_of_another_version(line: bytes) -> bool:
    """Whether it is no damaged line of ours, but a whole one without our checksum."""
    try:
        return not line.startswith(b'{"sum": ') and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _sum(facts: bytes) -> bytes:
    return sha256(facts).hexdigest()[:16].encode()


# Until version 0.2 a store had a pointer beside its history.
_FORMER_POINTER, _FORMER_LOG = "live.json", "history.jsonl"


def _former(folder: Path) -> Iterator[Entry]:
    """The entries of a store that an older version wrote, newest first."""
    lines: list[bytes] = []
    for name in (_FORMER_LOG, _FORMER_POINTER):
        try:
            data, _ = read_file(folder / name, _MAX_READ)
        except OSError:
            continue
        lines += data.split(b"\n")
    entries = {}
    for line in lines:
        facts = _unsealed(line)
        with suppress(ValueError):
            entry = Entry.of_facts(
                {"who": "", "message": "", "previous": None, **facts}
                | {"number": facts.get("serial"), "why": facts.get("reason")}
            )
            entries[entry.number] = entry
    for number in sorted(entries, reverse=True):
        yield entries[number]
