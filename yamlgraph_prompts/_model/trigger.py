"""What starts a publication, and what follows from it: a reason is a word for the log only."""

from __future__ import annotations

import math
from enum import Enum


class Trigger(Enum):
    """What starts a publication. The value is the reason shown where the caller gives none."""

    START = "start"
    CALL = "call"
    CHANGE = "change"
    ACTIVATE = "activate"
    FOLLOW = "follow"
    ATTACH = "attach"
    LAST_GOOD = "last good"
    FIRST_RUN = "first run"
    FIRST_LOOK = "first look"
    FILE_CHANGE = "file change"
    POLL = "poll"
    OTHER_PROCESS = "another process"

    @property
    def is_automatic(self) -> bool:
        """Whether no caller asked for it; several automatic ones may see the same change."""
        return self in _AUTOMATIC

    def max_age_s(self, refresh_s: float) -> float | None:
        """How old the last content of a remote layer may be, in seconds; None: read it again.

        The poller of a remote layer reads it; other changes are no reason to do so.
        """
        if self is Trigger.FIRST_LOOK:
            return refresh_s
        return math.inf if self.is_automatic else None


_AUTOMATIC = frozenset(
    {
        Trigger.FIRST_RUN,
        Trigger.FIRST_LOOK,
        Trigger.FILE_CHANGE,
        Trigger.POLL,
        Trigger.OTHER_PROCESS,
    }
)


def is_automatic(reason: str) -> bool:
    """Whether a reason in the history is that of a trigger which no caller asked for."""
    return reason in {trigger.value for trigger in _AUTOMATIC}
