"""The one road: which release is to be live. What the layers hold, what somebody holds, else the
last good one; it never makes anything live itself.

Its caller holds the lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from yamlgraph_prompts.errors import LayerError, PromptsError, PromptsRejected
from yamlgraph_prompts.model.graph import Graph
from yamlgraph_prompts.model.release import Outcome, Release
from yamlgraph_prompts.model.trigger import Trigger
from yamlgraph_prompts.publishing.candidate import Candidate, Candidates
from yamlgraph_prompts.publishing.lookup import find
from yamlgraph_prompts.publishing.publisher import Attempt, Live, Overtaken, Publisher
from yamlgraph_prompts.publishing.report import Teller, summary, without_excerpts
from yamlgraph_prompts.sources.reader import LayerReader
from yamlgraph_prompts.text.escaping import Lines

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")

DEADLINE_S = 30.0  # for reading remote layers, once something is live


class Road:
    """Every change takes it, whoever asks for it.

    Args:
        readers: The layers; none where the graphs' own prompts are the release.
        candidates: Makes what is published.
        publisher: Publishes it.
        store: Keeps releases, and says what other processes hold.
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
        publisher: Publisher,
        store: Store,
        teller: Teller,
        graphs: Callable[[], tuple[Graph, ...]],
        *,
        startup_deadline_s: float,
        refresh_s: float,
        as_stored: bool,
    ) -> None:
        self._readers = readers
        self._candidates = candidates
        self._publisher = publisher
        self._store = store
        self._teller = teller
        self._graphs = graphs
        self._startup_deadline_s = startup_deadline_s
        self._refresh_s = refresh_s
        self._as_stored = as_stored
        # The hold that could not be obeyed: its pointer's serial, and why.
        self._disobeyed = (0, "")

    @property
    def live(self) -> Live | None:
        """What is live; None before the first publication."""
        return self._publisher.live

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
        if self._as_stored and (pointer := self._store.current()) is not None:
            release = self._store.get(pointer.release)
            outcome = self._take(release, Attempt(Trigger.AS_STORED), held=pointer.held)
            if self.live is not None:
                return outcome
        attempt, problem = Attempt(Trigger.START), None
        try:
            outcome = self._publish(attempt)
        except LayerError as error:
            problem, outcome = error, self._unreadable(error, attempt)
        self._publisher.told(outcome)
        if self.live is None:
            self._last_good(summary(outcome, show=without_excerpts))
        if self.live is None:
            raise problem or PromptsRejected(summary(outcome), outcome=outcome)
        return replace(outcome, release=self.live.release)

    def publish(self, attempt: Attempt) -> Outcome:
        """Make live what the layers hold, or stay on what somebody holds."""
        return self._publisher.told(self._publish(attempt))

    def activate(self, release: Release, reason: str) -> Outcome:
        """Make a kept release live and hold it."""
        attempt = Attempt(Trigger.ACTIVATE, reason)
        return self._publisher.told(self._take(release, attempt, held=True, point=True))

    def follow(self) -> Outcome:
        """End a hold: make live what the layers hold, and follow them from now on."""
        attempt = Attempt(Trigger.FOLLOW, overrules=True)
        outcome = self._publisher.told(self._publish(attempt))
        if self._is_held():
            # What the layers hold is refused; news is taken from now on all the same.
            refused = self._publisher.let_go(attempt)
            if refused is not None:
                return self._publisher.told(refused)
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
        live = self.live
        if candidate.refused:
            return self._publisher.outcome("rejected", attempt, candidate)
        if live is not None and live.held and not attempt.overrules:
            write()
            return self._hold(live, candidate, attempt)
        try:
            return self._publisher.publish(candidate, attempt, write=write)
        except Overtaken:
            return self._publish(attempt)

    def admit(self) -> None:
        """Check the live release with a graph that came later, and build it.

        Raises:
            PromptsRejected: They do not go together.
        """
        live, attempt = self.started(), Attempt(Trigger.ATTACH)
        if self._readers:
            candidate = self._candidates.kept(live.release, self._graphs(), live.release)
            self._publisher.admit(candidate, attempt)
            return
        # The new graph brings prompts of its own.
        outcome = self._publisher.told(self._publish(attempt))
        if outcome.status == "rejected":
            raise PromptsRejected(summary(outcome), outcome=outcome)

    def find(self, release_id: str) -> Release:
        """A release by its id or the beginning of it; see `LivePrompts.find`."""
        if self.live is not None and self.live.release.id == release_id:
            return self.live.release
        return find(release_id, self._store, self._readers, self._startup_deadline_s)

    def pointed_elsewhere(self, *, only_holds: bool) -> bool:
        """Whether another process changed what is live or held; with `only_holds`, what is held."""
        live, pointer = self.live, self._store.current()
        if live is None or pointer is None:
            return False
        if only_holds and not (live.held or pointer.held):
            return False
        return (pointer.release, pointer.held) != (live.release.id, live.held)

    def obey(self, attempt: Attempt) -> Outcome | None:
        """Do what another process said of holding; the outcome where that is refused."""
        live, pointer = self.live, self._publisher.pointer()
        if pointer is None:
            return None
        if not pointer.held:
            self._publisher.unhold()
            return None
        if live is not None and live.held and live.release.id == pointer.release:
            return None
        try:
            outcome = self._take(self.find(pointer.release), attempt, held=True)
        except PromptsError as problem:
            why = str(problem)
        else:
            if outcome.status == "published":
                self._publisher.told(outcome)
                return None
            if live is not None:
                return outcome
            why = summary(outcome, show=without_excerpts)
        if self._disobeyed != (pointer.number, why):
            self._disobeyed = pointer.number, why
            first, *more = why.split("\n  ")
            message = Lines.of(
                f"Release {pointer.release[:12]} is held, but cannot be served: {first}",
                *more,
                "What the layers hold is served here instead. The hold ends with follow().",
            )
            logger.error(message)
            self._teller.tell("store-trouble", message, release=pointer.release)
        return None

    def unreadable(self, problem: LayerError) -> Outcome:
        """A look at a layer failed while nothing was to be published."""
        return self._publisher.told(self._unreadable(problem, Attempt(Trigger.POLL)))

    def layers_well(self) -> None:
        """The layers were read; say so of those that could not be read before."""
        self._teller.layers_well([r.url for r in self._readers if r.state.trouble])

    # The steps

    def _publish(self, attempt: Attempt) -> Outcome:
        # Before a held release is taken: that does not make this any less a start.
        deadline_s = DEADLINE_S if self.live else self._startup_deadline_s
        refused = None if attempt.overrules else self.obey(attempt)
        if refused is not None:
            return refused
        try:
            candidate = self._candidates.fetch(
                self._graphs(),
                self._publisher.release,
                deadline_s=deadline_s,
                kept_s=attempt.trigger.max_age_s(self._refresh_s),
            )
        except LayerError as problem:
            if self.live is None:
                raise
            return self._unreadable(problem, attempt)
        self.layers_well()
        return self.offer(candidate, attempt)

    def _hold(self, live: Live, news: Candidate, attempt: Attempt) -> Outcome:
        """Stay on the held release, on today's graphs; keep the news for later."""
        outcome = self._take(live.release, attempt, held=True)
        if outcome.status == "rejected" or news.release.id == live.release.id:
            return outcome
        refused = self._publisher.keep(news, attempt)
        return refused or self._publisher.outcome("held", attempt, news)

    def _last_good(self, why: str) -> None:
        last = self._store.last_good()
        if last is None:
            return
        outcome = self._take(last, Attempt(Trigger.LAST_GOOD), held=self._is_held())
        if self.live is None:
            why = summary(outcome, show=without_excerpts)
            logger.error("The last good release is refused too: %s", why)
            return
        self._publisher.told(outcome)
        message = f"The last good release {last.id[:12]} is served, because at the start: {why}"
        logger.error(message)
        self._teller.tell("layer-unavailable", message, release=last.id)

    def _take(
        self, release: Release, attempt: Attempt, *, held: bool, point: bool = False
    ) -> Outcome:
        """Make a kept release live, after checking it with today's graphs."""
        candidate = self._candidates.kept(release, self._graphs(), self._publisher.release)
        if candidate.refused:
            return self._publisher.outcome("rejected", attempt, candidate)
        return self._publisher.publish(candidate, attempt, held=held, point=point)

    def _is_held(self) -> bool:
        pointer = self._store.current()
        return pointer is not None and pointer.held

    def _unreadable(self, problem: LayerError, attempt: Attempt) -> Outcome:
        found = (self._teller.layer_trouble(problem),)
        return self._publisher.outcome("rejected", attempt, findings=found)
