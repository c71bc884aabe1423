"""The harness is not blind: YAMLGraph alone runs every graph of the catalog, and what is recorded
is what the prompts say."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import yaml
from langgraph.checkpoint.memory import InMemorySaver
from yamlgraph import load_and_compile
from yamlgraph.constants import NodeType
from yamlgraph.executor_async import load_and_compile_async, run_graph_async

from tests.conftest import run_in
from tests.graphs import runs
from tests.graphs.catalog import BY_NAME, CATALOG, FOLDER, Entry
from tests.model_server import Answer, ModelServer, minimal

Folder = Callable[..., Path]
each_entry = pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)


@each_entry
def test_yamlgraph_alone_runs_every_graph_and_sends_what_its_prompts_say(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    folder = graph_folder(entry.name)
    recorded = runs.run(entry, folder / entry.graph, load_and_compile, model_server)
    assert len(recorded.states[-1].get("errors") or ()) == entry.errors
    assert recorded.editions == {"first"}
    for text in (*entry.says, *runs.tags(entry, folder)):
        assert text in recorded.text
    for tag in entry.unsent:
        assert tag not in recorded.text


@each_entry
def test_the_same_graph_sends_the_same_bytes_twice(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    path = graph_folder(entry.name) / entry.graph
    once = runs.run(entry, path, load_and_compile, model_server)
    again = runs.run(entry, path, load_and_compile, model_server)
    assert once.bodies == again.bodies
    assert once.states == again.states


@each_entry
async def test_yamlgraph_alone_sends_the_same_bytes_from_async_code(
    entry: Entry, graph_folder: Folder, model_server: ModelServer
) -> None:
    path = graph_folder(entry.name) / entry.graph
    app = await load_and_compile_async(str(path), cache=None)
    recorded = await runs.ainvoke(
        entry, lambda given, config: run_graph_async(app, given, config), model_server
    )
    assert recorded.bodies == runs.run(entry, path, load_and_compile, model_server).bodies


def test_every_node_type_of_yamlgraph_is_in_the_catalog() -> None:
    asked = {
        node.get("type", "llm")
        for path in FOLDER.rglob("*.yaml")
        if isinstance(content := yaml.safe_load(path.read_text("utf-8")), dict)
        for graph_node in (content.get("nodes") or {}).values()
        for node in (graph_node, graph_node.get("node") or graph_node)
    }
    generated = {NodeType.VERIFY.value}
    assert {kind.value for kind in NodeType} - generated <= asked


def test_the_default_folder_of_a_process_of_its_own_is_what_stand_in_makes_of_it(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    entry = BY_NAME["fallback"]
    folder = graph_folder(entry.name)
    recorded = runs.run(entry, folder / entry.graph, load_and_compile, model_server)
    model_server.reset()
    script = (
        "from yamlgraph import load_and_compile\n"
        f"load_and_compile({entry.graph!r}).compile().invoke({entry.runs[0][0]!r})\n"
    )
    run_in(folder, script)
    assert [request.raw for request in model_server.requests] == recorded.bodies


def test_provider_and_model_come_from_where_yamlgraph_takes_them(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    entry = BY_NAME["providers"]
    path = graph_folder(entry.name) / entry.graph
    recorded = runs.run(runs.first_run(entry), path, load_and_compile, model_server)
    assert [request.model for request in recorded.requests] == [
        "prompt-model",
        "node-model",
        "state-model",
        "agent-model",
    ]


def test_yamlgraph_alone_mixes_two_editions_in_one_run(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    """What the drop-in promises not to do can be seen with this harness."""
    entry = runs.first_run(BY_NAME["chain"])
    folder = graph_folder(entry.name)
    app = load_and_compile(folder / entry.graph).compile(checkpointer=InMemorySaver())
    runs.script(model_server, entry)
    with ThreadPoolExecutor(1) as pool, model_server.gate() as gate:
        config = {"configurable": {"thread_id": "t"}}
        running = pool.submit(app.invoke, entry.runs[0][0], config)
        gate.wait_reached()
        runs.edit(folder, "second")
        gate.open()
        running.result()
    assert "[greet user first edition]" in model_server.texts()[0]
    assert "[close user second edition]" in model_server.texts()[1]


def test_an_edit_after_the_load_half_swaps_in_yamlgraph_alone(
    graph_folder: Folder, model_server: ModelServer
) -> None:
    """New text, old schema: the harness sees schemas too."""
    entry = runs.first_run(BY_NAME["schemas"])
    folder = graph_folder(entry.name)
    app = load_and_compile(folder / entry.graph).compile(checkpointer=InMemorySaver())
    runs.edit(folder, "second")
    assert runs.invoke(entry, app, model_server).editions == {"first", "second"}


def _ask(server: ModelServer, text: str, **more: object) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    request = Request(f"{server.url}/chat/completions", json.dumps(body).encode())
    with urlopen(request, timeout=20) as response:
        answer: bytes = response.read()
    return answer


def test_the_model_server_answers_64_requests_at_once(model_server: ModelServer) -> None:
    model_server.answer(Answer("hello", together=64))
    begin = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda n: _ask(model_server, f"hello {n}"), range(64)))
    assert time.monotonic() - begin < 5
    for number, answer in enumerate(answers):
        assert json.loads(answer)["choices"][0]["message"]["content"] == f"echo: hello {number}"


def test_the_model_server_streams_what_it_would_have_said(model_server: ModelServer) -> None:
    lines = _ask(model_server, "one two", stream=True).decode().split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if "{" in line]
    said = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(said) == "echo: one two"
    assert len(list(filter(None, said))) == 3
    assert "data: [DONE]" in lines


def test_a_gate_holds_a_request_until_it_is_opened(model_server: ModelServer) -> None:
    with ThreadPoolExecutor(1) as pool, model_server.gate("wait") as gate:
        held = pool.submit(_ask, model_server, "please wait")
        gate.wait_reached()
        assert _ask(model_server, "go on")
        assert not held.done()
        gate.open()
        assert b"please wait" in held.result(timeout=10)


def test_minimal_objects_are_valid_for_their_schema() -> None:
    schema = {
        "$defs": {"Part": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "type": "object",
        "properties": {
            "route": {"enum": ["a", "b"]},
            "score": {"type": "number", "minimum": 2},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
            "note": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
    }
    assert minimal(schema) == {
        "route": "a",
        "score": 2,
        "parts": [{"name": "name"}],
        "note": "note",
    }
    assert minimal(schema, {"route": "b"})["route"] == "b"
