"""The one road from layers to a live graph: a candidate is made and checked, kept, built, swapped in.

Every change goes through `LivePrompts.publish`. Whatever fails in it leaves what is live untouched.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from yamlgraph_prompts.builds import Builds, Handle
from yamlgraph_prompts.candidate import Candidate, Candidates, Check, Graph
from yamlgraph_prompts.drafts import Draft, Trial, origin, served
from yamlgraph_prompts.errors import (
    LayerError,
    PromptsError,
    PromptsRejected,
    ReleaseNotFound,
    StoreError,
)
from yamlgraph_prompts.events import Event, EventKind, Hook, tell
from yamlgraph_prompts.fetch import LayerReader, within
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.following import Following
from yamlgraph_prompts.health import Health
from yamlgraph_prompts.layers import AnyLayer, as_layer, environment_name
from yamlgraph_prompts.live import Build, LiveGraph, LiveStateGraph, Pin, Recipe
from yamlgraph_prompts.release import Outcome, Prompt, PromptUse, Release, Status, StoredRelease
from yamlgraph_prompts.workers import Workers, taken_by

if TYPE_CHECKING:
    from yamlgraph_prompts.memory_store import MemoryStore
    from yamlgraph_prompts.store import Store

logger = logging.getLogger("yamlgraph_prompts")

DEADLINE_S = 30.0  # for reading remote layers, once something is live

# Remote layers are asked by whoever polls them; other news is no reason to ask them.
_KEPT_S = dict.fromkeys(("poll", "file change", "another process"), math.inf)
_FULL_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Live:
    """All that changes in a swap, behind one reference."""

    candidate: Candidate
    builds: Mapping[int, Build]
    held: bool

    @property
    def release(self) -> Release:
        return self.candidate.release


class LivePrompts:
    """Prompts that stay fresh: the live release of some layers, for one environment.

    Share one between several graphs and the admin app. All methods are thread-safe; they are plain
    blocking calls, so call them through ``asyncio.to_thread`` on an event loop.

    Args:
        layers: Paths, URLs, mappings or `Layer`s, highest priority first. With none, the attached
            graph's own prompts are the release.
        environment: What ``{environment}`` stands for; else ``YAMLGRAPH_PROMPTS_ENVIRONMENT``,
            else ``ENVIRONMENT``, else ``development``.
        store: The folder that keeps releases; a per-user cache folder when left out.
        watch: Whether to follow changes. Threads start with the first use.
        refresh_s: Seconds between two looks at what tells no news by itself.
        startup_deadline_s: Seconds that reading remote layers may take at the start, together.
        missing_release: What a run does whose pinned release is gone: ``"raise"`` or take the
            ``"live"`` one.
        checks: Further checks, each ``check(release, graphs) -> Iterable[Finding]``.
        hooks: Observers, each ``hook(event)``.

    Raises:
        InvalidEnvironment: The environment's name cannot be one.

    Example:
        >>> with LivePrompts({"greeting": "user: Hi {name}"}) as prompts:
        ...     prompts["greeting"].messages(name="Ada")[0].content
        'Hi Ada'
    """

    def __init__(
        self,
        *layers: AnyLayer,
        environment: str | None = None,
        store: str | os.PathLike[str] | None = None,
        watch: bool = True,
        refresh_s: float = 30.0,
        startup_deadline_s: float = 5.0,
        missing_release: Literal["raise", "live"] = "raise",
        checks: Iterable[Check] = (),
        hooks: Iterable[Hook] = (),
        _base: Path | None = None,
        _graph: Path | None = None,
        _as_stored: bool = False,
    ) -> None:
        if missing_release not in ("raise", "live"):
            raise ValueError(f"missing_release is 'raise' or 'live', not {missing_release!r}.")
        self.layers = tuple(as_layer(layer) for layer in layers)
        self.environment, said = environment_name(environment)
        if not said and any(layer.uses_environment for layer in self.layers):
            logger.warning(
                "No environment is set, so %r is used. Say environment=, or set "
                "YAMLGRAPH_PROMPTS_ENVIRONMENT or ENVIRONMENT.",
                self.environment,
            )
        self._readers = tuple(LayerReader(layer, self.environment, _base) for layer in self.layers)
        self._startup_deadline_s = startup_deadline_s
        self._missing_release = missing_release
        self._hooks = tuple(hooks)
        self._watching = watch
        # A command that goes back must not first publish what the layers hold.
        self._as_stored = _as_stored
        self._attached: list[Graph] = []
        # Whoever loads one graph for each request drops it again; the first one stays.
        self._lent: weakref.WeakKeyDictionary[Graph, None] = weakref.WeakKeyDictionary()
        self._store = _store(self._readers, self.environment, store, _graph)
        self._candidates = Candidates(
            self._readers, self.environment, tuple(checks), self._store.facts
        )
        self._builds = Builds(self._store.view, self._store.drop_views)
        self._following = Following(
            self._readers,
            partial(_alive, self._attached, self._lent),
            self._store.changed_paths,
            self._changed,
            self._pointed,
            self._watcher_trouble,
            self._cannot_look,
            self._layers_well,
            refresh_s,
        )
        self._refresh_s = refresh_s
        self._trouble: dict[str, str] = {}
        self._workers = _workers(self._store)
        self._last: tuple[Outcome, float] | None = None
        self._live_since_s: float | None = None
        self._watcher_restarts = 0
        self._polling = False
        self._lock = threading.RLock()
        self._live: _Live | None = None
        self._closed = False
        weakref.finalize(self, self._following.close_soon).atexit = False
        _all.add(self)

    # Reading

    @property
    def release(self) -> Release:
        """The live release.

        Raises:
            PromptsRejected: The first release was refused and the store has no earlier good one.
            LayerError: A layer cannot be read and the store has no earlier good release.
        """
        release = self._started().release
        self.follow_changes()
        return release

    def __getitem__(self, name: str) -> Prompt:
        return self.release[name]

    @property
    def held(self) -> bool:
        """Whether the layers are not followed until `follow()`."""
        return self._started().held

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def releases(self) -> list[StoredRelease]:
        """The releases that are kept, newest first. Publishes nothing."""
        return self._store.releases()

    def find(self, release_id: str) -> Release:
        """The release whose id is, or begins with, `release_id`.

        Raises:
            ReleaseNotFound: It is neither live nor in the store nor, by its full id, published to
                a layer; or several begin so.
        """
        live = self._live
        if live is not None and live.release.id == release_id:
            return live.release
        try:
            return self._store.get(self._store.find(release_id))
        except ReleaseNotFound:
            release = self._published(release_id) if _FULL_ID.fullmatch(release_id) else None
            if release is None:
                raise
        with suppress(StoreError):
            self._store.put(release)
        return release

    def _published(self, release_id: str) -> Release | None:
        """A release from a layer that keeps releases."""
        for reader in self._readers:
            try:
                ask = partial(reader.release, release_id)
                found = within(self._startup_deadline_s, ask, reader.url)
            except LayerError as problem:
                logger.warning("Release %s is not found: %s", release_id[:12], problem)
                continue
            if found is not None:
                return found
        return None

    def folders(self) -> tuple[Path, ...]:
        """The local folders that the layers are read from."""
        return tuple(path for reader in self._readers for path in reader.watched())

    @property
    def store_folder(self) -> Path | None:
        """The folder that keeps releases; None where they are kept in memory."""
        return self._store.folder

    @property
    def health(self) -> Health:
        """How these prompts fare. Asks nobody, never raises, never blocks."""
        live, last = self._live, self._last
        return Health(
            release=live.release.id if live else None,
            live_since_s=self._live_since_s,
            held=live is not None and live.held,
            last=last[0] if last else None,
            last_at_s=last[1] if last else None,
            layers=tuple(reader.state for reader in self._readers),
            watcher_restarts=self._watcher_restarts,
            polling=self._polling,
            store_trouble=self._store.trouble,
            following=self._following.started,
        )

    def uses(self) -> dict[str, list[tuple[str, PromptUse]]]:
        """Prompt name → every place that asks for it: the graph's file, and the place."""
        found: dict[str, list[tuple[str, PromptUse]]] = {}
        for facts in self._started().candidate.graphs.values():
            for file in facts.files:
                for use in file.uses:
                    name = file.own_name(use.prompt) if facts.bundled else use.prompt
                    found.setdefault(name, []).append((file.file, use))
        return found

    def reach(self, within_s: float = 0.0) -> tuple[int, int]:
        """How many processes of this host serve what this one does, and how many there are.

        Counted are those that share the store and have used their prompts.

        Args:
            within_s: How long to wait until all of them do, in seconds.
        """
        live = self._started()
        if self._workers is None:
            return 1, 1
        self._workers.serve(live.release.id, live.held)
        return taken_by(self._workers, live.release.id, live.held, within_s)

    def observe(self, hook: Hook) -> Callable[[], None]:
        """Tell a further observer of every event from now on.

        Args:
            hook: Called with each event.

        Returns:
            Call it to stop.
        """
        with self._lock:
            self._hooks = (*self._hooks, hook)

        def stop() -> None:
            with self._lock:
                self._hooks = tuple(one for one in self._hooks if one is not hook)

        return stop

    # The road

    def publish(self, reason: str = "call") -> Outcome:
        """Look at the layers and graphs now, and make live what they hold.

        Args:
            reason: Why, for the log and the history.

        Returns:
            What became of it. Nothing is raised for a bad prompt or a layer that cannot be read:
            the outcome says it, and what was live still is.

        Raises:
            PromptsError: There is nothing live yet, and nothing to fall back on.
        """
        with self._publishing() as live:
            if live is None:
                return self._first()
            return self._told(self._publish(reason))

    def activate(self, release_id: str, *, reason: str = "activate") -> Outcome:
        """Make a kept release live and hold it: the layers are not followed until `follow()`.

        Args:
            release_id: The id, or the beginning of it.
            reason: Why, for the history.

        Returns:
            What became of it; ``"rejected"`` when it does not go together with today's graphs.

        Raises:
            ReleaseNotFound: There is no such release.
        """
        self._started()
        release = self.find(release_id)
        with self._publishing():
            outcome = self._told(self._take(release, reason, held=True))
        if outcome.status != "rejected":
            self._tell("held", f"Release {release.id[:12]} is held.", release=release.id)
        return outcome

    def rollback(self) -> Outcome:
        """Activate the release that was live before this one.

        Raises:
            ReleaseNotFound: There was none.
        """
        now = self._started().release.id
        before = self._store.previous(now)
        if before is None:
            raise ReleaseNotFound("There is no earlier release to go back to.", release_id=now)
        return self.activate(before, reason="rollback")

    def follow(self) -> Outcome:
        """End a hold: take what the layers hold now, and follow them again."""
        self._started()
        with self._publishing():
            outcome = self._told(self._publish("follow", obey=False))
            if self._is_held():
                # What the layers hold is refused; news is taken from now on all the same.
                now, started = self._started(), time.perf_counter()
                refused = self._keep(now.candidate, started, "follow") or self._point(
                    now.candidate, False, started, "follow"
                )
                if refused is not None:
                    return self._told(refused)
                self._live = replace(now, held=False)
        self._tell("following", "The layers are followed again.")
        return outcome

    def check(self, *, strict: bool = False) -> tuple[Release, tuple[Finding, ...]]:
        """What the layers hold now and what is to be said of it; nothing becomes live.

        Args:
            strict: Duplicate keys and the like are errors too.

        Returns:
            The release that a publication would make, and its findings.

        Raises:
            LayerError: A layer cannot be read.
        """
        with self._publishing() as live:
            before = live.release if live else None
            candidate = self._candidates.fetch(self._graphs, before, strict=strict)
            return candidate.release, candidate.findings

    def try_changes(
        self, drafts: Sequence[Draft], *, strict: bool = False
    ) -> tuple[Release, tuple[Finding, ...]]:
        """As `check`, with drafts laid over what the layers hold; nothing is written.

        Raises:
            LayerError: A layer cannot be read.
        """
        with self._publishing():
            live = self._started()
            candidate, _ = self._candidates.drafted(
                self._graphs, live.release, drafts, strict=strict
            )
            return candidate.release, candidate.findings

    def change(
        self,
        draft: Draft,
        *,
        reason: str = "change",
        allow: Callable[[Trial], object] = lambda _: None,
    ) -> tuple[Trial, Outcome]:
        """Write one prompt and publish it; checked with all graphs before anything is written.

        Args:
            draft: What to write, and in which layer.
            reason: Why, for the history.
            allow: Called with what would come of it, before anything is written; raises to stop.

        Returns:
            What was tried, and what became of it: ``"rejected"`` where nothing was written.

        Raises:
            LayerReadOnly: The layer cannot be written.
            LayerError: A layer cannot be read.
            StoreError: Another process did not finish its change in time.
        """
        # Other processes first: whoever waits for them must not keep this one's runs waiting.
        with self._store.changing(), self._publishing():
            live, started = self._started(), time.perf_counter()
            refused = self._obey_pointer(reason)
            live = self._started()
            candidate, contents = self._candidates.drafted(self._graphs, live.release, [draft])
            before = origin(contents, draft.name)
            own = draft.path in contents[draft.layer].files
            now = served(live.release, live.candidate.graphs.values(), draft.name)
            trial = Trial(
                draft,
                before,
                own,
                now | frozenset([before.data] if before else ()),
                served(candidate.release, candidate.graphs.values(), draft.name),
                candidate.release,
                candidate.findings,
            )
            allow(trial)
            if refused is not None or candidate.refused:
                told = refused or self._outcome(
                    "rejected", candidate.findings, started, reason, candidate
                )
                return trial, told

            old = contents[draft.layer].files.get(draft.path)
            written = False

            def write() -> None:
                nonlocal written
                if old != draft.data:
                    self._readers[draft.layer].write(draft.path, draft.data)
                    written = True

            if live.held:
                write()
                return trial, self._told(self._hold(live, candidate, started, reason))
            outcome = self._go(candidate, reason, started, held=False, write=write)
            if outcome.status == "rejected" and written:
                # The store failed in between: what is not live must not stay behind.
                self._readers[draft.layer].write(draft.path, old)
            return trial, self._told(outcome)

    # Graphs

    def attach(self, graph: Graph) -> None:
        """Let `graph` run on these prompts; from now on every release is checked with it.

        Raises:
            PromptsRejected: The graph and the live release do not go together.
        """
        with self._publishing():
            if graph in self._graphs:
                return
            again = any(graph.identity == one.identity for one in self._attached)
            if again:
                self._lent[graph] = None
            else:
                self._attached.append(graph)
            try:
                if self._live is None:
                    self._first()
                else:
                    self._admit(self._live)
            except BaseException:
                if again:
                    del self._lent[graph]
                else:
                    self._attached.remove(graph)
                raise
            self._following.rearm()

    def live(
        self,
        graph: Graph,
        *,
        pin: Pin = "run",
        allow_release_override: bool = False,
        marks: Callable[[], Mapping[str, Any]] = dict,
    ) -> LiveStateGraph:
        """`graph` as a StateGraph whose `.compile()` gives a `LiveGraph`.

        Args:
            graph: The graph; it is attached.
            pin: Which release a run or thread uses when the live one has moved on.
            allow_release_override: Whether a caller's config may choose a release.
            marks: Gives the attributes to set on each compiled handle.
        """
        if pin not in ("run", "thread", "none"):
            raise ValueError(f"pin is 'run', 'thread' or 'none', not {pin!r}.")
        self.attach(graph)

        def compiled(recipe: Recipe) -> LiveGraph:
            handle = Handle(self, graph, recipe, pin, allow_release_override)
            with self._publishing():
                live = self._started()
                facts = live.candidate.graphs[graph]
                builds = self._builds.add(handle, facts, live.release, live.builds)
                self._live = replace(live, builds=builds)
            made = LiveGraph.of(handle, self)
            for name, value in marks().items():
                setattr(made, name, value)
            return made

        with self._publishing():
            live = self._started()
            facts = live.candidate.graphs[graph]
            return LiveStateGraph(
                self._builds.state_graph(graph, facts, live.release), compiled
            )

    def build_of(self, handle: Handle) -> Build:
        """The live build of a compiled graph; one read, never blocks."""
        if self._watching and not self._following.started:
            self._first_use()
        live = self._live
        assert live is not None
        return live.builds[handle.token]

    def build_at(self, handle: Handle, release_id: str, revision: str | None) -> Build:
        """The build of a compiled graph for a pair that need not be live.

        Raises:
            ReleaseNotFound: The release is gone, and `missing_release` is ``"raise"``.
        """
        live = self._started()
        now = live.builds[handle.token]
        if now.release == release_id and revision in (None, now.graph):
            return now
        today = live.candidate.graphs[handle.graph]
        try:
            return self._builds.at(handle, release_id, revision, today, self.find)
        except ReleaseNotFound as problem:
            if self._missing_release == "raise":
                raise
            logger.warning("%s The live release is taken instead.", problem)
            self._tell("missing-release", str(problem), release=release_id)
            return now

    def used(self, release_id: str) -> None:
        """A run begins on a release: it is kept for as long as the run may wait for a human."""
        self._store.mark_used(release_id)
        if self._hooks:
            self._tell("run-started", "A run began.", release=release_id)
        self.follow_changes()

    # Life

    def _first_use(self) -> None:
        """A process that was idle since it loaded must not answer its first run with old prompts."""
        self.follow_changes()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            with suppress(PromptsError):
                self.publish("first look")
        # On an event loop the look that following takes in its own thread has to do.

    def follow_changes(self) -> None:
        """Begin to follow changes, once in each process; every use of the prompts calls it."""
        if self._watching and not self._following.started:
            self._following.start()
            self._watching = self._following.started
            self._say_what_is_served()

    def close(self) -> None:
        """Stop following changes and let go of everything. What runs goes on with what it has."""
        self._closed = True
        self._following.close()
        with self._lock:
            self._candidates.close()
            for reader in self._readers:
                reader.close()
            if self._workers is not None:
                self._workers.close()
            self._store.close()

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        live = self._live
        now = f"release {live.release.id[:12]}" if live else "not started"
        places = ", ".join(reader.url for reader in self._readers) or "the graph's own prompts"
        return f"<LivePrompts {places}, environment {self.environment!r}, {now}>"

    @property
    def _graphs(self) -> tuple[Graph, ...]:
        return _alive(self._attached, self._lent)

    def _renew(self) -> None:
        """Locks, threads and child processes belong to one process; a fork makes them anew."""
        self._lock = threading.RLock()
        self._builds.renew()
        for reader in self._readers:
            reader.renew()
        if self._workers is not None:
            self._workers.forked()
        self._following.forget()

    @contextmanager
    def _publishing(self) -> Iterator[_Live | None]:
        with self._lock:
            if self._closed:
                raise PromptsError("These prompts are closed.", hint="Make a new LivePrompts.")
            yield self._live

    def _started(self) -> _Live:
        live = self._live
        if live is None:
            with self._publishing():
                if self._live is None:
                    self._first()
                live = self._live
        assert live is not None
        return live

    # The steps

    def _first(self) -> Outcome:
        """The first publication, or the last good release where that fails."""
        if self._as_stored and (pointer := self._store.pointer()) is not None:
            release = self._store.get(pointer.release)
            outcome = self._take(release, "as stored", held=pointer.held, point=False)
            if self._live is not None:
                return outcome
        problem: LayerError | None = None
        started = time.perf_counter()
        try:
            outcome = self._publish("start")
        except LayerError as error:
            problem = error
            outcome = self._unreadable(error, started, "start")
        self._told(outcome)
        if self._live is None:
            self._last_good(_summary(outcome))
        if self._live is None:
            raise problem or PromptsRejected(_summary(outcome), outcome=outcome)
        return replace(outcome, release=self._live.release)

    def _last_good(self, why: str) -> None:
        last = self._store.last_good()
        if last is None:
            return
        outcome = self._take(last, "last good", held=self._is_held(), point=False)
        if self._live is None:
            logger.error("The last good release is refused too: %s", _summary(outcome))
            return
        self._told(outcome)
        message = f"The last good release {last.id[:12]} is served, because at the start: {why}"
        logger.error(message)
        self._tell("layer-unavailable", message, release=last.id)

    def _publish(self, reason: str, *, obey: bool = True) -> Outcome:
        """What `publish` does; `obey`: stay on a release that somebody holds."""
        started = time.perf_counter()
        deadline_s = self._startup_deadline_s if self._live is None else DEADLINE_S
        kept_s = self._refresh_s if reason == "first look" else _KEPT_S.get(reason)
        refused = self._obey_pointer(reason) if obey else None
        if refused is not None:
            return refused
        live = self._live
        try:
            candidate = self._candidates.fetch(
                self._graphs,
                live.release if live else None,
                deadline_s=deadline_s,
                kept_s=kept_s,
            )
        except LayerError as problem:
            if live is None:
                raise
            return self._unreadable(problem, started, reason)
        self._layers_well()
        if candidate.refused:
            return self._outcome("rejected", candidate.findings, started, reason, candidate)
        if obey and live is not None and live.held:
            return self._hold(live, candidate, started, reason)
        return self._go(candidate, reason, started, held=False)

    def _obey_pointer(self, reason: str) -> Outcome | None:
        """Do what another process said of holding; the outcome where that is refused."""
        live, pointer = self._live, self._store.pointer()
        if pointer is None:
            return None
        if not pointer.held:
            if live is not None and live.held:
                self._live = replace(live, held=False)
            return None
        if live is not None and live.held and live.release.id == pointer.release:
            return None
        try:
            outcome = self._take(self.find(pointer.release), reason, held=True, point=False)
        except PromptsError as problem:
            why = str(problem)
        else:
            if outcome.status == "published":
                self._told(outcome)
                return None
            if live is not None:
                return outcome
            why = _summary(outcome)
        message = f"Release {pointer.release[:12]} is held, but cannot be served: {why}"
        logger.error(message)
        self._tell("store-trouble", message, release=pointer.release)
        return None

    def _hold(self, live: _Live, news: Candidate, started: float, reason: str) -> Outcome:
        """Stay on the held release, on today's graphs; keep the news for later."""
        outcome = self._take(live.release, reason, held=True, point=False)
        if outcome.status == "rejected" or news.release.id == live.release.id:
            return outcome
        refused = self._keep(news, started, reason)
        return refused or self._outcome("held", news.findings, started, reason, news)

    def _take(
        self, release: Release, reason: str, *, held: bool, point: bool = True
    ) -> Outcome:
        """Make a kept release live, after checking it with today's graphs."""
        started = time.perf_counter()
        live = self._live
        candidate = self._candidates.kept(release, self._graphs, live.release if live else None)
        if candidate.refused:
            return self._outcome("rejected", candidate.findings, started, reason, candidate)
        return self._go(candidate, reason, started, held=held, point=point)

    def _go(
        self,
        candidate: Candidate,
        reason: str,
        started: float,
        *,
        held: bool,
        point: bool = True,
        write: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Keep it, build every graph on it, write what it came from, point at it, swap."""
        live = self._live
        if (
            live is not None
            and live.release.id == candidate.release.id
            and live.candidate.revisions() == candidate.revisions()
            and live.held == held
        ):
            write()
            self._live = replace(live, candidate=candidate)
            return self._outcome("unchanged", candidate.findings, started, reason, candidate)
        refused = self._keep(candidate, started, reason)
        if refused is not None:
            return refused
        try:
            builds = self._builds.make(candidate, live.builds if live else {})
        except StoreError as problem:
            self._tell("store-trouble", str(problem))
            return self._refuse(candidate, "store", str(problem), started, reason)
        except Exception as problem:  # noqa: BLE001 - a graph's builder may raise anything
            logger.debug("A graph does not build", exc_info=True)
            return self._refuse(
                candidate, "compile", f"The graph does not build: {problem}", started, reason
            )
        write()
        if point:
            refused = self._point(candidate, held, started, reason)
            if refused is not None:
                return refused
        self._live = _Live(candidate, builds, held)
        self._live_since_s = time.time()
        self._builds.sweep(self._graphs)
        return self._outcome("published", candidate.findings, started, reason, candidate)

    def _keep(self, candidate: Candidate, started: float, reason: str) -> Outcome | None:
        clean, version = self._candidates.clean(candidate.release)
        try:
            self._store.put(
                candidate.release, findings=candidate.findings, clean=clean, check_version=version
            )
        except StoreError as problem:
            return self._store_trouble(candidate, problem, started, reason)
        return None

    def _point(
        self, candidate: Candidate, held: bool, started: float, reason: str
    ) -> Outcome | None:
        pointer, release = self._store.pointer(), candidate.release.id
        if pointer is not None and (pointer.release, pointer.held) == (release, held):
            return None
        try:
            self._store.make_live(release, reason=reason, held=held)
        except (StoreError, ReleaseNotFound) as problem:
            return self._store_trouble(candidate, problem, started, reason)
        return None

    def _store_trouble(
        self, candidate: Candidate, problem: PromptsError, started: float, reason: str
    ) -> Outcome | None:
        self._tell("store-trouble", str(problem))
        if self._live is None:
            # Better served and not kept than not served at all.
            logger.error("The first release cannot be kept: %s", problem)
            return None
        return self._refuse(candidate, "store", str(problem), started, reason)

    def _admit(self, live: _Live) -> None:
        """Check the live release with a graph that came later, and build it."""
        if not self.layers:
            # The new graph brings prompts of its own.
            outcome = self._told(self._publish("attach"))
            if outcome.status == "rejected":
                raise PromptsRejected(_summary(outcome), outcome=outcome)
            return
        started = time.perf_counter()
        candidate = self._candidates.kept(live.release, self._graphs, live.release)
        if candidate.refused:
            outcome = self._outcome("rejected", candidate.findings, started, "attach", candidate)
            raise PromptsRejected(_summary(outcome), outcome=outcome)
        try:
            builds = self._builds.make(candidate, live.builds)
        except Exception as problem:
            outcome = self._refuse(
                candidate, "compile", f"The graph does not build: {problem}", started, "attach"
            )
            raise PromptsRejected(_summary(outcome), outcome=outcome) from problem
        self._live = _Live(candidate, builds, live.held)

    def _is_held(self) -> bool:
        pointer = self._store.pointer()
        return pointer is not None and pointer.held

    # Telling

    def _outcome(
        self,
        status: Status,
        findings: tuple[Finding, ...],
        started: float,
        reason: str,
        candidate: Candidate | None = None,
    ) -> Outcome:
        return Outcome(
            status,
            self._live.release if self._live else None,
            findings,
            time.perf_counter() - started,
            candidate.release.id if candidate else None,
            reason,
        )

    def _refuse(
        self, candidate: Candidate, code: str, message: str, started: float, reason: str
    ) -> Outcome:
        findings = (*candidate.findings, Finding("error", code, message))
        return self._outcome("rejected", findings, started, reason, candidate)

    def _say_what_is_served(self) -> None:
        live = self._live
        if self._workers is not None and live is not None:
            self._workers.serve(live.release.id, live.held)

    def _told(self, outcome: Outcome) -> Outcome:
        self._last = (outcome, time.time())
        self._say_what_is_served()
        if outcome.status == "published" and outcome.release is not None:
            logger.info(
                "Release %s of %d prompts is live (%s, %.1f ms).",
                outcome.release.id[:12],
                len(outcome.release),
                outcome.reason,
                outcome.elapsed_s * 1e3,
            )
        elif outcome.status == "rejected":
            logger.warning("Not published (%s): %s", outcome.reason, _summary(outcome))
        elif outcome.status == "held":
            logger.info("News is kept back until follow() (%s).", outcome.reason)
        message = f"{outcome.status} ({outcome.reason})"
        release = outcome.release.id if outcome.release else None
        self._tell(
            "publication", message, outcome=outcome, reason=outcome.reason, release=release
        )
        return outcome

    def _tell(self, kind: EventKind, message: str, **facts: Any) -> None:
        if self._hooks:
            tell(self._hooks, Event(kind, message, environment=self.environment, **facts))

    def _unreadable(self, problem: LayerError, started: float, reason: str) -> Outcome:
        if self._trouble.get(problem.layer) != problem.message:
            self._trouble[problem.layer] = problem.message
            self._tell("layer-unavailable", str(problem), layer=problem.layer)
        bad = Finding("error", "layer", problem.message, file=problem.layer, hint=problem.hint)
        return self._outcome("rejected", (bad,), started, reason)

    def _layers_well(self) -> None:
        still = {reader.url for reader in self._readers if reader.state.trouble}
        for layer in self._trouble.keys() - still:
            del self._trouble[layer]
            self._tell("layer-recovered", f"{layer} can be read again.", layer=layer)

    def _cannot_look(self, problem: LayerError) -> None:
        with self._publishing():
            self._told(self._unreadable(problem, time.perf_counter(), "poll"))

    def _watcher_trouble(self, kind: str, message: str) -> None:
        if kind == "watcher-polling":
            self._polling = True
        else:
            self._watcher_restarts += 1
        self._tell(
            "watcher-polling" if kind == "watcher-polling" else "watcher-restarted", message
        )

    def _changed(self, reason: str) -> None:
        try:
            self.publish(reason)
        except Exception:
            if not self._closed:
                logger.exception("A publication failed")

    def _pointed(self, reason: str) -> None:
        with self._lock:
            live, pointer = self._live, self._store.pointer()
            if live is None or pointer is None:
                return
            if (pointer.release, pointer.held) != (live.release.id, live.held):
                self._changed("another process")


def _alive(
    attached: Sequence[Graph], lent: weakref.WeakKeyDictionary[Graph, None]
) -> tuple[Graph, ...]:
    return tuple(dict.fromkeys([*attached, *lent]))


_all: weakref.WeakSet[LivePrompts] = weakref.WeakSet()


def _after_fork() -> None:
    for prompts in list(_all):
        prompts._renew()


os.register_at_fork(after_in_child=_after_fork)


def _store(
    readers: Sequence[LayerReader],
    environment: str,
    folder: str | os.PathLike[str] | None,
    graph: Path | None,
) -> Store | MemoryStore:
    if folder is None and readers and all(reader.url == "memory:" for reader in readers):
        from yamlgraph_prompts.memory_store import MemoryStore

        return MemoryStore()
    from yamlgraph_prompts.store import Store

    places = [reader.place for reader in readers] or [f"graph:{graph}"]
    return Store.default(environment, places, root=Path(folder) if folder is not None else None)


def _workers(store: Store | MemoryStore) -> Workers | None:
    if store.folder is None:
        return None

    def folder() -> Path:
        # It moves to a temporary one where the store cannot be written.
        assert store.folder is not None
        return store.folder / "workers"

    return Workers(folder)


def _summary(outcome: Outcome | None) -> str:
    if outcome is None:
        return "nothing was found"
    errors = outcome.errors
    lines = [str(error) for error in errors[:20]]
    if len(errors) > 20:
        lines.append(f"and {len(errors) - 20} more")
    return "\n  ".join([f"{len(errors)} error{'' if len(errors) == 1 else 's'}:", *lines])
