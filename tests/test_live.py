"""The handle: a CompiledStateGraph whose every run uses one build and whose next run the newest."""

from __future__ import annotations

import asyncio
import inspect
import threading
import warnings
from contextlib import suppress
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import Runnable, RunnableLambda
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import EmptyInputError
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.store.memory import InMemoryStore

from tests.live_graph_fakes import CountingSaver, FakeFeed, Said, live, releases, talks, thread
from yamlgraph_prompts._live import LiveGraph, ReleaseCache
from yamlgraph_prompts._live import graph as live_graph


def swapping(**options: Any) -> tuple[LiveGraph, FakeFeed]:
    """A live graph whose first node publishes r2 while the run is under way."""
    feeds: list[FakeFeed] = []

    def source(release: str) -> StateGraph:
        def first(state: Said) -> Said:
            if release == "r1":
                feeds[0].publish("r2")
            return {"said": [f"first@{release}"]}

        graph = StateGraph(Said).add_node("first", first).add_edge(START, "first")
        graph.add_node("second", lambda state: {"said": [f"second@{release}"]})
        return graph.add_edge("first", "second")

    app, feed = live(source, **options)
    feeds.append(feed)
    return app, feed


def test_it_is_a_compiled_state_graph_and_is_not_callable() -> None:
    app, _ = live()
    assert isinstance(app, CompiledStateGraph)
    assert isinstance(app, Pregel)
    assert not callable(app)


def test_it_never_runs_the_constructor_of_a_compiled_graph(monkeypatch: Any) -> None:
    feed = FakeFeed()
    monkeypatch.setattr(CompiledStateGraph, "__init__", lambda *a, **k: pytest.fail("was called"))
    app = LiveGraph.of(feed, None, feed.live.compiled)
    assert releases(app.invoke({"said": []})) == ["r1", "r1"]


def test_the_next_run_uses_the_newest_release() -> None:
    app, feed = live()
    assert releases(app.invoke({"said": []})) == ["r1", "r1"]
    feed.publish("r2")
    assert releases(app.invoke({"said": []})) == ["r2", "r2"]
    feed.publish("r1")
    assert releases(app.invoke({"said": []})) == ["r1", "r1"]


def test_prompts_and_release_are_told() -> None:
    app, feed = live()
    assert app.prompts == "the prompts"
    assert app.release == "release r1"
    feed.publish("r2")
    assert app.release == "release r2"


async def test_the_feed_hears_of_every_run_once() -> None:
    app, feed = live()
    app.invoke({"said": []})
    await app.ainvoke({"said": []})
    list(app.stream({"said": []}))
    app.batch([{"said": []}, {"said": []}])
    assert feed.runs == ["r1"] * 5


def test_invoke_stays_on_the_release_that_it_starts_with() -> None:
    app, feed = swapping()
    assert releases(app.invoke({"said": []})) == ["r1", "r1"]
    assert feed.live.release == "r2"


async def test_ainvoke_stays_on_the_release_that_it_starts_with() -> None:
    app, _ = swapping()
    assert releases(await app.ainvoke({"said": []})) == ["r1", "r1"]


def test_stream_holds_its_build_until_it_is_exhausted() -> None:
    app, feed = live()
    chunks = app.stream({"said": []}, stream_mode="updates")
    feed.publish("r2")
    said = [next(chunks)["a"]]
    feed.publish("r3")
    said += [next(chunks)["b"]]
    assert [releases(one) for one in said] == [["r1"], ["r1"]]
    assert list(chunks) == []


async def test_astream_holds_its_build_until_it_is_exhausted() -> None:
    app, feed = live()
    said = []
    async for chunk in app.astream({"said": []}, stream_mode="values"):
        feed.publish("r2")
        said = chunk["said"]
    assert said == ["a@r1", "b@r1"]


async def test_an_astream_that_is_closed_early_closes_the_run() -> None:
    app, _ = live()
    chunks = app.astream({"said": []}, stream_mode="updates")
    assert "a" in await anext(chunks)
    await chunks.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


