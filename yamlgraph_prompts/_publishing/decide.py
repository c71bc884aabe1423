"""What a publication does, decided from facts alone. Reads nothing, changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from weakref import ref

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.trigger import Trigger


class Action(Enum):
    OBEY = auto()  # serve and hold what the history holds
    UNHOLD = auto()  # another process has ended the hold: read the layers
    READ = auto()  # read the layers
    REFUSE = auto()  # the check found an error
    KEEP = auto()  # store the candidate for later; the held release stays live
    CONFIRM = auto()  # the candidate is what is live
    PUBLISH = auto()  # make the candidate live


@dataclass(frozen=True, slots=True)
class State:
    """A release with its graphs: what is live, or what could be."""

    release: str  # its id
    # Each attached graph → its revision.
    graphs: Mapping[ref[Any], str] = field(default_factory=dict)
    held: bool = False  # whether the layers are not followed
    refused: bool = False  # whether the check found an error


def decide(
    entry: Entry | None, live: State | None, candidate: State | None, trigger: Trigger
) -> Action:
    """The next action of a publication."""
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
