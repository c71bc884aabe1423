"""When to poll a place that sends no events, so that a thousand replicas never poll in step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

BACK_OFF = 8  # times `refresh_s`, at most
LONGEST_S = 3600.0  # at most, whatever Retry-After a server sends

Random = Callable[[], float]
"""Gives a number from 0 up to 1."""

# Not the shared generator: a fork copies its state, and replicas would poll in step.
rand = random.SystemRandom().random


def poll(stop: Event, refresh_s: float) -> Iterator[None]:
    """Yields None ("read again") every `refresh_s` seconds ± a tenth, until `stop` is set.

    The `changes` of a source that sends no events. It does not read: the caller does, with a
    deadline, and waits longer after a failure.

    Example:
        >>> stop = Event()
        >>> for _ in poll(stop, refresh_s=0.01):
        ...     stop.set()
    """
    while not stop.wait(Pace(refresh_s).next_s(rand)):
        yield None


@dataclass(frozen=True, slots=True)
class Pace:
    refresh_s: float
    failures: int = 0  # since the last look that did not fail

    def first_s(self, rand: Random) -> float:
        """Seconds until the first look: replicas that start together do not look together."""
        return self.refresh_s * rand()

    def next_s(self, rand: Random, retry_after_s: float | None = None) -> float:
        delay_s = self.refresh_s * (0.9 + 0.2 * rand())
        if self.failures:
            # Half to all of the longest, in whole steps: replicas that looked at different moments
            # before an outage do so after it too.
            half = min(2 ** min(self.failures, BACK_OFF), BACK_OFF) // 2
            delay_s *= half + int(rand() * (half + 1))
        if retry_after_s is not None:
            # All replicas may have received the same moment.
            after_s = min(retry_after_s, LONGEST_S)
            delay_s = max(delay_s, after_s + self.refresh_s * rand())
        return delay_s

    def failed(self) -> Pace:
        return Pace(self.refresh_s, self.failures + 1)

    def well(self) -> Pace:
        return Pace(self.refresh_s)
