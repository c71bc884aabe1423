"""A client of `langgraph dev` chooses no release: the same over HTTP, as the server hands it on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
def past(server: Server) -> tuple[str, Lie]:
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
Past = tuple[str, Lie]
Case = Callable[[Server, Past], Any]


def attempted(attempt: Callable[[Server, Lie], str], length: int | None = None) -> Case:
    """The letter and the release of a thread after `attempt`; with `length`, cut and no mark."""
    names = OURS if length is None else OURS[:2]

    def case(server: Server, past: Past) -> tuple[str, str]:
        lie = {name: past[1][name][:length] for name in names if name in past[1]}
        thread = attempt(server, lie)
        return letter(server, thread), metadata(server, thread)["prompts_release"]

    return case


def resumed(inside: str, said: Lie) -> Case:
    def case(server: Server, past: Past) -> str:
        thread = str(post(server, f"/threads/{past[0]}/copy")["thread_id"])
        more = {"config": {"configurable": said}} if inside == "configurable" else {inside: said}
        answer = {"resume": "make it short"}
        return str(run(server, thread, assistant_id="letters", command=answer, **more)["letter"])

    return case


def forked(server: Server, past: Past) -> list[str]:
    thread = str(post(server, f"/threads/{past[0]}/copy")["thread_id"])
    waits = server.http.get(f"/threads/{thread}/state").json()["checkpoint"]
    before = letter(server, thread)
    update(server, thread, checkpoint={**waits, "prompts_release": "0" * 64})
    return [before, letter(server, thread)]


WHOLE = {attempt.__name__: attempted(attempt) for attempt in ATTEMPTS}
CUT = {
    f"{attempt.__name__} {length}": attempted(attempt, length)
    for attempt in (a_state_update_on_a_new_thread, a_run_of_another_graph)
    for length in (9, 64)
}
RESUMED = {
    f"{said} in {inside}": resumed(inside, said)
    for said in ({"__pregel_resuming": False}, {"__pregel_resuming": None}, {OURS[0]: "x"})
    for inside in ("configurable", "checkpoint")
}
CASES = {**WHOLE, **CUT, **RESUMED, "fork": forked}


@pytest.fixture(scope="module")
def answers(server: Server, past: Past) -> Iterator[dict[str, Future[Any]]]:
    """What came of each case. All begin at once, since the server takes up runs twice a second."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        yield {name: pool.submit(case, server, past) for name, case in CASES.items()}


@pytest.mark.parametrize("attempt", WHOLE)
def test_a_client_gets_the_live_release_wherever_it_says_another(
    answers: dict[str, Future[Any]], past: Past, attempt: str
) -> None:
    written, release = answers[attempt].result()
    assert NEW in written
    assert release != past[1]["prompts_release"]


@pytest.mark.parametrize("attempt", CUT)
def test_no_id_counts_without_a_mark_and_no_beginning_of_one(
    answers: dict[str, Future[Any]], attempt: str
) -> None:
    written, _release = answers[attempt].result()
    assert NEW in written


@pytest.mark.parametrize("said", RESUMED)
def test_a_run_that_waits_keeps_its_release_whatever_a_client_says(
    answers: dict[str, Future[Any]], said: str
) -> None:
    assert OLD in answers[said].result()


def test_forks_from_a_threads_own_history_keep_its_release(
    answers: dict[str, Future[Any]],
) -> None:
    assert all(OLD in written for written in answers["fork"].result())


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
