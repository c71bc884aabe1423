"""Asks places that tell no news by themselves, so that a thousand askers never ask in step.

When to ask is a pure function; the thread that asks is a daemon and is never waited for.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from yamlgraph_prompts.errors import LayerError, LayerNotFound
from yamlgraph_prompts.model.trigger import Trigger
from yamlgraph_prompts.sources.reader import LayerReader, within

logger = logging.getLogger("yamlgraph_prompts")

BACK_OFF = 8  # times `refresh_s`, at most
LONGEST_S = 3600.0  # whatever a server asks for: it may be wrong, and prompts would stay old
LOOK_S = 60.0  # after this a look has failed; what it fetched until then is kept

Random = Callable[[], float]
"""Gives a number from 0 up to 1."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When one replica asks again.

    Args:
        refresh_s: Seconds between two looks, give or take a tenth.
        failures: How many looks have failed since the last that did not.

    Example:
        >>> Pace(30.0).first_s(lambda: 0.5)
        15.0
        >>> Pace(30.0).failed().failed().failed().next_s(lambda: 0.5)
        180.0
    """

    refresh_s: float
    failures: int = 0

    def first_s(self, rand: Random) -> float:
        """Seconds until the first look: replicas that start together do not look together."""
        return self.refresh_s * rand()

    def next_s(self, rand: Random, retry_after_s: float | None = None) -> float:
        """Seconds until the next look.

        Args:
            rand: Where the jitter comes from.
            retry_after_s: Seconds that the server asked to be left alone for.
        """
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


class Poller:
    """Looks at one layer again and again, from a thread of its own.

    Args:
        reader: The layer.
        changed: Called with `Trigger.POLL` when something else is there.
        trouble: Called with what is wrong, when a look fails that did not fail in this way before.
        well: Called when a look succeeds after one that failed.
        refresh_s: Seconds between two looks.
    """

    def __init__(
        self,
        reader: LayerReader,
        changed: Callable[[Trigger], object],
        trouble: Callable[[LayerError], object],
        well: Callable[[], object],
        refresh_s: float,
    ) -> None:
        self._reader = reader
        self._changed = changed
        self._trouble = trouble
        self._well = well
        self._pace = Pace(refresh_s)
        self._told: str | None = None
        self._closed = threading.Event()

    def start(self) -> None:
        """Begin. Returns at once."""
        threading.Thread(target=self._work, name="yamlgraph-prompts-poll", daemon=True).start()

    def rearm(self) -> None:
        """Nothing to do: there is only one place to look at."""

    def close(self) -> None:
        """Stop. Does not wait for a look that is under way."""
        self._closed.set()

    def _work(self) -> None:
        rand = random.SystemRandom().random  # a fork copies the state of the shared one
        delay_s = self._pace.first_s(rand)
        while not self._closed.wait(delay_s):
            retry_after_s = None
            try:
                news = within(LOOK_S, self._reader.look, self._reader.url)
            except LayerError as problem:
                # Nothing there is an answer, and no reason to ask more rarely.
                gone = isinstance(problem, LayerNotFound)
                self._pace = Pace(self._pace.refresh_s, 1) if gone else self._pace.failed()
                retry_after_s = getattr(problem, "retry_after_s", None)
                self._call(self._tell, problem)
            except (Exception, SystemExit):
                self._pace = self._pace.failed()
                logger.exception("%s could not be read", self._reader.url)
            else:
                if self._pace.failures:
                    self._told = None
                    self._call(self._well)
                self._pace = self._pace.well()
                if news:
                    self._call(self._changed, Trigger.POLL)
            delay_s = self._pace.next_s(rand, retry_after_s)

    def _tell(self, problem: LayerError) -> None:
        if self._told != problem.message:
            self._told = problem.message
            self._trouble(problem)

    def _call(self, tell: Callable[..., object], *args: object) -> None:
        if self._closed.is_set():
            return
        try:
            tell(*args)
        except (Exception, SystemExit):
            logger.exception("A change could not be processed")
