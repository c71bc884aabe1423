"""The drop-in differs from YAMLGraph alone in one way only: saved prompts reach the next run.

Each graph of the catalog runs both ways, and what the model gets is compared byte for byte.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yamlgraph
import yamlgraph.executor_async
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from yamlgraph.models.streaming import StreamEvent

import yamlgraph_prompts
from tests.conftest import run_in, wait_until
from tests.graphs import runs
from tests.graphs.catalog import BY_NAME, CATALOG, Entry
from tests.model_server import ModelServer

Folder = Callable[..., Path]
each_entry = pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)


def alone(entry: Entry, path: Path, server: ModelServer) -> runs.Recorded:
    return runs.run(entry, path, yamlgraph.load_and_compile, server)


def live(path: Path) -> yamlgraph_prompts.LiveGraph:
    return yamlgraph_prompts.load_and_compile(path).compile(checkpointer=InMemorySaver())


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Entry → what YAMLGraph sends in a process that has never imported this package."""
    folder = tmp_path_factory.mktemp("pristine")
    script = (
        "import json, pathlib, tests.graphs.pristine as pristine\n"
        f"print(json.dumps(pristine.recordings(pathlib.Path({str(folder)!r}))))\n"
    )
    sent: dict[str, list[str]] = json.loads(run_in(folder, script, timeout_s=100))
    return sent


