"""Pins: which release a run takes when the live one has moved on, across savers and restarts."""

from __future__ import annotations

import copy
import logging
import pickle
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

from tests.live_graph_fakes import (
    CountingSaver,
    FakeFeed,
    Said,
    asks,
    live,
    releases,
    talks,
    thread,
)
from yamlgraph_prompts._live import LiveGraph
from yamlgraph_prompts._live.pinning import RunRelease
from yamlgraph_prompts.errors import GraphChanged, ReleaseNotFound

START_SAID: Any = {"said": []}


def interrupted(**options: Any) -> tuple[LiveGraph, FakeFeed, CountingSaver]:
    """A run that waits for an answer on r1 while r2 has gone live."""
    saver = CountingSaver()
    app, feed = live(asks, checkpointer=saver, **options)
    app.invoke(START_SAID, thread())
    feed.publish("r2")
    saver.reads = 0
    return app, feed, saver


def pair(saver: Any, config: Any = None) -> tuple[Any, Any]:
    metadata = saver.get_tuple(config or thread()).metadata
    return metadata.get("prompts_release"), metadata.get("prompts_graph")


# pin="run"


def test_an_interrupted_run_resumes_on_the_release_that_it_started_with() -> None:
    app, _, _ = interrupted()
    said = app.invoke(Command(resume="yes"), thread())["said"]
    assert said == ["first@r1", "yes@r1", "last@r1"]


async def test_an_interrupted_run_resumes_on_its_release_asynchronously() -> None:
    app, feed = live(asks, checkpointer=CountingSaver())
    await app.ainvoke(START_SAID, thread())
    feed.publish("r2")
    said = (await app.ainvoke(Command(resume="yes"), thread()))["said"]
    assert said == ["first@r1", "yes@r1", "last@r1"]


@pytest.mark.filterwarnings("ignore::Warning")
async def test_every_way_to_run_resumes_on_the_pinned_release() -> None:
    async def each() -> Any:
        for number, way in enumerate(
            ["stream", "astream", "batch", "abatch", "events", "v3", "av3"]
        ):
            saver = CountingSaver()
            app, feed = live(asks, checkpointer=saver)
            await app.ainvoke(START_SAID, thread(str(number)))
            feed.publish("r2")
            yield way, app, Command(resume="yes"), thread(str(number))

    async for way, app, answer, config in each():
        match way:
            case "stream":
                list(app.stream(answer, config))
            case "astream":
                assert [chunk async for chunk in app.astream(answer, config)]
            case "batch":
                app.batch([answer], [config])
            case "abatch":
                await app.abatch([answer], [config])
            case "events":
                assert [e async for e in app.astream_events(answer, config, version="v2")]
            case "v3":
                assert app.stream_events(answer, config, version="v3").output
            case _:
                assert await (await app.astream_events(answer, config, version="v3")).output()
        said = app.get_state(config).values["said"]
        assert said == ["first@r1", "yes@r1", "last@r1"], way


def test_a_fresh_input_reads_no_checkpoint_and_a_resume_one() -> None:
    saver = CountingSaver()
    app, feed = live(asks, checkpointer=saver)
    plain = feed.live.compiled
    plain.invoke(START_SAID, thread("plain"))
    fresh, saver.reads = saver.reads, 0
    plain.invoke(Command(resume="x"), thread("plain"))
    resume, saver.reads = saver.reads, 0
    app.invoke(START_SAID, thread())
    assert saver.reads == fresh
    saver.reads = 0
    app.invoke(Command(resume="x"), thread())
    assert saver.reads == resume + 1


def test_a_fresh_input_on_an_interrupted_thread_takes_the_live_release() -> None:
    app, _, _ = interrupted()
    said = app.invoke(START_SAID, thread())["said"]
    assert said == ["first@r1", "first@r2"]


def test_a_command_to_a_finished_thread_is_a_new_run_on_the_live_release() -> None:
    app, feed = live(checkpointer=InMemorySaver())
    app.invoke(START_SAID, thread())
    feed.publish("r2")
    said = app.invoke(Command(goto="b"), thread())["said"]
    assert said == ["a@r1", "b@r1", "b@r2"]


