"""Live graphs inside other graphs, plain and live."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command

from tests.live_graph_fakes import FakeFeed, Said, asks, live, releases, talks, thread
from yamlgraph_prompts._live import LiveGraph
from yamlgraph_prompts.errors import GraphChanged

START_SAID: Any = {"said": []}


class Owner:
    """A LivePrompts."""


OWNER = Owner()


def around(child: Any, *, before: Any = None) -> StateGraph:
    """A graph whose first node calls `before` and whose second is `child`."""

    def first(state: Said) -> Said:
        if before:
            before()
        return {"said": []}

    graph = StateGraph(Said).add_node("before", first).add_edge(START, "before")
    return graph.add_node("child", child).add_edge("before", "child")


def invoking(child: Any) -> Any:
    """A node that calls `child` itself, without handing its config on."""

    def node(state: Said) -> Said:
        return {"said": child.invoke({"said": []})["said"]}

    return node


# In a plain parent


def test_in_a_plain_parent_every_run_takes_the_newest() -> None:
    child, feed = live()
    parent = around(child).compile()
    assert releases(parent.invoke(START_SAID)) == ["r1", "r1"]
    feed.publish("r2")
    assert releases(parent.invoke(START_SAID)) == ["r2", "r2"]


def test_in_a_plain_parent_it_is_seen_as_a_subgraph() -> None:
    child, feed = live()
    parent = around(child).compile()
    assert [(name, graph) for name, graph in parent.get_subgraphs()] == [("child", child)]
    assert {"child:a", "child:b"} < set(parent.get_graph(xray=True).nodes)
    feed.source = lambda release: talks(release, "new")
    feed.publish("r2", "g2")
    assert "child:new" in str(parent.get_graph(xray=True).nodes) or "new" in str(
        parent.get_graph(xray=1).nodes
    )


async def test_in_a_plain_parent_its_events_are_streamed() -> None:
    child, _ = live()
    parent = around(child).compile()
    seen = [
        (space[0].partition(":")[0], *chunk)
        for space, chunk in parent.stream(START_SAID, subgraphs=True, stream_mode="updates")
        if space
    ]
    assert seen == [("child", "a"), ("child", "b")]
    aseen = [c async for c in parent.astream(START_SAID, subgraphs=True, stream_mode="updates")]
    assert len(aseen) == 4


@pytest.mark.parametrize("node", [lambda child: child, invoking], ids=["node", "called"])
def test_a_resumed_plain_parent_resumes_the_child_on_its_own_release(node: Any) -> None:
    child, feed = live(asks)
    parent = around(node(child)).compile(checkpointer=InMemorySaver())
    parent.invoke(START_SAID, thread())
    feed.publish("r2")
    said = parent.invoke(Command(resume="yes"), thread())["said"]
    assert said[-3:] == ["first@r1", "yes@r1", "last@r1"]


async def test_a_resumed_plain_parent_resumes_the_child_asynchronously() -> None:
    child, feed = live(asks)
    parent = around(child).compile(checkpointer=InMemorySaver())
    await parent.ainvoke(START_SAID, thread())
    feed.publish("r2")
    said = (await parent.ainvoke(Command(resume="yes"), thread()))["said"]
    assert said[-3:] == ["first@r1", "yes@r1", "last@r1"]


def test_two_children_called_by_one_node_each_resume_on_their_own_release() -> None:
    one, first = live(asks, release="one-1")
    two, second = live(asks, release="two-1")

    def node(state: Said) -> Said:
        return {"said": one.invoke({"said": []})["said"] + two.invoke({"said": []})["said"]}

    parent = around(node).compile(checkpointer=InMemorySaver())
    parent.invoke(START_SAID, thread())
    first.publish("one-2")
    parent.invoke(Command(resume="a"), thread())
    second.publish("two-2")
    said = parent.invoke(Command(resume="b"), thread())["said"]
    assert said == [
        *["first@one-1", "a@one-1", "last@one-1"],
        *["first@two-1", "b@two-1", "last@two-1"],
    ]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_child_streamed_by_a_node_streams_alike_when_it_is_resumed(way: str) -> None:
    child, feed = live(asks)
    seen: list[Any] = []

    async def streaming(state: Said) -> Said:
        seen.clear()
        if way == "stream":
            seen.extend(child.stream({"said": []}))
        else:
            seen.extend([chunk async for chunk in child.astream({"said": []})])
        return {"said": []}

    parent = around(streaming).compile(checkpointer=InMemorySaver())
    await parent.ainvoke(START_SAID, thread())
    feed.publish("r2")
    await parent.ainvoke(Command(resume="yes"), thread())
    assert seen[-2:] == [{"ask": {"said": ["yes@r1"]}}, {"last": {"said": ["last@r1"]}}]


def test_the_state_of_an_interrupted_child_is_shown_and_updated_through_the_parent() -> None:
    child, feed = live(asks)
    saver = InMemorySaver()
    parent = around(child).compile(checkpointer=saver)
    parent.invoke(START_SAID, thread())
    feed.source = talks
    feed.publish("r2", "g2")
    inner = parent.get_state(thread(), subgraphs=True).tasks[0].state
    assert inner.next == ("ask",)
    place = parent.update_state(inner.config, {"said": ["edited"]}, as_node="first")
    assert saver.get_tuple(place).metadata["prompts_release"] == "r1"
    parent.invoke(None, thread())
    said = parent.invoke(Command(resume="yes"), thread())["said"]
    assert said[-2:] == ["yes@r1", "last@r1"]


def test_a_child_with_its_own_history_keeps_its_pin() -> None:
    child, feed = live(asks, checkpointer=True, pin="thread")
    parent = around(child).compile(checkpointer=InMemorySaver())
    parent.invoke(START_SAID, thread())
    parent.invoke(Command(resume="yes"), thread())
    feed.publish("r2")
    parent.invoke(START_SAID, thread())
    said = parent.invoke(Command(resume="again"), thread())["said"]
    assert set(releases({"said": said})) == {"r1"}


def test_a_childs_waiting_node_that_is_gone_is_graph_changed() -> None:
    saver = InMemorySaver()
    child, _ = live(asks)
    around(child).compile(checkpointer=saver).invoke(START_SAID, thread())
    child, _ = live(lambda release: asks(release, "renamed"), graph="g2")
    with pytest.raises(GraphChanged):
        around(child).compile(checkpointer=saver).invoke(Command(resume="yes"), thread())


def test_a_child_called_on_a_thread_of_its_own_is_a_run_of_its_own() -> None:
    child, feed = live(asks, checkpointer=InMemorySaver())

    def node(state: Said) -> Said:
        given: Any = Command(resume="yes") if feed.live.release == "r2" else {"said": []}
        return {"said": child.invoke(given, thread("inner"))["said"]}

    parent = around(node).compile()
    parent.invoke(START_SAID)
    feed.publish("r2")
    assert parent.invoke(START_SAID)["said"] == ["first@r1", "yes@r1", "last@r1"]


# Live in live


def family(*, same: bool, node: Any = lambda child: child, **options: Any) -> Any:
    """A live parent around a live child; the child's feed swaps after the parent has started."""
    child, inner = live(owner=OWNER)
    swap: list[str] = ["r2"]

    def source(release: str) -> StateGraph:
        def before() -> None:
            if swap:
                inner.publish(swap[0])

        graph = around(node(child), before=before)
        graph.add_node("after", lambda state: {"said": [f"after@{release}"]})
        return graph.add_edge("child", "after")

    parent, outer = live(source, owner=OWNER if same else Owner(), **options)
    return parent, outer, child, inner