@pytest.mark.filterwarnings("ignore::Warning")
@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_astream_events_stays_on_one_release(version: str) -> None:
    app, _ = swapping()
    events = [event async for event in app.astream_events({"said": []}, version=version)]
    assert "second@r1" in str(events[-1]["data"]["output"])
    assert {event["metadata"]["prompts_release"] for event in events[1:]} == {"r1"}


@pytest.mark.filterwarnings("ignore::Warning")
def test_stream_events_v3_stays_on_one_release() -> None:
    app, _ = swapping()
    assert releases(app.stream_events({"said": []}, version="v3").output) == ["r1", "r1"]


@pytest.mark.filterwarnings("ignore::Warning")
async def test_astream_events_v3_is_awaited_and_stays_on_one_release() -> None:
    app, _ = swapping()
    run = await app.astream_events({"said": []}, version="v3")
    assert releases(await run.output()) == ["r1", "r1"]


@pytest.mark.filterwarnings("ignore::Warning")
async def test_astream_log_stays_on_one_release() -> None:
    app, _ = swapping()
    patches = [patch async for patch in app.astream_log({"said": []})]
    assert "r2" not in str([p for p in patches if "/streamed_output/-" in str(p)])
    assert "second@r1" in str(patches)


def test_a_batch_takes_one_release_for_all_its_items() -> None:
    app, _ = swapping()
    done = app.batch([{"said": []}] * 6, {"max_concurrency": 1})
    assert [releases(one) for one in done] == [["r1", "r1"]] * 6
    assert releases(app.invoke({"said": []})) == ["r2", "r2"]


async def test_an_abatch_takes_one_release_for_all_its_items() -> None:
    app, _ = swapping()
    done = await app.abatch([{"said": []}] * 6, {"max_concurrency": 1})
    assert [releases(one) for one in done] == [["r1", "r1"]] * 6


async def test_batches_as_completed_take_one_release_for_all_their_items() -> None:
    app, _ = swapping()
    done = list(app.batch_as_completed([{"said": []}] * 3, {"max_concurrency": 1}))
    assert [releases(one) for _, one in done] == [["r1", "r1"]] * 3
    app, _ = swapping()
    adone = [x async for x in app.abatch_as_completed([{"said": []}] * 3, {"max_concurrency": 1})]
    assert [releases(one) for _, one in adone] == [["r1", "r1"]] * 3


def test_map_takes_one_release_and_stays_live() -> None:
    app, _ = swapping()
    each = app.map()
    assert [releases(one) for one in each.invoke([{"said": []}] * 3)] == [["r1", "r1"]] * 3
    assert [releases(one) for one in each.invoke([{"said": []}])] == [["r2", "r2"]]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda app: app.with_config(tags=["x"]),
        lambda app: app.with_config({"configurable": {"colour": "red"}}),
        lambda app: app.with_retry(),
        lambda app: app.with_fallbacks([RunnableLambda(lambda x: x)]),
        lambda app: app.with_listeners(on_end=lambda run: None),
        lambda app: app.with_types(input_type=dict),
        lambda app: app.bind(interrupt_before=[]),
        lambda app: app.pipe(RunnableLambda(lambda x: x)),
        lambda app: app | RunnableLambda(lambda x: x),
        lambda app: RunnableLambda(lambda x: x) | app,
        lambda app: (lambda x: x) | app,
        lambda app: app.copy(),
        lambda app: app.copy({"name": "other"}),
        lambda app: app.assign(more=lambda x: 1),
        lambda app: app.pick(["said"]),
    ],
)
def test_whatever_is_made_of_it_stays_live(wrap: Any) -> None:
    app, feed = live(checkpointer=None)
    made = wrap(app)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert releases(made.invoke({"said": []})) == ["r1", "r1"]
        feed.publish("r2")
        assert releases(made.invoke({"said": []})) == ["r2", "r2"]


