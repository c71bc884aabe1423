"""A change on its way: a run that begins just after a save waits for it, and gets the new prompts.

Delays no run for longer than `MOST_S`, nor later than that after a file was last complete.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep, time

MOST_S = 0.2
LOOK_WITHIN_S = 2.0  # that a run waits for a look after its process was frozen
FROZEN_S = 10.0  # without a tick: the process was stopped, and what it serves may be old
_POLL_S = 0.001


class Arrival:
    """What changes on its way to becoming live. Thread-safe.

    `coming` is None while nothing is known to be on its way; `unread` says whether file events
    wait that may tell of more.
    """

    __slots__ = ("_frozen", "_lock", "_takers", "_ticked_s", "_wanted", "coming", "due", "unread")

    def __init__(self, due: bool = False) -> None:
        self._wanted = due
        self.renew()

    def renew(self) -> None:
        """Begin anew, as after a fork: the publishing thread is in the other process."""
        self._lock = threading.Lock()
        self.due = self._wanted  # the first run is to look for a change itself
        self.coming: _Coming | None = None
        self.unread: Callable[[], bool] = bool
        self._takers: dict[int, _Coming] = {}  # by the thread that publishes it
        self._ticked_s, self._frozen = 0.0, False

    @property
    def late(self) -> bool:
        """Whether the process did not run for a while, so that no change was looked for."""
        # The wall's clock: some hosts stop the other one too.
        return self._frozen or 0.0 < self._ticked_s < time() - FROZEN_S

    def tick(self) -> None:
        """The watching thread runs."""
        self._frozen = self.late
        self._ticked_s = time()

    def thawed(self) -> bool:
        """Whether the caller is the one to look, as the process was late."""
        was_late = self.late
        if was_late:
            self._ticked_s, self._frozen = time(), False
        return was_late

    def announced(self) -> None:
        """Something has changed, and will be taken."""
        self._expect(taken=False)

    def take(self) -> _Coming:
        """What the caller is about to publish; to be given to `taken`."""
        return self._expect(taken=True)

    @contextmanager
    def taken(self, coming: _Coming | None = None) -> Iterator[None]:
        """While it is published; waiting runs continue when this ends, in any way."""
        thread = threading.get_ident()
        self._takers[thread] = coming = coming or self.take()
        try:
            yield
        finally:
            self._takers.pop(thread, None)
            self._passed(coming)

    def live(self) -> None:
        """What this thread has taken is live: whatever else it does, no run waits for it."""
        if (coming := self._takers.get(threading.get_ident())) is not None:
            self._passed(coming)

    def wait(self) -> bool:
        """Wait for what is on its way; whether it came in time."""
        until = monotonic() + MOST_S
        while left_s := self._left_s(until):
            coming = self.coming
            if coming is None or coming.until <= monotonic():
                sleep(_POLL_S)
            else:
                coming.event.wait(left_s)
        return left_s is None

    async def awaited(self) -> bool:
        """As `wait`, on an event loop."""
        until = monotonic() + MOST_S
        while left_s := self._left_s(until):
            await asyncio.sleep(_POLL_S)
        return left_s is None

    def _left_s(self, until: float) -> float | None:
        """For how long to wait still; 0: it did not come in time, None: there is nothing."""
        waits = self.unread()  # before the other: what is read is announced
        coming = self.coming
        # A check or a hook of the user's may run the graph in the thread that publishes.
        if (coming is None and not waits) or threading.get_ident() in self._takers:
            return None
        if coming is not None and not waits:
            until = min(until, coming.until)
        return max(0.0, until - monotonic())

    def _passed(self, coming: _Coming) -> None:
        with self._lock:
            if self.coming is coming:
                self.coming = None
        coming.event.set()

    def _expect(self, *, taken: bool) -> _Coming:
        with self._lock:
            coming = self.coming
            if coming is None or coming.taken:
                # What is being published may have been read before.
                coming = self.coming = _Coming()
            coming.until, coming.taken = monotonic() + MOST_S, taken
            return coming


class _Coming:
    __slots__ = ("event", "taken", "until")

    def __init__(self) -> None:
        self.event = threading.Event()
        self.until = 0.0
        self.taken = False


def on_event_loop() -> bool:
    """Whether this call may not block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