@pytest.mark.parametrize("node", [lambda child: child, invoking], ids=["node", "called"])
def test_a_child_of_the_same_owner_takes_its_parents_release(node: Any) -> None:
    parent, outer, _, inner = family(same=True, node=node)
    assert releases(parent.invoke(START_SAID)) == ["r1", "r1", "r1"]
    outer.publish("r2")
    assert inner.live.release == "r2"
    assert releases(parent.invoke(START_SAID)) == ["r2", "r2", "r2"]


async def test_a_child_of_the_same_owner_takes_its_parents_release_asynchronously() -> None:
    parent, *_ = family(same=True)
    assert releases(await parent.ainvoke(START_SAID)) == ["r1", "r1", "r1"]


def test_a_child_of_another_owner_takes_its_own_live_release() -> None:
    parent, *_ = family(same=False)
    assert releases(parent.invoke(START_SAID)) == ["r2", "r2", "r1"]


def test_a_grandchild_takes_the_release_of_its_grandparent_through_another_owner() -> None:
    grandchild, inner = live(owner=OWNER)
    middle, _ = live(lambda release: around(grandchild), owner=Owner())

    def source(release: str) -> StateGraph:
        return around(middle, before=lambda: inner.publish("r2"))

    parent, _ = live(source, owner=OWNER)
    assert releases(parent.invoke(START_SAID)) == ["r1", "r1"]


