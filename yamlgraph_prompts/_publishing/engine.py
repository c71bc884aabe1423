"""The engine of a publication: decides, checks, stores, builds every graph, swaps, reports.

Whatever fails leaves what is live untouched. Its caller holds the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from yamlgraph_prompts import errors
from yamlgraph_prompts._live import Build
from yamlgraph_prompts._model.graph import Graph
from yamlgraph_prompts._model.release import Outcome, Release
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.attempt import Attempt
from yamlgraph_prompts._publishing.builds import Builds, Handle, does_not_build
from yamlgraph_prompts._publishing.candidate import Candidate, Candidates
from yamlgraph_prompts._publishing.decide import Action, State, decide
from yamlgraph_prompts._publishing.live import Live
from yamlgraph_prompts._publishing.lookup import find
from yamlgraph_prompts._publishing.report import Report, summary, without_excerpts
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.registry.ports import Replica
from yamlgraph_prompts.registry.replicas import HostReplicas
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")

_Call = Callable[[], object]
DEADLINE_S = 30.0  # for reading remote layers, once something is live


class Overtaken(Exception):
    """Another process holds a release since this one looked."""


class Engine:
    """Publishes releases. `live` is the one reference that a swap replaces."""

    def __init__(
        self,
        readers: Sequence[LayerReader],
        candidates: Candidates,
        builds: Builds,
        store: Store,
        replicas: HostReplicas | None,
        report: Report,
        graphs: Callable[[], tuple[Graph, ...]],
        swapped: _Call,
        *,
        startup_deadline_s: float,
        refresh_s: float,
    ) -> None:
        self.live: Live | None = None
        self.readers = readers
        self.candidates = candidates
        self.graphs = graphs
        self._swapped = swapped
        self._builds = builds
        self._store = store
        self._replicas = replicas
        self._report = report
        self._startup_deadline_s = startup_deadline_s
        self._refresh_s = refresh_s
        self._looked_at = 0  # the number of the entry that was read last

    @property
    def release(self) -> Release | None:
        return self.live.release if self.live else None

    @property
    def _state(self) -> State | None:
        return self.live.state if self.live else None

    # -- what callers ask for

    def started(self) -> Live:
        """What is live, after a first publication where there was none."""
        if self.live is None:
            self.first()
        assert self.live is not None
        return self.live

    def first(self) -> Outcome:
        """The first publication, or the last good release where that fails; raises as `started`."""
        attempt, problem = Attempt(Trigger.START), None
        try:
            outcome = self._publish(attempt)
        except errors.LayerError as error:
            problem, outcome = error, self._unreadable(error, attempt)
        self.reported(outcome)
        if self.live is None:
            self._last_good(summary(outcome, show=without_excerpts))
        if self.live is None:
            raise problem or errors.PromptsRejected(summary(outcome), outcome=outcome)
        return replace(outcome, release=self.live.release)

    def publish(self, attempt: Attempt) -> Outcome:
        """Make live what the layers hold, or stay on what is held."""
        if self.live is None:
            return self.first()
        return self.reported(self._publish(attempt))

    def activate(self, release: Release, attempt: Attempt) -> Outcome:
        """Make a kept release live and hold it."""
        entry = self._store.current()
        outcome = self._take(release, attempt, held=True, point=True)
        if entry and outcome.status == "published" and (text := entry.undone_by(release.id)):
            finding = Finding("warning", "rollback-undone", text)
            outcome = replace(outcome, findings=(*outcome.findings, finding))
        self.reported(outcome)
        if outcome.status != "rejected":
            message = f"Release {release.id[:12]} is held."
            self._report.event("held", message, release=release.id)
        return outcome

    def follow(self, attempt: Attempt) -> Outcome:
        """End a hold: make live what the layers hold, and follow them from now on."""
        outcome = self.reported(self._publish(attempt))
        if self._is_held() and self.live is not None:
            # What the layers hold is refused; changes are taken from now on all the same.
            refused = self.keep(self.live.candidate, attempt)
            refused = refused or self._point(self.live.candidate, attempt, False)
            if refused is not None:
                return self.reported(refused)
            self.live = self.live and replace(self.live, held_since_s=None)
        self._report.event("following", "The layers are followed again.")
        return outcome

    def attach(self) -> None:
        """Check the live release with a graph that was just attached, and build it."""
        if self.live is None:
            self.first()
            return
        attempt = Attempt(Trigger.ATTACH)
        if not self.readers:
            # The new graph brings prompts of its own.
            outcome = self.reported(self._publish(attempt))
            if outcome.status == "rejected":
                raise errors.PromptsRejected(summary(outcome), outcome=outcome)
            return
        live = self.live
        candidate = self.candidates.kept(live.release, self.graphs(), live.release)
        if candidate.refused:
            outcome = attempt.outcome("rejected", self.release, candidate)
            raise errors.PromptsRejected(summary(outcome), outcome=outcome)
        try:
            builds = self._builds.make(candidate, live.builds)
        except Exception as problem:
            outcome = self._refuse(candidate, attempt, *does_not_build(problem))
            raise errors.PromptsRejected(summary(outcome), outcome=outcome) from problem
        self.live = replace(live, candidate=candidate, builds=builds)
        self._report.attached(candidate.findings)

    def add(self, handle: Handle) -> Build:
        """The live release, built for a handle that was just made."""
        live = self.started()
        graph = live.candidate.graphs[handle.graph]
        builds = self._builds.add(handle, graph, live.release, live.builds)
        self.live = replace(live, builds=builds)
        return builds[handle.token]

    def find(self, release_id: str) -> Release:
        """A release by its id or the beginning of it; see `LivePrompts.find`."""
        if self.live is not None and self.live.release.id == release_id:
            return self.live.release
        return find(release_id, self._store, self.readers, self._startup_deadline_s)

    def pointed_elsewhere(self, *, only_holds: bool) -> bool:
        """Whether another process changed what is live or held; with `only_holds`, what is held."""
        live, pointer = self.live, self._store.current()
        if live is None or pointer is None:
            return False
        if only_holds and not (live.held or pointer.held):
            return False
        return (pointer.release, pointer.held) != (live.release.id, live.held)

    def unreadable(self, problem: errors.LayerError) -> Outcome:
        """A look at a layer failed while nothing was to be published."""
        return self.reported(self._unreadable(problem, Attempt(Trigger.POLL)))

    def layers_recovered(self) -> bool:
        """Report the layers that can be read again; whether there are any."""
        return self._report.layers_recovered([r.url for r in self.readers if r.state.trouble])

    def announce(self) -> None:
        """Announce to the host's other processes what this one serves."""
        if self._replicas is not None and (live := self.live) is not None:
            self._replicas.announce(Replica(self._store.environment, live.release.id, live.held))

    # -- deciding

    def _publish(self, attempt: Attempt) -> Outcome:
        # Before a held release is taken: that does not make this any less a start.
        deadline_s = DEADLINE_S if self.live else self._startup_deadline_s
        refused = self.obey(attempt)
        if refused is not None:
            return refused
        try:
            candidate = self.candidates.fetch(
                self.graphs(),
                self.release,
                deadline_s=deadline_s,
                kept_s=attempt.trigger.max_age_s(self._refresh_s),
            )
        except errors.LayerError as problem:
            if self.live is None:
                raise
            return self._unreadable(problem, attempt)
        self.layers_recovered()
        return self.offer(candidate, attempt)

    def obey(self, attempt: Attempt) -> Outcome | None:
        """Follow another process's orders about holding; the outcome where that is refused."""
        pointer = self._store.current()
        self._looked_at = pointer.number if pointer else 0
        live = self.live
        action = decide(pointer, self._state, None, attempt.trigger)
        if action is Action.UNHOLD:
            logger.info("The hold has ended.", extra=self._report.fields())
            self.live = self.live and replace(self.live, held_since_s=None)
        if action is not Action.OBEY or pointer is None:
            return None
        try:
            outcome = self._take(self.find(pointer.release), attempt, held=True)
        except errors.UnsupportedStore as problem:
            # Another version may serve it: the layers must not be published past its hold.
            if live is None:
                raise
            return self._refuse(None, attempt, Finding("error", "store", str(problem)))
        except errors.PromptsError as problem:
            why = str(problem)
        else:
            if outcome.status == "published":
                self.reported(outcome)
                return None
            if live is not None:
                return outcome
            why = summary(outcome, show=without_excerpts)
        self._report.disobeyed(pointer, why)
        return None

    def offer(
        self, candidate: Candidate, attempt: Attempt, write: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Make a candidate from the layers live, or keep it while another release is held."""
        live = self.live
        action = decide(None, self._state, candidate.state, attempt.trigger)
        if action is Action.REFUSE:
            return attempt.outcome("rejected", self.release, candidate)
        if action is Action.KEEP and live is not None:
            write()
            outcome = self._take(live.release, attempt, held=True)
            if outcome.status == "rejected" or candidate.release.id == live.release.id:
                return outcome
            return self.keep(candidate, attempt) or attempt.outcome("held", self.release, candidate)
        try:
            return self._make_live(candidate, attempt, write=write)
        except Overtaken:
            return self._publish(attempt)

    def _last_good(self, why: str) -> None:
        if (last := self._store.last_good()) is None:
            return
        outcome = self._take(last, Attempt(Trigger.LAST_GOOD), held=self._is_held())
        if self.live is None:
            why = summary(outcome, show=without_excerpts)
            logger.error("The last good release is refused too: %s", why)
            return
        self.reported(outcome)
        message = f"The last good release {last.id[:12]} is served, because at the start: {why}"
        logger.error(message, extra=self._report.fields(release=last.id))
        self._report.event("layer-unavailable", message, release=last.id)

    def _take(
        self, release: Release, attempt: Attempt, *, held: bool, point: bool = False
    ) -> Outcome:
        """Make a kept release live, after checking it with today's graphs."""
        candidate = self.candidates.kept(release, self.graphs(), self.release)
        if candidate.refused:
            return attempt.outcome("rejected", self.release, candidate)
        return self._make_live(candidate, attempt, held=held, point=point)

    def _make_live(
        self,
        candidate: Candidate,
        attempt: Attempt,
        *,
        held: bool = False,
        point: bool = True,
        write: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Keep it, build every graph on it, write what it came from, point at it, swap."""
        live = self.live
        if live is not None and live.state == replace(candidate.state, held=held):
            write()
            self.live = replace(live, candidate=candidate)
            return attempt.outcome("unchanged", self.release, candidate)
        attempt = attempt.as_in_history(self._store, candidate.release.id, held=held)
        refused = self.keep(candidate, attempt)
        if refused is not None:
            return refused
        try:
            builds = self._builds.make(candidate, live.builds if live else {})
        except errors.StoreError as problem:
            self._report.event("store-trouble", str(problem))
            return self._refuse(candidate, attempt, Finding("error", "store", str(problem)))
        except Exception as problem:
            logger.debug("A graph does not build", exc_info=True)
            return self._refuse(candidate, attempt, *does_not_build(problem))
        write()

        def swap() -> None:
            self.live = Live.now(candidate, builds, self._store.current(), held=held)
            self._swapped()

        try:
            # Runs need not wait until the history is durable; this call does.
            written = swap if live else bool
            refused = self._point(candidate, attempt, held, written) if point else None
        except BaseException:
            self.live = live
            raise
        if refused is not None:
            self.live = live
            return refused
        if self.live is live:
            swap()
        return attempt.outcome("published", self.release, candidate)

    def keep(self, candidate: Candidate, attempt: Attempt) -> Outcome | None:
        """Keep it in the store; the outcome where that is refused."""
        try:
            self._store.put(candidate.release, self.candidates.facts(candidate))
        except errors.StoreError as problem:
            return self._store_trouble(candidate, attempt, problem)
        return None

    def _point(
        self, candidate: Candidate, attempt: Attempt, held: bool, written: _Call = bool
    ) -> Outcome | None:
        pointer, release = self._store.current(), candidate.release.id
        if pointer is not None and (pointer.release, pointer.held) == (release, held):
            seen_first = attempt.trigger is Trigger.CHANGE and pointer.number > self._looked_at
            if not seen_first:
                # Else another process saw the file before its author could be named.
                return None
        since = None if held or attempt.trigger is Trigger.FOLLOW else self._looked_at
        if since is not None and pointer is not None and pointer.held and pointer.number <= since:
            # The hold cannot be obeyed here; that does not end it: other processes may serve it.
            return None
        try:
            order, make_live = attempt.order, self._store.make_live
            if not make_live(release, held=held, since=since, written=written, **order):
                raise Overtaken
        except (errors.StoreError, errors.ReleaseNotFound) as problem:
            return self._store_trouble(candidate, attempt, problem)
        return None

    def _is_held(self) -> bool:
        return bool((pointer := self._store.current()) and pointer.held)

    def reported(self, outcome: Outcome) -> Outcome:
        """Log the outcome, call the hooks, announce what is served, tidy up, and return it."""
        held_since_s = self.live.held_since_s if self.live else None
        self._report.outcome(outcome, held_since_s, store_trouble=self._store.retreated)
        # A process that only loads, and forks those that serve, is none of them.
        if self._replicas is not None and self._replicas.joined:
            self.announce()
        if outcome.status == "published":
            self._builds.sweep(self.graphs())
        return outcome

    def _refuse(self, candidate: Candidate | None, attempt: Attempt, *why: Finding) -> Outcome:
        return attempt.outcome("rejected", self.release, candidate, *why)

    def _store_trouble(
        self, candidate: Candidate, attempt: Attempt, problem: errors.PromptsError
    ) -> Outcome | None:
        self._report.event("store-trouble", str(problem))
        if self.live is None:
            # Better served and not kept than not served at all.
            logger.error("The first release cannot be kept: %s", problem)
            return None
        return self._refuse(candidate, attempt, Finding("error", "store", str(problem)))

    def _unreadable(self, problem: errors.LayerError, attempt: Attempt) -> Outcome:
        finding = self._report.layer_trouble(problem)
        return attempt.outcome("rejected", self.release, None, finding)
