"""One publication under way: what started it, and the outcome that it ends with."""

from __future__ import annotations

import os
import platform
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
