"""A change of one prompt as a transaction: tried with everything, then committed, or nothing.

What is refused is not written, and what cannot be kept is put back. Its caller holds the lock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Protocol

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
from yamlgraph_prompts.sources.layers import LayerContent


class Change:
    """A draft laid over what the layers hold now; nothing is written before `commit`.

    Args:
        engine: Publishes it.
        draft: The draft.
        reason: Why, for the history.
    """

    def __init__(self, engine: Engine, draft: Draft, reason: str) -> None:
        self._engine = engine
        self._attempt = Attempt(Trigger.CHANGE, reason)
        self._disobeyed = engine.obey(self._attempt)
        live = engine.started()
        self._candidate, contents = engine.candidates.drafted(
            engine.graphs(), live.release, [draft]
        )
        self._files = contents[draft.layer].files
        self.trial = self._tried(draft, live, contents)

    def commit(
        self, *, before_write: Callable[[], object] = lambda: None, write: Write | None = None
    ) -> Outcome:
        """Write the draft and publish it.

        Args:
            before_write: Called right before the layer is touched, where it is touched at all.
            write: Writes the layer where its source cannot: called with all that it holds now, and
                all that it shall hold. It raises where that was not done.

        Returns:
            What became of it: ``"rejected"`` where nothing was written, or where the draft mends
            some of what is broken (`Trial.mends`): then it is written.

        Raises:
            LayerReadOnly: The layer cannot be written.
            Stale: Another process changed the file since it was read.
        """
        engine, trial = self._engine, self.trial
        if self._disobeyed is not None or trial.refused:
            # Nothing happened, so only the caller hears of it.
            return self._disobeyed or engine.offer(self._candidate, self._attempt)
        writing = _Writing(
            engine.readers[trial.draft.layer], trial.draft, self._files, write, self._attempt.why
        )
        writing.before = before_write
        if trial.mends:
            writing.do()
            return engine.reported(engine.offer(self._candidate, self._attempt))
        outcome = engine.offer(self._candidate, self._attempt, writing.do)
        if outcome.status == "rejected":
            # The store failed in between: what is not live must not stay behind.
            writing.undo()
        return engine.reported(outcome)

    def _tried(self, draft: Draft, live: Live, contents: Sequence[LayerContent]) -> Trial:
        engine, candidate = self._engine, self._candidate

        @cache
        def today() -> Candidate:
            return engine.candidates.undrafted(engine.graphs(), live.release, contents)

        mending = self._disobeyed is None
        return Trial(
            draft,
            origin(contents, draft.name),
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


class _Writer(Protocol):
    def write(self, change: sources.Change) -> None: ...


class _Writing:
    """One file of a layer, written once and put back where need be."""

    def __init__(
        self,
        layer: _Writer,
        draft: Draft,
        files: Mapping[str, bytes],
        write: Write | None,
        reason: str,
    ) -> None:
        self.before: Callable[[], object] = lambda: None
        self._layer = layer
        self._draft = draft
        self._files = files
        self._write = write
        self._reason = reason
        self._done = False

    def do(self) -> None:
        if self._files.get(self._draft.path) != self._draft.data:
            self.before()
            self._change(self._files, drafted_files(self._files, self._draft))
            self._done = True

    def undo(self) -> None:
        if self._done:
            # Who has changed it since keeps that: it is not what was refused.
            with suppress(Stale):
                self._change(drafted_files(self._files, self._draft), self._files)

    def _change(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        if self._write is not None:
            self._write(old, new)
        else:
            path = self._draft.path
            change = sources.Change(path, new.get(path), old.get(path), message=self._reason)
            self._layer.write(change)