@each_entry
@pytest.mark.parametrize("place", ["a folder", "memory"])
def test_the_model_gets_byte_for_byte_what_yamlgraph_alone_sends(
    place: str,
    entry: Entry,
    graph_folder: Folder,
    model_server: ModelServer,
    pristine: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = graph_folder(entry.name) / entry.graph
    if place == "memory":
        monkeypatch.setenv("YAMLGRAPH_PROMPTS_STORE", "/dev/null/no/folder")
        monkeypatch.setattr("yamlgraph_prompts.registry.folder._temporary_bases", lambda: iter(()))
    recorded = runs.run(entry, path, yamlgraph_prompts.load_and_compile, model_server)
    assert [body.decode() for body in recorded.bodies] == pristine[entry.name]
    assert recorded.states == alone(entry, path, model_server).states


@each_entry
def test_yamlgraph_itself_works_as_ever_beside_the_drop_in(
    entry: Entry,
    graph_folder: Folder,
    model_server: ModelServer,
    pristine: dict[str, list[str]],
) -> None:
    path = graph_folder(entry.name) / entry.graph
    live(path)
    expected = [body.decode() for body in alone(entry, path, model_server).bodies]
    assert expected == pristine[entry.name]


@each_entry
def test_a_path_from_the_working_directory_is_as_good_as_an_absolute_one(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    path = graph_folder(entry.name) / entry.graph
    expected = alone(entry, path, model_server)
    app = yamlgraph_prompts.load_and_compile(entry.graph).compile(checkpointer=InMemorySaver())
    assert runs.invoke(entry, app, model_server).bodies == expected.bodies


@each_entry
async def test_load_and_compile_async_sends_what_yamlgraph_alone_sends(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    path = graph_folder(entry.name) / entry.graph
    expected = alone(entry, path, model_server)
    app = await yamlgraph_prompts.load_and_compile_async(str(path))
    recorded = await runs.ainvoke(
        entry,
        lambda given, config: yamlgraph.executor_async.run_graph_async(app, given, config),
        model_server,
    )
    assert recorded.bodies == expected.bodies
    assert recorded.states == expected.states


@each_entry
async def test_native_streaming_gives_the_tokens_that_yamlgraph_alone_gives(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    path = str(graph_folder(entry.name) / entry.graph)
    expected = await _stream(entry, path, model_server)
    yamlgraph.clear_cache()
    app = await yamlgraph_prompts.load_and_compile_async(path)
    recorded = await _stream(entry, path, model_server)
    assert yamlgraph.GRAPH_CACHE[path] is app
    assert recorded.bodies == expected.bodies
    assert recorded.states == expected.states


async def _stream(entry: Entry, path: str, server: ModelServer) -> runs.Recorded:
    async def call(given: Any, config: dict[str, Any]) -> list[Any]:
        stream = yamlgraph.executor_async.run_graph_streaming_native(
            path, given, config, subgraphs=True
        )
        tokens = [token async for token in stream]
        errors = [t for t in tokens if isinstance(t, StreamEvent) and t.type == "error"]
        assert not errors
        return sorted(map(str, tokens)) if entry.unordered else tokens

    return await runs.ainvoke(entry, call, server)


def test_changing_the_import_alone_is_enough_in_a_process_of_its_own(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    entry = BY_NAME["defaults"]
    folder = graph_folder(entry.name, enter=False)
    script = (
        "from PACKAGE import load_and_compile\n"
        f"load_and_compile({entry.graph!r}).compile().invoke({entry.runs[0][0]!r})\n"
    )
    run_in(folder, script.replace("PACKAGE", "yamlgraph"))
    expected = [request.raw for request in model_server.requests]
    model_server.clear()
    run_in(folder, script.replace("PACKAGE", "yamlgraph_prompts"))
    assert [request.raw for request in model_server.requests] == expected


def test_what_is_loaded_is_a_state_graph_and_what_it_compiles_to_a_live_graph(
    graph_folder: Folder,
) -> None:
    graph = yamlgraph_prompts.load_and_compile(graph_folder("chain") / "graph.yaml")
    assert isinstance(graph, StateGraph)
    assert isinstance(graph.compile(), yamlgraph_prompts.LiveGraph)


@each_entry
def test_each_saved_prompt_reaches_the_next_run_without_a_restart(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    folder = graph_folder(entry.name)
    path = folder / entry.graph
    app = live(path)
    for number, file in enumerate(runs.prompt_files(folder)):
        runs.edit(folder, f"edition{number}", only=file)
        app.prompts.publish()
        recorded = runs.invoke(entry, app, model_server, thread=f"t{number}")
        assert recorded.bodies == alone(entry, path, model_server).bodies, file
    assert "first" not in recorded.editions


@each_entry
async def test_saved_prompts_reach_the_next_async_run(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    folder = graph_folder(entry.name)
    path = folder / entry.graph
    app = await yamlgraph_prompts.load_and_compile_async(str(path))
    runs.edit(folder, "second")
    app.prompts.publish()
    cached = await yamlgraph.executor_async.load_and_compile_async(str(path))
    recorded = await runs.ainvoke(
        entry,
        lambda given, config: yamlgraph.executor_async.run_graph_async(cached, given, config),
        model_server,
    )
    assert recorded.editions == {"second"}
    assert recorded.bodies == alone(entry, path, model_server).bodies


@each_entry
def test_a_run_in_progress_keeps_its_release_and_the_next_one_takes_the_new(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    entry = runs.first_run(entry)
    folder = graph_folder(entry.name)
    expected = alone(entry, folder / entry.graph, model_server)
    app = live(folder / entry.graph)
    with model_server.gate() as gate, ThreadPoolExecutor(1) as pool:
        running = pool.submit(runs.invoke, entry, app, model_server)
        gate.wait_reached()
        runs.edit(folder, "second")
        assert app.prompts.publish().status in ("published", "unchanged")
        gate.open()
        kept = running.result()
    assert kept.editions == {"first"}
    assert kept.bodies == expected.bodies
    assert runs.invoke(entry, app, model_server, thread="next").editions == {"second"}


def test_an_interrupted_run_goes_on_with_the_prompts_that_it_began_with(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    for name in ("interrupt", "relay"):
        entry = BY_NAME[name]
        folder = graph_folder(name)
        app = live(folder / entry.graph)
        runs.script(model_server, entry)
        config: RunnableConfig = {"configurable": {"thread_id": name}}
        for number, step in enumerate(entry.runs[0]):
            app.invoke(runs.given(step), config)
            runs.edit(folder, f"edition{number}")
            app.prompts.publish()
        sent = runs.Recorded(tuple(model_server.requests), (), entry.unordered)
        assert sent.editions == {"first"}
        assert len(sent.requests) == len(alone(entry, folder / entry.graph, model_server).requests)


def test_a_save_reaches_the_next_run_without_any_call(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    entry = runs.first_run(BY_NAME["chain"])
    folder = graph_folder(entry.name)
    app = live(folder / entry.graph)
    threads = map(str, itertools.count())

    def editions() -> frozenset[str]:
        return runs.invoke(entry, app, model_server, thread=next(threads)).editions

    assert editions() == {"first"}
    runs.edit(folder, "second")
    wait_until(lambda: editions() == {"second"})


def test_a_saved_child_graph_and_its_tools_reach_the_next_run(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    entry = BY_NAME["subgraphs"]
    folder = graph_folder(entry.name)
    app = live(folder / entry.graph)
    runs.invoke(entry, app, model_server)
    child = folder / "deeper/graph.yaml"
    child.write_text(child.read_text("utf-8").replace("timeout: 20", "temperature: 0.125"), "utf-8")
    app.prompts.publish()
    recorded = runs.invoke(entry, app, model_server, thread="next")
    assert 0.125 in [request.temperature for request in recorded.requests]
    assert recorded.bodies == alone(entry, folder / entry.graph, model_server).bodies
