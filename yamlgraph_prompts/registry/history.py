"""Which release is live, and which ones were: a pointer replaced at once and an append-only log.

Never raises on garbage: what cannot be read is logged and counts as absent.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from yamlgraph_prompts.files.disk import append, read_file, replace

logger = logging.getLogger("yamlgraph_prompts")

MAX_LINES = 1_000
KEPT_LINES = 500
_MAX_POINTER = 16 << 10
_MAX_HISTORY = 8 << 20
_MAX_REASON = 500


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which release is live.

    Args:
        release: The release's id.
        held: Whether the layers are not followed.
        reason: Why it was made live.
        at_s: When, in seconds since the epoch.
        serial: Grows by one at each change.

    Example:
        >>> Pointer("ab12", held=False, reason="start", at_s=0.0, serial=1).serial
        1
    """

    release: str
    held: bool
    reason: str
    at_s: float
    serial: int


_KINDS = (("release", str), ("held", bool), ("reason", str), ("at_s", float), ("serial", int))


class History:
    """The pointer and the log in one folder. Writers hold the store's lock, readers need none."""

    def __init__(self, folder: Path) -> None:
        self.live = folder / "live.json"
        self.log = folder / "history.jsonl"
        self._seen: tuple[tuple[int, int, int], Pointer | None] | None = None
        self._highest = 0
        self._unreadable = ""

    def pointer(self) -> Pointer | None:
        try:
            found = os.stat(self.live, follow_symlinks=False)
            key = (found.st_mtime_ns, found.st_ino, found.st_size)
            seen = self._seen
            if seen is not None and seen[0] == key:
                return seen[1]
            data, found = read_file(self.live, _MAX_POINTER)
        except FileNotFoundError:
            return None
        except OSError as error:
            if str(error) != self._unreadable:
                self._unreadable = str(error)
                logger.error("The pointer %s cannot be read: %s", self.live, error)
            return None
        pointer = _unseal(data)
        if pointer is None:
            # A hold must not end because a disk lost a bit.
            pointer = next((p for line in reversed(self._lines()) if (p := _unseal(line))), None)
            logger.error("The pointer %s is damaged; the history's last line counts", self.live)
        self._seen = ((found.st_mtime_ns, found.st_ino, found.st_size), pointer)
        return pointer

    def changes(self) -> Iterator[Pointer]:
        """Every change that is known, newest first; damaged lines are left out."""
        # A process may have been killed after it moved the pointer and before it wrote the log.
        live = self.pointer()
        for line in reversed(self._lines()):
            if (change := _unseal(line)) is None:
                continue
            if live is not None and change.serial <= live.serial:
                yield live
                missing, live = change.serial < live.serial, None
                if not missing:
                    continue
            yield change
        if live is not None:
            yield live

    def advance(self, release: str, *, held: bool, reason: str, above: int = 0) -> Pointer:
        """Point at another release: live once the pointer is renamed, then written to the log.

        Args:
            above: The new serial is higher than this.

        Raises:
            OSError: Nothing has changed.
        """
        old, text = self.pointer(), self._text()
        lines = text.splitlines()
        logged = next((p.serial for line in reversed(lines) if (p := _unseal(line))), 0)
        highest = max(old.serial if old else 0, logged, self._highest, above)
        new = Pointer(release, held, reason[:_MAX_REASON], time.time(), highest + 1)
        # The kernel's own clock ticks in milliseconds: a stamp makes each version's stat unique.
        replace(self.live, _seal(new), stamp_ns=time.time_ns())
        self._highest, self._seen = new.serial, None
        missed = _seal(old) if old and old.serial > logged else b""
        try:
            # An append that a crash cut short left no line end.
            line = (b"" if text[-1:] in b"\n" else b"\n") + missed + _seal(new)
            # The pointer is the truth and is synced: losing the log's last line loses only a line.
            append(self.log, line, sync=False)
            if len(lines) > MAX_LINES:
                replace(self.log, b"".join(line + b"\n" for line in self._lines()[-KEPT_LINES:]))
        except OSError as error:
            logger.error("The history %s could not be written: %s", self.log, error)
        return new

    def _lines(self) -> list[bytes]:
        return self._text().splitlines()

    def _text(self) -> bytes:
        try:
            start = max(0, os.stat(self.log).st_size - _MAX_HISTORY)
            data, _ = read_file(self.log, _MAX_HISTORY, start)
        except FileNotFoundError:
            return b""
        except OSError as error:
            logger.error("The history %s cannot be read: %s", self.log, error)
            return b""
        return data


def _seal(pointer: Pointer) -> bytes:
    facts = json.dumps(asdict(pointer))[1:].encode()
    return b'{"sum": "%s", %s\n' % (_sum(facts), facts)


def _unseal(line: bytes) -> Pointer | None:
    line = line.rstrip(b"\n")
    if line[9:25] != _sum(line[28:]):
        return None
    try:
        facts = json.loads(line)
        del facts["sum"]
        right = all(isinstance(facts[name], kind) for name, kind in _KINDS)
        return Pointer(**facts) if right else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _sum(facts: bytes) -> bytes:
    return sha256(facts).hexdigest()[:16].encode()
