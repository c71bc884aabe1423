"""Frozen facts on the state of a `LivePrompts`, for health pages and metrics. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yamlgraph_prompts._model.release import Outcome


@dataclass(frozen=True, slots=True)
class LayerState:
    """The state of one layer."""

    url: str
    seen_s: float | None  # when it was last read with success, since the epoch; None: never
    trouble: str | None  # of the last read; None: nothing
    writable: bool
    requests: int = 0  # that this process has made to read it, over a network
    received_bytes: int = 0  # in the bodies of their answers


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a `LivePrompts`."""

    release: str | None  # the live release's id; None before the first one
    live_since_s: float | None  # when this process took it, since the epoch
    held_since_s: float | None  # since when the layers are not followed; None: they are
    last: Outcome | None  # of the last publication
    last_at_s: float | None  # when that was, since the epoch
    layers: tuple[LayerState, ...]  # highest priority first
    watcher_restarts: int
    polling: bool  # whether changes are only seen by polling, as there are no file events
    store_trouble: str | None  # what is wrong with the store; None: nothing
    following: bool  # whether changes are followed in this process
    stale_runs: int = 0  # that began with old prompts, as a saved file was not live in 0.2 s
    # Prompt → variables, as runs of this process asked graphs' releases for them.
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def held(self) -> bool:
        """Whether the layers are not followed."""
        return self.held_since_s is not None

    @property
    def degraded(self) -> tuple[str, ...]:
        """What an operator should look at, by name; ``()`` when all is well.

        ``"stale-layer"``, ``"rejected-candidate"``, ``"hold"``, ``"watcher-restarted"``,
        ``"polling"`` or ``"store-trouble"``.
        """
        conditions = {
            "stale-layer": any(layer.trouble for layer in self.layers),
            "rejected-candidate": self.last is not None and self.last.is_refused_edit,
            "hold": self.held,
            "watcher-restarted": self.watcher_restarts > 0,
            "polling": self.polling,
            "store-trouble": self.store_trouble is not None,
        }
        return tuple(name for name, is_so in conditions.items() if is_so)
