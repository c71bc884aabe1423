"""The second half of the road: keep a candidate, build every graph on it, point at it, swap.

Whatever fails in it leaves what is live untouched. Its caller holds the lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yamlgraph_prompts.errors import PromptsError, PromptsRejected, ReleaseNotFound, StoreError
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.live import Build
from yamlgraph_prompts.model.entry import Entry
from yamlgraph_prompts.model.graph import Graph
from yamlgraph_prompts.model.release import Outcome, Release, Status
from yamlgraph_prompts.model.trigger import Trigger
from yamlgraph_prompts.publishing.builds import Builds, Handle, does_not_build
from yamlgraph_prompts.publishing.candidate import Candidate, Candidates
from yamlgraph_prompts.publishing.report import Teller, summary
from yamlgraph_prompts.registry.ports import Replica
from yamlgraph_prompts.registry.replicas import HostReplicas

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")


@dataclass(frozen=True, slots=True)
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
    """One way down the road, which ends with an outcome."""

    trigger: Trigger
    reason: str = ""
    overrules: bool = False
    """Whether it ends a hold."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def why(self) -> str:
        """The word for the log and the history."""
        return self.reason or self.trigger.value


class Overtaken(Exception):
    """Another process holds a release since this one looked."""


class Publisher:
    """Publishes candidates. `live` is the one reference that a swap replaces.

    Args:
        candidates: Says what the check found clean.
        builds: Builds the graphs.
        store: Keeps releases.
        workers: Says to the host's other processes what this one serves; None without a store.
        teller: Tells what happened.
        graphs: The attached graphs.
    """

    def __init__(
        self,
        candidates: Candidates,
        builds: Builds,
        store: Store,
        workers: HostReplicas | None,
        teller: Teller,
        graphs: Callable[[], tuple[Graph, ...]],
    ) -> None:
        self.live: Live | None = None
        self._candidates = candidates
        self._builds = builds
        self._store = store
        self._workers = workers
        self._teller = teller
        self._graphs = graphs
        # The serial of the pointer that was looked at last.
        self._looked_at = 0

    @property
    def release(self) -> Release | None:
        """The live release."""
        return self.live.release if self.live else None

    def pointer(self) -> Entry | None:
        """Which release the store says is live. A hold that comes later is respected."""
        pointer = self._store.current()
        self._looked_at = pointer.number if pointer else 0
        return pointer

    def publish(
        self,
        candidate: Candidate,
        attempt: Attempt,
        *,
        held: bool = False,
        point: bool = True,
        write: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Keep it, build every graph on it, write what it came from, point at it, swap.

        Raises:
            Overtaken: It is not to be held, and another process holds a release by now.
        """
        live = self.live
        if (
            live is not None
            and live.release.id == candidate.release.id
            and live.candidate.revisions() == candidate.revisions()
            and live.held == held
        ):
            write()
            self.live = replace(live, candidate=candidate)
            return self.outcome("unchanged", attempt, candidate)
        refused = self.keep(candidate, attempt)
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
        return self.outcome("published", attempt, candidate)

    def keep(self, candidate: Candidate, attempt: Attempt) -> Outcome | None:
        """Keep it in the store; the outcome where that is refused."""
        clean, version = self._candidates.clean(candidate.release)
        try:
            self._store.put(
                candidate.release, findings=candidate.findings, clean=clean, check_version=version
            )
        except StoreError as problem:
            return self._store_trouble(candidate, attempt, problem)
        return None

    def let_go(self, attempt: Attempt) -> Outcome | None:
        """End a hold, for every process that shares the store; the outcome where it is refused."""
        if self.live is None:
            return None
        refused = self.keep(self.live.candidate, attempt)
        refused = refused or self._point(self.live.candidate, attempt, held=False)
        if refused is None:
            self.unhold()
        return refused

    def unhold(self) -> None:
        """What is live is not held any more."""
        if self.live is not None and self.live.held:
            self.live = replace(self.live, held=False)

    def admit(self, candidate: Candidate, attempt: Attempt) -> None:
        """Build a graph that came later: `candidate` is the live release with it.

        Raises:
            PromptsRejected: They do not go together.
        """
        assert self.live is not None
        if candidate.refused:
            outcome = self.outcome("rejected", attempt, candidate)
            raise PromptsRejected(summary(outcome), outcome=outcome)
        try:
            builds = self._builds.make(candidate, self.live.builds)
        except Exception as problem:
            outcome = self._refuse(candidate, attempt, *does_not_build(problem))
            raise PromptsRejected(summary(outcome), outcome=outcome) from problem
        self.live = replace(self.live, candidate=candidate, builds=builds)

    def add(self, handle: Handle) -> Build:
        """The live release, built for a handle that was just made."""
        live = self.live
        assert live is not None
        facts = live.candidate.graphs[handle.graph]
        builds = self._builds.add(handle, facts, live.release, live.builds)
        self.live = replace(live, builds=builds)
        return builds[handle.token]

    def outcome(
        self,
        status: Status,
        attempt: Attempt,
        candidate: Candidate | None = None,
        findings: tuple[Finding, ...] | None = None,
    ) -> Outcome:
        """What became of an attempt."""
        if findings is None:
            findings = candidate.findings if candidate else ()
        return Outcome(
            status,
            self.release,
            findings,
            time.perf_counter() - attempt.started,
            candidate.release.id if candidate else None,
            attempt.why,
            attempt.trigger,
        )

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
            live = self.live
            self._workers.announce(Replica(self._store.environment, live.release.id, live.held))

    def _point(self, candidate: Candidate, attempt: Attempt, *, held: bool) -> Outcome | None:
        pointer, release = self._store.current(), candidate.release.id
        if pointer is not None and (pointer.release, pointer.held) == (release, held):
            return None
        since = None if held or attempt.overrules else self._looked_at
        if since is not None and pointer is not None and pointer.held and pointer.number <= since:
            # It cannot be obeyed here, which ends it for nobody: others may serve it.
            return None
        try:
            if not self._store.make_live(release, reason=attempt.why, held=held, since=since):
                raise Overtaken
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

    def _refuse(self, candidate: Candidate, attempt: Attempt, *why: Finding) -> Outcome:
        return self.outcome("rejected", attempt, candidate, (*candidate.findings, *why))
