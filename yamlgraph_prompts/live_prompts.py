"""LivePrompts: prompts that stay fresh. The object behind every live graph and the admin app.

It guards the road with its lock: `Road` decides what is to be live, `Publisher` makes it so.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from yamlgraph_prompts.errors import LayerError, PromptsError, ReleaseNotFound
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.following.follower import Following
from yamlgraph_prompts.live import LiveGraph, LiveStateGraph, Pin, Recipe
from yamlgraph_prompts.model.events import Hook
from yamlgraph_prompts.model.graph import Graph, GraphFacts, PromptUse
from yamlgraph_prompts.model.health import Health
from yamlgraph_prompts.model.release import Outcome, Prompt, Release, StoredRelease
from yamlgraph_prompts.model.trigger import Trigger
from yamlgraph_prompts.publishing.attached import Attached
from yamlgraph_prompts.publishing.builds import Builds
from yamlgraph_prompts.publishing.candidate import Candidates, Check
from yamlgraph_prompts.publishing.drafts import Draft, Trial, Write
from yamlgraph_prompts.publishing.editor import Editor
from yamlgraph_prompts.publishing.handles import Handle, Parts
from yamlgraph_prompts.publishing.publisher import Attempt, Live, Publisher
from yamlgraph_prompts.publishing.report import Teller
from yamlgraph_prompts.publishing.road import Road
from yamlgraph_prompts.registry.ports import Replica
from yamlgraph_prompts.registry.replicas import HostReplicas
from yamlgraph_prompts.sources.layers import AnyLayer, as_layer, environment_name
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph as Drawing

    from yamlgraph_prompts.check.untrusted import Known
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")


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
        if not isinstance(refresh_s, (int, float)) or not refresh_s > 0:
            raise ValueError(f"refresh_s is a number of seconds above 0, not {refresh_s!r}.")
        self.layers = tuple(as_layer(layer) for layer in layers)
        self.environment, said = environment_name(environment)
        if not said and any(layer.uses_environment for layer in self.layers):
            logger.warning(
                "No environment is set, so %r is used. Say environment=, or set "
                "YAMLGRAPH_PROMPTS_ENVIRONMENT or ENVIRONMENT.",
                self.environment,
            )
        self._readers = tuple(LayerReader(layer, self.environment, _base) for layer in self.layers)
        self._teller = Teller(self.environment, hooks)
        self._attached = Attached()
        self._store = _store(self._readers, self.environment, store, _graph)
        self._workers = _workers(self._store)
        self._candidates = Candidates(
            self._readers, self.environment, tuple(checks), self._store.facts
        )
        self._builds = Builds(self._store.view, self._store.drop_views)
        self._publisher = Publisher(
            self._candidates, self._builds, self._store, self._workers, self._teller, self._attached
        )
        self._road = Road(
            self._readers,
            self._candidates,
            self._publisher,
            self._store,
            self._teller,
            self._attached,
            startup_deadline_s=startup_deadline_s,
            refresh_s=refresh_s,
            as_stored=_as_stored,
        )
        self._editor = Editor(
            self._road, self._publisher, self._candidates, self._readers, self._attached
        )
        self._following = Following(
            self._readers,
            self._attached,
            self._store.changed_paths,
            self._changed,
            self._pointed,
            self._teller.watcher_trouble,
            self._cannot_look,
            self._road.layers_well,
            refresh_s,
            watch,
        )
        self._parts = Parts(
            self._publisher,
            self._builds,
            self._store,
            self._teller,
            self._following,
            missing_release,
        )
        self._lock = threading.RLock()
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
        release = self.release
        if name not in release:
            raise release.not_found(name)
        return release[name]

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
        return self._road.find(release_id)

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
        live, last = self._publisher.live, self._teller.last
        return Health(
            release=live.release.id if live else None,
            live_since_s=live.since_s if live else None,
            held=live is not None and live.held,
            last=last[0] if last else None,
            last_at_s=last[1] if last else None,
            layers=tuple(reader.state for reader in self._readers),
            watcher_restarts=self._teller.watcher_restarts,
            polling=self._teller.polling,
            store_trouble=self._store.trouble,
            following=self._following.started,
        )

    def uses(self) -> dict[str, list[tuple[str, PromptUse]]]:
        """Prompt name → every place that asks for it: the graph's file, and the place."""
        found: dict[str, list[tuple[str, PromptUse]]] = {}
        for facts in self._started().candidate.graphs.values():
            for file in facts.files:
                for use in file.uses:
                    name = facts.released_as(file, use.prompt)
                    found.setdefault(name, []).append((file.file, use))
        return found

    @property
    def previous(self) -> str | None:
        """The id of the release that `rollback` would make live; None: there is none."""
        return self._store.previous(self._started().release.id)

    def digests(self, release_id: str) -> Mapping[str, str]:
        """Each prompt's digest in a kept release; reads no prompt, and does not count as a use.

        Args:
            release_id: The full id.

        Raises:
            ReleaseNotFound: It is not kept.
        """
        return self._store.digests(release_id)

    def kept_texts(self, name: str) -> Iterator[bytes]:
        """A prompt's file in each kept release that has it, that of the newest release first.

        Raises:
            StoreError: A release cannot be read.
        """
        for line in self._store.releases():
            # One that is removed in between counts for nothing.
            with suppress(ReleaseNotFound):
                if name in self._store.digests(line.id):
                    yield self._store.get(line.id)[name].data

    def graphs(self) -> tuple[GraphFacts, ...]:
        """What every attached graph asks of its prompts."""
        return tuple(self._started().candidate.graphs.values())

    def drawing(self, facts: GraphFacts) -> Drawing:
        """One of `graphs` on the live release, as LangGraph describes it for drawing.

        Args:
            facts: The graph.

        Raises:
            LookupError: It is not attached.
            Exception: Whatever the graph's builder raises.
        """
        live = self._started()
        graph = next((g for g, f in live.candidate.graphs.items() if f == facts), None)
        if graph is None:
            raise LookupError(f"{facts.name} is not attached.")
        return self._builds.state_graph(graph, facts, live.release).compile().get_graph()

    def reach(self, within_s: float = 0.0) -> tuple[int, int]:
        """How many processes of this host serve what this one does, and how many there are.

        Counted are those that share the store and have used their prompts.

        Args:
            within_s: How long to wait until all of them do, in seconds.
        """
        live = self._started()
        if self._workers is None:
            return 1, 1
        replica = Replica(self.environment, live.release.id, live.held)
        self._workers.announce(replica)
        return self._workers.reached(replica, within_s)

    def observe(self, hook: Hook) -> Callable[[], None]:
        """Tell a further observer of every event from now on.

        Args:
            hook: Called with each event.

        Returns:
            Call it to stop.
        """
        return self._teller.observe(hook)

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
        return self._publish(Trigger.CALL, reason)

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
        with self._publishing() as road:
            outcome = road.activate(release, reason)
        if outcome.status != "rejected":
            message = f"Release {release.id[:12]} is held."
            self._teller.tell("held", message, release=release.id)
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
        with self._publishing() as road:
            return road.follow()

    def check(self, *, strict: bool = False) -> tuple[Release, tuple[Finding, ...]]:
        """What the layers hold now and what is to be said of it; nothing becomes live.

        Args:
            strict: Duplicate keys and the like are errors too.

        Returns:
            The release that a publication would make, and its findings.

        Raises:
            LayerError: A layer cannot be read.
        """
        with self._publishing():
            before = self._publisher.release
            candidate = self._candidates.fetch(self._graphs, before, strict=strict)
            return candidate.release, candidate.findings

    def try_changes(
        self, drafts: Sequence[Draft], *, strict: bool = False, known: Known | None = None
    ) -> tuple[Release, tuple[Finding, ...]]:
        """As `check`, with drafts laid over what the layers hold; nothing is written.

        Args:
            drafts: The drafts; their files are examined in a worker process.
            strict: Duplicate keys and the like are errors too.
            known: What the files say by themselves, where they are examined already.

        Raises:
            LayerError: A layer cannot be read.
            WorkStopped: Examining a draft takes too much time or memory.
            WorkerUnavailable: No worker process can be started.
        """
        known = _examined(drafts) if known is None else known
        with self._publishing():
            live = self._started()
            self._candidates.learn(known)
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
        write: Write | None = None,
    ) -> tuple[Trial, Outcome]:
        """Write one prompt and publish it; checked with all graphs before anything is written.

        Args:
            draft: What to write, and in which layer.
            reason: Why, for the history.
            allow: Called with what would come of it, before anything is written; raises to stop.
                What it returns is called right before the file is touched, if it can be called.
            write: Writes the layer where its source cannot: called with all that it holds now, and
                all that it shall hold. It raises where that was not done.

        Returns:
            What was tried, and what became of it: ``"rejected"`` where nothing was written, or
            where the draft mends some of what is broken (`Trial.mends`): then it is written.

        Raises:
            LayerReadOnly: The layer cannot be written.
            LayerError: A layer cannot be read.
            StoreError: Another process did not finish its change in time.
            WorkStopped: Examining the draft takes too much time or memory.
            WorkerUnavailable: No worker process can be started to examine it.
        """
        known = _examined([draft])
        # Other processes first: whoever waits for them must not keep this one's runs waiting.
        with self._store.changing(), self._publishing():
            self._candidates.learn(known)
            return self._editor.change(draft, reason, allow, write)

    # Graphs

    def attach(self, graph: Graph) -> None:
        """Let `graph` run on these prompts; from now on every release is checked with it.

        Raises:
            PromptsRejected: The graph and the live release do not go together.
        """
        with self._publishing() as road:
            if graph in self._graphs:
                return
            self._attached.add(graph)
            try:
                if road.live is None:
                    road.first()
                else:
                    road.admit()
            except BaseException:
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
            handle = Handle(self, self._parts, graph, recipe, pin, allow_release_override)
            with self._publishing():
                self._started()
                build = self._publisher.add(handle)
            made = LiveGraph.of(handle, self, like=build.compiled)
            for name, value in marks().items():
                setattr(made, name, value)
            return made

        with self._publishing():
            live = self._started()
            facts = live.candidate.graphs[graph]
            return LiveStateGraph(self._builds.state_graph(graph, facts, live.release), compiled)

    # Life

    def follow_changes(self) -> None:
        """Begin to follow changes, once in each process; every use of the prompts calls it."""
        if self._following.arrival.due:
            self._following.start()
            self._publisher.say_what_is_served()

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
        live = self._publisher.live
        now = f"release {live.release.id[:12]}" if live else "not started"
        places = ", ".join(reader.url for reader in self._readers) or "the graph's own prompts"
        return f"<LivePrompts {places}, environment {self.environment!r}, {now}>"

    @property
    def _graphs(self) -> tuple[Graph, ...]:
        return self._attached()

    def _renew(self) -> None:
        """Locks, threads and child processes belong to one process; a fork makes them anew."""
        self._lock = threading.RLock()
        self._builds.renew()
        self._teller.renew()
        for reader in self._readers:
            reader.renew()
        if self._workers is not None:
            self._workers.forked()
        self._following.forget()

    @contextmanager
    def _publishing(self) -> Iterator[Road]:
        with self._lock:
            if self._closed:
                raise PromptsError("These prompts are closed.", hint="Make a new LivePrompts.")
            yield self._road

    def _started(self) -> Live:
        live = self._publisher.live
        if live is not None:
            return live
        with self._publishing() as road:
            return road.started()

    # What handles and following call

    def _publish(self, trigger: Trigger, reason: str = "") -> Outcome:
        with self._publishing() as road:
            return road.first() if road.live is None else road.publish(Attempt(trigger, reason))

    def _reread(self, graph: Graph, release: Release) -> GraphFacts:
        """A graph as its files are now, to run on a release."""
        with self._lock:  # no graph is read twice at once
            return graph.read(release.prompts.__contains__)

    def _changed(self, trigger: Trigger) -> None:
        try:
            self._publish(trigger)
        except (Exception, SystemExit):
            if not self._closed:
                logger.exception("A publication failed")

    def _pointed(self, _trigger: Trigger) -> None:
        with self._lock:
            if self._road.pointed_elsewhere(only_holds=self._following.will_tell):
                self._changed(Trigger.OTHER_PROCESS)
            elif self._teller.store_refused:
                # No file tells that there is room again; this is called every now and then.
                self._changed(Trigger.POLL)

    def _cannot_look(self, problem: LayerError) -> None:
        with self._publishing() as road:
            road.unreadable(problem)


_all: weakref.WeakSet[LivePrompts] = weakref.WeakSet()


def _after_fork() -> None:
    for prompts in list(_all):
        prompts._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _examined(drafts: Iterable[Draft]) -> Known:
    from yamlgraph_prompts.check.untrusted import examined

    return examined(draft.data for draft in drafts)


def _store(
    readers: Sequence[LayerReader],
    environment: str,
    folder: str | os.PathLike[str] | None,
    graph: Path | None,
) -> Store:
    if folder is None and readers and all(reader.url == "memory:" for reader in readers):
        from yamlgraph_prompts.registry.memory import MemoryStore

        return MemoryStore()
    from yamlgraph_prompts.registry.store import Store

    root = Path(folder) if folder is not None else None
    return Store.default(environment, [reader.place for reader in readers], root, graph=graph)


def _workers(store: Store) -> HostReplicas | None:
    if store.folder is None:
        return None

    def folder() -> Path:
        # It moves to a temporary one where the store cannot be written.
        assert store.folder is not None
        return store.folder / "workers"

    return HostReplicas(folder)
