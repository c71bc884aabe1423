"""What is live: one release with its graphs, built. Never changed, only replaced."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from yamlgraph_prompts._live import Build
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts._publishing.candidate import Candidate
from yamlgraph_prompts._publishing.decide import State


@dataclass(frozen=True)
class Live:
    """All that changes in a swap, behind one reference."""

    candidate: Candidate
    builds: Mapping[int, Build]  # by the handles' tokens
    held_since_s: float | None  # since when the layers are not followed; None: they are
    since_s: float  # when it became live, since the epoch

    @classmethod
    def now(
        cls, candidate: Candidate, builds: Mapping[int, Build], entry: Entry | None, *, held: bool
    ) -> Live:
        """What becomes live now, by that entry of the history."""
        now_s = time.time()
        held_since_s = (entry.at_s if entry else now_s) if held else None
        return cls(candidate, builds, held_since_s, now_s)

    @property
    def held(self) -> bool:
        return self.held_since_s is not None

    @property
    def release(self) -> Release:
        return self.candidate.release

    @property
    def state(self) -> State:
        """It as a fact for `decide`."""
        state = self.candidate.state
        return State(state.release, state.graphs, self.held, state.refused)
