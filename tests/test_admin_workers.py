"""Real servers and several workers: one change is live in all, a killed one harms none."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import pytest

from tests.admin_client import TOKENS, Client, served
from tests.conftest import ROOT, wait_until
from tests.example_apps import Server, free_port, serving, settings
from tests.files import write
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.security.gate import Limits

WORKERS = 3
TOKEN = {"authorization": "Bearer the-operators-token", "connection": "close"}
READY = "/admin/health/ready"
YAML = {"content-type": "application/yaml"}
APP = """
import os
import threading
from fastapi import FastAPI
from tests.admin_client import TOKENS
from tests.files import says
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts.admin import admin_app, lifespan

prompts = LivePrompts("prompts", environment="test")
graph = live_graph(says("a", "b"), prompts=prompts).compile()
app = FastAPI(lifespan=lifespan(prompts))
app.mount("/admin", admin_app(prompts, TOKENS))
threads = [thread.name for thread in threading.enumerate()]


@app.get("/run")
def run():
    return {"worker": os.getpid(), "said": graph.invoke({})["said"], "threads": threads}
"""


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("workers")
    folder = write(
        place / "app",
        {"app.py": APP, "prompts/a.yaml": "user: start", "prompts/b.yaml": "user: start"},
    )
    command = ("uvicorn", "app:app", "--host", "127.0.0.1", "--workers", str(WORKERS))
    with serving(command, folder, settings(place), ready=READY, workers=WORKERS) as server:
        runs(server)
        yield server


@pytest.fixture
def server(one_server: Server) -> Server:
    """All workers, none held, that say a0 and b0."""
    ask(one_server, "POST", "/follow")
    ask(one_server, "PUT", "/prompts/b", "user: b0")
    ask(one_server, "PUT", "/prompts/a", "user: a0")
    all_say(one_server, "a0", "b0")
    return one_server


def ask(server: Server, method: str, path: str, text: str | None = None) -> Any:
    sent = server.http.request(method, f"/admin{path}", content=text, headers={**TOKEN, **YAML})
    assert sent.is_success, sent.text
    return sent.json()


def runs(server: Server) -> dict[int, list[str]]:
    """Worker → what a run says in it, for all of them."""
    return server.of_every_worker("/run", "said")


def all_say(server: Server, *wanted: str, within_s: float = 1.0) -> None:
    """Every worker says `wanted` in a run that begins `within_s` from now."""
    ends = time.monotonic() + within_s
    late = False
    while not all(said == list(wanted) for said in runs(server).values()):
        assert not late
        late = time.monotonic() >= ends


def test_a_change_a_roll_back_and_a_follow_are_live_in_all(server: Server) -> None:
    assert ask(server, "PUT", "/prompts/a", "user: a1")["status"] == "published"
    all_say(server, "a1", "b0")

    rolled = ask(server, "POST", "/rollback")
    assert (rolled["held"], rolled["reach"]["workers"]) == (True, WORKERS)
    assert rolled["reach"]["taken"] == WORKERS
    all_say(server, "a0", "b0")

    # A hold through one of them holds them all, whatever is saved.
    assert ask(server, "PUT", "/prompts/b", "user: b2")["status"] == "held"
    write(server.folder, {"prompts/a.yaml": "user: a3"})
    time.sleep(0.5)
    all_say(server, "a0", "b0")

    followed = ask(server, "POST", "/follow")
    assert (followed["held"], followed["reach"]["taken"]) == (False, WORKERS)
    all_say(server, "a3", "b2")


def test_the_audit_log_is_one_for_all_workers(server: Server) -> None:
    for number in range(8):
        ask(server, "PUT", "/prompts/a", f"user: n{number}")
    lines = ask(server, "GET", "/audit?limit=16")["lines"]
    assert [line["status"] for line in lines] == ["published", "begun"] * 8


def test_of_writes_through_several_workers_on_one_digest_one_wins(server: Server) -> None:
    digest = ask(server, "GET", "/prompts/a")["sha256"]

    def put(number: int) -> int:
        headers = {**TOKEN, **YAML, "if-match": f'"{digest}"'}
        return server.http.put(
            "/admin/prompts/a", content=f"user: n{number}", headers=headers
        ).status_code

    with ThreadPoolExecutor(12) as pool:
        assert sorted(pool.map(put, range(12))) == [200] + [412] * 11


@pytest.mark.parametrize("kills", [2, pytest.param(4, marks=pytest.mark.nightly)])
def test_a_worker_killed_in_the_middle_leaves_nothing_half_done(server: Server, kills: int) -> None:
    stop = threading.Event()
    refused: list[str] = []
    before = {path: path.read_text() for path in (server.folder / "prompts").rglob("*.yaml")}

    def put(name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with suppress(httpx.TransportError):
                answer = server.http.put(
                    f"/admin/prompts/{name}",
                    content=f"user: {name} {number} {'x' * 20_000} end",
                    headers={**TOKEN, **YAML},
                )
                if not answer.is_success:
                    refused.append(answer.text)

    writers = [threading.Thread(target=put, args=(name,)) for name in ("a", "b", "c/d")]
    for writer in writers:
        writer.start()
    for _ in range(kills):
        time.sleep(0.3)
        victim = server.http.get("/run", headers={"connection": "close"}).json()["worker"]
        os.kill(victim, signal.SIGKILL)
    stop.set()
    for writer in writers:
        writer.join()
    assert refused == []
    for path, text in before.items():
        # A slow machine may not come to write each of them.
        assert path.read_text() == text or path.read_text().endswith(" end")
    for line in next(server.folder.parent.rglob("audit.jsonl")).read_bytes().splitlines():
        if line.endswith(b"}"):
            json.loads(line)
    # Whoever is left, and whoever was started anew, goes on.
    runs(server)
    assert ask(server, "PUT", "/prompts/a", "user: after")["status"] in ("published", "unchanged")
    assert ask(server, "PUT", "/prompts/b", "user: after")["status"] in ("published", "unchanged")
    all_say(server, "after", "after", within_s=2.0)
    reach = ask(server, "POST", "/reload")["reach"]
    assert reach["workers"] == WORKERS


GUNICORN = (
    "gunicorn",
    "app:app",
    "--workers",
    str(WORKERS),
    "--preload",
    "--worker-class",
    "uvicorn_worker.UvicornWorker",
    "--bind",
    "127.0.0.1:{port}",
)


def test_workers_of_gunicorn_that_were_forked_from_one_share_every_change(
    tmp_path: Path,
) -> None:
    files = {"app.py": APP, "prompts/a.yaml": "user: a0", "prompts/b.yaml": "user: b0"}
    folder = write(tmp_path / "app", files)
    with serving(GUNICORN, folder, settings(tmp_path), ready=READY, workers=WORKERS) as server:
        runs(server)
        # Loading starts no thread, so that the process that they come from can fork.
        assert server.http.get("/run").json()["threads"] == ["MainThread"]
        assert ask(server, "PUT", "/prompts/a", "user: a1")["status"] == "published"
        all_say(server, "a1", "b0")
        # An edit on disk, without the API.
        write(folder, {"prompts/b.yaml": "user: b1"})
        all_say(server, "a1", "b1", within_s=2.0)
        rolled = ask(server, "POST", "/rollback")
        assert rolled["held"]
        # That process serves nobody, and is not counted.
        assert (rolled["reach"]["taken"], rolled["reach"]["workers"]) == (WORKERS, WORKERS)
        all_say(server, "a1", "b0")
        victim = next(iter(runs(server)))
        os.kill(victim, signal.SIGKILL)
        assert victim not in runs(server)
        all_say(server, "a1", "b0", within_s=2.0)
        followed = ask(server, "POST", "/follow")
        assert followed["reach"]["taken"] == WORKERS
        all_say(server, "a1", "b1")
        text = server.http.get("/admin/metrics", headers=TOKEN).text
        assert "yamlgraph_prompts_release_info{" in text
    assert "Traceback" not in server.log


# -- events ----------------------------------------------------------------------------------------


def test_events_are_told_as_they_happen_and_missed_ones_later(tmp_path: Path) -> None:
    write(tmp_path / "prompts", {"a.yaml": "user: a"})
    with LivePrompts(
        tmp_path / "prompts", environment="test", store=tmp_path / "store", watch=False
    ) as prompts:
        app = admin_app(prompts, TOKENS)
        admin = Client(app)
        assert prompts.release
        with served(app) as url, httpx.Client(base_url=url, headers=TOKEN, timeout=20) as http:
            with http.stream("GET", "/events") as stream:
                assert stream.headers["content-type"].startswith("text/event-stream")
                lines = stream.iter_lines()
                assert next(lines) == "retry: 500"
                admin.put("/prompts/a", "user: news")
                number, kind, said = heard(lines)
                assert (kind, said["status"], said["release"]) == (
                    "publication",
                    "published",
                    prompts.release.id,
                )
            write(tmp_path, {"prompts/a.yaml": "user: {{ x"})
            prompts.publish()
            (tmp_path / "prompts").rename(tmp_path / "gone")
            prompts.publish()
            with http.stream("GET", "/events", headers={"last-event-id": number}) as stream:
                lines = stream.iter_lines()
                assert next(lines) == "retry: 500"
                _, kind, said = heard(lines)
                assert (kind, said["status"]) == ("publication", "rejected")
                assert said["findings"][0]["prompt"] == "a"
                _, kind, said = heard(lines)
                assert (kind, said["layer"]) == ("layer-unavailable", str(tmp_path / "prompts"))
        wait_until(lambda: app.state.admin.feed._listeners == {})


def heard(lines: Iterator[str]) -> tuple[str, str, dict[str, Any]]:
    """The next event: its number, its kind, what it says."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line and name:
            found[name] = value
        if "data" in found:
            return found["id"], found["event"], json.loads(found["data"])
    raise AssertionError("the stream ended")


