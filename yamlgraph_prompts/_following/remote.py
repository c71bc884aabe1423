"""Follows one remote layer. Its thread is a daemon that is never joined."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts.errors import LayerError, LayerNotFound
from yamlgraph_prompts.sources.polling import Pace, rand
from yamlgraph_prompts.sources.reader import LayerReader

logger = logging.getLogger("yamlgraph_prompts")

RECONNECT_S = 1.0


class RemoteFollower:
    """Polls one remote layer in a thread of its own; waits longer after failures."""

    def __init__(
        self,
        reader: LayerReader,
        changed: Callable[[Trigger], object],
        trouble: Callable[[LayerError], object],
        well: Callable[[], object],
    ) -> None:
        self._reader = reader
        self._changed = changed
        self._trouble = trouble
        self._well = well
        # Only a new connection is needed, not a whole look.
        self._pace = Pace(
            min(RECONNECT_S, reader.refresh_s) if reader.listens else reader.refresh_s
        )
        self._reported: str | None = None
        self._stop = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._work, name="yamlgraph-prompts-poll", daemon=True).start()

    def rearm(self) -> None:
        """Nothing to do: there is only one place to look at."""

    def close(self) -> None:
        self._stop.set()

    def _work(self) -> None:
        delay_s = 0.0 if self._reader.listens else self._pace.first_s(rand)
        while not self._stop.wait(delay_s):
            retry_after_s = None
            try:
                for is_new in self._reader.changes(self._stop):
                    self._looked(is_new)
            except LayerError as problem:
                # A missing layer is a valid answer, and no reason to poll less often.
                gone = isinstance(problem, LayerNotFound)
                self._pace = Pace(self._pace.refresh_s, 1) if gone else self._pace.failed()
                retry_after_s = getattr(problem, "retry_after_s", None)
                self._call(self._report, problem)
            except (Exception, SystemExit):
                self._pace = self._pace.failed()
                logger.exception("%s could not be read", self._reader.url)
            delay_s = self._pace.next_s(rand, retry_after_s)

    def _looked(self, is_new: bool) -> None:
        self._reported = None
        self._pace = self._pace.well()
        if is_new:
            self._call(self._changed, Trigger.POLL)
        else:
            self._call(self._well)

    def _report(self, problem: LayerError) -> None:
        if self._reported != problem.message:
            self._reported = problem.message
            self._trouble(problem)

    def _call(self, report: Callable[..., object], *args: object) -> None:
        if self._stop.is_set():
            return
        try:
            report(*args)
        except (Exception, SystemExit):
            logger.exception("A change could not be processed")
