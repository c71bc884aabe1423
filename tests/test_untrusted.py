"""Previews, checks, diffs and changes over the admin API: none of it runs in the app."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.admin_client import TOKENS, Client
from tests.files import write
from tests.test_admin import only
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts._check import Checker, untrusted
from yamlgraph_prompts._check.facts import KnownFacts
from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, OwnPrompt, PromptUse
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._text.diff import side_by_side, unified
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.desk import Desk
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.admin.security.gate import Limits

NUMBERS = Random(7)
SLOW, ALSO = ("".join(f"  {NUMBERS.randrange(150)}\n" for _ in range(20_000)) for _ in range(2))
STATEMENT = "oo different to show: 20,001 lines before, 20,001 lines after"


@pytest.fixture
def prompts(tmp_path: Path) -> Iterator[LivePrompts]:
    write(tmp_path / "prompts", {"a.yaml": "user: Hi {name}\n", "b.yaml": "user: b\n"})
    with LivePrompts(
        tmp_path / "prompts", environment="test", store=tmp_path / "store", watch=False
    ) as made:
        yield made


@pytest.fixture
def client(prompts: LivePrompts) -> Client:
    return Client(admin_app(prompts, TOKENS))


@pytest.fixture
def no_workers(own_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    untrusted.pool.close()

    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)


# -- where it runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/preview/a", {"variables": {"name": "Ada"}}),
        ("POST", "/preview/a", {"text": "user: x"}),
        ("POST", "/check", {"prompts": {"a": "user: x"}}),
        ("PUT", "/prompts/a", {"user": "x"}),
        ("GET", "/releases/live/diff/layers", None),
    ],
)
def test_where_no_worker_can_be_started_untrusted_work_is_refused(
    client: Client, prompts: LivePrompts, no_workers: None, method: str, path: str, body: Any
) -> None:
    before = prompts.release.id
    answer = client.send(method, path, json=body)
    assert (answer.status, answer.code) == (503, "no-worker")
    assert "No worker process can be started" in answer.json["message"]
    assert prompts.release.id == before


def test_a_put_of_yaml_is_refused_too_and_what_runs_nothing_untrusted_is_not(
    client: Client, prompts: LivePrompts, no_workers: None, tmp_path: Path
) -> None:
    first = prompts.release.id
    (tmp_path / "prompts/b.yaml").write_text("user: other\n")
    assert prompts.publish().status == "published"
    answer = client.put("/prompts/a", "user: x\n")
    assert (answer.status, answer.code) == (503, "no-worker")
    assert (tmp_path / "prompts/a.yaml").read_text() == "user: Hi {name}\n"
    assert client.get("/health/ready").status == 200
    assert client.post("/rollback").json["release"] == first
    assert client.post("/follow").status == 200
    assert client.post("/follow").json["held"] is False


def test_the_app_itself_reads_nothing_of_a_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts import load_and_compile
    from yamlgraph_prompts._sandbox import inspection
    from yamlgraph_prompts._yaml_file import parse

    graph = """
name: g
state: {name: str}
nodes:
  hello: {type: llm, prompt: a, variables: {name: "{state.name}"}, state_key: said}