def test_a_command_to_a_new_thread_takes_the_live_release() -> None:
    app, feed = live(checkpointer=InMemorySaver())
    feed.publish("r2")
    said = app.invoke(Command(update={"said": ["x@r2"]}, goto="b"), thread())
    assert set(releases(said)) == {"r2"}


def test_a_run_that_failed_goes_on_with_its_release() -> None:
    broken = [True]

    def source(release: str) -> StateGraph:
        def second(state: Said) -> Said:
            if broken:
                raise ValueError("broken")
            return {"said": [f"second@{release}"]}

        graph = talks(release, "first").add_node("second", second)
        return graph.add_edge("first", "second")

    app, feed = live(source, checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="broken"):
        app.invoke(START_SAID, thread())
    feed.publish("r2")
    broken.clear()
    assert releases(app.invoke(None, thread())) == ["r1", "r1"]


def test_a_static_breakpoint_resumes_on_its_release() -> None:
    app, feed = live(checkpointer=InMemorySaver(), interrupt_before=["b"])
    app.invoke(START_SAID, thread())
    feed.publish("r2")
    assert releases(app.invoke(None, thread())) == ["r1", "r1"]


def test_the_same_run_id_goes_on_with_its_release_and_another_does_not() -> None:
    saver = CountingSaver()
    app, feed = live(checkpointer=saver, interrupt_before=["b"])
    app.invoke(START_SAID, thread(run_id="one"))
    feed.publish("r2")
    assert releases(app.invoke(START_SAID, thread(run_id="one"))) == ["r1", "r1"]
    app.invoke(START_SAID, thread(run_id="two"))
    assert pair(saver)[0] == "r2"


def test_the_servers_first_attempt_costs_no_read() -> None:
    saver = CountingSaver()
    app, _ = live(checkpointer=saver)
    reads = []
    for config in (thread("x"), thread("y", run_id="1")):
        saver.reads = 0
        app.invoke(START_SAID, {**config, "metadata": {"run_attempt": 1}})
        reads.append(saver.reads)
    assert reads[0] == reads[1]


def test_a_thread_from_before_this_plugin_takes_the_live_release() -> None:
    saver = InMemorySaver()
    asks("old").compile(checkpointer=saver).invoke(START_SAID, thread())
    app, feed = live(asks, checkpointer=saver)
    feed.publish("r2")
    said = app.invoke(Command(resume="yes"), thread())["said"]
    assert said == ["first@old", "yes@r2", "last@r2"]


