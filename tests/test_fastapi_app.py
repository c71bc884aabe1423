"""Live graphs in a web app: examples/fastapi_app under uvicorn; workers, event loops."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.example_apps import Server, copy_of, save, serving, settings
from tests.model_server import ModelServer
from yamlgraph_prompts import load_and_compile
from yamlgraph_prompts._cli import main

UVICORN = ("uvicorn", "app:app", "--host", "127.0.0.1")
WORKERS = 3
_threads = map(str, itertools.count())


@pytest.fixture(scope="module", params=[1, WORKERS], ids=["one worker", f"{WORKERS} workers"])
def server(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _one_model_server: ModelServer,
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fastapi")
    env = settings(folder, _one_model_server.url)
    workers = request.param
    command = (*UVICORN, "--workers", str(workers)) if workers > 1 else UVICORN
    app = copy_of("fastapi_app", folder)
    with serving(command, app, env, ready="/release", workers=workers) as server:
        live(server)
        yield server


def fresh(server: Server, method: str, path: str, **body: Any) -> dict[str, Any]:
    """An answer over a connection of its own, which may reach any worker."""
    headers = {"connection": "close"}
    sent = server.http.request(method, path, json=body or None, headers=headers)
    assert sent.is_success, sent.text
    answer: dict[str, Any] = sent.json()
    return answer


def live(server: Server) -> dict[int, str]:
    """Worker → its live release, for all of them."""
    return server.of_every_worker("/release", "release")


def draft(server: Server, thread: str | None = None) -> str:
    answer = fresh(server, "POST", f"/letters/{thread or next(_threads)}", name="Ada")
    assert answer["question"]
    return str(answer["draft"])


def write(server: Server, thread: str) -> str:
    return str(fresh(server, "POST", f"/letters/{thread}/wish", wish="make it short")["letter"])


def test_a_letter_is_drafted_and_after_the_answer_written(
    server: Server, model_server: ModelServer
) -> None:
    thread = next(_threads)
    assert draft(server, thread) == "echo: Draft a letter to Ada."
    assert "One more wish: make it short" in write(server, thread)


def test_an_answer_that_nobody_asked_for_is_refused(
    server: Server, model_server: ModelServer
) -> None:
    answer = server.http.post(f"/letters/{next(_threads)}/wish", json={"wish": "x"})
    assert answer.status_code == 409


def test_the_live_release_is_shown(server: Server, model_server: ModelServer) -> None:
    shown = fresh(server, "GET", "/release")
    assert len(shown["release"]) == 64
    assert sorted(shown["prompts"]) == ["draft", "letter"]


def test_a_saved_prompt_reaches_every_worker_within_two_seconds(
    server: Server, model_server: ModelServer
) -> None:
    before = live(server)
    save(server.folder / "prompts/draft.yaml", 'user: "A tiny draft to {name}."\n')
    ends = time.monotonic() + 2
    late = False
    while not moved_on(server, before):
        assert not late
        late = time.monotonic() >= ends
    assert {draft(server) for _ in range(2 * WORKERS)} == {"echo: A tiny draft to Ada."}


def test_a_letter_that_waits_goes_on_with_the_prompts_that_it_began_with(
    server: Server, model_server: ModelServer
) -> None:
    waiting = [next(_threads) for _ in range(2 * WORKERS)]
    for thread in waiting:
        draft(server, thread)
    before = live(server)
    save(server.folder / "prompts/letter.yaml", 'user: "End it in rhyme: {draft} {wish}"\n')
    wait_until(lambda: moved_on(server, before))
    thread = next(_threads)
    draft(server, thread)
    assert "End it in rhyme" in write(server, thread)
    # Whichever worker gets the answer.
    assert all("Finish this letter" in write(server, thread) for thread in waiting)


def moved_on(server: Server, before: dict[int, str]) -> bool:
    """Whether every worker is on another release than `before`, the same for all."""
    releases = set(live(server).values())
    return len(releases) == 1 and not releases & set(before.values())


def test_a_rollback_by_the_command_reaches_every_worker_and_is_held_until_follow(
    server: Server,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(server.folder)
    for name, value in settings(server.folder.parent).items():
        monkeypatch.setenv(name, value)
    before = live(server)
    assert main(["rollback", "--layer", "prompts"]) == 0
    wait_until(lambda: moved_on(server, before))
    (rolled_back,) = set(live(server).values())
    assert rolled_back[:12] in "".join(capsys.readouterr())
    save(server.folder / "prompts/draft.yaml", 'user: "A long draft to {name}."\n')
    wait_until(lambda: "are not published until follow()" in server.log)
    assert set(live(server).values()) == {rolled_back}
    assert main(["follow", "--layer", "prompts"]) == 0
    wait_until(lambda: draft(server) == "echo: A long draft to Ada.")
    wait_until(lambda: set(live(server).values()).isdisjoint({rolled_back}))


def test_a_broken_prompt_stays_out_of_every_worker(
    server: Server, model_server: ModelServer
) -> None:
    before = live(server)
    save(server.folder / "prompts/draft.yaml", "user: 'A draft to {name}\n")
    wait_until(lambda: server.log.count("yaml-syntax") >= len(before))
    assert set(live(server).values()) == set(before.values())


def test_a_worker_that_nobody_has_asked_yet_follows_edits_too_and_stops_when_it_is_told_to(
    tmp_path: Path, model_server: ModelServer
) -> None:
    folder = copy_of("fastapi_app", tmp_path)
    env = settings(tmp_path, model_server.url)
    with serving(UVICORN, folder, env, ready="/docs") as server:
        save(folder / "prompts/draft.yaml", 'user: "A tiny draft to {name}."\n')
        wait_until(lambda: server.log.count(" is live in ") == 2)
        assert draft(server) == "echo: A tiny draft to Ada."
    assert server.process.returncode in (0, -15)
    assert "Application shutdown complete" in server.log
    assert "Traceback" not in server.log


def app_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("CHECKPOINTS", str(folder / "checkpoints.sqlite"))
    spec = importlib.util.spec_from_file_location("example_app", folder / "app.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "example_app", module)
    spec.loader.exec_module(module)
    return module


def test_twenty_starts_and_stops_leave_no_thread(
    tmp_path: Path, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = app_module(copy_of("fastapi_app", tmp_path), monkeypatch)

    async def serve_once(number: int) -> None:
        async with module.lifespan(module.app):
            result = await module.run(module.app.state.letters, str(number), {"name": "Ada"})
            assert result["question"]

    asyncio.run(serve_once(0))  # what it starts once for the process may stay
    before = set(threading.enumerate())
    for number in range(1, 21):
        asyncio.run(serve_once(number))
    gc.collect()
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_one_live_graph_serves_one_event_loop_after_the_other(
    tmp_path: Path, model_server: ModelServer
) -> None:
    folder = copy_of("quickstart", tmp_path)
    app = load_and_compile(folder / "graph.yaml", folder / "prompts").compile()

    async def letter() -> str:
        result = await app.ainvoke({"name": "Ada"})
        return str(result["letter"])

    assert "cheers" not in asyncio.run(letter())
    save(folder / "prompts/letter.yaml", 'user: "cheers {greeting}"')
    wait_until(lambda: "cheers" in asyncio.run(letter()))


def test_one_live_graph_serves_several_event_loops_at_once(
    tmp_path: Path, model_server: ModelServer
) -> None:
    folder = copy_of("quickstart", tmp_path)
    app = load_and_compile(folder / "graph.yaml", folder / "prompts").compile()

    async def letters() -> list[str]:
        runs = (app.ainvoke({"name": "Ada"}) for _ in range(4))
        return [result["letter"] for result in await asyncio.gather(*runs)]

    def loop(_: int) -> list[str]:
        return asyncio.run(letters())

    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(loop, range(4)))
        save(folder / "prompts/letter.yaml", 'user: "cheers {greeting}"')
        wait_until(lambda: all("cheers" in text for text in loop(0)))
        second = list(pool.map(loop, range(4)))
    assert {text.strip() for texts in first for text in texts} == {
        "echo: Write a letter that begins with: echo: Greet Ada."
    }
    assert {text for texts in second for text in texts} == {"echo: cheers echo: Greet Ada."}
