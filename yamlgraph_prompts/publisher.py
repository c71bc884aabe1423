"""The second half of the road: keep a candidate, build every graph on it, point at it, swap.

Whatever fails in it leaves what is live untouched. Its caller holds the lock.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from yamlgraph_prompts.builds import Builds, does_not_build
from yamlgraph_prompts.candidate import Candidate, Candidates, Graph
from yamlgraph_prompts.drafts import Draft, Trial, Write, drafted_files, mends, origin, served
from yamlgraph_prompts.errors import (
    LayerError,
    PromptsError,
    PromptsRejected,
    ReleaseNotFound,
    StoreError,
)
from yamlgraph_prompts.fetch import LayerReader, within
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.layers import LayerContent
from yamlgraph_prompts.live import Build
from yamlgraph_prompts.release import Outcome, Release, Status
from yamlgraph_prompts.telling import Teller, summary
from yamlgraph_prompts.workers import Workers

if TYPE_CHECKING:
    from yamlgraph_prompts.memory_store import MemoryStore
    from yamlgraph_prompts.store import Store

logger = logging.getLogger("yamlgraph_prompts")

DEADLINE_S = 30.0  # for reading remote layers, once something is live

# Remote layers are asked by whoever polls them; other news is no reason to ask them.
_KEPT_S = dict.fromkeys(("poll", "file change", "first run", "another process"), math.inf)
_FULL_ID = re.compile(r"[0-9a-f]{64}")


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
class _Attempt:
    reason: str
    overrules: bool = False
    """Whether it ends a hold."""
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
        self._refresh_s = refresh_s
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
        attempt, problem = _Attempt("start"), None
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
        return self.told(self._publish(_Attempt(reason)))

    def follow(self) -> Outcome:
        """End a hold: make live what the layers hold, and follow them from now on."""
        attempt = _Attempt("follow", overrules=True)
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

    def take(self, release: Release, reason: str, *, held: bool, point: bool = True) -> Outcome:
        """Make a kept release live, after checking it with today's graphs."""
        attempt = _Attempt(reason)
        candidate = self._candidates.kept(release, self._graphs(), self._before())
        if candidate.refused:
            return self._outcome("rejected", attempt, candidate)
        return self._go(candidate, attempt, held=held, point=point)

    def admit(self) -> None:
        """Check the live release with a graph that came later, and build it.

        Raises:
            PromptsRejected: They do not go together.
        """
        live, attempt = self.started(), _Attempt("attach")
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

    def change(
        self,
        draft: Draft,
        reason: str,
        allow: Callable[[Trial], object],
        write: Write | None = None,
    ) -> tuple[Trial, Outcome]:
        """Write one prompt and publish it; see `LivePrompts.change`."""
        attempt = _Attempt(reason)
        refused = self._obey_pointer(reason)
        live = self.started()
        candidate, contents = self._candidates.drafted(self._graphs(), live.release, [draft])
        before = origin(contents, draft.name)
        now = served(live.release, live.candidate.graphs.values(), draft.name)
        trial = Trial(
            draft,
            before,
            draft.path in contents[draft.layer].files,
            now | frozenset([before.data] if before else ()),
            served(candidate.release, candidate.graphs.values(), draft.name),
            candidate.release,
            candidate.findings,
            refused is None and mends(draft, candidate.findings, partial(self._today, contents)),
        )
        ready = allow(trial)
        if refused is not None or trial.refused:
            return trial, refused or self._outcome("rejected", attempt, candidate)
        files = contents[draft.layer].files
        writing = _Writing(self._readers[draft.layer], draft, files, write, ready)
        if trial.mends:
            writing.do()
            return trial, self.told(self._outcome("rejected", attempt, candidate))
        if live.held:
            writing.do()
            return trial, self.told(self._hold(live, candidate, attempt))
        outcome = self._go(candidate, attempt, held=False, write=writing.do)
        if outcome.status == "rejected":
            # The store failed in between: what is not live must not stay behind.
            writing.undo()
        return trial, self.told(outcome)

    def find(self, release_id: str) -> Release:
        """A release by its id or the beginning of it; see `LivePrompts.find`."""
        if self.live is not None and self.live.release.id == release_id:
            return self.live.release
        try:
            return self._store.get(self._store.find(release_id))
        except ReleaseNotFound:
            if not _FULL_ID.fullmatch(release_id):
                raise
            release = self._published(release_id)
        with suppress(StoreError):
            self._store.put(release)
        return release

    def obey(self) -> str | None:
        """Why to publish, where another process changed what is live or held; None otherwise."""
        live, pointer = self.live, self._store.pointer()
        if live is None or pointer is None:
            return None
        same = (pointer.release, pointer.held) == (live.release.id, live.held)
        return None if same else "another process"

    def unreadable(self, problem: LayerError) -> Outcome:
        """A look at a layer failed while nothing was to be published."""
        return self.told(self._unreadable(problem, _Attempt("poll")))

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

    def _today(self, contents: Sequence[LayerContent]) -> tuple[Finding, ...]:
        return self._candidates.undrafted(self._graphs(), self._before(), contents).findings

    def _publish(self, attempt: _Attempt) -> Outcome:
        # Before a held release is taken: that does not make this any less a start.
        deadline_s = DEADLINE_S if self.live else self._startup_deadline_s
        refused = None if attempt.overrules else self._obey_pointer(attempt.reason)
        if refused is not None:
            return refused
        first_look = attempt.reason == "first look"
        try:
            candidate = self._candidates.fetch(
                self._graphs(),
                self._before(),
                deadline_s=deadline_s,
                kept_s=self._refresh_s if first_look else _KEPT_S.get(attempt.reason),
            )
        except LayerError as problem:
            if self.live is None:
                raise
            return self._unreadable(problem, attempt)
        self.layers_well()
        if candidate.refused:
            return self._outcome("rejected", attempt, candidate)
        if not attempt.overrules and self.live is not None and self.live.held:
            return self._hold(self.live, candidate, attempt)
        return self._go(candidate, attempt, held=False)

    def _obey_pointer(self, reason: str) -> Outcome | None:
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

    def _hold(self, live: Live, news: Candidate, attempt: _Attempt) -> Outcome:
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
        attempt: _Attempt,
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

    def _keep(self, candidate: Candidate, attempt: _Attempt) -> Outcome | None:
        clean, version = self._candidates.clean(candidate.release)
        try:
            self._store.put(
                candidate.release, findings=candidate.findings, clean=clean, check_version=version
            )
        except StoreError as problem:
            return self._store_trouble(candidate, attempt, problem)
        return None

    def _point(self, candidate: Candidate, attempt: _Attempt, *, held: bool) -> Outcome | None:
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
        self, candidate: Candidate, attempt: _Attempt, problem: PromptsError
    ) -> Outcome | None:
        self._teller.tell("store-trouble", str(problem))
        if self.live is None:
            # Better served and not kept than not served at all.
            logger.error("The first release cannot be kept: %s", problem)
            return None
        return self._refuse(candidate, attempt, Finding("error", "store", str(problem)))

    def _published(self, release_id: str) -> Release:
        """A release from a layer that keeps releases; raises `ReleaseNotFound`."""
        where, todo = "nor in a layer.", "Publish its content again"
        for reader in self._readers:
            try:
                ask = partial(reader.release, release_id)
                found = within(self._startup_deadline_s, ask, reader.url)
            except LayerError as problem:
                logger.warning("Release %s is not found: %s", release_id[:12], problem)
                where = f"and a layer cannot give it: {problem.message}"
                todo = "Try again when that is mended"
                continue
            if found is not None:
                return found
        raise ReleaseNotFound(
            f"Release {release_id[:12]} is neither in memory, nor in the store, {where}",
            release_id=release_id,
            hint=f'{todo}, or let such runs take the live release: missing_release="live".',
        ) from None

    def _before(self) -> Release | None:
        return self.live.release if self.live else None

    def _is_held(self) -> bool:
        pointer = self._store.pointer()
        return pointer is not None and pointer.held

    def _unreadable(self, problem: LayerError, attempt: _Attempt) -> Outcome:
        return self._outcome("rejected", attempt, findings=(self._teller.layer_trouble(problem),))

    def _refuse(self, candidate: Candidate, attempt: _Attempt, *why: Finding) -> Outcome:
        return self._outcome("rejected", attempt, candidate, (*candidate.findings, *why))

    def _outcome(
        self,
        status: Status,
        attempt: _Attempt,
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


class _Writing:
    """One file of a layer, written once and put back where need be."""

    def __init__(
        self,
        reader: LayerReader,
        draft: Draft,
        files: Mapping[str, bytes],
        write: Write | None,
        ready: object,
    ) -> None:
        self._reader = reader
        self._draft = draft
        self._files = files
        self._write = write
        self._ready = ready
        self._done = False

    def do(self) -> None:
        if self._files.get(self._draft.path) != self._draft.data:
            if callable(self._ready):
                self._ready()
            self._change(self._files, drafted_files(self._files, self._draft))
            self._done = True

    def undo(self) -> None:
        if self._done:
            self._change(drafted_files(self._files, self._draft), self._files)

    def _change(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        if self._write is not None:
            self._write(old, new)
        else:
            self._reader.write(self._draft.path, new.get(self._draft.path))