def test_a_child_does_not_take_its_parents_release_for_a_callers_wish() -> None:
    child, _ = live(owner=Owner(), allow_release_override=True, release="its-own")
    parent, _ = live(lambda release: around(child), owner=Owner())
    assert releases(parent.invoke(START_SAID)) == ["its-own", "its-own"]


def test_live_in_live_resumes_on_the_pinned_release() -> None:
    child, inner = live(asks, owner=OWNER)
    parent, outer = live(
        lambda release: around(child), owner=OWNER, checkpointer=(saver := InMemorySaver())
    )
    parent.invoke(START_SAID, thread())
    for feed in (inner, outer):
        feed.publish("r2", "g2")
    assert parent.get_state(thread(), subgraphs=True).tasks[0].state.next == ("ask",)
    said = parent.invoke(Command(resume="yes"), thread())["said"]
    assert said == ["first@r1", "yes@r1", "last@r1"]
    assert inner.fetched[-1] == ("r1", "g1")
    spaces = {
        (saved.config["configurable"]["checkpoint_ns"][:5], saved.metadata["prompts_graph"])
        for saved in saver.list({"configurable": {"thread_id": "t"}})
    }
    assert spaces == {("", "g1"), ("child", "g1")}


def test_each_graphs_checkpoints_carry_its_own_graph_revision() -> None:
    child, _ = live(owner=OWNER, graph="child-1")
    saver = InMemorySaver()
    parent, _ = live(
        lambda release: around(child), owner=OWNER, graph="parent-1", checkpointer=saver
    )
    parent.invoke(START_SAID, thread())
    seen = {
        (saved.config["configurable"]["checkpoint_ns"][:5], saved.metadata["prompts_graph"])
        for saved in saver.list({"configurable": {"thread_id": "t"}})
    }
    assert seen == {("", "parent-1"), ("child", "child-1")}


def test_a_remote_graph_is_sent_plain_strings_only() -> None:
    seen: list[Any] = []

    class Client:
        class runs:
            @staticmethod
            def stream(**kwargs: Any) -> Any:
                seen.append(kwargs["config"])
                return iter(())

    remote = RemoteGraph("agent", sync_client=Client(), client=Client())  # type: ignore[arg-type]

    def call(state: Said, config: RunnableConfig) -> Said:
        list(remote.stream({}, config))
        return {"said": []}

    app, _ = live(lambda release: around(call))
    app.invoke(START_SAID)
    assert not [key for key in seen[0]["configurable"] if "prompts" in key]
    assert json.loads(json.dumps(seen[0]["metadata"]))["prompts_release"] == "r1"


def test_a_feed_is_asked_for_nothing_when_the_release_is_the_live_one() -> None:
    child, inner = live(owner=OWNER)
    parent, outer = live(lambda release: around(child), owner=OWNER)
    parent.invoke(START_SAID)
    assert (inner.fetched, outer.fetched) == ([], [])
    assert isinstance(inner, FakeFeed)
    assert isinstance(child, LiveGraph)