def test_only_so_many_may_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yamlgraph_prompts.admin.api.feed.STREAM_S", 60.0)
    with LivePrompts({"a": "user: a"}, environment="test") as prompts:
        app = admin_app(prompts, TOKENS, limits=Limits(listeners=1))
        with (
            served(app) as url,
            httpx.Client(base_url=url, headers=TOKEN, timeout=20) as http,
            http.stream("GET", "/events") as stream,
        ):
            lines = stream.iter_lines()  # kept: dropping it would hang up
            assert next(lines) == "retry: 500"
            assert http.get("/events").json()["code"] == "too-many-listeners"


def test_who_never_reads_keeps_nobody_from_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yamlgraph_prompts.admin.api.feed.STREAM_S", 0.1)
    monkeypatch.setattr("yamlgraph_prompts.admin.api.feed.UNREAD_S", 0.1)
    with LivePrompts({"a": "user: a"}, environment="test") as prompts:
        app = admin_app(prompts, TOKENS, limits=Limits(listeners=1))

        async def listen() -> None:
            async def receive() -> Any:
                await asyncio.Event().wait()

            async def send(message: Any) -> None:
                if message.get("body"):
                    await asyncio.Event().wait()  # its buffers are full

            headers = {"authorization": TOKEN["authorization"]}
            scope = Client(app).scope("GET", "/events", headers)
            async with asyncio.timeout(20):
                await app(scope, receive, send)

        for _ in range(3):
            asyncio.run(listen())
        assert app.state.admin.feed._listeners == {}


