"""What a publication does, decided from facts alone. Reads nothing, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Protocol
from weakref import ref

from yamlgraph_prompts._model.trigger import Trigger


class Action(Enum):
    """What to do next."""

    OBEY = auto()  # serve and hold what the history holds
    UNHOLD = auto()  # another process has ended the hold: read the layers
    READ = auto()  # read the layers
    REFUSE = auto()  # the check found an error
    KEEP = auto()  # store the candidate for later; the held release stays live
    CONFIRM = auto()  # the candidate is what is live
    PUBLISH = auto()  # make the candidate live


class Entry(Protocol):
    """The current entry of the history."""

    @property
    def release(self) -> str: ...

    @property
    def held(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class State:
    """A release with its graphs: what is live, or what could be.

    Args:
        release: The release's id.
        graphs: A weak reference to each attached graph → its revision.
        held: Whether the layers are not followed.
        refused: Whether the check found an error.
    """

    release: str
    graphs: Mapping[ref[Any], str] = field(default_factory=dict)
    held: bool = False
    refused: bool = False


def decide(
    entry: Entry | None, live: State | None, candidate: State | None, trigger: Trigger
) -> Action:
    """The next action of a publication.

    Example:
        >>> live = State("ab12")
        >>> decide(None, live, None, Trigger.POLL), decide(None, live, State("cd34"), Trigger.POLL)
        (<Action.READ: 3>, <Action.PUBLISH: 7>)
    """
    ends_hold = trigger is Trigger.FOLLOW
    if candidate is None:
        if entry is None or ends_hold:
            return Action.READ
        if not entry.held:
            return Action.UNHOLD if live and live.held else Action.READ
        is_obeyed = live is not None and live.held and live.release == entry.release
        return Action.READ if is_obeyed else Action.OBEY
    if candidate.refused:
        return Action.REFUSE
    if live is None:
        return Action.PUBLISH
    if live.held:
        return Action.PUBLISH if ends_hold else Action.KEEP
    is_same = (live.release, live.graphs) == (candidate.release, candidate.graphs)
    return Action.CONFIRM if is_same else Action.PUBLISH
