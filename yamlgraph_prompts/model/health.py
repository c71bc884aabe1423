"""Frozen facts on the state of a `LivePrompts`, for health pages and metrics. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yamlgraph_prompts.model.release import Outcome


@dataclass(frozen=True, slots=True)
class LayerState:
    """How one layer fares.

    Args:
        url: The layer's URL.
        seen_s: When it was last looked at with success, in seconds since the epoch; None: never.
        trouble: What was wrong when it was last looked at; None: nothing.
        writable: Whether its prompts can be changed through it.
        requests: How many requests this process has made to read it, over a network.
        received_bytes: How many bytes came as their answers' bodies.
    """

    url: str
    seen_s: float | None
    trouble: str | None
    writable: bool
    requests: int = 0
    received_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How a `LivePrompts` fares.

    Args:
        release: The live release's id; None before the first one.
        live_since_s: When this process took it, in seconds since the epoch.
        held: Whether the layers are not followed.
        last: What became of the last publication.
        last_at_s: When that was, in seconds since the epoch.
        layers: Every layer, highest priority first.
        watcher_restarts: How often the watcher had to be started again.
        polling: Whether changes are only seen by polling, as there are no file events.
        store_trouble: What is wrong with the store; None: nothing.
        following: Whether changes are followed in this process.
    """

    release: str | None
    live_since_s: float | None
    held: bool
    last: Outcome | None
    last_at_s: float | None
    layers: tuple[LayerState, ...]
    watcher_restarts: int
    polling: bool
    store_trouble: str | None
    following: bool

    @property
    def degraded(self) -> tuple[str, ...]:
        """What an operator should look at, by name; ``()`` when all is well.

        ``"stale-layer"``, ``"rejected-candidate"``, ``"hold"``, ``"watcher-restarted"``,
        ``"polling"`` or ``"store-trouble"``.
        """
        found = {
            "stale-layer": any(layer.trouble for layer in self.layers),
            "rejected-candidate": self.last is not None and self.last.status == "rejected",
            "hold": self.held,
            "watcher-restarted": self.watcher_restarts > 0,
            "polling": self.polling,
            "store-trouble": self.store_trouble is not None,
        }
        return tuple(name for name, is_so in found.items() if is_so)
