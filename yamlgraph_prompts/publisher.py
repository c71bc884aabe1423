"""The second half of the road: keep a candidate, build every graph on it, point at it, swap.

Whatever fails in it leaves what is live untouched. Its caller holds the lock.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yamlgraph_prompts.builds import Builds, does_not_build
from yamlgraph_prompts.candidate import Candidate, Candidates, Graph
from yamlgraph_prompts.errors import (
    LayerError,
    PromptsError,
    PromptsRejected,
    ReleaseNotFound,
    StoreError,
)
from yamlgraph_prompts.fetch import LayerReader
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.live import Build
from yamlgraph_prompts.lookup import find
from yamlgraph_prompts.release import Outcome, Release, Status
from yamlgraph_prompts.telling import Teller, summary
from yamlgraph_prompts.workers import Workers

if TYPE_CHECKING:
    from yamlgraph_prompts.memory_store import MemoryStore
    from yamlgraph_prompts.store import Store

logger = logging.getLogger("yamlgraph_prompts")

DEADLINE_S = 30.0  # for reading remote layers, once something is live

# Remote layers are asked by whoever polls them; other news is no reason to ask them.
_ASKS_NOBODY = ("poll", "file change", "first run", "another process")


@dataclass(frozen=True)
class Live:
    """All that changes in a swap, behind one reference."""

    candidate: Candidate
    builds: Mapping[int, Build]
    held: bool
    since_s: float = field(default_factory=time.time)

    @property
    def release(self) -> Release:
        return self.candidate.release


@dataclass(frozen=True)
class Attempt:
    """One call of the road.

    Args:
        reason: Why.
        overrules: Whether it ends a hold.
        started: When, on the performance counter.
    """

    reason: str
    overrules: bool = False
    started: float = field(default_factory=time.perf_counter)


class Publisher:
    """Publishes candidates. `live` is the one reference that a swap replaces.

    Args:
        readers: The layers; none where the graphs' own prompts are the release.
        candidates: Makes what is published.
        builds: Builds the graphs on it.
        store: Keeps it.
        workers: Says to the host's other processes what this one serves; None without a store.
        teller: Tells what happened.
        graphs: The attached graphs.
        startup_deadline_s: Seconds that remote layers may take while nothing is live.
        refresh_s: How old, in seconds, what a remote layer said may be for a first look.
        as_stored: Begin with what the store says is live: a command that goes back must not
            first publish what the layers hold.
    """

    def __init__(
        self,
        readers: Sequence[LayerReader],
        candidates: Candidates,
        builds: Builds,
        store: Store | MemoryStore,
        workers: Workers | None,
        teller: Teller,
        graphs: Callable[[], tuple[Graph, ...]],
        *,
        startup_deadline_s: float,
        refresh_s: float,
        as_stored: bool,
    ) -> None:
        self.live: Live | None = None
        self._readers = readers
        self._candidates = candidates
        self._builds = builds
        self._store = store
        self._workers = workers
        self._teller = teller
        self._graphs = graphs
        self._startup_deadline_s = startup_deadline_s
        self._kept_s = {**dict.fromkeys(_ASKS_NOBODY, math.inf), "first look": refresh_s}
        self._as_stored = as_stored
        # The serial of the pointer that was looked at last; the hold that could not be obeyed.
        self._obeyed, self._disobeyed = 0, (0, "")

    def started(self) -> Live:
        """What is live, after a first publication where there was none.

        Raises:
            PromptsRejected: The first release is refused and the store has no earlier good one.
            LayerError: A layer cannot be read and the store has no earlier good release.
        """
        if self.live is None:
            self.first()
        assert self.live is not None
        return self.live

    def first(self) -> Outcome:
        """The first publication, or the last good release where that fails; raises as `started`."""
        if self._as_stored and (pointer := self._store.pointer()) is not None:
            release = self._store.get(pointer.release)
            outcome = self.take(release, "as stored", held=pointer.held, point=False)
            if self.live is not None:
                return outcome
        attempt, problem = Attempt("start"), None
        try:
            outcome = self._publish(attempt)
        except LayerError as error:
            problem, outcome = error, self._unreadable(error, attempt)
        self.told(outcome)
        if self.live is None:
            self._last_good(summary(outcome))
        if self.live is None:
            raise problem or PromptsRejected(summary(outcome), outcome=outcome)
        return replace(outcome, release=self.live.release)

    def publish(self, reason: str) -> Outcome:
        """Make live what the layers hold, or stay on what somebody holds."""
        return self.told(self._publish(Attempt(reason)))

    def follow(self) -> Outcome:
        """End a hold: make live what the layers hold, and follow them from now on."""
        attempt = Attempt("follow", overrules=True)
        outcome = self.told(self._publish(attempt))
        if self.live is not None and self._is_held():
            # What the layers hold is refused; news is taken from now on all the same.
            refused = self._keep(self.live.candidate, attempt)
            refused = refused or self._point(self.live.candidate, attempt, held=False)
            if refused is not None:
                return self.told(refused)
            self.live = replace(self.live, held=False)
        self._teller.tell("following", "The layers are followed again.")
        return outcome

    def offer(
        self, candidate: Candidate, attempt: Attempt, write: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Make live what the layers come to, or keep it for later while a release is held.

        Args:
            candidate: What they come to.
            attempt: Whose outcome it is.
            write: Writes what it came from, once there is no reason against it.
        """
        if candidate.refused:
            return self._outcome("rejected", attempt, candidate)
        if not attempt.overrules and self.live is not None and self.live.held:
            write()
            return self._hold(self.live, candidate, attempt)
        return self._go(candidate, attempt, held=False, write=write)

    def take(self, release: Release, reason: str, *, held: bool, point: bool = True) -> Outcome:
        """Make a kept release live, after checking it with today's graphs."""
        attempt = Attempt(reason)
        candidate = self._candidates.kept(release, self._graphs(), self._before())
        if candidate.refused:
            return self._outcome("rejected", attempt, candidate)
        return self._go(candidate, attempt, held=held, point=point)

    def admit(self) -> None:
        """Check the live release with a graph that came later, and build it.

        Raises:
            PromptsRejected: They do not go together.
        """
        live, attempt = self.started(), Attempt("attach")
        if not self._readers:
            # The new graph brings prompts of its own.
            outcome = self.told(self._publish(attempt))
            if outcome.status == "rejected":
                raise PromptsRejected(summary(outcome), outcome=outcome)
            return
        candidate = self._candidates.kept(live.release, self._graphs(), live.release)
        if candidate.refused:
            outcome = self._outcome("rejected", attempt, candidate)
            raise PromptsRejected(summary(outcome), outcome=outcome)
        try:
            builds = self._builds.make(candidate, live.builds)
        except Exception as problem:
            outcome = self._refuse(candidate, attempt, *does_not_build(problem))
            raise PromptsRejected(summary(outcome), outcome=outcome) from problem
        self.live = replace(live, candidate=candidate, builds=builds)

    def find(self, release_id: str) -> Release:
        """A release by its id or the beginning of it; see `LivePrompts.find`."""
        if self.live is not None and self.live.release.id == release_id:
            return self.live.release
        return find(release_id, self._store, self._readers, self._startup_deadline_s)

    def pointed_elsewhere(self) -> bool:
        """Whether another process changed what is live or held."""
        live, pointer = self.live, self._store.pointer()
        if live is None or pointer is None:
            return False
        return (pointer.release, pointer.held) != (live.release.id, live.held)

    def obey(self, reason: str) -> Outcome | None:
        """Do what another process said of holding; the outcome where that is refused."""
        live, pointer = self.live, self._store.pointer()
        self._obeyed = pointer.serial if pointer else 0
        if pointer is None:
            return None
        if not pointer.held:
            if live is not None and live.held:
                self.live = replace(live, held=False)
            return None
        if live is not None and live.held and live.release.id == pointer.release:
            return None
        try:
            outcome = self.take(self.find(pointer.release), reason, held=True, point=False)
        except PromptsError as problem:
            why = str(problem)
        else:
            if outcome.status == "published":
                self.told(outcome)
                return None
            if live is not None:
                return outcome
            why = summary(outcome)
        if self._disobeyed != (pointer.serial, why):
            self._disobeyed = pointer.serial, why
            message = (
                f"Release {pointer.release[:12]} is held, but cannot be served: {why}\n"
                "  What the layers hold is served here instead. The hold ends with follow()."
            )
            logger.error(message)
            self._teller.tell("store-trouble", message, release=pointer.release)
        return None

    def unreadable(self, problem: LayerError) -> Outcome:
        """A look at a layer failed while nothing was to be published."""
        return self.told(self._unreadable(problem, Attempt("poll")))

    def told(self, outcome: Outcome) -> Outcome:
        """`outcome`, after telling everybody of it."""
        self._teller.outcome(outcome)
        # A process that only loads, and forks those that serve, is none of them.
        if self._workers is not None and self._workers.joined:
            self.say_what_is_served()
        return outcome

    def say_what_is_served(self) -> None:
        """Say to the host's other processes what this one serves."""
        if self._workers is not None and self.live is not None:
            self._workers.serve(self.live.release.id, self.live.held)

    def layers_well(self) -> None:
        """The layers were read; say so of those that could not be read before."""
        self._teller.layers_well([r.url for r in self._readers if r.state.trouble])

    # The steps

    def _publish(self, attempt: Attempt) -> Outcome:
        # Before a held release is taken: that does not make this any less a start.
        deadline_s = DEADLINE_S if self.live else self._startup_deadline_s
        refused = None if attempt.overrules else self.obey(attempt.reason)
        if refused is not None:
            return refused
        try:
            candidate = self._candidates.fetch(
                self._graphs(),
                self._before(),
                deadline_s=deadline_s,
                kept_s=self._kept_s.get(attempt.reason),
            )
        except LayerError as problem:
            if self.live is None:
                raise
            return self._unreadable(problem, attempt)
        self.layers_well()
        return self.offer(candidate, attempt)

    def _hold(self, live: Live, news: Candidate, attempt: Attempt) -> Outcome:
        """Stay on the held release, on today's graphs; keep the news for later."""
        outcome = self.take(live.release, attempt.reason, held=True, point=False)
        if outcome.status == "rejected" or news.release.id == live.release.id:
            return outcome
        return self._keep(news, attempt) or self._outcome("held", attempt, news)

    def _last_good(self, why: str) -> None:
        last = self._store.last_good()
        if last is None:
            return
        outcome = self.take(last, "last good", held=self._is_held(), point=False)
        if self.live is None:
            logger.error("The last good release is refused too: %s", summary(outcome))
            return
        self.told(outcome)
        message = f"The last good release {last.id[:12]} is served, because at the start: {why}"
        logger.error(message)
        self._teller.tell("layer-unavailable", message, release=last.id)

    def _go(
        self,
        candidate: Candidate,
        attempt: Attempt,
        *,
        held: bool,
        point: bool = True,
        write: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Keep it, build every graph on it, write what it came from, point at it, swap."""
        live = self.live
        if (
            live is not None
            and live.release.id == candidate.release.id
            and live.candidate.revisions() == candidate.revisions()
            and live.held == held
        ):
            write()
            self.live = replace(live, candidate=candidate)
            return self._outcome("unchanged", attempt, candidate)
        refused = self._keep(candidate, attempt)
        if refused is not None:
            return refused
        try:
            builds = self._builds.make(candidate, live.builds if live else {})
        except StoreError as problem:
            self._teller.tell("store-trouble", str(problem))
            return self._refuse(candidate, attempt, Finding("error", "store", str(problem)))
        except Exception as problem:
            logger.debug("A graph does not build", exc_info=True)
            return self._refuse(candidate, attempt, *does_not_build(problem))
        write()
        if point:
            refused = self._point(candidate, attempt, held=held)
            if refused is not None:
                return refused
        self.live = Live(candidate, builds, held)
        self._builds.sweep(self._graphs())
        return self._outcome("published", attempt, candidate)

    def _keep(self, candidate: Candidate, attempt: Attempt) -> Outcome | None:
        clean, version = self._candidates.clean(candidate.release)
        try:
            self._store.put(
                candidate.release, findings=candidate.findings, clean=clean, check_version=version
            )
        except StoreError as problem:
            return self._store_trouble(candidate, attempt, problem)
        return None

    def _point(self, candidate: Candidate, attempt: Attempt, *, held: bool) -> Outcome | None:
        pointer, release = self._store.pointer(), candidate.release.id
        if pointer is not None and (pointer.release, pointer.held) == (release, held):
            return None
        since = None if held or attempt.overrules else self._obeyed
        if since is not None and pointer is not None and pointer.held and pointer.serial <= since:
            # It cannot be obeyed here, which ends it for nobody: others may serve it.
            return None
        try:
            if not self._store.make_live(release, reason=attempt.reason, held=held, since=since):
                # Another process holds a release since this one looked.
                return self._publish(attempt)
        except (StoreError, ReleaseNotFound) as problem:
            return self._store_trouble(candidate, attempt, problem)
        return None

    def _store_trouble(
        self, candidate: Candidate, attempt: Attempt, problem: PromptsError
    ) -> Outcome | None:
        self._teller.tell("store-trouble", str(problem))
        if self.live is None:
            # Better served and not kept than not served at all.
            logger.error("The first release cannot be kept: %s", problem)
            return None
        return self._refuse(candidate, attempt, Finding("error", "store", str(problem)))

    def _before(self) -> Release | None:
        return self.live.release if self.live else None

    def _is_held(self) -> bool:
        pointer = self._store.pointer()
        return pointer is not None and pointer.held

    def _unreadable(self, problem: LayerError, attempt: Attempt) -> Outcome:
        return self._outcome("rejected", attempt, findings=(self._teller.layer_trouble(problem),))

    def _refuse(self, candidate: Candidate, attempt: Attempt, *why: Finding) -> Outcome:
        return self._outcome("rejected", attempt, candidate, (*candidate.findings, *why))

    def _outcome(
        self,
        status: Status,
        attempt: Attempt,
        candidate: Candidate | None = None,
        findings: tuple[Finding, ...] | None = None,
    ) -> Outcome:
        if findings is None:
            findings = candidate.findings if candidate else ()
        return Outcome(
            status,
            self._before(),
            findings,
            time.perf_counter() - attempt.started,
            candidate.release.id if candidate else None,
            attempt.reason,
        )
