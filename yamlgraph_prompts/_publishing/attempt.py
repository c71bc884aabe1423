"""One publication under way: what started it, and the outcome that it ends with."""

from __future__ import annotations

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from yamlgraph_prompts._model.release import Outcome, Release, Status
from yamlgraph_prompts._model.trigger import Trigger, is_automatic
from yamlgraph_prompts._publishing.candidate import Candidate
from yamlgraph_prompts.errors import StoreError
from yamlgraph_prompts.findings import Finding

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.store import Store

CHANGED_WITHIN_S = 0.1  # a change in this process may wait for this one meanwhile


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to publish."""

    trigger: Trigger
    reason: str = ""  # for the log and the history, where it is not the trigger's
    who: str = ""  # who asked for it, for the history
    message: str = ""  # what for
    started: float = field(default_factory=time.perf_counter, kw_only=True)

    @property
    def why(self) -> str:
        return self.reason or self.trigger.value

    @property
    def order(self) -> dict[str, str]:
        """The operation, who asked for it and what for, as the history keeps them."""
        who = self.who or f"process {os.getpid()} on {platform.node()}"
        return {"reason": self.why, "who": who, "message": self.message}

    def as_in_history(self, store: Store, release: str, *, held: bool) -> Attempt:
        """The attempt with the reason of the order by which another process made this live."""
        if not self.trigger.is_automatic:
            return self
        entry = store.current()
        if entry is None or (entry.release, entry.held) != (release, held):
            # Another process writes a prompt before it adds the entry.
            with suppress(StoreError), store.changing(CHANGED_WITHIN_S):
                entry = store.current()
        is_that = entry is not None and (entry.release, entry.held) == (release, held)
        if entry is None or not is_that or is_automatic(entry.why):
            return self
        return replace(self, reason=f"{entry.cause} in another process")

    def outcome(
        self, status: Status, live: Release | None, candidate: Candidate | None, *further: Finding
    ) -> Outcome:
        """What became of it."""
        findings = candidate.findings if candidate else ()
        return Outcome(
            status,
            live,
            (*findings, *further),
            time.perf_counter() - self.started,
            candidate.release.id if candidate else None,
            self.why,
            self.trigger,
        )
