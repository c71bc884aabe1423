"""What users do to a loaded graph is done again on every release; node results are kept apart."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph.types import CachePolicy, RetryPolicy

from tests.live_graph_fakes import Said, editable, live, releases, talks
from yamlgraph_prompts._live import LiveGraph, LiveStateGraph, Recipe, ReleaseCache
from yamlgraph_prompts._live.state_graph import EDITS

START_SAID: Any = {"said": []}


def mine(state: Said) -> Said:
    return {"said": ["mine@edit"]}


def test_it_is_a_state_graph_that_shows_what_was_loaded() -> None:
    graph, _ = editable()
    built = talks("r1")
    assert isinstance(graph, StateGraph)
    assert set(graph.nodes) == {"a", "b"}
    assert graph.edges == built.edges
    assert graph.state_schema is Said
    assert graph.schemas.keys() == built.schemas.keys()


def test_it_compiles_to_a_live_graph() -> None:
    graph, feeds = editable()
    app = graph.compile()
    assert isinstance(app, LiveGraph)
    assert releases(app.invoke(START_SAID)) == ["r1", "r1"]
    feeds[0].publish("r2")
    assert releases(app.invoke(START_SAID)) == ["r2", "r2"]


def test_edits_are_made_again_on_every_release() -> None:
    graph, feeds = editable()
    assert graph.add_node("mine", mine).add_edge("b", "mine").set_finish_point("mine") is graph
    app = graph.compile()
    assert releases(app.invoke(START_SAID)) == ["r1", "r1", "edit"]
    feeds[0].publish("r2")
    assert releases(app.invoke(START_SAID)) == ["r2", "r2", "edit"]
    assert set(graph.nodes) == {"a", "b", "mine"}


def test_an_edit_made_of_smaller_ones_is_recorded_once() -> None:
    graph, feeds = editable(lambda release: StateGraph(Said))
    graph.add_sequence([("x", mine), ("y", mine)]).set_entry_point("x")
    graph.set_node_defaults(retry_policy=RetryPolicy(max_attempts=2))
    app = graph.compile()
    assert [edit.method for edit in feeds[0].recipe.edits] == [
        "add_sequence",
        "set_entry_point",
        "set_node_defaults",
    ]
    feeds[0].publish("r2")
    assert releases(app.invoke(START_SAID)) == ["edit", "edit"]


def test_conditional_edges_are_made_again() -> None:
    graph, feeds = editable(lambda release: talks(release, "a"))
    graph.add_node("mine", mine)
    graph.add_conditional_edges("a", lambda state: "mine", ["mine", END])
    app = graph.compile()
    feeds[0].publish("r2")
    assert releases(app.invoke(START_SAID)) == ["r2", "edit"]


def test_an_edit_that_langgraph_refuses_is_not_recorded() -> None:
    graph, feeds = editable()
    with pytest.raises(ValueError, match="already present"):
        graph.add_node("a", mine)
    graph.compile()
    assert feeds[0].recipe.edits == ()


def test_each_compile_takes_the_edits_made_until_then() -> None:
    graph, _ = editable()
    first = graph.compile()
    graph.add_node("mine", mine).add_edge("b", "mine")
    second = graph.compile()
    assert releases(first.invoke(START_SAID)) == ["r1", "r1"]
    assert releases(second.invoke(START_SAID)) == ["r1", "r1", "edit"]


def test_all_arguments_are_used_for_every_release_by_reference() -> None:
    graph, feeds = editable()
    saver, store, cache = InMemorySaver(), InMemoryStore(), InMemoryCache()
    app = graph.compile(
        saver, store=store, cache=cache, interrupt_before=["b"], name="mine", debug=False
    )
    for release in ("r1", "r2"):
        feeds[0].publish(release)
        assert (app.checkpointer, app.store, app.name) == (saver, store, "mine")
        assert app.interrupt_before_nodes == ["b"]
        assert isinstance(app.cache, ReleaseCache)
        assert app.cache.inner is cache


def test_an_argument_that_langgraph_does_not_know_is_refused() -> None:
    graph, _ = editable()
    with pytest.raises(TypeError, match="nonsense"):
        graph.compile(nonsense=1)


def test_making_a_build_leaves_the_loaded_graph_as_it_was() -> None:
    built = talks("r1")
    before = {name: str(value) for name, value in vars(built).items()}
    graph = LiveStateGraph(built, attach=lambda recipe: pytest.fail("not compiled here"))
    graph.add_node("mine", mine).add_edge("b", "mine")
    graph.add_conditional_edges("a", lambda state: END, [END])
    graph.set_node_defaults(cache_policy=CachePolicy(), error_handler=mine)
    recipe = Recipe(graph._edits, {})
    once, twice = (recipe.make(built, "r1", "g1").compiled for _ in range(2))
    assert once.nodes.keys() == twice.nodes.keys()
    assert {name: str(value) for name, value in vars(built).items()} == before


def test_every_public_edit_of_langgraph_is_recorded() -> None:
    """Fails for a new method of StateGraph: say whether it edits."""
    public = {name for name in dir(StateGraph) if not name.startswith("_")}
    assert public - set(EDITS) == {"compile", "validate"}


def test_its_methods_still_say_what_they_do() -> None:
    assert "Add a new node" in (LiveStateGraph.add_node.__doc__ or "")


# Node cache


def cached(calls: list[str]) -> Any:
    def source(release: str) -> StateGraph:
        def node(state: Said) -> Said:
            calls.append(release)
            return {"said": [f"node@{release}"]}

        graph = StateGraph(Said).add_node("node", node, cache_policy=CachePolicy())
        return graph.add_edge(START, "node")

    return source


def test_after_a_swap_a_cached_node_gives_the_new_answer() -> None:
    calls: list[str] = []
    app, feed = live(cached(calls), cache=InMemoryCache())
    for release in ("r1", "r1", "r2", "r2", "r1"):
        feed.publish(release)
        assert releases(app.invoke(START_SAID)) == [release]
    assert calls == ["r1", "r2"]


async def test_after_a_swap_a_cached_node_gives_the_new_answer_asynchronously() -> None:
    calls: list[str] = []
    app, feed = live(cached(calls), cache=InMemoryCache())
    for release in ("r1", "r1", "r2", "r2"):
        feed.publish(release)
        assert releases(await app.ainvoke(START_SAID)) == [release]
    assert calls == ["r1", "r2"]


def test_another_graph_revision_is_kept_apart_too() -> None:
    calls: list[str] = []
    app, feed = live(cached(calls), cache=InMemoryCache())
    app.invoke(START_SAID)
    feed.publish("r1", "g2")
    app.invoke(START_SAID)
    assert calls == ["r1", "r1"]


def test_a_cache_given_to_a_copy_gives_the_new_answer_too() -> None:
    calls: list[str] = []
    app, feed = live(cached(calls))
    run = app.copy({"cache": InMemoryCache()})
    for release in ("r1", "r1", "r2"):
        feed.publish(release)
        assert releases(run.invoke(START_SAID)) == [release]
    assert calls == ["r1", "r2"]


async def test_clearing_the_cache_clears_the_live_releases_results() -> None:
    calls: list[str] = []
    app, feed = live(cached(calls), cache=InMemoryCache())
    for release in ("r1", "r2"):
        feed.publish(release)
        app.invoke(START_SAID)
    app.clear_cache()
    app.invoke(START_SAID)
    assert calls == ["r1", "r2", "r2"]
    await app.aclear_cache()
    app.invoke(START_SAID)
    feed.publish("r1")
    app.invoke(START_SAID)
    assert calls == ["r1", "r2", "r2", "r2"]


def test_clearing_everything_clears_every_release() -> None:
    shared = InMemoryCache()
    one, two = ReleaseCache(shared, "r1", "g"), ReleaseCache(shared, "r2", "g")
    key = (("space",), "key")
    for cache in (one, two):
        cache.set({key: ("x", None)})
    assert one.get([key]) == {key: "x"}
    two.clear()
    assert one.get([key]) == {}


def test_a_cache_is_wrapped_once_only() -> None:
    shared = InMemoryCache()
    twice = ReleaseCache(ReleaseCache(shared, "r1", "g"), "r2", "g")
    assert twice.inner is shared