def test_the_places_of_listeners_are_not_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yamlgraph_prompts.admin.api.feed.STREAM_S", 0.2)
    with LivePrompts({"a": "user: a"}, environment="test") as prompts:
        app = admin_app(prompts, TOKENS, limits=Limits(listeners=3))

        async def storm() -> list[int]:
            client = Client(app)
            answers = await asyncio.gather(*(client.asend("GET", "/events") for _ in range(20)))
            return [answer.status for answer in answers]

        assert sorted(asyncio.run(storm())) == [200] * 3 + [503] * 17


# -- serve -----------------------------------------------------------------------------------------

GRAPH = """\
name: letter
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""
SERVE = "import sys; from yamlgraph_prompts._cli import main; sys.exit(main(sys.argv[1:]))"


def serve(folder: Path, *words: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", *words],
        cwd=folder,
        env={**settings(folder), "PYTHONPATH": str(ROOT), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def graph_folder(tmp_path: Path) -> Path:
    files = {"graph.yaml": GRAPH, "prompts/greeting.yaml": "user: Hi {name}\n"}
    return write(tmp_path / "serve", files)


def test_serve_alone_is_open_to_this_machine_only(graph_folder: Path) -> None:
    port = str(free_port())
    process = serve(graph_folder, "graph.yaml", "-l", "prompts", "-e", "test", "--port", port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            wait_until(lambda: answers(http, process), timeout_s=30)
            uses = http.get("/prompts/greeting").json()["uses"]
            assert uses[0]["node"] == "greet"
            put = http.put("/prompts/greeting", content="user: Ho {name}", headers=YAML)
            assert put.json()["status"] == "published"
            assert (graph_folder / "prompts/greeting.yaml").read_text() == "user: Ho {name}"
            assert http.get("/prompts", headers={"host": "evil.example"}).status_code == 421
            assert (
                http.put(
                    "/prompts/greeting", content="user: x", headers={**YAML, "origin": "http://a.b"}
                ).status_code
                == 403
            )
            # An edit in the folder is followed.
            write(graph_folder, {"prompts/greeting.yaml": "user: By hand {name}\n"})
            wait_until(lambda: "By hand" in http.get("/prompts/greeting").text, timeout_s=10)
    finally:
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert f"http://127.0.0.1:{port}/docs" in out
    assert "Traceback" not in out


@pytest.mark.skipif(which("curl") is None, reason="curl is not installed")
def test_the_walk_of_the_documentation_can_be_walked(graph_folder: Path) -> None:
    text = (ROOT / "docs/admin.md").read_text().partition("## A first walk")[2]
    start, walk = re.findall(r"```console\n(.*?)```", text, re.S)[:2]
    port, words = str(free_port()), start.split()[2:]
    (graph_folder / "prompts/greeting.yaml").write_text("user: Hi {name}\n")
    process = serve(graph_folder, *words[1:], "--port", port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            wait_until(lambda: answers(http, process), timeout_s=30)
        steps = re.findall(r"^\$ (.*)\n(.*)$", walk, re.M)
        assert len(steps) == 9
        for command, told in steps:
            said = subprocess.run(
                ["bash", "-c", command.replace("localhost:8321", f"127.0.0.1:{port}")],
                capture_output=True,
                text=True,
                check=True,
                env={"PATH": os.environ["PATH"], "NO_PROXY": "*"},
            ).stdout
            for piece in filter(None, (piece.strip() for piece in told.split("…"))):
                assert piece in said, (command, said)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def answers(http: httpx.Client, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None
    try:
        return http.get("/health/ready").status_code in (200, 401)
    except httpx.TransportError:
        return False


def test_serve_with_tokens_asks_for_them(graph_folder: Path) -> None:
    port, digest = str(free_port()), sha256(b"s3cret").hexdigest()
    (graph_folder / "tokens").write_text(f"{digest} author ada\n")
    words = ("-l", "prompts", "-e", "test", "--port", port, "--tokens", "tokens")
    process = serve(graph_folder, *words, "--host", "0.0.0.0")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            wait_until(lambda: answers(http, process), timeout_s=30)
            assert http.get("/prompts").status_code == 401
            good = {"authorization": "Bearer s3cret"}
            assert http.get("/prompts", headers=good).status_code == 200
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_serve_logs_requests_publications_and_orders_one_line_each_with_its_time(
    graph_folder: Path,
) -> None:
    port, store = str(free_port()), graph_folder / "store"
    words = ("-l", "prompts", "-e", "test", "--store", str(store))
    process = serve(graph_folder, *words, "--port", port)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            wait_until(lambda: answers(http, process), timeout_s=30)
            http.put("/prompts/greeting", content="user: Ho {name}", headers=YAML)
            bad = "user: '{{ a.__class__ }}'\nsystem: '{{ b.__class__ }}'\n"
            write(graph_folder, {"prompts/greeting.yaml": bad})
            wait_until(lambda: http.get("/health/ready").json()["degraded"], timeout_s=10)
            assert http.post("/rollback?message=oops").status_code == 200
            order = [sys.executable, "-c", SERVE, "follow", *words, "--who", "Ada"]
            environment = {**settings(graph_folder), "PYTHONPATH": str(ROOT)}
            subprocess.run(order, cwd=graph_folder, env=environment, check=False, timeout=60)
            http.get("/prompts/none%0A2026%20forged")
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=20)
    records = out.partition("/docs · the API\n")[2].splitlines()
    log = "\n".join(records)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} \w+ ", one) for one in records)
    for piece in (
        '"PUT /prompts/greeting HTTP/1.1" 200',
        "INFO put by local: published",
        "is live in test (put by local, ",
        "WARNING Not published in test (file change): 2 errors: ",
        "INFO rollback by local: published",
        '"POST /rollback?message=oops HTTP/1.1" 200',
        "INFO The hold has ended.",
        '"GET /prompts/none%0A2026%20forged HTTP/1.1" 404',
    ):
        assert piece in log, (piece, out)


def test_serve_says_when_no_token_would_let_anybody_in(graph_folder: Path) -> None:
    (graph_folder / "broken").write_bytes(b"\xff")
    process = serve(
        graph_folder, "-l", "prompts", "-e", "test", "--port", "0", "--tokens", "broken"
    )
    try:
        assert process.stdout is not None
        said = ""
        while "/docs" not in said or "gets 401" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        assert "The tokens in broken cannot be read: UnicodeDecodeError" in said
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_serve_does_not_start_without_the_file_of_tokens(graph_folder: Path) -> None:
    process = serve(graph_folder, "-l", "prompts", "-e", "test", "--port", "0", "--tokens", "gone")
    said, _ = process.communicate(timeout=60)
    assert "The file of tokens does not exist." in said
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-l", "prompts", "--host", "0.0.0.0"), "Without tokens"),
        (("-l", "prompts", "--host", "example.org"), "Without tokens"),
        (("-l", "prompts", "--write-to", "elsewhere"), "not one of the layers"),
        (("-l", "prompts", "--port", "99999999"), "Cannot listen on"),
        (("-l", "prompts", "what"), "only graphs"),
        ((), "serve needs a graph or a layer"),
    ],
)
def test_serve_refuses_what_makes_no_sense(
    graph_folder: Path,
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from yamlgraph_prompts._cli import main

    monkeypatch.chdir(graph_folder)
    assert main(["serve", *words, *(("-e", "test") if words else ())]) == 2
    assert said in capsys.readouterr().err
