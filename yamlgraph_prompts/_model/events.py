"""Frozen facts for observers: what happened, when, to which release. Knows no listener."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from yamlgraph_prompts._text.escaping import escaped

if TYPE_CHECKING:
    from yamlgraph_prompts._model.release import Outcome

logger = logging.getLogger("yamlgraph_prompts")

EventKind = Literal[
    "publication",
    "layer-unavailable",
    "layer-recovered",
    "watcher-restarted",
    "watcher-polling",
    "store-trouble",
    "held",
    "following",
    "missing-release",
    "run-started",
    "stale-run",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an operator may want to know.

    Args:
        kind: What happened; see `EventKind`.
        message: The same as text.
        environment: The environment it happened in.
        release: The id of the release, if any.
        outcome: The outcome, for a ``"publication"``.
        reason: What started the attempt: ``"start"``, ``"file change"``, ``"poll"``, ...
        layer: The URL of the layer, if any.
        held_since_s: Of a ``"publication"``: since when the layers are not followed, if so.
        at_s: Seconds since the epoch.
    """

    kind: EventKind
    message: str
    environment: str | None = None
    release: str | None = None
    outcome: Outcome | None = None
    reason: str | None = None
    layer: str | None = None
    held_since_s: float | None = None
    at_s: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        # Hooks write it to logs and chats.
        object.__setattr__(self, "message", escaped(self.message))


Hook = Callable[[Event], object]
"""An observer. `kinds`, where it has that attribute, are the only events that it gets.

One that also has ``run_started(environment, release)`` is called so at the start of each run, which
is cheaper than an event.
"""


def wants(hook: Hook, kind: EventKind) -> bool:
    """Whether `hook` is to get events of this kind."""
    kinds = getattr(hook, "kinds", None)
    return kinds is None or kind in kinds


def tell(hooks: Iterable[Hook], event: Event) -> None:
    """Hand `event` to every hook; one that fails is logged and stops nothing."""
    for hook in hooks:
        try:
            hook(event)
        except (Exception, SystemExit):
            logger.exception("A hook failed on %s", event.kind)
