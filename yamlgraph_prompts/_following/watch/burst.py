"""When is a stream of file changes complete? Is handed the time; has no clock, thread or file."""

from __future__ import annotations

import math

GRACE_S = 0.02  # a new file may be a temporary one, about to be renamed
PATIENCE = 10  # a file that stays open holds everything up for this many times `open_s` at most


class Burst:
    """The changes since it was last quiet for `quiet_s`; not thread-safe.

    Several changes are complete after `quiet_s` seconds without one; a file that stays open is
    taken as it is after `open_s`.
    """

    def __init__(self, quiet_s: float, open_s: float) -> None:
        self._quiet_s = quiet_s
        self._open_s = open_s
        self._first: float | None = None
        self._last = -math.inf
        self._touched: set[str] = set()
        self._made: set[str] = set()
        self._late: set[str] = set()
        self._open: dict[str, float] = {}
        self._grace = 0.0

    @property
    def waiting(self) -> bool:
        return self._first is not None

    def created(self, path: str, now: float, *, opened: bool) -> None:
        self._touch(path, now)
        self._made.add(path)
        if opened:
            self._open[path] = now + self._open_s
        else:
            self._late.add(path)

    def opened(self, path: str, now: float) -> None:
        self._touch(path, now)
        self._open[path] = now + self._open_s

    def closed(self, path: str, now: float) -> None:
        self._settle(path)
        self._touch(path, now)
        if path in self._made:
            self._grace = now + GRACE_S

    def moved(self, source: str, target: str, now: float) -> None:
        self._settle(source)
        self._settle(target)
        self._touch(target, now)
        self._touched.discard(source)
        if source in self._made:
            self._made.discard(source)
            self._grace = 0.0

    def changed(self, path: str, now: float) -> None:
        """Something else: removed, other rights, a link, a folder."""
        self._touch(path, now)
        self._open.pop(path, None)
        self._late.add(path)

    def due(self) -> float:
        if self._first is None:
            return math.inf
        due = max(self._grace, *self._open.values(), self._first)
        if self._late or len(self._touched) > 1:
            due = max(due, min(self._last + self._quiet_s, self._first + self._open_s))
        return min(due, self._first + PATIENCE * self._open_s)

    def take(self) -> bool:
        """Reset; True if it was one file, complete."""
        urgent = not self._late and len(self._touched) == 1
        self._first = None
        self._grace = 0.0
        self._late.clear()
        self._open.clear()
        return urgent

    def _settle(self, path: str) -> None:
        self._open.pop(path, None)
        self._late.discard(path)

    def _touch(self, path: str, now: float) -> None:
        if self._first is None:
            if now - self._last > self._quiet_s:
                self._touched.clear()
                self._made.clear()
            self._first = now
        self._last = now
        self._touched.add(path)
