"""A change of one prompt as a transaction: tried with everything, then committed, or nothing.

What is refused is not written, and what cannot be kept is put back. Its caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from yamlgraph_prompts import sources
from yamlgraph_prompts._model.release import Outcome
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.attempt import Attempt
from yamlgraph_prompts._publishing.candidate import Candidate
from yamlgraph_prompts._publishing.destinations import Served
from yamlgraph_prompts._publishing.drafts import Draft, Trial, Write, drafted_files, mends, origin
from yamlgraph_prompts._publishing.engine import Engine
from yamlgraph_prompts._publishing.live import Live
from yamlgraph_prompts.errors import Stale
from yamlgraph_prompts.sources.reader import LayerReader


class Transaction:
    """A draft laid over what the layers hold now; nothing is written before `commit`."""

    def __init__(self, engine: Engine, draft: Draft, *order: str) -> None:
        self._engine = engine
        self._attempt = Attempt(Trigger.CHANGE, *order)
        self._disobeyed = engine.obey(self._attempt)
        live = engine.started()
        self._candidate = engine.candidates.fetch(engine.graphs(), live.release, [draft])
        self._files = self._candidate.contents[draft.layer].files
        self.trial = self._tried(draft, live)

    def commit(
        self, *, before_write: Callable[[], object] = lambda: None, write: Write | None = None
    ) -> Outcome:
        """Write the draft and publish it; `before_write` is called right before a file is changed.

        `write` writes a layer whose source cannot: it gets all that the layer holds now, and all
        that it shall hold, and raises where that was not done. The outcome is ``"rejected"`` where
        nothing was written, or where the draft mends some of what is broken (`Trial.mends`): then
        it is written. Raises `LayerReadOnly`, or `Stale` if the file was changed meanwhile.
        """
        engine, trial = self._engine, self.trial
        if self._disobeyed is not None or trial.refused:
            # Nothing happened, so only the caller hears of it.
            return self._disobeyed or engine.offer(self._candidate, self._attempt)
        layer = engine.readers[trial.draft.layer]
        reason = self._attempt.why
        writing = _Writing(layer, trial.draft, self._files, write, reason, before_write)
        if trial.mends:
            writing.do()
            return engine.reported(engine.offer(self._candidate, self._attempt))
        outcome = engine.offer(self._candidate, self._attempt, writing.do)
        if outcome.status == "rejected":
            # The store failed in between: what is not live must not stay behind.
            writing.undo()
        return engine.reported(outcome)

    def _tried(self, draft: Draft, live: Live) -> Trial:
        engine, candidate = self._engine, self._candidate

        @cache
        def today() -> Candidate:
            return engine.candidates.undrafted(candidate, engine.graphs(), live.release)

        mending = self._disobeyed is None
        return Trial(
            draft,
            origin(candidate.contents, draft.name),
            own=draft.path in self._files,
            live=_served(live.candidate),
            served=_served(candidate),
            today=lambda: _served(today()),
            release=candidate.release,
            findings=candidate.findings,
            mends=mending and mends(draft, candidate.findings, lambda: today().findings),
        )


def _served(candidate: Candidate) -> Served:
    return Served.of(candidate.release, candidate.graphs.values())


@dataclass
class _Writing:
    """One file of a layer, written once and put back where need be."""

    layer: LayerReader
    draft: Draft
    files: Mapping[str, bytes]
    write: Write | None
    reason: str
    before: Callable[[], object]
    done: bool = False

    def do(self) -> None:
        if self.files.get(self.draft.path) != self.draft.data:
            self.before()
            self._change(self.files, drafted_files(self.files, self.draft))
            self.done = True

    def undo(self) -> None:
        if self.done:
            # Who has changed it since keeps that: it is not what was refused.
            with suppress(Stale):
                self._change(drafted_files(self.files, self.draft), self.files)

    def _change(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        if self.write is not None:
            self.write(old, new)
        else:
            path = self.draft.path
            change = sources.Change(path, new.get(path), old.get(path), message=self.reason)
            self.layer.write(change)
