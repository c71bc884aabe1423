"""When to ask a place that tells no news, so that a thousand replicas never ask in step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event

BACK_OFF = 8  # times `refresh_s`, at most
LONGEST_S = 3600.0  # whatever a server asks for: it may be wrong, and prompts would stay old

Random = Callable[[], float]
"""Gives a number from 0 up to 1."""

# Not the shared generator: a fork copies its state, and replicas would ask in step.
rand = random.SystemRandom().random


def poll(stop: Event, refresh_s: float) -> Iterator[None]:
    """Says "read again" every `refresh_s` seconds, give or take a tenth, until `stop` is set.

    The `changes` of a source that can only be asked. It does not read by itself: the caller does,
    with a deadline, and waits longer after a failure.

    Example:
        >>> stop = Event()
        >>> for _ in poll(stop, refresh_s=0.01):
        ...     stop.set()
    """
    while not stop.wait(Pace(refresh_s).next_s(rand)):
        yield None


@dataclass(frozen=True, slots=True)
class Pace:
    """When one replica asks again."""

    refresh_s: float
    failures: int = 0  # since the last look that did not fail

    def first_s(self, rand: Random) -> float:
        """Seconds until the first look: replicas that start together do not look together."""
        return self.refresh_s * rand()

    def next_s(self, rand: Random, retry_after_s: float | None = None) -> float:
        """Seconds until the next look."""
        delay_s = self.refresh_s * (0.9 + 0.2 * rand())
        if self.failures:
            # Half to all of the longest, in whole steps: replicas that looked at different moments
            # before an outage do so after it too.
            half = min(2 ** min(self.failures, BACK_OFF), BACK_OFF) // 2
            delay_s *= half + int(rand() * (half + 1))
        if retry_after_s is not None:
            # All may have been told the same moment.
            told_s = min(retry_after_s, LONGEST_S)
            delay_s = max(delay_s, told_s + self.refresh_s * rand())
        return delay_s

    def failed(self) -> Pace:
        """The pace after a look that failed."""
        return Pace(self.refresh_s, self.failures + 1)

    def well(self) -> Pace:
        """The pace after a look that did not."""
        return Pace(self.refresh_s)