edges: [{from: START, to: hello}, {from: hello, to: END}]
"""
    write(tmp_path, {"graph.yaml": graph})
    drafts = [
        "user: MARK {name} {other}\nprovider: x\n",
        {"system": ["MARK"], "user": "MARK {{ name | uper }}"},
        "user: MARK {name}\nschema: {name: Out, fields: {x: {type: str, description: y}}}\n",
        "[MARK",
    ]
    with only(tmp_path, {"a.yaml": "user: Hi {name}"}) as prompts:
        app = load_and_compile(tmp_path / "graph.yaml", prompts=prompts).compile()
        client = Client(admin_app(prompts, TOKENS), role="viewer")
        real = parse._Loader

        def loader(data: bytes) -> Any:
            assert b"MARK" not in data
            return real(data)

        def inspect(self: Any, text: str, *_: Any, **__: Any) -> None:
            assert "MARK" not in text

        monkeypatch.setattr(parse, "_Loader", loader)
        monkeypatch.setattr(inspection.Inspection, "__init__", inspect)
        codes = []
        for draft in drafts:
            answer = client.post("/check", json={"prompts": {"a": draft}})
            assert answer.status == 200, answer
            codes.append({finding["code"] for finding in answer.json["findings"]})
            body = {"variables": {"name": "x"}, "text": draft}
            assert client.post("/preview/a", json=body).status in (200, 422)
        assert {"provider-changed", "missing-variable"} <= codes[0]
        assert "unknown-filter" in codes[1]
        assert codes[2] == set()
        assert "yaml-syntax" in codes[3]
        del app


@pytest.mark.parametrize("name", ["vars", "vars.test", "x/vars"])
def test_a_draft_of_vars_is_refused_as_a_write_is(client: Client, name: str) -> None:
    answer = client.post("/check", json={"prompts": {name: "tone: kind"}})
    assert (answer.status, answer.code) == (422, "invalid")
    assert client.put(f"/prompts/{name}", "tone: kind").code == "name"


def test_a_worker_that_is_killed_in_the_middle_is_503_and_the_next_preview_works(
    client: Client,
) -> None:
    client.post("/preview/a", json={"variables": {"name": "x"}})
    workers = set(untrusted.pool.pids)
    assert workers
    for pid in workers:  # so that the next preview is under way until they are killed
        os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.5, lambda: [os.kill(pid, signal.SIGKILL) for pid in workers])
    killer.start()
    answer = client.post("/preview/a", json={"variables": {"name": "x"}})
    killer.join()
    assert (answer.status, answer.code) == (503, "worker-died")
    assert client.post("/preview/a", json={"variables": {"name": "x"}}).status == 200


def test_what_takes_too_long_is_stopped_and_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untrusted, "SECONDS", 0.2)
    client.post("/preview/a", json={"variables": {"name": "x"}})
    body = {"user": "x", "more": [[]] * 200_000}
    started = time.monotonic()
    for method, path, sent in (
        ("POST", "/preview/a", {"text": body}),
        ("POST", "/check", {"prompts": {"a": body}}),
        ("PUT", "/prompts/a", body),
    ):
        answer = client.send(method, path, json=sent)
        assert (answer.status, answer.code) == (422, "too-costly"), answer
        assert "took longer than 0.2 s" in answer.json["message"]
    assert time.monotonic() - started < 15


PROMPTS = [
    {"system": "Be kind.", "user": "Hi {name}"},
    {"user": "Hi {{ name | upper }} {{ state.x }}"},
    {"system": [{"content": "a {name}", "cache": True}, "b"], "user": "c", "provider": "anthropic"},
    {"system_segments": [{"content": "a"}, {"content": "{{ name }}"}], "user": "c"},
    {"system_segments": [], "user": "c"},
    {"system": "", "user": "é😀"},
]


@pytest.mark.parametrize("content", PROMPTS)
def test_a_preview_is_what_a_run_would_send(client: Client, content: dict[str, Any]) -> None:
    from yamlgraph_prompts.templates.template import PromptTemplate

    variables = {"name": "Ada", "state": {"x": [1, 2.5, None, {"y": True}]}}
    there = client.post("/preview/a", json={"text": content, "variables": variables}).json
    here = PromptTemplate(content, prompt="a").messages(variables, state=variables["state"])
    assert [(one["role"], one["content"]) for one in there["messages"]] == [
        (one.type, one.content) for one in here
    ]


FILES = [
    b"user: Hi {name} {other}\nprovider: p\nmodel: 7\n",
    b"system: [a, {content: '{zz}'}]\nuser: '{{ name }} {{ a.b }}'\n",
    b"system:\nuser: x\n",
    b"system_segments: [{content: '{x}'}]\nuser: x\n",
    b"messages: []\n",
    b"just text\n",
    b"- a\n",
    b"user: '{{ name | uper }}'\nschema: 7\n",
    b"user: x\nschema: {name: Out, fields: {a: {type: str}}}\n",
    b"user: x\noutput_schema: {type: object, properties: {a: {type: nope}}}\n",
    b"[",
    b"",
]


@pytest.mark.parametrize("data", FILES)
@pytest.mark.parametrize("kind", ["llm", "agent"])
@pytest.mark.parametrize("bundled", [False, True])
def test_the_check_says_the_same_of_what_a_worker_read(
    data: bytes, kind: str, bundled: bool
) -> None:
    use = PromptUse("node", kind, "a", frozenset({"name"}), 3)
    own = {"a": OwnPrompt(data, "a.yaml")} if bundled else {}
    graphs = [GraphFacts("g", (GraphFile("", "g.yaml", "0", (use,), own=own),), bundled=bundled)]
    release = Release.of([Prompt("a", data, file="a.yaml")])
    before = Release.of([Prompt("a", b"user: x\nmodel: old\n")])

    def schema_problem(prompt: Prompt) -> str | None:
        return "it is odd" if b"nope" in prompt.data else None

    def check(checker: Checker) -> tuple[Any, ...]:
        return checker.check(release, graphs, previous=before, schema_problem=schema_problem)

    known = Checker()
    facts = untrusted.examined([data])
    assert all(isinstance(one, KnownFacts) for one in facts.values())
    known.learn(facts)
    assert check(known) == check(Checker())


# -- places ----------------------------------------------------------------------------------------


def test_a_place_is_free_when_its_work_has_ended_and_not_before() -> None:
    go, begun, at_once, most = threading.Event(), [0], [0], [0]

    def work() -> None:
        begun[0] += 1
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        go.wait(20)
        at_once[0] -= 1

    async def storm() -> None:
        desk = Desk(2, 0.2)

        async def ask() -> str:
            try:
                await desk.do(work)
            except Refusal as refusal:
                return refusal.body.code
            return "done"

        assert set(await asyncio.gather(*(ask() for _ in range(6)))) == {"too-slow"}
        # What never began does not begin later, and what began keeps its place.
        assert await ask() == "too-slow"
        assert begun[0] == 2
        go.set()
        while at_once[0]:
            await asyncio.sleep(0.01)
        assert set(await asyncio.gather(*(ask() for _ in range(4)))) == {"done"}

    asyncio.run(storm())
    assert (begun[0], most[0]) == (6, 2)


def test_nothing_that_a_viewer_asks_for_delays_the_operator_or_health(
    prompts: LivePrompts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts/b.yaml").write_text("user: other\n")
    prompts.publish()
    go, waiting = threading.Event(), threading.Semaphore(0)

    def stuck(*_: Any, **__: Any) -> Any:
        waiting.release()
        go.wait(30)
        raise untrusted.Unfit("enough")

    monkeypatch.setattr(untrusted, "preview", stuck)
    monkeypatch.setattr(untrusted, "read_drafts", stuck)
    monkeypatch.setattr(untrusted, "unified", stuck)
    monkeypatch.setattr(prompts, "releases", stuck)
    app = admin_app(prompts, TOKENS, limits=Limits(threads=2))
    viewer, operator = Client(app, role="viewer"), Client(app)

    async def storm() -> None:
        asked = [
            asyncio.create_task(viewer.asend(method, path, json=body))
            for method, path, body in (
                ("POST", "/preview/a", {}),
                ("POST", "/check", {}),
                ("GET", "/releases/live/diff/live", None),
                ("GET", "/releases", None),
            )
            for _ in range(20)
        ]
        for _ in range(4):
            await asyncio.to_thread(waiting.acquire, True, 10)
        async with asyncio.timeout(10):
            for method, path in (
                ("POST", "/rollback"),
                ("POST", f"/releases/{prompts.release.id}/activate"),
                ("POST", "/follow"),
                ("GET", "/health/ready"),
                ("GET", "/health/live"),
            ):
                assert (await operator.asend(method, path)).status == 200
        # More than may wait are refused at once, and hold nothing.
        assert sum(task.done() for task in asked) == 40 - Limits().bodies
        go.set()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(storm())


# -- diffs -----------------------------------------------------------------------------------------


def test_texts_that_are_too_different_get_a_statement_the_same_everywhere(
    client: Client, prompts: LivePrompts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from yamlgraph_prompts._cli import main

    def publish(text: str) -> str:
        (tmp_path / "prompts/slow.yaml").write_text(f"user: |\n{text}")
        assert prompts.publish().status == "published"
        return prompts.release.id

    before, after = publish(SLOW), publish(ALSO)
    started = time.monotonic()
    api = client.get(f"/releases/{before}/diff/{after}").json
    assert api["changed"] == ["slow"]
    assert STATEMENT in api["diffs"][0]["diff"]
    page = client.get(f"/page/releases/{before}/diff/{after}", headers={"accept": "text/html"})
    assert STATEMENT in page.text
    store = str(tmp_path / "store")
    layer = str(tmp_path / "prompts")
    assert main(["diff", before, after, "-l", layer, "-e", "test", "--store", store]) == 1
    assert STATEMENT in capsys.readouterr().out
    assert time.monotonic() - started < 15
    assert str(prompts.find(before).diff(prompts.find(after))) == api["diffs"][0]["diff"]


def zigzag(size: int) -> tuple[str, str]:
    up = [*range(size // 200), *range(size // 200, 0, -1)] * 100
    return "\n".join(map(str, up)), "\n".join(map(str, up[::-1][size // 7 :]))


@pytest.mark.parametrize(
    "texts",
    [
        (SLOW, ALSO),
        zigzag(10_000),
        zigzag(100_000),
        zigzag(400_000),
        ("a\nb\n" * 100_000, "b\na\n" * 99_999),
        ("a b " * 4_000, "b a " * 3_999),
        ("a " * 400_000, "b a " * 200_000),
        ("\n" * 1_000_000, "\n" * 999_999 + "x"),
        ("\n".join(map(str, range(30_000))), "\n".join(map(str, range(30_000, 0, -1)))),
        ("".join(map(chr, range(0x4E00, 0x9000))), "".join(map(chr, range(0x9000, 0x4E00, -1)))),
    ],
    ids=lambda texts: f"{len(texts[0])}",
)
def test_no_texts_take_long_to_compare(texts: tuple[str, str]) -> None:
    for compare in (lambda: unified(*texts, "a", "b"), lambda: side_by_side(*texts)):
        started = time.process_time()
        compare()
        assert time.process_time() - started < 5


def test_long_texts_that_differ_a_little_are_compared_line_by_line() -> None:
    lines = [f"line {number}" for number in range(20_000)]
    changed = [f"{line}!" if at % 500 == 7 else line for at, line in enumerate(lines)]
    text = unified("\n".join(lines), "\n".join(changed), "a", "b")
    assert text.count("\n+line") == text.count("\n-line") == 40
