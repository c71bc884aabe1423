"""When is a stream of file changes complete? Is handed the time; has no clock, thread or file."""

from __future__ import annotations

import math

SETTLE_S = 0.05  # that a file which was written in place must be quiet: more may be appended
MOST_OPEN_S = 60.0  # that a file which its writer keeps open holds everything up


class Burst:
    """The changes since it was last quiet for `quiet_s`; not thread-safe.

    A file that was renamed into place is complete at once, one that was written in place after
    `SETTLE_S`, several files after `quiet_s` without a change. Several that change without a pause
    are taken as they are after `most_s`, a file that stays open or is written again and again
    after `MOST_OPEN_S`.
    """

    def __init__(self, quiet_s: float, most_s: float) -> None:
        self._quiet_s = quiet_s
        self._most_s = most_s
        self._first: float | None = None
        self._last = -math.inf
        self._touched: set[str] = set()
        self._late: set[str] = set()
        self._settled = -math.inf
        self._open: set[str] = set()

    @property
    def waiting(self) -> bool:
        return self._first is not None

    def writing(self, now: float) -> str | None:
        """A file that holds the others up for longer than `most_s`."""
        if self._first is None or now - self._first < self._most_s:
            return None
        return min(self._open or self._touched)

    def opened(self, path: str, now: float) -> None:
        """It is being written, and will be closed."""
        self._touch(path, now)
        self._open.add(path)

    def closed(self, path: str, now: float) -> None:
        self._touch(path, now)
        self._complete(path, now + SETTLE_S)

    def moved(self, source: str, target: str, now: float) -> None:
        self._touch(target, now)
        self._complete(source, now)
        self._complete(target, now)
        self._touched.discard(source)

    def changed(self, path: str, now: float) -> None:
        """Something else: removed, other rights, a link, a folder."""
        self._touch(path, now)
        self._open.discard(path)
        self._late.add(path)

    def due(self) -> float:
        if self._first is None:
            return math.inf
        if self._open:
            return self._first + MOST_OPEN_S
        if self._late or len(self._touched) > 1:
            return min(self._last + self._quiet_s, self._first + self._most_s)
        return min(self._settled, self._first + MOST_OPEN_S)

    def take(self) -> bool:
        """Reset; True if it was one file, complete."""
        urgent = not self._late and not self._open and len(self._touched) == 1
        self._first = None
        self._late.clear()
        self._open.clear()
        return urgent

    def _complete(self, path: str, settled: float) -> None:
        self._open.discard(path)
        self._late.discard(path)
        self._settled = settled

    def _touch(self, path: str, now: float) -> None:
        if self._first is None:
            if now - self._last > self._quiet_s:
                self._touched.clear()
            self._first = now
        self._last = now
        self._touched.add(path)
