"""What a publication does, as a table."""

from __future__ import annotations

import dataclasses
import weakref

import pytest

from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.decide import Action, State, decide


@dataclasses.dataclass(frozen=True)
class Line:
    release: str
    held: bool = False


ONE, TWO = State("one"), State("two")
HELD = State("one", held=True)
BAD = State("two", refused=True)

TABLE = {
    # what another process ordered, before the layers are read
    "nothing is known": (None, None, None, Trigger.START, Action.READ),
    "the history says what is live": (Line("one"), ONE, None, Trigger.POLL, Action.READ),
    "the history says what is not live": (Line("two"), ONE, None, Trigger.POLL, Action.READ),
    "another is held": (Line("two", True), ONE, None, Trigger.POLL, Action.OBEY),
    "another is held now": (Line("two", True), HELD, None, Trigger.POLL, Action.OBEY),
    "the live one is held": (Line("one", True), ONE, None, Trigger.CALL, Action.OBEY),
    "it is obeyed": (Line("one", True), HELD, None, Trigger.FILE_CHANGE, Action.READ),
    "at the start": (Line("one", True), None, None, Trigger.START, Action.OBEY),
    "the hold was ended": (Line("one"), HELD, None, Trigger.OTHER_PROCESS, Action.UNHOLD),
    "follow ends it": (Line("two", True), HELD, None, Trigger.FOLLOW, Action.READ),
    # what the layers hold
    "the first": (None, None, ONE, Trigger.START, Action.PUBLISH),
    "the first is bad": (None, None, BAD, Trigger.START, Action.REFUSE),
    "another": (None, ONE, TWO, Trigger.FILE_CHANGE, Action.PUBLISH),
    "another that is bad": (None, ONE, BAD, Trigger.CALL, Action.REFUSE),
    "the same": (None, ONE, ONE, Trigger.POLL, Action.CONFIRM),
    "another while one is held": (None, HELD, TWO, Trigger.FILE_CHANGE, Action.KEEP),
    "the same while it is held": (None, HELD, ONE, Trigger.CALL, Action.KEEP),
    "an author's while one is held": (None, HELD, TWO, Trigger.CHANGE, Action.KEEP),
    "a bad one while one is held": (None, HELD, BAD, Trigger.POLL, Action.REFUSE),
    "follow": (None, HELD, TWO, Trigger.FOLLOW, Action.PUBLISH),
    "follow to the same": (None, HELD, ONE, Trigger.FOLLOW, Action.PUBLISH),
    "follow to a bad one": (None, HELD, BAD, Trigger.FOLLOW, Action.REFUSE),
}


@pytest.mark.parametrize("case", TABLE)
def test_a_publication_is_decided_by_the_table(case: str) -> None:
    entry, live, candidate, trigger, action = TABLE[case]
    assert decide(entry, live, candidate, trigger) is action


def test_another_graph_revision_of_the_same_release_is_published() -> None:
    graph = weakref.ref(Line)  # anything that can be attached
    before, after = State("one", {graph: "a"}), State("one", {graph: "b"})
    assert decide(None, before, after, Trigger.FILE_CHANGE) is Action.PUBLISH
    assert decide(None, after, after, Trigger.FILE_CHANGE) is Action.CONFIRM


@pytest.mark.parametrize("trigger", [t for t in Trigger if t is not Trigger.FOLLOW])
def test_only_follow_ends_a_hold(trigger: Trigger) -> None:
    assert decide(None, HELD, TWO, trigger) is Action.KEEP
    assert decide(Line("two", True), HELD, None, trigger) is Action.OBEY
