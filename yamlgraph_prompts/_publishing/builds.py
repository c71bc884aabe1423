"""Every attached graph, built on a release: the live builds, and those that old runs still need."""

from __future__ import annotations

import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from yamlgraph_prompts._live import Build, Recipe
from yamlgraph_prompts._model.graph import Graph, GraphFacts, View
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts._publishing.candidate import Candidate
from yamlgraph_prompts.errors import GraphRefused, PromptsError
from yamlgraph_prompts.findings import Finding

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

logger = logging.getLogger("yamlgraph_prompts")

# How many builds of a handle, and how many revisions of a graph, are kept for runs that wait.
KEEP_BUILDS = 8
KEEP_REVISIONS = 32

_OURS = str(Path(__file__).parents[1])


class Handle(Protocol):
    """One compiled graph, whose runs take builds."""

    token: int
    graph: Graph
    recipe: Recipe


class Builds:
    """Builds graphs on releases. Thread-safe; building is slow, so it has a lock of its own."""

    def __init__(self, view: View, drop_views: Callable[[Collection[str]], object]) -> None:
        self._view = view
        self._drop_views = drop_views
        self._handles: WeakValueDictionary[int, Handle] = WeakValueDictionary()
        self._newest: WeakKeyDictionary[Graph, tuple[str, str, StateGraph[Any, Any, Any, Any]]]
        self._newest = WeakKeyDictionary()
        self._recent: OrderedDict[tuple[int, str, str], Build] = OrderedDict()
        self._facts: WeakKeyDictionary[Graph, OrderedDict[str, GraphFacts]] = WeakKeyDictionary()
        self.renew()

    def renew(self) -> None:
        """Make the lock anew, after a fork."""
        self._lock = threading.RLock()

    def state_graph(
        self, graph: Graph, facts: GraphFacts, release: Release
    ) -> StateGraph[Any, Any, Any, Any]:
        """The graph on `release`, not compiled; must not be changed."""
        revision = facts.revision(release)
        with self._lock:
            newest = self._newest.get(graph)
            if newest is not None and newest[:2] == (release.id, revision):
                return newest[2]
            with _building(facts):
                built = graph.build(facts, release, self._view)
            self._newest[graph] = (release.id, revision, built)
            return built

    def make(self, candidate: Candidate, live: Mapping[int, Build]) -> Mapping[int, Build]:
        """The builds of every handle on a candidate; what did not change is taken over."""
        builds: dict[int, Build] = {}
        with self._lock:
            handles = list(self._handles.values())
            compiled = {handle.graph for handle in handles}
            for graph, facts in candidate.graphs.items():
                self._remember(graph, facts, candidate.release)
                if graph not in compiled:
                    # No handle runs it yet; whether it can be built must be known all the same.
                    self.state_graph(graph, facts, candidate.release)
            for handle in handles:
                facts = candidate.graphs[handle.graph]
                builds[handle.token] = self._make(
                    handle, facts, candidate.release, live.get(handle.token)
                )
        return builds

    def add(
        self, handle: Handle, facts: GraphFacts, release: Release, live: Mapping[int, Build]
    ) -> Mapping[int, Build]:
        """The live builds with the first one of a new handle."""
        with self._lock:
            self.state_graph(handle.graph, facts, release)
            try:
                build = self._make(handle, facts, release, None)
            except GraphRefused as refused:
                if handle.recipe.changes and refused.__cause__ is not None:
                    raise refused.__cause__ from None  # the caller's mistake, as in LangGraph
                raise
            self._handles[handle.token] = handle
            kept = {token: live[token] for token in list(self._handles) if token in live}
            return {**kept, handle.token: build}

    def at(
        self,
        handle: Handle,
        release_id: str,
        revision: str | None,
        today: GraphFacts,
        find: Callable[[str], Release],
    ) -> Build:
        """The build of a pair that is not live; on today's graph where the revision is gone."""
        if revision is not None:
            kept = self._recent.get((handle.token, release_id, revision))
            if kept is not None:
                with suppress(KeyError):  # a build under way may drop it meanwhile
                    self._recent.move_to_end((handle.token, release_id, revision))
                return kept
        release = find(release_id)
        with self._lock:
            known = self._facts.get(handle.graph)
            facts = known.get(revision or "", today) if known else today
            try:
                return self._build(handle, facts, release)
            except GraphRefused as problem:
                if facts is today:
                    raise
                # Its children and data files are read from where they were, and a commit's folder,
                # say, is gone by now. After a restart it would be today's graph as well.
                if known:
                    known.pop(revision or "", None)
                logger.warning(
                    "%s can no longer be built as it was when a run began, so its current version "
                    "is used: %s",
                    facts.name,
                    problem.__cause__ or problem,
                )
                return self._build(handle, today, release)

    def sweep(self, graphs: Iterable[Graph]) -> None:
        """Remove the views that no living build reads."""
        # Under the lock: a build under way has views that no graph knows of yet.
        with self._lock:
            self._drop_views({view for graph in graphs for view in graph.views()})

    def _make(
        self, handle: Handle, facts: GraphFacts, release: Release, live: Build | None
    ) -> Build:
        revision = facts.revision(release)
        if live is not None and (live.release, live.graph) == (release.id, revision):
            return live
        kept = self._recent.get((handle.token, release.id, revision))
        if kept is not None:
            return self._keep(handle, kept)
        built = self.state_graph(handle.graph, facts, release)
        try:
            with _building(facts):
                build = handle.recipe.make(built, release.id, revision)
        except PromptsError:
            # What made it may be mended by the next time.
            self._newest.pop(handle.graph, None)
            raise
        return self._keep(handle, build)

    def _build(self, handle: Handle, facts: GraphFacts, release: Release) -> Build:
        revision = facts.revision(release)
        kept = self._recent.get((handle.token, release.id, revision))
        if kept is not None:
            return kept
        with _building(facts):
            built = handle.graph.build(facts, release, self._view)
            build = handle.recipe.make(built, release.id, revision)
        return self._keep(handle, build)

    def _keep(self, handle: Handle, build: Build) -> Build:
        key = (handle.token, build.release, build.graph)
        self._recent[key] = build
        self._recent.move_to_end(key)
        while len(self._recent) > KEEP_BUILDS * max(1, len(self._handles)):
            self._recent.popitem(last=False)
        return build

    def _remember(self, graph: Graph, facts: GraphFacts, release: Release) -> None:
        known = self._facts.setdefault(graph, OrderedDict())
        revision = facts.revision(release)
        known[revision] = facts
        known.move_to_end(revision)
        while len(known) > KEEP_REVISIONS:
            known.popitem(last=False)


def does_not_build(problem: BaseException) -> tuple[Finding, ...]:
    """The findings for a graph that cannot be built."""
    if isinstance(problem, GraphRefused):
        return problem.findings
    return (Finding("error", "compile", str(problem) or type(problem).__name__),)


@contextmanager
def _building(facts: GraphFacts) -> Iterator[None]:
    try:
        yield
    except PromptsError:
        raise
    except (Exception, SystemExit) as problem:
        # A tool's module may want to end the process for want of its configuration.
        why = f"{type(problem).__name__}: {problem}"
        file, line = _culprit(problem)
        message = f"The graph does not build: {why}"
        found = Finding("error", "compile", message, file=file, line=line, graph=facts.name)
        raise GraphRefused(f"{facts.name} does not build: {why}", findings=(found,)) from problem


def _culprit(problem: BaseException) -> tuple[str | None, int | None]:
    """The last line that is neither a library's nor ours."""
    for frame in reversed(traceback.extract_tb(problem.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(_OURS):
            return frame.filename, frame.lineno
    return None, None
