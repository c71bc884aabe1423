"""Takes drafts: tries each with everything, writes it to its layer, hands it to the publisher.

What is refused is not written, and what cannot be kept is put back. Its caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from yamlgraph_prompts.model.graph import Graph
from yamlgraph_prompts.model.release import Outcome
from yamlgraph_prompts.model.trigger import Trigger
from yamlgraph_prompts.publishing.candidate import Candidate, Candidates
from yamlgraph_prompts.publishing.destinations import Served
from yamlgraph_prompts.publishing.drafts import Draft, Trial, Write, drafted_files, mends, origin
from yamlgraph_prompts.publishing.publisher import Attempt, Live, Publisher
from yamlgraph_prompts.publishing.road import Road
from yamlgraph_prompts.sources.layers import LayerContent
from yamlgraph_prompts.sources.reader import LayerReader


class Editor:
    """Writes drafts.

    Args:
        road: What is written takes it.
        publisher: Tells what became of it.
        candidates: Makes what is published.
        readers: The layers.
        graphs: The attached graphs.
    """

    def __init__(
        self,
        road: Road,
        publisher: Publisher,
        candidates: Candidates,
        readers: Sequence[LayerReader],
        graphs: Callable[[], tuple[Graph, ...]],
    ) -> None:
        self._road = road
        self._publisher = publisher
        self._candidates = candidates
        self._readers = readers
        self._graphs = graphs

    def change(
        self,
        draft: Draft,
        reason: str,
        allow: Callable[[Trial], object],
        write: Write | None,
    ) -> tuple[Trial, Outcome]:
        """Write one prompt and publish it; see `LivePrompts.change`."""
        attempt = Attempt(Trigger.CHANGE, reason)
        disobeyed = self._road.obey(attempt)
        live = self._road.started()
        candidate, contents = self._candidates.drafted(self._graphs(), live.release, [draft])
        trial = self._trial(draft, live, candidate, contents, mendable=disobeyed is None)
        ready = allow(trial)
        if disobeyed is not None or trial.refused:
            # Nothing happened: only whoever asked hears of it.
            return trial, disobeyed or self._road.offer(candidate, attempt)
        writing = _Writing(
            self._readers[draft.layer], draft, contents[draft.layer].files, write, ready
        )
        if trial.mends:
            writing.do()
            return trial, self._publisher.told(self._road.offer(candidate, attempt))
        outcome = self._road.offer(candidate, attempt, writing.do)
        if outcome.status == "rejected":
            # The store failed in between: what is not live must not stay behind.
            writing.undo()
        return trial, self._publisher.told(outcome)

    def _trial(
        self,
        draft: Draft,
        live: Live,
        candidate: Candidate,
        contents: Sequence[LayerContent],
        *,
        mendable: bool,
    ) -> Trial:
        @cache
        def today() -> Candidate:
            return self._candidates.undrafted(self._graphs(), live.release, contents)

        return Trial(
            draft,
            origin(contents, draft.name),
            own=draft.path in contents[draft.layer].files,
            live=_served(live.candidate),
            served=_served(candidate),
            today=lambda: _served(today()),
            release=candidate.release,
            findings=candidate.findings,
            mends=mendable and mends(draft, candidate.findings, lambda: today().findings),
        )


def _served(candidate: Candidate) -> Served:
    return Served.of(candidate.release, candidate.graphs.values())


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
