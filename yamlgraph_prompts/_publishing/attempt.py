"""One publication under way: what started it, and the outcome that it ends with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from yamlgraph_prompts._model.release import Outcome, Release, Status
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.candidate import Candidate
from yamlgraph_prompts.findings import Finding


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to publish."""

    trigger: Trigger
    reason: str = ""  # for the log and the history, where it is not the trigger's
    started: float = field(default_factory=time.perf_counter)  # by `time.perf_counter`

    @property
    def why(self) -> str:
        return self.reason or self.trigger.value

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
