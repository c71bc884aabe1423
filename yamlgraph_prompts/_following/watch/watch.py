"""Files change → one callback, from one thread, once it is quiet. Knows no prompts, reads no file;
file events first, polling where there are none and as a slow safety net."""

from __future__ import annotations

import logging
import math
import os
import random
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal

from yamlgraph_prompts._files.forks import renewed_in_child
from yamlgraph_prompts._following.arrival import Arrival
from yamlgraph_prompts._following.watch.burst import MOST_OPEN_S, Burst
from yamlgraph_prompts._following.watch.inodes import Inodes
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._text.escaping import printable

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

    from yamlgraph_prompts._following.watch.file_events import Places, Subscription

logger = logging.getLogger("yamlgraph_prompts")

Mode = Literal["events", "polling", "off"]

POLL_S = 2.0  # how often, where polling is all there is
SETTLE_S = 1.0  # between two looks that must agree: a poll cannot see that a file was closed
CHECK_S = 1.0  # how often the watcher itself is looked at
MOST_RESTARTS = 2  # within `RESTARTS_S`; then something kills it, as a patched queue does
RESTARTS_S = 600.0


class Watch:
    """Calls `on_change` when files change; never two calls at once.

    When changes are complete, `Burst` says. `on_change` may be called when nothing has changed.
    Changes before `start` are not reported: start first, then read.

    Thread-safe. After a fork the child has no watch until it calls `start`.
    """

    def __init__(
        self,
        on_change: Callable[[Trigger], object],
        *,
        paths: Callable[[], Iterable[Path]],  # files, and folders with all below; may be missing
        fingerprint: Callable[[], str] | None = None,  # without one every poll is a change
        poll_s: float = 30.0,
        quiet_s: float = 0.1,  # see `Burst`
        most_s: float = 2.0,
        on_trouble: Callable[[str, str], object] | None = None,
        arrival: Arrival | None = None,  # what runs wait for
        on_tick: Callable[[], object] = lambda: None,  # every `CHECK_S`: must be quick
        events: bool = True,
    ) -> None:
        self._on_change = on_change
        self._paths = paths
        self._fingerprint = fingerprint
        self._poll_s = poll_s
        self._quiet_s = quiet_s
        self._most_s = most_s
        self._on_trouble = on_trouble
        self._arrival = arrival or Arrival()
        self._on_tick = on_tick
        self._events = events
        self.restarts = 0
        self._begin_anew()
        _watches.add(self)

    def _begin_anew(self) -> None:
        self._life = threading.Lock()
        self._arming = threading.RLock()
        self._news = threading.Condition()
        self._burst = Burst(self._quiet_s, self._most_s)
        self._thread: threading.Thread | None = None
        self.mode: Mode = "off"
        self._subscription: Subscription | None = None
        self._places: Places | None = None
        self._armed_paths: tuple[Path, ...] = ()
        self._inodes = Inodes()
        self._restarted: list[float] = []
        self._heard = 0
        self._turned = False
        self._suspect = False
        self._warned_of: set[str] = set()
        # The fingerprint of what on_change saw; None: not known yet, "": call at the next poll.
        self._seen: str | None = None
        self._candidate: tuple[str, int] | None = None
        self._wake_at = self._check_at = self._poll_at = self._retry_at = 0.0

    @property
    def unsettled(self) -> bool:
        """Whether files may be incomplete just now; a poll never knows."""
        return self.mode == "polling" or self._burst.waiting

    def start(self) -> None:
        """Begin to watch; once it returns, no change is missed. A second call does nothing."""
        with self._life:
            if self._thread is not None:
                return
            setting = os.environ.get("YAMLGRAPH_PROMPTS_WATCH", "")
            if setting == "0":
                return
            self._begin(use_events=self._events and setting != "poll")
            self._thread = threading.Thread(
                target=self._work, name="yamlgraph-prompts-watch", daemon=True
            )
            self._thread.start()

    def rearm(self) -> None:
        """Look at `paths` again; once it returns, the new ones are watched."""
        if self.mode == "events":
            self._arm()

    def close(self) -> None:
        """Stop; waits at most 5 seconds for a callback under way. May be called again."""
        with self._life:
            thread, self._thread = self._thread, None
            self.mode, self._arrival.unread = "off", bool
            with self._news:
                self._news.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)
        with self._arming:
            if self._subscription is not None and self._thread is None:
                self._subscription.close()
                self._subscription = None

    # Beginning, and looking where to watch

    def _begin(self, *, use_events: bool) -> None:
        now = monotonic()
        self._burst = Burst(self._quiet_s, self._most_s)
        self._turned = self._suspect = False
        self._seen = self._candidate = None
        self._check_at = now + CHECK_S
        self._retry_at = now + self._poll_s if use_events else math.inf
        if not use_events:
            self._only_poll("file events are switched off")
        elif self._listen():
            self._poll_at = now

    def _listen(self) -> bool:
        from yamlgraph_prompts._following.watch.file_events import Subscription, unread

        self._subscription = Subscription(self._hear)
        self._arm()
        if self._subscription is None:
            return False
        self.mode, self._arrival.unread = "events", unread
        return True

    def _arm(self) -> None:
        """Survey and subscribe until what was surveyed is what is there."""
        from yamlgraph_prompts._following.watch.file_events import survey

        with self._arming:
            if self._subscription is None:
                return
            try:
                self._armed_paths = self._current_paths()
                places = survey(self._armed_paths)
                for _ in range(5):
                    self._places = places
                    complete = self._subscription.watch(places.folders)
                    again = survey(self._armed_paths)
                    if complete and again == places:
                        break
                    places = again
            except OSError as error:
                self._subscription.close()
                self._subscription = None
                self._only_poll(f"file events are not available ({error})")
                return
            self._inodes.note(folder for folder, _ in places.folders)

    def _only_poll(self, why: str) -> None:
        first = self.mode != "polling"
        self.mode, self._arrival.unread = "polling", bool
        if self._seen is None:
            self._seen = self._look() if self._thread is None else ""
        self._poll_later()
        if first:
            interval = min(self._poll_s, POLL_S)
            self._tell("watcher-polling", f"{why}; files are compared every {interval:g} s instead")

    # The observer's thread

    def _hear(self, event: FileSystemEvent) -> None:
        places = self._places
        if places is None:
            return
        if (change := places.change(event)) is None:
            return
        now = monotonic()
        with self._news:
            is_first = not self._burst.waiting
            self._heard += 1
            if change.turned:
                self._turned = True
            if change.kind == "closed":
                self._burst.closed(change.path, now)
            elif change.kind == "moved":
                self._burst.moved(change.source, change.path, now)
            elif change.kind == "opened":
                self._burst.opened(change.path, now)
            else:
                self._burst.changed(change.path, now)
            due = self._burst.due()
            is_whole = change.kind in ("closed", "moved") and self._burst.writing(now) is None
            if is_whole or (is_first and change.kind != "beside"):
                self._arrival.announced()
            if due < self._wake_at:
                self._news.notify()

    # The watch's own thread

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._news:
                while self._thread is me:
                    self._wake_at = min(self._burst.due(), self._check_at, self._poll_at)
                    wait_s = self._wake_at - monotonic()
                    if wait_s <= 0:
                        break
                    self._news.wait(wait_s)
                self._wake_at = 0.0
                if self._thread is not me:
                    return
            try:
                self._step(monotonic())
            except (Exception, SystemExit):
                logger.exception("Watching files failed once and continues")

    def _step(self, now: float) -> None:
        if self._burst.due() <= now:
            self._deliver()
        elif self._check_at <= now:
            self._check_at = now + CHECK_S
            self._on_tick()
            self._check(now)
        elif self._poll_at <= now:
            self._poll(now)

    def _deliver(self) -> None:
        with self._news:
            urgent = self._burst.take()
            turned, self._turned = self._turned, False
            coming = self._arrival.take()
        with self._arrival.taken(coming):
            if turned:
                self._arm()
            if not urgent and self._fingerprint is not None and self._look() == self._seen:
                return
            # on_change may see what came after this look, and the next look what was there before.
            self._seen = self._candidate = None
            self._poll_at = min(self._poll_at, monotonic() + self._quiet_s)
            self._call(Trigger.FILE_CHANGE)

    def _call(self, trigger: Trigger) -> None:
        for _ in range(2):
            try:
                self._on_change(trigger)
            except (Exception, SystemExit):
                # It would end the thread silently, and old prompts would stay for ever.
                logger.exception("A file change could not be processed")
            before = self._places
            if self.mode != "events" or self._current_paths() == self._armed_paths:
                return
            self._arm()
            if self._places == before:
                return
            # What is watched only now may have changed since on_change read it: once more.

    def _current_paths(self) -> tuple[Path, ...]:
        try:
            return tuple(self._paths())
        except Exception:
            logger.exception("The set of watched files could not be updated; it stays as it was")
            return self._armed_paths

    def _check(self, now: float) -> None:
        self._warn_of_writer(now)
        subscription = self._subscription
        if subscription is None:
            if self._retry_at <= now:
                self._retry_at = now + self._poll_s
                if self._listen():
                    self._call(Trigger.POLL)
            return
        if self._turned:
            return  # about to arm anew; a folder that was removed has taken its thread along
        if (moved := self._inodes.replaced()) is not None:
            with self._news:
                self._turned = True
                self._burst.changed(moved, now)
            self._seen = None
        elif subscription.healthy():
            self._suspect = False
        else:
            if self._suspect:
                self._restart()
            else:
                self._check_at = now + self._quiet_s
            self._suspect = not self._suspect

    def _warn_of_writer(self, now: float) -> None:
        with self._news:
            path = self._burst.writing(now)
        if path is not None and path not in self._warned_of:
            self._warned_of.add(path)
            logger.warning(
                "%s is still being written. Changes are taken when it is complete, or in %.0f s.",
                *(printable(path), MOST_OPEN_S),
            )

    def _restart(self) -> None:
        now = monotonic()
        self._restarted = [at for at in self._restarted if now - at < RESTARTS_S]
        if len(self._restarted) >= MOST_RESTARTS and self._subscription is not None:
            self._subscription.close()
            self._subscription, self._retry_at = None, math.inf
            self._only_poll("the file watcher dies again and again")
            return
        self._restarted.append(now)
        self.restarts += 1
        self._arm()
        if self.mode == "events":
            self._tell("watcher-restarted", "the file watcher had stopped; a new one was started")
        self._seen = self._candidate = None
        self._call(Trigger.POLL)

    # Polling

    def _poll(self, now: float) -> None:
        self._poll_later()
        if self._fingerprint is None:
            self._call(Trigger.POLL)
            return
        if self._burst.waiting:
            self._poll_at = now + self._quiet_s
            return
        heard = self._heard
        if self._seen is None and self._candidate and self._candidate[1] == heard:
            self._seen, self._candidate = self._candidate[0], None
            return
        fingerprint = self._look()
        if fingerprint == self._seen:
            self._candidate = None
        elif self._seen is None or self._candidate is None or self._candidate[0] != fingerprint:
            settle_s = 0.0 if self._seen is None else min(SETTLE_S, self._poll_s)
            self._candidate = (fingerprint, heard)
            self._poll_at = monotonic() + max(self._quiet_s, settle_s)
        else:
            self._seen, self._candidate = fingerprint, None
            self._call(Trigger.POLL)
            if self._look() != fingerprint:
                self._seen = ""

    def _poll_later(self) -> None:
        interval = self._poll_s if self.mode == "events" else min(self._poll_s, POLL_S)
        self._poll_at = monotonic() + interval * random.uniform(0.9, 1.1)

    def _look(self) -> str:
        if self._fingerprint is None:
            return ""
        try:
            return self._fingerprint()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what there is to see now
            return f"cannot be read: {error!r}"

    def _tell(self, kind: str, message: str) -> None:
        # One process may watch files and a store, but has one log.
        others = (watch for watch in list(_watches) if watch is not self)
        if kind != "watcher-polling" or all(watch.mode != "polling" for watch in others):
            logger.warning("%s: %s", kind, message)
        if self._on_trouble is not None:
            try:
                self._on_trouble(kind, message)
            except (Exception, SystemExit):
                logger.exception("A problem of the watcher could not be reported")


# In a forked child: neither threads nor locks of the parent are of use.
_watches = renewed_in_child(Watch._begin_anew)