def test_a_missing_release_is_raised_by_a_run_and_only_warned_of_when_reading(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, feed, _ = interrupted()
    feed.known.clear()
    with pytest.raises(ReleaseNotFound):
        app.invoke(Command(resume="yes"), thread())
    with caplog.at_level(logging.WARNING, "yamlgraph_prompts"):
        assert app.get_state(thread()).next == ("ask",)
        assert len(list(app.get_state_history(thread()))) == 3
    assert [record.name for record in caplog.records] == ["yamlgraph_prompts"] * 2
    assert "r1" in caplog.text


# pin="thread" and pin="none"


def test_a_pinned_thread_stays_on_its_first_release() -> None:
    saver = CountingSaver()
    app, feed = live(checkpointer=saver, pin="thread")
    app.invoke(START_SAID, thread())
    feed.publish("r2")
    assert releases(app.invoke(START_SAID, thread())) == ["r1"] * 4
    assert releases(app.invoke(START_SAID, thread("other"))) == ["r2"] * 2
    feed.publish("r3")
    saver.reads = 0
    assert set(releases(app.invoke(START_SAID, thread()))) == {"r1"}
    ours, saver.reads = saver.reads, 0
    feed.live.compiled.invoke(START_SAID, thread())
    assert ours == saver.reads + 1


def test_a_pinned_thread_without_a_checkpointer_is_live() -> None:
    app, feed = live(pin="thread")
    feed.publish("r2")
    assert releases(app.invoke(START_SAID)) == ["r2", "r2"]


def test_without_a_pin_a_resume_takes_the_live_release() -> None:
    app, _, _ = interrupted(pin="none")
    said = app.invoke(Command(resume="yes"), thread())["said"]
    assert said == ["first@r1", "yes@r2", "last@r2"]


# Clients


@pytest.mark.parametrize("key", ["prompts_release", "prompts_graph"])
@pytest.mark.parametrize("value", ["r1", {"release": "r1"}])
def test_a_release_chosen_by_a_client_is_ignored(key: str, value: Any) -> None:
    saver = InMemorySaver()
    app, feed = live(checkpointer=saver)
    feed.publish("r2")
    config = {**thread(**{key: value}), "metadata": {key: value}, key: value}
    assert releases(app.invoke(START_SAID, config)) == ["r2", "r2"]
    assert pair(saver) == ("r2", "g1")


def test_an_allowed_override_chooses_the_release_of_a_fresh_run() -> None:
    app, feed = live(allow_release_override=True)
    feed.publish("r2")
    chosen: Any
    for chosen in (
        {"configurable": {"prompts_release": "r1"}},
        {"metadata": {"prompts_release": "r1"}},
    ):
        assert releases(app.invoke(START_SAID, chosen)) == ["r1", "r1"]
    assert releases(app.invoke(START_SAID)) == ["r2", "r2"]
    with pytest.raises(ReleaseNotFound):
        app.invoke(START_SAID, {"metadata": {"prompts_release": "nonsense"}})


def test_on_a_resume_even_an_allowed_override_is_ignored() -> None:
    app, _, _ = interrupted(allow_release_override=True)
    config = thread(prompts_release="r2")
    assert releases(app.invoke(Command(resume="yes"), config)) == ["r1"] * 3


def test_the_metadata_of_a_checkpoint_cannot_be_forged_by_an_update() -> None:
    app, feed = live(checkpointer=(saver := InMemorySaver()))
    feed.publish("r2")
    forged = {**thread(), "metadata": {"prompts_release": "r1", "prompts_graph": "g9"}}
    app.update_state(forged, START_SAID, as_node="a")
    assert pair(saver) == (None, None)
    app.invoke(START_SAID, thread())
    app.update_state(forged, {"said": ["x"]}, as_node="b")
    assert pair(saver) == ("r2", "g1")


# State, forks, time travel


def test_state_is_shown_with_the_graph_that_the_thread_runs_on() -> None:
    app, feed, _ = interrupted()
    feed.source = lambda release: talks(release, "other")
    feed.publish("r3", "g3")
    state = app.get_state(thread())
    assert state.next == ("ask",)
    assert state.interrupts[0].value == "question of r1"
    assert [one.next for one in app.get_state_history(thread())] == [
        ("ask",),
        ("first",),
        ("__start__",),
    ]


async def test_state_is_shown_asynchronously() -> None:
    app, feed, _ = interrupted()
    feed.source = lambda release: talks(release, "other")
    feed.publish("r3", "g3")
    assert (await app.aget_state(thread())).next == ("ask",)
    assert [one.next async for one in app.aget_state_history(thread(), limit=1)] == [("ask",)]


def test_state_methods_without_a_checkpointer_complain_as_langgraph_does() -> None:
    app, _ = live()
    with pytest.raises(ValueError, match="No checkpointer set"):
        app.get_state(thread())
    with pytest.raises(ValueError, match="No checkpointer set"):
        app.update_state(thread(), {"said": ["x"]})


@pytest.mark.parametrize("restart", [False, True])
def test_an_update_keeps_the_threads_pin(restart: bool) -> None:
    app, feed, saver = interrupted()
    if restart:
        app, feed = live(asks, checkpointer=saver, release="r2")
        feed.publish("r1")
        feed.publish("r2")
    app.update_state(thread(), {"said": ["edited"]}, as_node="first")
    assert pair(saver) == ("r1", "g1")
    app.invoke(None, thread())
    said = app.invoke(Command(resume="yes"), thread())["said"]
    assert said == ["first@r1", "edited", "yes@r1", "last@r1"]


async def test_an_async_update_keeps_the_threads_pin() -> None:
    app, _, saver = interrupted()
    await app.aupdate_state(thread(), {"said": ["edited"]}, as_node="first")
    assert pair(saver) == ("r1", "g1")


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_copied_checkpoint_keeps_the_threads_pin(way: str) -> None:
    app, _, saver = interrupted()
    if way == "sync":
        fork = app.update_state(thread(), None, as_node="__copy__")
    else:
        fork = await app.aupdate_state(thread(), None, as_node="__copy__")
    assert pair(saver, fork) == ("r1", "g1")


def test_a_fork_runs_on_the_release_of_the_checkpoint_that_it_forks() -> None:
    saver = InMemorySaver()
    app, feed = live(checkpointer=saver)
    app.invoke(START_SAID, thread())
    feed.publish("r2")
    app.invoke(START_SAID, thread())
    old = next(
        one
        for one in app.get_state_history(thread())
        if one.next == ("b",) and one.metadata["prompts_release"] == "r1"
    )
    fork = app.update_state(old.config, {"said": ["edited@r1"]}, as_node="a")
    feed.publish("r3")
    assert releases(app.invoke(None, fork)) == ["r1", "r1", "r1"]


def test_time_travel_runs_on_the_release_of_the_addressed_checkpoint() -> None:
    app, feed = live(checkpointer=InMemorySaver())
    for release in ("r1", "r2"):
        feed.publish(release)
        app.invoke(START_SAID, thread())
    history = [one for one in app.get_state_history(thread()) if one.next == ("b",)]
    feed.publish("r3")
    assert [releases(app.invoke(None, one.config))[-1] for one in history] == ["r2", "r1"]


# Restart


@pytest.mark.parametrize("with_old_graph", [True, False])
def test_after_a_restart_a_run_resumes_on_its_release(tmp_path: Path, with_old_graph: bool) -> None:
    path = str(tmp_path / "threads.sqlite")
    with SqliteSaver.from_conn_string(path) as saver:
        app, _ = live(asks, checkpointer=saver)
        app.invoke(START_SAID, thread())
    with SqliteSaver.from_conn_string(path) as saver:
        app, feed = live(asks, checkpointer=saver, graph="g1" if with_old_graph else "g2")
        feed.publish("r2")
        said = app.invoke(Command(resume="yes"), thread())["said"]
        assert said == ["first@r1", "yes@r1", "last@r1"]
        assert pair(saver) == ("r1", feed.live.graph)


async def test_after_a_restart_an_async_run_resumes_on_its_release(tmp_path: Path) -> None:
    path = str(tmp_path / "threads.sqlite")
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        app, _ = live(asks, checkpointer=saver)
        await app.ainvoke(START_SAID, thread())
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        app, feed = live(asks, checkpointer=saver)
        feed.publish("r2")
        assert (await app.aget_state(thread())).next == ("ask",)
        await app.aupdate_state(thread(), {"said": ["edited"]}, as_node="first")
        await app.ainvoke(None, thread())
        said = (await app.ainvoke(Command(resume="yes"), thread()))["said"]
        assert said == ["first@r1", "edited", "yes@r1", "last@r1"]


def test_a_waiting_node_that_is_gone_is_graph_changed_and_not_a_lost_answer() -> None:
    saver = InMemorySaver()
    app, _ = live(asks, checkpointer=saver)
    app.invoke(START_SAID, thread())
    app, feed = live(lambda r: asks(r, node="renamed"), checkpointer=saver, graph="g2")
    with pytest.raises(GraphChanged) as refused:
        app.invoke(Command(resume="yes"), thread())
    assert refused.value.missing == ("ask",)
    assert "ask" in str(refused.value)
    feed.source = asks
    feed.known.clear()
    feed.publish("r1", "g3")
    said = app.invoke(Command(resume="yes"), thread())["said"]
    assert said == ["first@r1", "yes@r1", "last@r1"]


def test_it_is_also_seen_where_the_graphs_revision_does_not_tell() -> None:
    saver = CountingSaver()
    app, _ = live(asks, checkpointer=saver)
    app.invoke(START_SAID, thread())
    app, _ = live(lambda r: asks(r, node="renamed"), checkpointer=saver)
    saver.reads = 0
    with pytest.raises(GraphChanged, match="ask"):
        app.invoke(Command(resume="yes"), thread())
    assert saver.reads == 1


def test_a_fresh_input_does_not_care_for_a_node_that_is_gone() -> None:
    saver = InMemorySaver()
    app, _ = live(asks, checkpointer=saver)
    app.invoke(START_SAID, thread())
    app, _ = live(talks, checkpointer=saver, graph="g2")
    assert app.invoke(START_SAID, thread())["said"] == ["first@r1", "a@r1", "b@r1"]


@pytest.mark.parametrize("pin", ["run", "thread", "none"])
def test_pending_sends_and_joins_are_looked_at_too(pin: Any) -> None:
    def source(release: str, sent: str = "sent", joined: str = "joined") -> StateGraph:
        graph = StateGraph(Said)
        for name in ("left", "right", sent, joined):
            graph.add_node(name, lambda state, name=name: {"said": [name]})
        graph.add_edge(START, "left").add_edge(START, "right")
        graph.add_edge(["left", "right"], joined)
        return graph.add_conditional_edges("left", lambda state: [Send(sent, {})], [sent])

    saver = InMemorySaver()
    app, _ = live(source, checkpointer=saver, interrupt_after=["left"])
    app.invoke(START_SAID, thread())
    assert set(app.get_state(thread()).next) == {"sent", "joined"}
    app, _ = live(lambda r: source(r, "sent2", "joined2"), checkpointer=saver, graph="g2", pin=pin)
    with pytest.raises(GraphChanged) as refused:
        app.invoke(None, thread())
    assert refused.value.missing == ("joined", "sent")


def test_a_waiting_node_inside_a_subgraph_that_is_gone_is_graph_changed() -> None:
    def source(node: str) -> Any:
        def graph(release: str) -> StateGraph:
            return (
                StateGraph(Said)
                .add_node("child", asks(release, node).compile())
                .add_edge(START, "child")
            )

        return graph

    saver = InMemorySaver()
    app, _ = live(source("ask"), checkpointer=saver)
    app.invoke(START_SAID, thread())
    app, _ = live(source("renamed"), checkpointer=saver, graph="g2")
    with pytest.raises(GraphChanged) as refused:
        app.invoke(Command(resume="yes"), thread())
    assert refused.value.missing == ("child|ask",)
    app, _ = live(source("ask"), checkpointer=saver, graph="g3")
    assert app.invoke(Command(resume="yes"), thread())["said"][-1] == "last@r1"


def test_a_checkpoint_says_the_pair_and_the_arm_and_nothing_else_of_ours() -> None:
    saver = InMemorySaver()
    app, feed = live(checkpointer=saver)
    feed.publish("r2", "g2")
    app.invoke(START_SAID, {**thread(colour="red"), "metadata": {"who": "me"}})
    for saved in saver.list(thread()):
        assert (saved.metadata["prompts_release"], saved.metadata["prompts_graph"]) == ("r2", "g2")
        ours = {key for key in saved.metadata if "prompts" in key}
        assert ours == {"prompts_release", "prompts_graph", "prompts_arm"}
        assert saved.metadata["prompts_arm"] == "A"
        assert (saved.metadata["who"], saved.metadata["colour"]) == ("me", "red")


def test_nothing_but_plain_strings_leaves_a_run() -> None:
    app, _ = live(checkpointer=InMemorySaver())
    modes = ["debug", "checkpoints", "tasks", "values", "updates"]
    chunks = list(app.stream(START_SAID, thread(), stream_mode=modes, subgraphs=True))
    assert len(chunks) > 10
    assert b"RunRelease" not in pickle.dumps(chunks)
    carried = RunRelease("r1", owner=threading.Lock())
    assert type(pickle.loads(pickle.dumps(carried))) is str
    assert orjson.dumps({"release": carried}) == b'{"release":"r1"}'
    assert type(JsonPlusSerializer().loads_typed(JsonPlusSerializer().dumps_typed(carried))) is str
    assert type(app.get_state(thread()).metadata["prompts_release"]) is str
    assert copy.deepcopy({"a": carried})["a"] is carried
