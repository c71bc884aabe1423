"""LivePrompts, the object behind every live graph and the admin app; its lock guards the engine."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from yamlgraph_prompts._files.forks import renewed_in_child
from yamlgraph_prompts._following.arrival import LOOK_WITHIN_S, Arrival, on_event_loop
from yamlgraph_prompts._following.follower import Following
from yamlgraph_prompts._live import LiveGraph, LiveStateGraph, Pin, Recipe
from yamlgraph_prompts._model.events import Hook
from yamlgraph_prompts._model.graph import Graph, GraphFacts
from yamlgraph_prompts._model.release import Outcome, Prompt, Release
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.attached import Attached
from yamlgraph_prompts._publishing.attempt import Attempt
from yamlgraph_prompts._publishing.builds import Builds
from yamlgraph_prompts._publishing.candidate import Candidates, Check
from yamlgraph_prompts._publishing.editable import Editable
from yamlgraph_prompts._publishing.engine import Engine
from yamlgraph_prompts._publishing.handles import Handle, Parts
from yamlgraph_prompts._publishing.live import Live
from yamlgraph_prompts._publishing.report import Report
from yamlgraph_prompts.errors import LayerError, PromptsError, ReleaseNotFound
from yamlgraph_prompts.registry.replicas import HostReplicas
from yamlgraph_prompts.sources.deadline import within
from yamlgraph_prompts.sources.layers import AnyLayer, as_layer, environment_name
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

logger = logging.getLogger("yamlgraph_prompts")


class LivePrompts(Editable):
    """The live release of some layers, for one environment.

    Share one between several graphs and the admin app. All methods are thread-safe and blocking: on
    an event loop, call them through ``asyncio.to_thread``.

    Args:
        layers: Paths, URLs, mappings or `Layer`s, highest priority first. Without any, the
            attached graph's own prompts are the release.
        environment: The value of ``{environment}``; default: ``YAMLGRAPH_PROMPTS_ENVIRONMENT``,
            else ``ENVIRONMENT``, else ``development``.
        store: The folder that keeps releases; default: a cache folder of the user.
        watch: Whether to follow changes. Threads start with the first use.
        refresh_s: Seconds between two polls of layers that send no events.
        startup_deadline_s: Seconds that all remote layers together may take at startup.
        missing_release: What a run does if its release is gone: ``"raise"``, or use the ``"live"``
            one.
        checks: Additional checks, each ``check(release, graphs) -> Iterable[Finding]``.
        hooks: Observers, each ``hook(event)``.

    Raises:
        InvalidEnvironment: The name of the environment is invalid.

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
    ) -> None:
        if missing_release not in ("raise", "live"):
            raise ValueError(f"missing_release must be 'raise' or 'live', not {missing_release!r}.")
        if not isinstance(refresh_s, (int, float)) or not refresh_s > 0:
            raise ValueError(f"refresh_s must be a number of seconds above 0, not {refresh_s!r}.")
        checks, hooks = tuple(checks), tuple(hooks)
        if odd := [one for one in (*checks, *hooks) if not callable(one)]:
            raise TypeError(f"checks= and hooks= are sequences of functions, not of {odd[0]!r}.")
        self.layers = tuple(as_layer(layer) for layer in layers)
        needed = any(layer.uses_environment for layer in self.layers)
        self.environment, is_explicit = environment_name(environment, needed=needed)
        if needed and not is_explicit:
            logger.warning(
                "No environment is set, so %r is used. Pass environment=, or set "
                "YAMLGRAPH_PROMPTS_ENVIRONMENT or ENVIRONMENT.",
                self.environment,
            )
        self._readers = tuple(
            LayerReader(layer, self.environment, _base, refresh_s) for layer in self.layers
        )
        self._report = Report(self.environment, hooks)
        self._attached = Attached()
        self._store = _store(self._readers, self.environment, store, _graph)
        self._replicas = _replicas(self._store)
        self._builds = Builds(self._store.view, self._store.drop_views)
        arrival = Arrival(due=watch)
        self._engine = Engine(
            self._readers,
            Candidates(
                *(self._readers, self.environment, checks),
                *(self._store.facts, self._store.current),
            ),
            self._builds,
            self._store,
            self._replicas,
            self._report,
            self._attached,
            arrival.live,
            startup_deadline_s=startup_deadline_s,
            refresh_s=refresh_s,
        )
        self._following = Following(
            self._readers,
            self._attached,
            self._store.changed_paths,
            self._changed,
            self._pointed,
            self._report.watcher_trouble,
            self._cannot_look,
            self._can_look,
            refresh_s,
            arrival,
        )
        self._parts = Parts(
            self._engine, self._builds, self._store, self._report, arrival, missing_release
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
            PromptsRejected: The first release was rejected and the store has no earlier good one.
            LayerError: A layer cannot be read and the store has no earlier good release.
        """
        self._started()
        self.follow_changes()
        return self._started().release

    def __getitem__(self, name: str) -> Prompt:
        release = self.release
        if name not in release:
            raise release.not_found(name)
        return release[name]

    def __contains__(self, name: object) -> bool:
        return name in self.release

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    # Publishing

    def publish(self, reason: str = "call", *, who: str = "", message: str = "") -> Outcome:
        """Read the layers and graphs now, and publish their content.

        Args:
            reason: The operation, for the history, beside `who` asks for it and a `message`.

        Returns:
            The outcome. A bad prompt or an unreadable layer raises nothing: the outcome has the
            findings, and the live release stays live.

        Raises:
            PromptsError: Nothing is live yet, and no earlier good release is kept.
        """
        return self._publish(Trigger.CALL, reason, who, message)

    def activate(
        self, release_id: str, *, reason: str = "activate", who: str = "", message: str = ""
    ) -> Outcome:
        """Make a kept release live and hold it: the layers are not followed until `follow()`.

        Args:
            release_id: The id, or its beginning.
            reason: The operation, for the history, beside `who` asks for it and a `message`.

        Returns:
            The outcome; ``"rejected"`` if the release does not fit the current graphs.

        Raises:
            ReleaseNotFound: There is no such release.
        """
        self._started()
        release = self.find(release_id)
        with self._publishing() as engine:
            return engine.activate(release, Attempt(Trigger.ACTIVATE, reason, who, message))

    def rollback(self, *, who: str = "", message: str = "") -> Outcome:
        """Activate the previously live release; `who` asks for it, and what for.

        Raises:
            ReleaseNotFound: There is none.
        """
        if (before := self.previous) is None:
            now = self._started().release.id
            raise ReleaseNotFound("There is no earlier release to roll back to.", release_id=now)
        return self.activate(before, reason="rollback", who=who, message=message)

    def follow(self, *, who: str = "", message: str = "") -> Outcome:
        """End a hold: publish the current content of the layers, and follow them again."""
        self._started()
        with self._publishing() as engine:
            return engine.follow(Attempt(Trigger.FOLLOW, who=who, message=message))

    # Graphs

    def attach(self, graph: Graph) -> None:
        """Attach `graph` to these prompts; from now on every release is checked with it.

        Raises:
            PromptsRejected: The live release does not fit the graph.
        """
        with self._publishing() as engine:
            if graph in self._attached():
                return
            self._attached.add(graph)
            try:
                engine.attach()
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
        """`graph` as a StateGraph whose `.compile()` returns a `LiveGraph`.

        Args:
            graph: The graph; it is attached.
            pin: Which release a run or thread uses when the live one has moved on.
            allow_release_override: Whether a caller's config may choose a release.
            marks: Gives the attributes to set on each compiled handle.
        """
        if pin not in ("run", "thread", "none"):
            raise ValueError(f"pin must be 'run', 'thread' or 'none', not {pin!r}.")
        self.attach(graph)

        def compiled(recipe: Recipe) -> LiveGraph:
            handle = Handle(self, self._parts, graph, recipe, pin, allow_release_override)
            with self._publishing():
                build = self._engine.add(handle)
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
        """Start following changes, once in each process; every use of the prompts calls this."""
        arrival = self._following.arrival
        if arrival.due:
            self._following.start()
            self._engine.announce()
        if arrival.late and not on_event_loop() and arrival.thawed():
            with suppress(PromptsError):
                within(LOOK_WITHIN_S, partial(self._publish, Trigger.FIRST_LOOK), "A layer")

    def close(self) -> None:
        """Stop following changes and release all resources. Runs in progress keep their release."""
        self._closed = True
        self._following.close()
        with self._lock:
            self._engine.candidates.close()
            for reader in self._readers:
                reader.close()
            if self._replicas is not None:
                self._replicas.close()
            self._store.close()

    def __enter__(self) -> Self:
        self._started()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        live = self._engine.live
        now = f"release {live.release.id[:12]}" if live else "not started"
        places = ", ".join(reader.url for reader in self._readers) or "the graph's own prompts"
        return f"<LivePrompts {places}, environment {self.environment!r}, {now}>"

    def _renew(self) -> None:
        """Locks, threads and child processes belong to one process; a fork makes them anew."""
        self._lock = threading.RLock()
        self._builds.renew()
        self._report.renew()
        for reader in self._readers:
            reader.renew()
        if self._replicas is not None:
            self._replicas.forked()
        self._following.forget()

    @contextmanager
    def _publishing(self) -> Iterator[Engine]:
        with self._lock:
            if self._closed:
                raise PromptsError("These prompts are closed.", hint="Create a new LivePrompts.")
            yield self._engine

    def _started(self) -> Live:
        if (live := self._engine.live) is not None:
            return live
        with self._publishing() as engine:
            return engine.started()

    # What handles and following call

    def _publish(self, trigger: Trigger, *order: str) -> Outcome:
        with self._publishing() as engine:
            return engine.publish(Attempt(trigger, *order))

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
            if self._engine.pointed_elsewhere(only_holds=self._following.will_tell):
                self._changed(Trigger.OTHER_PROCESS)
            elif self._report.store_refused:
                # No file tells that there is room again; this is called every now and then.
                self._changed(Trigger.POLL)

    def _can_look(self) -> None:
        if self._engine.layers_recovered():  # with the content of before, which is no news
            self._changed(Trigger.POLL)

    def _cannot_look(self, problem: LayerError) -> None:
        with self._publishing() as engine:
            engine.unreadable(problem)


_all = renewed_in_child(LivePrompts._renew)


def _store(
    readers: Sequence[LayerReader],
    environment: str,
    folder: str | os.PathLike[str] | None,
    graph: Path | None,
) -> Store:
    from yamlgraph_prompts.registry.store import Store

    if folder is None and readers and all(reader.url == "memory:" for reader in readers):
        return Store(None)
    root = Path(folder) if folder is not None else None
    return Store.default(environment, [reader.place for reader in readers], root, graph=graph)


def _replicas(store: Store) -> HostReplicas | None:
    if (first := store.folder) is None:
        return None
    # It moves to a temporary one, or to memory, where others can change the store's.
    return HostReplicas(lambda: (store.folder or first) / "workers")
