"""What can be learned from a `LivePrompts`: its state, releases and graphs. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from yamlgraph_prompts._following.follower import Following
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.events import Hook
from yamlgraph_prompts._model.graph import GraphFacts, PromptUse
from yamlgraph_prompts._model.health import Health
from yamlgraph_prompts._model.release import Release, StoredRelease
from yamlgraph_prompts._publishing.attached import Attached
from yamlgraph_prompts._publishing.builds import Builds
from yamlgraph_prompts._publishing.engine import Engine
from yamlgraph_prompts._publishing.live import Live
from yamlgraph_prompts._publishing.report import Report
from yamlgraph_prompts.errors import ReleaseNotFound
from yamlgraph_prompts.registry.ports import Replica
from yamlgraph_prompts.registry.replicas import HostReplicas
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph as Drawing

    from yamlgraph_prompts.registry.store import Store


class Inspectable:
    """The half of `LivePrompts` that only reads."""

    environment: str
    _attached: Attached
    _builds: Builds
    _engine: Engine
    _following: Following
    _readers: tuple[LayerReader, ...]
    _replicas: HostReplicas | None
    _report: Report
    _store: Store

    def _started(self) -> Live:
        raise NotImplementedError

    @property
    def held(self) -> bool:
        """Whether the layers are not followed until `follow()`."""
        return self._started().held

    def releases(self) -> list[StoredRelease]:
        """The kept releases, newest first. Publishes nothing."""
        return self._store.releases()

    def history(self) -> Iterator[Entry]:
        """What was live here, newest first, also where the release is not kept any more."""
        return self._store.history()

    def find(self, release_id: str) -> Release:
        """The release whose id is, or begins with, `release_id`.

        Raises:
            ReleaseNotFound: It is neither live nor in the store nor, by its full id, published to
                a layer; or several begin so.
        """
        return self._engine.find(release_id)

    def folders(self) -> tuple[Path, ...]:
        """The local folders that the layers are read from."""
        return tuple(path for reader in self._readers for path in reader.watched())

    @property
    def store_folder(self) -> Path | None:
        """The folder that keeps releases; None if they are kept in memory."""
        return self._store.folder

    @property
    def health(self) -> Health:
        """The state of these prompts. Makes no request, never raises, never blocks."""
        live, last = self._engine.live, self._report.last
        return Health(
            release=live.release.id if live else None,
            live_since_s=live.since_s if live else None,
            held_since_s=live.held_since_s if live else None,
            last=last[0] if last else None,
            last_at_s=last[1] if last else None,
            layers=tuple(reader.state for reader in self._readers),
            watcher_restarts=self._report.watcher_restarts,
            stale_runs=self._report.stale_runs,
            polling=self._following.polling,
            store_trouble=self._store.trouble,
            following=self._following.started,
            asked={
                use.prompt: tuple(sorted(use.passes or ()))
                for graph in self._attached()
                for use in graph.seen()
            },
        )

    def uses(self) -> dict[str, list[tuple[str, PromptUse]]]:
        """Prompt name → every place that uses it: the graph's file, and the place."""
        found: dict[str, list[tuple[str, PromptUse]]] = {}
        for facts in self._started().candidate.graphs.values():
            for file in facts.files:
                for use in file.uses:
                    name = facts.released_as(file, use.prompt)
                    found.setdefault(name, []).append((file.file, use))
            for use in facts.calls:
                found.setdefault(use.prompt, []).append((facts.name, use))
        return found

    @property
    def previous(self) -> str | None:
        """The id of the release that `rollback` would activate; None if there is none."""
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
        """The requirements of each attached graph."""
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
        """How many processes of this host serve the same release, and how many there are.

        Counts processes that share the store and have used their prompts.

        Args:
            within_s: How long to wait until all of them do, in seconds.
        """
        live = self._started()
        if self._replicas is None:
            return 1, 1
        replica = Replica(self.environment, live.release.id, live.held)
        self._replicas.announce(replica)
        return self._replicas.reached(replica, within_s)

    def observe(self, hook: Hook) -> Callable[[], None]:
        """Add a hook.

        Args:
            hook: Called with each event from now on.

        Returns:
            A function that removes the hook.
        """
        return self._report.observe(hook)
