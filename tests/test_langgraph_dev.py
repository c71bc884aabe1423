"""LangGraph's own development server runs live graphs: examples/langgraph_dev."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.example_apps import Server, copy_of, save, serving, settings
from tests.model_server import ModelServer

DEV = ("langgraph_cli", "dev", "--no-browser", "--no-reload")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, _one_model_server: ModelServer
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("dev")
    env = settings(folder, _one_model_server.url)
    with serving(DEV, copy_of("langgraph_dev", folder), env, ready="/ok") as server:
        yield server


def post(server: Server, path: str, **body: Any) -> Any:
    answer = server.http.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


def new_thread(server: Server) -> str:
    return str(post(server, "/threads")["thread_id"])


def run(server: Server, thread: str, **body: Any) -> dict[str, Any]:
    result: dict[str, Any] = post(server, f"/threads/{thread}/runs/wait", **body)
    assert "__error__" not in result, server.log
    return result


def draft(server: Server, thread: str, **body: Any) -> str:
    result = run(server, thread, assistant_id="letters", input={"name": "Ada"}, **body)
    (asked,) = result["__interrupt__"]
    assert asked["value"] == "What shall be different?"
    return str(result["draft"])


def write(server: Server, thread: str) -> str:
    resumed = run(server, thread, assistant_id="letters", command={"resume": "make it short"})
    return str(resumed["letter"])


def note(server: Server) -> str:
    result = post(server, "/runs/wait", assistant_id="notes", input={"name": "Ada"})
    return str(result["note"])


def metadata(server: Server, thread: str) -> dict[str, Any]:
    found: dict[str, Any] = server.http.get(f"/threads/{thread}/state").json()["metadata"]
    return found


def test_a_variable_and_a_factory_are_both_accepted(server: Server) -> None:
    found = post(server, "/assistants/search")
    assert {assistant["graph_id"] for assistant in found} == {"letters", "notes"}
    for assistant in found:
        address = f"/assistants/{assistant['assistant_id']}"
        nodes = {node["id"] for node in server.http.get(f"{address}/graph").json()["nodes"]}
        assert "write" in nodes
        schemas = server.http.get(f"{address}/schemas").json()
        assert "name" in schemas["input_schema"]["properties"]


def test_a_run_answers(server: Server, model_server: ModelServer) -> None:
    thread = new_thread(server)
    assert draft(server, thread) == "echo: Draft a letter to Ada."
    assert "One more wish: make it short" in write(server, thread)
    assert note(server) == "echo: Write a note of five words to Ada."


def test_a_saved_prompt_reaches_the_next_run_without_a_restart(
    server: Server, model_server: ModelServer
) -> None:
    assert "tiny" not in note(server) + draft(server, new_thread(server))
    save(server.folder / "prompts/note.yaml", 'user: "A tiny note to {name}."\n')
    save(server.folder / "prompts/draft.yaml", 'user: "A tiny draft to {name}."\n')
    wait_until(lambda: note(server) == "echo: A tiny note to Ada.")
    wait_until(lambda: draft(server, new_thread(server)) == "echo: A tiny draft to Ada.")


def test_a_thread_that_waits_goes_on_with_the_prompts_that_it_began_with(
    server: Server, model_server: ModelServer
) -> None:
    waiting = new_thread(server)
    draft(server, waiting)
    began_on = metadata(server, waiting)
    save(server.folder / "prompts/letter.yaml", 'user: "End it in rhyme: {draft} {wish}"\n')
    save(server.folder / "prompts/draft.yaml", 'user: "Draft a rhyme to {name}."\n')

    def rhymed() -> str | None:
        thread = new_thread(server)
        return thread if "rhyme" in draft(server, thread) else None

    wait_until(rhymed)
    fresh = new_thread(server)
    draft(server, fresh)
    wait_until(lambda: metadata(server, fresh)["prompts_release"] != began_on["prompts_release"])
    assert "Finish this letter" in write(server, waiting)
    assert "End it in rhyme" in write(server, fresh)
    assert metadata(server, waiting)["prompts_release"] == began_on["prompts_release"]
    assert metadata(server, waiting)["prompts_graph"] == began_on["prompts_graph"]


def test_the_release_of_a_run_is_in_its_checkpoints_whatever_a_client_says(
    server: Server, model_server: ModelServer
) -> None:
    honest, liar = new_thread(server), new_thread(server)
    draft(server, honest)
    said = metadata(server, honest)
    assert re.fullmatch("[0-9a-f]{64}", said["prompts_release"])
    assert re.fullmatch("[0-9a-f]{64}", said["prompts_graph"])
    lie = "0" * 64
    draft(
        server,
        liar,
        metadata={"prompts_release": lie, "prompts_graph": lie},
        config={"configurable": {"prompts_release": lie}, "metadata": {"prompts_release": lie}},
    )
    run(
        server,
        liar,
        assistant_id="letters",
        command={"resume": "make it short"},
        metadata={"prompts_release": lie},
    )
    history = server.http.get(f"/threads/{liar}/history", params={"limit": 50}).json()
    assert len(history) >= 4
    for state in history:
        assert state["metadata"]["prompts_release"] == said["prompts_release"]
        assert state["metadata"]["prompts_graph"] == said["prompts_graph"]


@pytest.mark.parametrize("assistant", ["letters", "notes"])
def test_tokens_and_updates_are_streamed(
    server: Server, model_server: ModelServer, assistant: str
) -> None:
    body = {
        "assistant_id": assistant,
        "input": {"name": "Ada"},
        "stream_mode": ["updates", "messages"],
    }
    events: list[str] = []
    data: list[Any] = []
    with server.http.stream(
        "POST", f"/threads/{new_thread(server)}/runs/stream", json=body
    ) as sent:
        for line in sent.iter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                data.append(json.loads(line.removeprefix("data: ")))
    assert "error" not in events
    assert "updates" in events
    assert sum(event == "messages/partial" for event in events) > 1
    updates = [part for event, part in zip(events, data, strict=True) if event == "updates"]
    node, key = {"letters": ("draft", "draft"), "notes": ("write", "note")}[assistant]
    assert updates[0][node][key].startswith("echo: ")


def test_a_broken_prompt_stays_out_and_the_log_says_where(
    server: Server, model_server: ModelServer
) -> None:
    before = note(server)
    save(server.folder / "prompts/note.yaml", "user: 'A note to {name}\n")
    wait_until(lambda: "note.yaml" in server.log and "yaml-syntax" in server.log)
    assert note(server) == before


def test_nothing_has_blocked_the_event_loop(server: Server) -> None:
    assert not blocked(server)


def blocked(server: Server) -> bool:
    """Whether the server, which runs without --allow-blocking, has caught anybody."""
    return "BlockingError" in server.log or "Blocking call" in server.log


def test_a_thread_that_waits_survives_a_restart_and_an_edit_meanwhile(
    tmp_path: Path, model_server: ModelServer
) -> None:
    env = settings(tmp_path, model_server.url)
    folder = copy_of("langgraph_dev", tmp_path)
    with serving(DEV, folder, env, ready="/ok") as server:
        waiting = new_thread(server)
        draft(server, waiting)
        began_on = metadata(server, waiting)["prompts_release"]
    save(folder / "prompts/letter.yaml", 'user: "End it in rhyme: {draft} {wish}"\n')
    with serving(DEV, folder, env, ready="/ok") as server:
        assert "Finish this letter" in write(server, waiting)
        assert metadata(server, waiting)["prompts_release"] == began_on
        fresh = new_thread(server)
        draft(server, fresh)
        assert "End it in rhyme" in write(server, fresh)
        assert not blocked(server)
