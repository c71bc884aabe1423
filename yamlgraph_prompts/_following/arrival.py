"""A pending change: a run that begins just after a save waits a moment, and gets the new prompts.

Otherwise it would slow the publication down: both need the interpreter's lock. Never blocks an
event loop, and delays no run for longer than `MOST_S` after the change.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, time

MOST_S = 0.1
LOOK_WITHIN_S = 2.0  # that a run waits for a look after its process was frozen
FROZEN_S = 10.0  # without a tick: the process was stopped, and what it serves may be old
_POLL_S = 0.002


class Arrival:
    """One change on its way to becoming live, or none (`coming` is None). Thread-safe."""

    __slots__ = ("_frozen", "_ticked_s", "coming", "due")

    def __init__(self, due: bool = False) -> None:
        self.due = due  # the first run is to look for a change itself
        self.coming: _Coming | None = None
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
        """Something has changed, and will be taken at once."""
        self._expect(0)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """While the change is published; waiting runs continue when this ends, in any way."""
        event = self._expect(threading.get_ident())
        try:
            yield
        finally:
            self.coming = None
            event.set()

    def forget(self, due: bool) -> None:
        """After a fork: the publishing thread is in the other process."""
        self.due = due
        self.coming = None
        self._ticked_s, self._frozen = 0.0, False

    def wait(self) -> None:
        """Wait for what is on its way; returns at once on an event loop and where nothing is."""
        coming = self.coming
        if coming is not None and not on_event_loop():
            coming.event.wait(coming.left_s())

    async def awaited(self) -> None:
        """As `wait`, on an event loop."""
        while (coming := self.coming) is not None and coming.left_s():
            await asyncio.sleep(_POLL_S)

    def _expect(self, taker: int) -> threading.Event:
        event = self.coming.event if self.coming is not None else threading.Event()
        self.coming = _Coming(event, monotonic() + MOST_S, taker)
        return event


@dataclass(frozen=True, slots=True)
class _Coming:
    event: threading.Event
    until: float
    taker: int

    def left_s(self) -> float:
        # The thread that takes it may run the graph: a check or a hook of the user's.
        mine = self.taker == threading.get_ident()
        return 0.0 if mine else max(0.0, self.until - monotonic())


def on_event_loop() -> bool:
    """Whether this call may not block."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
