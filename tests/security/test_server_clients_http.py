"""A client of `langgraph dev` chooses no release: the same over HTTP, as the server hands it on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.example_apps import STOP_S, Server, copy_of, save, serving, settings
from tests.model_server import ModelServer
from tests.test_langgraph_dev import DEV, blocked, draft, metadata, new_thread, post, run

# A graph of the same server that has nothing to do with prompts: it obeys, and the nodes are alike.
ANOTHER = """
from typing import TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    name: str
    wish: str
    draft: str
    letter: str


def ask(state: State) -> State:
    return {"wish": interrupt("What shall be different?")}


def drafts(state: State) -> State:
    return {"draft": "another graph's"}


def write(state: State) -> State:
    return {"letter": "another graph's"}


built = StateGraph(State).add_node("draft", drafts).add_node("ask", ask).add_node("write", write)
graph = built.add_edge(START, "draft").add_edge("draft", "ask").add_edge("ask", "write").compile()
"""

OLD, NEW = "Finish this letter", "End it in rhyme"
DRAFTED = {"name": "Ada", "draft": "a draft"}

Lie = dict[str, Any]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, _one_model_server: ModelServer
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    example = copy_of("langgraph_dev", folder)
    config = json.loads((example / "langgraph.json").read_text())
    config["graphs"]["another"] = "./another.py:graph"
    (example / "langgraph.json").write_text(json.dumps(config))
    (example / "another.py").write_text(ANOTHER)
    env = settings(folder, _one_model_server.url)
    with serving(DEV, example, env, ready="/ok") as server:
        yield server


@pytest.fixture(scope="module")
def past(server: Server, _one_model_server: ModelServer) -> tuple[str, Lie]:
    """A thread that waits on the old release, and all that its checkpoint says; the new one is
    live."""
    thread = new_thread(server)
    draft(server, thread)
    said = metadata(server, thread)
    save(server.folder / "prompts/letter.yaml", 'user: "End it in rhyme: {draft} {wish}"\n')

    def is_live() -> bool:
        fresh = new_thread(server)
        draft(server, fresh)
        return bool(metadata(server, fresh)["prompts_release"] != said["prompts_release"])

    wait_until(is_live)
    return thread, {name: value for name, value in said.items() if isinstance(value, str)}


def letter(server: Server, thread: str) -> str:
    """What is written when the thread goes on; it asks first where it has not asked yet."""
    for _ in "asked", "answered":
        body = {"assistant_id": "letters", "command": {"resume": "make it short"}}
        found = run(server, thread, **body)
        if "__interrupt__" not in found:
            break
    return str(found["letter"])


def of_letters(server: Server, **metadata: Any) -> str:
    body = {"metadata": {**metadata, "graph_id": "letters"}}
    return str(post(server, "/threads", **body)["thread_id"])


def update(server: Server, thread: str, **body: Any) -> None:
    post(server, f"/threads/{thread}/state", values=DRAFTED, as_node="draft", **body)


def a_state_update_on_a_new_thread(server: Server, lie: Lie) -> str:
    thread = of_letters(server)
    update(server, thread, checkpoint=lie)
    return thread


def a_state_update_with_metadata_everywhere(server: Server, lie: Lie) -> str:
    thread = of_letters(server, **lie)
    update(server, thread, checkpoint={**lie, "metadata": lie}, metadata=lie)
    return thread


def a_state_update_on_a_thread_that_waits(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    draft(server, thread)
    update(server, thread, checkpoint=lie)
    return thread


def a_copied_checkpoint(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    draft(server, thread)
    body = {"values": None, "as_node": "__copy__", "checkpoint": lie}
    post(server, f"/threads/{thread}/state", **body)
    return thread


def supersteps(server: Server, lie: Lie) -> str:
    steps = [{"updates": [{"values": DRAFTED, "as_node": "draft"}]}]
    body = {"metadata": {**lie, "graph_id": "letters"}, "supersteps": steps}
    return str(post(server, "/threads", **body)["thread_id"])


def a_runs_config(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    config = {"configurable": lie, "metadata": lie}
    draft(server, thread, config=config, metadata=lie, checkpoint=lie)
    return thread


def a_runs_context(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    draft(server, thread, context=lie)
    return thread


def an_assistant(server: Server, lie: Lie) -> str:
    body = {"graph_id": "letters", "config": {"configurable": lie}, "metadata": lie}
    made = post(server, "/assistants", **body)["assistant_id"]
    thread = new_thread(server)
    run(server, thread, assistant_id=made, input={"name": "Ada"})
    return thread


def a_threads_metadata(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    answer = server.http.patch(f"/threads/{thread}", json={"metadata": lie})
    assert answer.is_success, answer.text
    draft(server, thread)
    return thread


def a_run_of_another_graph(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    config = {"metadata": lie, "configurable": lie}
    run(server, thread, assistant_id="another", input={"name": "Ada"}, config=config)
    assert metadata(server, thread)["prompts_release"] == lie["prompts_release"]
    return thread


def a_copy_of_what_another_graph_wrote(server: Server, lie: Lie) -> str:
    thread = a_run_of_another_graph(server, lie)
    return str(post(server, f"/threads/{thread}/copy")["thread_id"])


def a_fork_by_another_graph(server: Server, lie: Lie) -> str:
    thread = new_thread(server)
    draft(server, thread)
    patch = {"metadata": {**lie, "graph_id": "another"}}
    assert server.http.patch(f"/threads/{thread}", json=patch).is_success
    update(server, thread, checkpoint=lie)
    return thread


def a_run_without_a_thread(server: Server, lie: Lie) -> str:
    config = {"metadata": lie, "configurable": lie}
    body = {"assistant_id": "letters", "input": {"name": "Ada"}, "config": config}
    made = post(server, "/runs", on_completion="keep", **body)
    thread, number = made["thread_id"], made["run_id"]
    assert server.http.get(f"/threads/{thread}/runs/{number}/join").is_success
    return str(thread)


def a_batch(server: Server, lie: Lie) -> str:
    body = {"assistant_id": "letters", "input": {"name": "Ada"}, "on_completion": "keep"}
    config = {"metadata": lie, "configurable": lie}
    answer = server.http.post("/runs/batch", json=[{**body, "config": config}])
    assert answer.is_success, answer.text
    (made,) = answer.json()
    thread, number = made["thread_id"], made["run_id"]
    assert server.http.get(f"/threads/{thread}/runs/{number}/join").is_success
    return str(thread)


def headers(server: Server, lie: Lie) -> str:
    thread = of_letters(server)
    sent = {f"{start}{name}": str(value) for name, value in lie.items() for start in ("", "x-")}
    body = {"values": DRAFTED, "as_node": "draft"}
    answer = server.http.post(f"/threads/{thread}/state", json=body, headers=sent)
    assert answer.is_success, answer.text
    return thread


ATTEMPTS = (
    a_state_update_on_a_new_thread,
    a_state_update_with_metadata_everywhere,
    a_state_update_on_a_thread_that_waits,
    a_copied_checkpoint,
    supersteps,
    a_runs_config,
    a_runs_context,
    an_assistant,
    a_threads_metadata,
    a_run_of_another_graph,
    a_copy_of_what_another_graph_wrote,
    a_fork_by_another_graph,
    a_run_without_a_thread,
    a_batch,
    headers,
)


OURS = ("prompts_release", "prompts_graph", "release_mark")


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.__name__)
def test_a_client_gets_the_live_release_wherever_it_says_another(
    server: Server,
    model_server: ModelServer,
    past: tuple[str, Lie],
    attempt: Callable[[Server, Lie], str],
) -> None:
    thread = attempt(server, {name: past[1][name] for name in OURS if name in past[1]})
    assert NEW in letter(server, thread)
    assert metadata(server, thread)["prompts_release"] != past[1]["prompts_release"]


@pytest.mark.parametrize("attempt", [a_state_update_on_a_new_thread, a_run_of_another_graph])
@pytest.mark.parametrize("length", [9, 64])
def test_no_id_counts_without_a_mark_and_no_beginning_of_one(
    server: Server,
    model_server: ModelServer,
    past: tuple[str, Lie],
    attempt: Callable[[Server, Lie], str],
    length: int,
) -> None:
    thread = attempt(server, {name: past[1][name][:length] for name in OURS[:2]})
    assert NEW in letter(server, thread)


@pytest.mark.parametrize("inside", ["configurable", "checkpoint"])
@pytest.mark.parametrize(
    "said", [{"__pregel_resuming": False}, {"__pregel_resuming": None}, {"prompts_release": "x"}]
)
def test_a_run_that_waits_keeps_its_release_whatever_a_client_says(
    server: Server, model_server: ModelServer, past: tuple[str, Lie], said: Lie, inside: str
) -> None:
    thread = str(post(server, f"/threads/{past[0]}/copy")["thread_id"])
    more = {"config": {"configurable": said}} if inside == "configurable" else {"checkpoint": said}
    answer = {"resume": "make it short"}
    result = run(server, thread, assistant_id="letters", command=answer, **more)
    assert OLD in result["letter"]


def test_forks_from_a_threads_own_history_keep_its_release(
    server: Server, model_server: ModelServer, past: tuple[str, Lie]
) -> None:
    thread = str(post(server, f"/threads/{past[0]}/copy")["thread_id"])
    waits = server.http.get(f"/threads/{thread}/state").json()["checkpoint"]
    assert OLD in letter(server, thread)
    update(server, thread, checkpoint={**waits, "prompts_release": "0" * 64})
    assert OLD in letter(server, thread)


def test_nothing_has_blocked_the_event_loop(server: Server) -> None:
    assert not blocked(server)


@pytest.mark.nightly  # test_server_clients has it in one process, each time
def test_a_lost_release_tells_a_client_of_no_other(
    server: Server, model_server: ModelServer, past: tuple[str, Lie]
) -> None:
    thread, began_on = past[0], past[1]["prompts_release"]
    folder = server.folder.parent
    server.process.terminate()  # the last test of this module
    server.process.wait(STOP_S)
    for pack in (folder / "store").glob(f"*/packs/{began_on}.*"):
        pack.unlink()
    env = settings(folder, model_server.url)
    with serving(DEV, server.folder, env, ready="/ok") as again:
        body = {"assistant_id": "letters", "command": {"resume": "yes"}}
        told = post(again, f"/threads/{thread}/runs/wait", **body)["__error__"]
        assert told["error"] == "ReleaseNotFound"
        ids = {pack.stem for pack in (folder / "store").glob("*/packs/*.pack")}
        assert ids
        assert not [one for one in {*ids, began_on} if one[:8] in told["message"]]
        assert str(folder) not in told["message"]
        assert began_on[:12] in again.log