async def test_alisteners_transform_and_atransform_stay_live() -> None:
    app, feed = live()

    async def ended(run: Any) -> None: ...

    heard = app.with_alisteners(on_end=ended)

    async def given() -> Any:
        yield {"said": []}

    for release in ("r1", "r2"):
        feed.publish(release)
        assert releases(await heard.ainvoke({"said": []})) == [release] * 2
        assert release in str(list(app.transform(iter([{"said": []}]))))
        assert release in str([chunk async for chunk in app.atransform(given())])


@pytest.mark.filterwarnings("ignore::Warning")
def test_as_a_tool_it_stays_live() -> None:
    app, feed = live()
    tool = app.as_tool(name="talk", description="talks")
    assert releases(tool.invoke({"said": []})) == ["r1", "r1"]
    feed.publish("r2")
    assert releases(tool.invoke({"said": []})) == ["r2", "r2"]


def test_with_config_gives_a_live_graph_with_those_defaults() -> None:
    app, _ = live()
    tagged = app.with_config(tags=["mine"], metadata={"who": "me"}).with_config(run_name="hello")
    assert isinstance(tagged, LiveGraph)
    assert tagged.prompts == app.prompts
    assert tagged.config["tags"] == ["mine"]
    assert app.config is None
    seen: list[Any] = []
    tagged.invoke({"said": []}, {"callbacks": [_Recorder(seen)]})
    name, tags, metadata = seen[0]
    assert (name, tags, metadata["who"]) == ("hello", ["mine"], "me")
    assert metadata["prompts_release"] == "r1"


def test_traces_carry_the_release_and_the_graph_revision() -> None:
    app, feed = live()
    feed.publish("r2", "g2")
    seen: list[Any] = []
    app.invoke({"said": []}, {"callbacks": [_Recorder(seen)], "metadata": {"mine": 1}})
    assert len(seen) == 3
    for _, _, metadata in seen:
        assert (metadata["prompts_release"], metadata["prompts_graph"]) == ("r2", "g2")
        assert metadata["mine"] == 1


def test_the_callers_config_is_not_changed() -> None:
    app, _ = live()
    config: Any = {"metadata": {"a": 1}, "configurable": {"b": 2}}
    app.invoke({"said": []}, config)
    assert config == {"metadata": {"a": 1}, "configurable": {"b": 2}}


def test_copy_keeps_what_the_server_puts_in_and_stays_live() -> None:
    app, feed = live()
    saver, store = InMemorySaver(), InMemoryStore()
    run = app.copy(update={"checkpointer": saver, "store": store, "name": "served"})
    assert isinstance(run, LiveGraph)
    assert (run.checkpointer, run.store, run.name) == (saver, store, "served")
    assert (app.checkpointer, app.name) == (None, "LangGraph")
    run.invoke({"said": []}, thread("1"))
    feed.publish("r2")
    run.invoke({"said": []}, thread("2"))
    assert saver.get_tuple(thread("1")).metadata["prompts_release"] == "r1"
    assert saver.get_tuple(thread("2")).metadata["prompts_release"] == "r2"


def test_a_copy_is_compiled_once_for_each_build() -> None:
    app, feed = live()
    run = app.copy({"name": "served"})
    first = run.builder, run.nodes
    assert run._runs.graph(feed.live) is run._runs.graph(feed.live)
    assert (run.builder, run.nodes) == first
    before = run._runs.graph(feed.live)
    feed.publish("r2")
    assert run._runs.graph(feed.live) is not before


def test_a_cache_in_a_copy_is_kept_apart_by_release() -> None:
    app, _ = live()
    assert isinstance(app.copy({"cache": InMemoryCache()}).cache, ReleaseCache)


def test_no_run_changes_the_compiled_graph() -> None:
    app, feed = live(checkpointer=InMemorySaver())
    before = dict(vars(feed.live.compiled))
    app.with_config(tags=["x"]).invoke({"said": []}, thread())
    app.copy({"name": "x"}).update_state(thread(), {"said": ["y"]}, as_node="b")
    app.name = "renamed"
    assert app.name == "renamed"
    assert vars(feed.live.compiled) == before


def test_attributes_are_kept_on_the_handle_and_survive_copies() -> None:
    app, feed = live()
    app._yamlgraph_graph_name = "greeter"
    app._yamlgraph_max_concurrency = 3
    feed.publish("r2")
    for one in (app, app.copy({"name": "x"}), app.with_config(tags=["y"])):
        assert vars(one) == {"_yamlgraph_graph_name": "greeter", "_yamlgraph_max_concurrency": 3}
        assert one._yamlgraph_graph_name == "greeter"
    assert "_yamlgraph_graph_name" not in vars(feed.live.compiled)


def test_what_a_users_own_graph_class_adds_is_on_the_handle_and_live() -> None:
    class Own(CompiledStateGraph[Any, Any, Any, Any]):
        def shout(self) -> str:
            return f"{self.motto}!"

    class Source(StateGraph[Any, Any, Any, Any]):
        def compile(self, *args: Any, **kwargs: Any) -> Any:
            made = super().compile(*args, **kwargs)
            made.__class__ = Own
            made.motto = f"of {next(iter(self.nodes))}"
            return made

    def source(release: str) -> Any:
        node = Source(Said).add_node(release, lambda state: {"said": []})
        return node.add_edge("__start__", release)

    app, feed = live(source)
    assert (app.motto, app.shout()) == ("of r1", "of r1!")
    feed.publish("r2")
    assert (app.motto, app.shout()) == ("of r2", "of r2!")
    another, _ = live()
    assert not hasattr(another, "motto")


def test_a_missing_attribute_is_an_attribute_error() -> None:
    app, _ = live()
    with pytest.raises(AttributeError, match="nonsense"):
        _ = app.nonsense


def test_setting_what_langgraph_knows_changes_the_next_run() -> None:
    app, feed = live()
    app.checkpointer = CountingSaver()
    app.invoke({"said": []}, thread())
    feed.publish("r2")
    assert app.get_state(thread()).values["said"] == ["a@r1", "b@r1"]


def test_everything_else_is_the_live_compiled_graphs() -> None:
    feed = FakeFeed()
    feed.live.compiled.__dict__["of_the_future"] = lambda: "from r1"
    app = LiveGraph.of(feed, None, feed.live.compiled)
    assert app.nodes is feed.live.compiled.nodes
    assert app.of_the_future() == "from r1"
    feed.source = lambda release: talks(release, "x", "y", "z")
    feed.publish("r2", "g2")
    assert app.nodes is feed.live.compiled.nodes
    assert {"x", "y", "z"} < set(app.get_graph().nodes)
    assert "z" in app.get_graph(xray=True).draw_mermaid()
    assert app.get_input_jsonschema() == feed.live.compiled.get_input_jsonschema()
    assert list(app.get_subgraphs()) == []
    assert app.get_name() == "LangGraph"
    assert app.stream_channels_list == feed.live.compiled.stream_channels_list


async def test_the_async_ways_to_look_at_it_are_live() -> None:
    app, feed = live()
    feed.source = lambda release: talks(release, "z")
    feed.publish("r2", "g2")
    assert "z" in (await app.aget_graph()).nodes
    assert [one async for one in app.aget_subgraphs()] == []


# Names that describe a graph: the live compiled graph's, whatever they are.
DESCRIBE = {
    "",
    "InputType",
    "OutputType",
    "aclear_cache",
    "aget_graph",
    "aget_subgraphs",
    "attach_branch",
    "attach_edge",
    "attach_node",
    "cache",
    "cache_policy",
    "checkpointer",
    "clear_cache",
    "config",
    "config_schema",
    "config_specs",
    "context_schema",
    "get_config_jsonschema",
    "get_context_jsonschema",
    "get_graph",
    "get_input_jsonschema",
    "get_input_schema",
    "get_name",
    "get_output_jsonschema",
    "get_output_schema",
    "get_prompts",
    "get_subgraphs",
    "input_schema",
    "name",
    "output_schema",
    "retry_policy",
    "step_timeout",
    "store",
    "stream_channels",
    "stream_channels_asis",
    "stream_channels_list",
    "stream_eager",
    "stream_mode",
    "validate",
}


@pytest.mark.parametrize(
    "name", sorted({n for n in {*dir(CompiledStateGraph), *dir(Runnable)} if n[0] != "_"})
)
def test_every_public_name_of_langgraph_is_covered(name: str) -> None:
    """Fails for a new name: say whether it runs (LiveGraph), is a mixin, or describes."""
    static = inspect.getattr_static(live_graph.LiveGraph, name)
    runs = name in live_graph._MIXINS or not isinstance(static, live_graph._Lives)
    assert runs != (name in DESCRIBE), f"{name!r} is in no group, or in both"


@pytest.mark.parametrize("name", sorted(live_graph._MIXINS))
def test_a_mixin_is_runnables_own(name: str) -> None:
    """One that LangGraph starts to define itself must be looked at again."""
    theirs = inspect.getattr_static(CompiledStateGraph, name, None)
    assert theirs is None or theirs is inspect.getattr_static(Runnable, name)


def test_langgraphs_own_complaints_stay_the_same() -> None:
    app, feed = live(checkpointer=InMemorySaver())
    plain = feed.live.compiled
    cases: list[Any] = [({"said": []}, None), ({"said": []}, {}), (None, thread())]
    for given, config in cases:
        with pytest.raises((ValueError, EmptyInputError)) as theirs:
            plain.invoke(given, config)
        with pytest.raises(type(theirs.value)) as ours:
            app.invoke(given, config)
        assert str(ours.value) == str(theirs.value)


def test_many_threads_and_two_hundred_swaps_never_mix() -> None:
    app, feed = live()
    stop = threading.Event()
    mixed: list[Any] = []
    done: list[str] = []

    def run() -> None:
        while not stop.is_set():
            try:
                said = releases(app.invoke({"said": []}))
            except Exception as problem:  # noqa: BLE001
                mixed.append(problem)
                return
            done.append(said[0])
            if len(set(said)) != 1:
                mixed.append(said)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for one in threads:
        one.start()
    for number in range(200):
        feed.publish(f"r{number}")
        before = len(done)
        while len(done) == before and not mixed:
            stop.wait(0.001)
    stop.set()
    for one in threads:
        one.join(20)
    assert mixed == []
    assert len(set(done)) > 100


async def test_concurrent_runs_on_one_event_loop_never_mix() -> None:
    app, feed = live()

    async def run() -> list[str]:
        return releases(await app.ainvoke({"said": []}))

    runs = []
    for number in range(30):
        feed.publish(f"r{number}")
        runs.append(asyncio.create_task(run()))
        await asyncio.sleep(0)
    assert all(len(set(said)) == 1 for said in await asyncio.gather(*runs))


def test_the_langgraph_server_accepts_it(tmp_path: Any, monkeypatch: Any) -> None:
    """The checks of `langgraph dev` on a module's variable, and what it does for each run."""
    api = pytest.importorskip("langgraph.pregel")
    app, _ = live()
    # As langgraph_api.graph._graph_from_spec tells graphs from factories, and refuses savers.
    assert not callable(app)
    assert isinstance(app, api.Pregel)
    assert app.checkpointer is None
    assert app.store is None
    update = {"checkpointer": InMemorySaver(), "store": InMemoryStore(), "name": "agent"}
    run = app.copy(update=update)
    schemas = [run.get_input_jsonschema, run.get_output_jsonschema, run.get_context_jsonschema]
    assert all(schema() is None or "properties" in schema() for schema in schemas)
    assert run.get_name("State") == "agent_state"


class _Recorder(BaseCallbackHandler):
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        with suppress(KeyError):
            self.seen.append((kwargs["name"], kwargs["tags"], kwargs["metadata"]))
