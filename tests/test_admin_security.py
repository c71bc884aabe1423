"""The admin API keeps its door: tokens, roles, limits, odd requests, and what it never says."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.admin_client import TOKENS, YAML, Answer, Client, Slow
from tests.conftest import wait_until
from tests.files import write
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.app import open_app
from yamlgraph_prompts.admin.security.auth import ROLES, Attempts, Role, Tokens
from yamlgraph_prompts.admin.security.gate import Limits
from yamlgraph_prompts.errors import PromptsError

AS_VIEWER = ["/prompts", "/prompts/a", "/releases", "/releases/live", "/releases/live/diff/live"]
AS_VIEWER += ["/audit", "/metrics", "/docs", "/openapi.json"]
DOORS: list[tuple[str, str, Role]] = [
    *[("GET", path, "viewer") for path in AS_VIEWER],
    ("POST", "/preview/a", "viewer"),
    ("POST", "/check", "viewer"),
    ("PUT", "/prompts/a", "author"),
    ("DELETE", "/prompts/a", "author"),
    ("POST", "/reload", "author"),
    ("POST", "/releases/abc/activate", "operator"),
    ("POST", "/rollback", "operator"),
    ("POST", "/follow", "operator"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {"a.yaml": "user: Hi {name}\n", "b.yaml": "user: b\nprovider: openai\nmodel: m\n"}
    return write(tmp_path / "prompts", files).parent


@pytest.fixture
def prompts(folder: Path) -> Iterator[LivePrompts]:
    with LivePrompts(
        folder / "prompts", environment="test", store=folder / "store", watch=False
    ) as made:
        yield made


@pytest.fixture
def client(prompts: LivePrompts) -> Client:
    return Client(admin_app(prompts, TOKENS))


BEARER = "Bearer the-operators-token"


def asked(app: Any, scope: dict[str, Any], body: bytes = b"") -> tuple[int, bytes]:
    """The status and body of one request, given as it is."""
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)

    asyncio.run(ask())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def line(token: str, role: str, *more: str) -> str:
    return " ".join([sha256(token.encode()).hexdigest(), role, *more]) + "\n"


def knock(client: Client, token: str, path: str = "/prompts") -> Answer:
    return client.get(path, headers={"authorization": f"Bearer {token}"})


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "role"), DOORS)
def test_every_door_is_closed_to_all_below_its_role(
    client: Client, folder: Path, method: str, path: str, role: Role
) -> None:
    nobody = Client(client.app, role=None).send(method, path)
    assert (nobody.status, nobody.code) == (401, "no-token")
    assert nobody.headers["www-authenticate"] == "Bearer"
    for other in ROLES:
        answer = Client(client.app, role=other).send(method, path)
        if ROLES.index(other) < ROLES.index(role):
            assert (answer.status, answer.code) == (403, "role")
        else:
            assert answer.status != 401
            assert answer.status != 403


def test_every_route_is_in_the_table_of_doors(client: Client) -> None:
    told = {
        (method.upper(), path)
        for path, operations in client.get("/openapi.json").json["paths"].items()
        for method in operations
        if path not in ("/health/live", "/health/ready", "/events")
    }
    names = {"a": "{name}", "abc": "{release_id}"}
    known = {
        (method, "/".join(names.get(part, part) for part in path.split("/")))
        for method, path, _ in DOORS
    }
    known = {(m, p.replace("live/diff/live", "{before}/diff/{after}")) for m, p in known}
    known = {(m, p.replace("releases/live", "releases/{release_id}")) for m, p in known}
    assert told == known - {("GET", "/docs"), ("GET", "/openapi.json")}


def test_without_any_token_it_stays_closed(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts), role=None)
    assert client.get("/prompts").status == 401
    assert knock(client, "anything").status == 401
    assert client.get("/health/live").status == 200


def test_a_token_may_come_in_a_header_of_its_own(prompts: LivePrompts) -> None:
    nobody = Client(admin_app(prompts, TOKENS), role=None)
    assert nobody.get("/prompts", headers={"x-api-key": "the-viewers-token"}).status == 200
    nobody = Client(admin_app(prompts, TOKENS, header="X-Prompts"), role=None)
    assert nobody.get("/prompts", headers={"x-prompts": "the-viewers-token"}).status == 200
    assert nobody.get("/prompts", headers={"x-api-key": "the-viewers-token"}).status == 401


@pytest.mark.parametrize("tokens", [{"": "viewer"}, {"x": "admin"}, {7: "viewer"}])
def test_a_mapping_that_makes_no_sense_is_refused_at_once(
    prompts: LivePrompts, tokens: Any
) -> None:
    with pytest.raises(ValueError, match=r"token|role"):
        admin_app(prompts, tokens)


def test_tokens_in_a_file_are_digests_and_have_names(prompts: LivePrompts, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who may come in\n" + line("s3cret", "author", "ada"))
    client = Client(admin_app(prompts, file), role=None)
    headers = {"authorization": "Bearer s3cret"}
    assert client.put("/prompts/a", "user: Hello {name}", headers=headers).status == 200
    assert client.get("/audit", headers=headers).json["lines"][0]["who"] == "ada"
    assert prompts.releases()[0].reason == "put by ada"


def test_tokens_rotate_without_a_restart(
    prompts: LivePrompts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yamlgraph_prompts.admin.security.auth.LOOK_EVERY_S", 0.0)
    file = tmp_path / "tokens"
    file.write_text(line("old", "viewer"))
    client = Client(admin_app(prompts, file), role=None)
    assert (knock(client, "old").status, knock(client, "new").status) == (200, 401)
    file.write_text(line("new", "viewer"))
    assert (knock(client, "old").status, knock(client, "new").status) == (401, 200)
    file.unlink()
    assert knock(client, "new").status == 401

    mapping: dict[str, Role] = {"old": "viewer"}
    client = Client(admin_app(prompts, mapping), role=None)
    mapping["new"] = mapping.pop("old")
    assert (knock(client, "old").status, knock(client, "new").status) == (401, 200)

    client = Client(admin_app(prompts), role=None)
    monkeypatch.setenv(
        "YAMLGRAPH_PROMPTS_TOKENS", line("old", "viewer") + ";" + line("two", "viewer")
    )
    assert (knock(client, "old").status, knock(client, "two").status) == (200, 200)
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_TOKENS", line("new", "viewer"))
    assert (knock(client, "old").status, knock(client, "new").status) == (401, 200)


def test_a_changed_file_counts_within_seconds(prompts: LivePrompts, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(line("old", "viewer"))
    client = Client(admin_app(prompts, file, limits=Limits(failures=10_000)), role=None)
    assert knock(client, "old").status == 200
    file.write_text(line("new", "viewer"))
    wait_until(lambda: knock(client, "new").status == 200, timeout_s=5)
    assert knock(client, "old").status == 401


def test_a_token_ends_at_its_time(prompts: LivePrompts, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(
        line("over", "viewer", "ada", "2020-01-01")
        + line("good", "viewer", "bob", "2999-01-01T00:00:00+02:00")
    )
    client = Client(admin_app(prompts, file), role=None)
    assert (knock(client, "over").status, knock(client, "good").status) == (401, 200)


@pytest.mark.parametrize(
    "bad",
    [
        "plain-token viewer",
        line("x", "king"),
        line("x", "viewer", "na/me"),
        line("x", "viewer", "a", "soon"),
    ],
)
def test_a_line_that_makes_no_sense_opens_nothing_and_is_not_shown(
    prompts: LivePrompts, tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{bad}\n{line('good', 'viewer')}")
    client = Client(admin_app(prompts, file), role=None)
    assert knock(client, "good").status == 200
    assert (knock(client, "x").status, knock(client, "plain-token").status) == (401, 401)
    assert "Line 1" in caplog.text
    assert "plain-token" not in caplog.text


def test_a_file_that_others_may_write_does_not_count(
    prompts: LivePrompts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text(line("good", "viewer"))
    file.chmod(0o666)
    assert knock(Client(admin_app(prompts, file), role=None), "good").status == 401
    assert "other users may write" in caplog.text


def test_every_token_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    seen: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        seen.append((a, b))
        return compare(a, b)

    monkeypatch.setattr("yamlgraph_prompts.admin.security.auth.hmac.compare_digest", watched)
    tokens = Tokens({"one": "viewer", "two": "author", "three": "operator"})
    assert tokens.find("one") is not None
    assert len(seen) == 3
    assert tokens.find("four") is None
    assert len(seen) == 6


# -- how often, how much, how slow -----------------------------------------------------------------


def test_an_address_that_fails_too_often_must_wait(prompts: LivePrompts) -> None:
    app = admin_app(prompts, TOKENS, limits=Limits(failures=3, failures_s=0.5))
    client = Client(app, role=None)
    assert [knock(client, f"wrong {n}").status for n in range(4)] == [401, 401, 401, 429]
    blocked = knock(client, "wrong 5")
    assert (blocked.status, blocked.code) == (429, "too-many-attempts")
    assert int(blocked.headers["retry-after"]) == 1
    assert knock(Client(app, role=None, address="192.0.2.8"), "wrong 5").status == 401
    assert client.get("/health/live").status == 200
    wait_until(lambda: knock(client, "wrong 6").status == 401, timeout_s=5)


def test_a_stale_client_behind_the_same_proxy_stops_nobody_else(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts, TOKENS), role=None)
    seen = [knock(client, "the-scrapers-old-token").status for _ in range(30)]
    assert seen == [401] * 10 + [429] * 20
    assert knock(client, "the-viewers-token").status == 200
    # Who mistypes is told so, and is not told to wait.
    assert knock(client, "the-viewers-tokne").status == 401
    for number in range(20):
        knock(client, f"wrong {number}")
    assert knock(client, "the-viewers-token").status == 200


def test_a_household_of_addresses_counts_as_one_and_few_are_remembered() -> None:
    attempts = Attempts(limit=2, window_s=60, addresses=100)
    attempts.failed("2001:db8::1", "a")
    attempts.failed("2001:db8::2", "b")
    assert attempts.wait_s("2001:db8::3", "c") > 0
    assert attempts.wait_s("2001:db8:1::3", "c") == 0
    for number in range(1000):
        attempts.failed(f"10.0.{number // 256}.{number % 256}", "a")
    assert len(attempts._failed) == 100


def test_a_huge_body_is_refused_before_it_is_read(client: Client) -> None:
    said = client.put("/prompts/a", "x", headers={"content-length": str(1 << 40)})
    assert (said.status, said.code) == (413, "too-large")
    sent = client.put("/prompts/a", Slow([b"x" * (1 << 20)] * 3, 0.0))  # type: ignore[arg-type]
    assert (sent.status, sent.code) == (413, "too-large")
    broken = client.put("/prompts/a", "x", headers={"content-length": "many"})
    assert (broken.status, broken.code) == (400, "bad-request")


def test_a_body_of_somebody_unknown_is_not_read_at_all(client: Client) -> None:
    def never() -> Iterator[bytes]:
        raise AssertionError("was read")
        yield b""

    body: Any = Slow(never(), 0.0)
    assert Client(client.app, role=None).put("/prompts/a", body).status == 401


def test_a_body_that_trickles_is_given_up(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts, TOKENS, limits=Limits(body_s=0.2)))
    body: Any = Slow([b"u"] * 1000, 0.05)
    started = time.monotonic()
    answer = client.put("/prompts/a", body)
    assert (answer.status, answer.code) == (408, "too-slow")
    assert time.monotonic() - started < 5


def test_work_that_takes_too_long_is_answered_all_the_same(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(admin_app(prompts, TOKENS, limits=Limits(work_s=0.2)))
    monkeypatch.setattr(prompts, "releases", lambda: time.sleep(0.6) or [])
    answer = client.get("/releases")
    assert (answer.status, answer.code) == (503, "too-slow")


def test_slow_work_leaves_the_apps_own_threads_alone(prompts: LivePrompts) -> None:
    import anyio.to_thread

    app = admin_app(prompts, TOKENS, limits=Limits(threads=2))

    async def look() -> None:
        asked = [Client(app).asend("GET", "/releases") for _ in range(30)]
        limiter = anyio.to_thread.current_default_thread_limiter()

        async def watch() -> None:
            for _ in range(20):
                assert limiter.borrowed_tokens == 0
                await asyncio.sleep(0)

        answers = await asyncio.gather(*asked, watch())
        assert {answer.status for answer in answers[:-1] if answer} == {200}

    asyncio.run(look())


def test_who_tries_keeps_nobody_from_changing(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    go, at_once, most = threading.Event(), [0], [0]

    def slow(*_: Any) -> Any:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        go.wait(20)
        at_once[0] -= 1
        raise PromptsError("enough")

    monkeypatch.setattr("yamlgraph_prompts.admin.api.reading._preview", slow)
    app = admin_app(prompts, TOKENS)

    async def storm() -> None:
        viewer = Client(app, role="viewer")
        asked = [
            asyncio.create_task(viewer.asend("POST", "/preview/a", json={})) for _ in range(40)
        ]
        while not at_once[0]:
            await asyncio.sleep(0.01)
        answer = await Client(app).asend("POST", "/reload")
        assert answer.status == 200
        assert not asked[0].done()
        go.set()
        await asyncio.gather(*asked)

    asyncio.run(storm())
    assert most[0] <= Limits().trials


# -- names and bodies ------------------------------------------------------------------------------

ODD = [
    "..",
    "../a",
    "%2e%2e/%2e%2e/etc/passwd",
    "a/..%2f..%2fb",
    "a%2f%2e%2e%2f%2e%2e%2fetc",
    "/a",
    "//a",
    "a//b",
    "a/",
    "a%00",
    "%00",
    "a%0d%0aX: y",
    "a%5c..%5cb",
    "C:%5cwindows",
    "%ff%fe",
    "%c0%ae%c0%ae/a",
    "gr%d0%b5eting",  # a Cyrillic e
    "%ef%bd%81",  # a wide a
    "a%e2%80%ae",  # text from right to left
    "%ef%bc%8fetc",  # a wide slash
    "a%cc%88",  # a combining mark
    ".hidden",
    "a/.hidden",
    "-rf",
    "~",
    "a%20b",
    "%25%32%65",
    "a;b",
    "a:b",
    "a*",
    "x" * 251,
    "x" * 10_240,
    "a/" * 2000 + "a",
    "%2e" * 3000,
]


@pytest.mark.parametrize("name", ODD, ids=lambda name: name[:24])
def test_an_odd_name_is_refused_and_nothing_is_written(
    client: Client, folder: Path, name: str
) -> None:
    before = sorted(str(path) for path in folder.rglob("*") if "store" not in str(path))
    answers = {
        "read": client.get(f"/prompts/{name}"),
        "put": client.put(f"/prompts/{name}", "user: x"),
        "delete": client.delete(f"/prompts/{name}"),
        "preview": client.post(f"/preview/{name}", json={}),
        "release": client.get(f"/releases/{name}"),
        "activate": client.post(f"/releases/{name}/activate"),
        "check": client.post("/check", json={"prompts": {name[:5000]: "user: x"}}),
    }
    for what, answer in answers.items():
        if what != "check":
            assert 400 <= answer.status < 500, (what, answer)
        assert answer.status < 500, (what, answer)
        assert set(answer.json) >= {"code", "message"} or what == "check"
    after = sorted(str(path) for path in folder.rglob("*") if "store" not in str(path))
    assert after == before


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"user: x", "application/x-www-form-urlencoded", 415),
        (b"user: x", "", 415),
        (b"user: x", "application/octet-stream", 415),
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b'"user: x"', "application/json", 422),
        (b"{" * 100_000, "application/json", 422),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "application/json", 422),
        (b'{"user": "\\ud800"}', "application/json", 422),
        (b'{"user": NaN}', "application/json", 422),
        (b'{"user": "x", "temperature": -Infinity}', "application/json", 422),
        (b'{"user": "x", "user": "y"}', "application/json", 422),
        (b'{"user": "x", "a": [{"b": 1, "b": 1}]}', "application/json", 422),
        (b'{"user": ' + b"9" * 5000 + b"}", "application/json", 422),
        (b'{"user": "x"} {"user": "y"}', "application/json", 422),
        (b"user: x\0y", "application/yaml", 422),
        (b"\xff\xfe", "text/plain; charset=utf-16", 422),
        (b"{" * 100_000, "application/yaml", 422),
        (b"a: &a [*a, *a]\nuser: x", "application/yaml", 422),
        (b"user: !!python/object/apply:os.system [id]", "application/yaml", 422),
    ],
)
def test_a_body_that_makes_no_sense_is_refused(
    client: Client, folder: Path, body: bytes, kind: str, status: int
) -> None:
    answer = client.put("/prompts/a", body, headers={"content-type": kind})
    assert answer.status == status, answer
    assert (folder / "prompts/a.yaml").read_text() == "user: Hi {name}\n"


@pytest.mark.parametrize(
    "body",
    [
        {"variables": 7},
        {"variables": {"a": 1}, "text": 7},
        {"txet": "user: x"},
        {"text": {"user": {"deep": [[[[[[{}]]]]]]}}},
        {"text": "user: '{{ 9**(9**9) }}'"},
        {"text": "user: \"{{ 'x'|center(500000000) }}\""},
        {"text": "user: '{% for a in range(99999999) %}{{ a }}{% endfor %}'"},
        {"variables": {"self": 1, "name": 2, "__class__": 3, "prompt": 4}, "text": "user: '{zz}'"},
        {"text": "user: \ud800"},
    ],
)
def test_a_preview_that_makes_no_sense_is_422(client: Client, body: Any) -> None:
    answer = client.post("/preview/a", json=body)
    assert answer.status == 422, answer


def test_what_does_not_fit_is_told_without_what_was_sent(client: Client) -> None:
    answer = client.post("/preview/a", json={"variables": "hush-hush"})
    assert answer.status == 422
    assert "hush" not in answer.text
    assert "body.variables" in answer.json["message"]


def test_a_number_of_any_size_is_written_as_it_was_sent(client: Client, folder: Path) -> None:
    answer = client.put("/prompts/a", json={"user": "Hi {name}", "max_tokens": 2**64 + 1})
    assert answer.status == 200, answer
    assert "18446744073709551617" in (folder / "prompts/a.yaml").read_text()


@pytest.mark.parametrize("path", ["/preview/a", "/check"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"variables": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        b'{"variables": {"a": ' + b"9" * 5000 + b"}}",
        b'{"variables": {"a": NaN}}',
        b'{"prompts": {"a": null, "a": 7}}',
        b"\xff\xfe\x00",
    ],
)
def test_odd_json_is_no_failure_inside(client: Client, path: str, body: bytes) -> None:
    answer = client.send("POST", path, body=body, headers={"content-type": "application/json"})
    assert answer.status < 500, answer


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([("if-match", "*")], 200),
        ([("if-match", 'W/"{now}"')], 412),
        ([("if-match", '"{now}"')], 200),
        ([("if-match", '"0", "{now}"')], 200),
        ([("if-match", '"0"'), ("if-match", '"{now}"')], 200),
        ([("if-match", '"0"'), ("if-match", '"1"')], 412),
        ([("if-none-match", "*")], 412),
        ([("if-none-match", 'W/"{now}"')], 412),
        ([("if-none-match", '"0"'), ("if-none-match", "*")], 412),
        ([("if-none-match", '"0"')], 200),
        ([("if-match", '"{now}"'), ("if-none-match", '"{now}"')], 412),
    ],
)
def test_conditions_mean_what_http_says(
    client: Client, lines: list[tuple[str, str]], status: int
) -> None:
    now = client.get("/prompts/a").json["sha256"]
    scope = client.scope("PUT", "/prompts/a", {**YAML, "authorization": BEARER})
    scope["headers"] += [(name.encode(), value.format(now=now).encode()) for name, value in lines]
    assert asked(client.app, scope, b"user: Ho {name}")[0] == status


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "PuT"])
def test_methods_that_nobody_offers_need_a_token_and_get_405(client: Client, method: str) -> None:
    assert Client(client.app, role=None).send(method, "/prompts").status == 401
    answer = client.send(method, "/prompts", headers={"content-type": "application/json"})
    assert answer.status == 405
    assert answer.headers["allow"] == "GET"
    answer = client.send("POST", "/prompts/a", headers={"content-type": "application/json"})
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, PUT")


@pytest.mark.parametrize(
    "path",
    [
        "/ops/health/live/../../prompts",
        "/ops/health/live%2f..%2f..%2fprompts",
        "/ops/health/live/",
        "/ops//health/live",
        "/ops/ops/health/live",
        "/ops/health/live%00",
        "/ops/health/live;/prompts",
        "/ops/HEALTH/live",
        "/ops/health/ready/x",
        "/ops/prompts%3f/health/live",
    ],
)
def test_no_path_below_a_mount_passes_for_an_open_one(prompts: LivePrompts, path: str) -> None:
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/ops", admin_app(prompts, TOKENS))
    answer = Client(outer, role=None).get(path)
    assert answer.status in (401, 404), answer
    assert "the-" not in answer.text


def test_nothing_that_is_sent_makes_a_line_of_its_own_in_a_log(
    client: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    forged = 'x\n{"at_s": 1, "who": "root"}'
    quoted = "x%0a%7b%22who%22%3a%22root%22%7d"
    for message in (quoted, "%0d%0aINFO: forged", "%e2%80%a8forged", "%1b%5b31mred"):
        client.put(f"/prompts/a?message={message}", "user: Ho {name}")
    client.put(f"/prompts/{quoted}", "user: x")
    client.put("/prompts/a", "user: x", headers={"if-match": '"0"', "x-forwarded-for": "1 INFO"})
    Client(client.app, role="viewer", address=forged).put("/prompts/a", "user: x")
    log = next((folder / "store").rglob("audit.jsonl")).read_bytes()
    told = [json.loads(line) for line in log.split(b"\n") if line.strip()]
    assert {line["who"][:6] for line in told} == {"token "}
    assert b"\x1b" not in log
    assert not any("\n" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
@pytest.mark.parametrize("value", ["", '"', ",,,", '"a", W/"b"', "*" * 3000, "\xff\xfe"])
def test_odd_conditions_are_no_trouble(client: Client, header: str, value: str) -> None:
    answer = client.put("/prompts/a", "user: Hi {name}", headers={header: value})
    assert answer.status in (200, 412)


# -- what takes more than an author ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a", "user: Hi {name}\nprovider: anthropic\n"),
        ("a", "user: Hi {name}\nmodel: other\n"),
        ("a", 'user: Hi {name}\n"pro\\x76ider": anthropic\n'),
        ("a", "x: &x {provider: anthropic}\n<<: *x\nuser: Hi {name}\n"),
        ("b", "user: b\nprovider: openai\nmodel: n\n"),
        ("b", "user: b\n"),
        ("new", "user: x\nprovider: anthropic\n"),
    ],
)
def test_a_change_of_provider_or_model_takes_an_operator(
    client: Client, folder: Path, name: str, text: str
) -> None:
    author = Client(client.app, role="author")
    answer = author.put(f"/prompts/{name}", text)
    assert (answer.status, answer.code) == (403, "destination")
    assert not (folder / "prompts/new.yaml").exists()
    assert client.put(f"/prompts/{name}", text).status == 200


def test_an_author_may_change_everything_else(client: Client) -> None:
    author = Client(client.app, role="author")
    assert author.put("/prompts/b", "user: bee\nmodel: m\nprovider: openai\n").status == 200
    assert author.put("/prompts/new", "user: x\n").status == 200
    assert author.delete("/prompts/b").status == 200


def test_a_prompt_that_hides_another_provider_takes_an_operator(folder: Path) -> None:
    (folder / "over").mkdir()
    layers = (folder / "over", folder / "prompts")
    with LivePrompts(*layers, environment="x", store=folder / "s", watch=False) as prompts:
        app = admin_app(prompts, TOKENS)
        author, operator = Client(app, role="author"), Client(app)
        assert author.put("/prompts/b", "user: b\n").code == "destination"
        assert operator.put("/prompts/b", "user: b\n").status == 200
        # What comes back from below would send it elsewhere again.
        assert author.delete("/prompts/b").code == "destination"


# -- what is never said ----------------------------------------------------------------------------


def test_nothing_secret_is_logged_or_kept(
    client: Client, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client.put("/prompts/a", "user: my-prompt-text {name}\n")
    client.put("/prompts/a", "user: my-prompt-text {name\n")
    client.put("/prompts/a", "user: '{{ name | my_prompt_text }}'\n")
    client.post("/preview/a", json={"variables": {"name": "my-value", "oops": "my-value"}})
    client.post("/preview/a", json={"variables": {"x": "my-value"}})
    client.post(
        "/preview/a", json={"text": "user: '{{ (x ~ y).z }}'", "variables": {"x": "my-value"}}
    )
    client.post("/check", json={"prompts": {"a": "user: my-prompt-text {"}})
    knock(Client(client.app, role=None), "my-token")
    kept = next((folder / "store").rglob("audit.jsonl")).read_text()
    for said in (caplog.text, kept, client.get("/metrics").text):
        for secret in ("my-prompt-text", "my-value", "my-token", *TOKENS):
            assert secret not in said


def test_every_answer_forbids_sniffing_and_keeping(client: Client) -> None:
    for answer in (
        client.get("/prompts"),
        client.get("/nothing"),
        Client(client.app, None).get("/x"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_a_bug_inside_is_500_with_the_one_body(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = admin_app(prompts, TOKENS)
    client = Client(app)

    def broken() -> Any:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr(prompts, "releases", broken)
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = client.scope("GET", "/releases", {"authorization": "Bearer the-viewers-token"})
        # It is raised as well, for the server's log.
        with pytest.raises(ZeroDivisionError):
            await app(scope, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 500
    assert b'"code":"internal"' in sent[1]["body"]
    assert b"secret" not in sent[1]["body"]


def test_a_websocket_is_closed(client: Client) -> None:
    sent: list[Any] = []

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {**client.scope("GET", "/prompts", {}), "type": "websocket"}
        await client.app(scope, receive, send)

    asyncio.run(ask())
    assert sent == [{"type": "websocket.close", "code": 1008}]


# -- open on loopback ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "localhost:8321"}, 200),
        ({"host": "127.0.0.1"}, 200),
        ({"host": "[::1]:8321"}, 200),
        ({"host": "LOCALHOST:1"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost.evil.example:80"}, 421),
        ({"host": ""}, 421),
        ({"host": "localhost:8321", "origin": "http://localhost:8321"}, 200),
        ({"host": "localhost:8321", "origin": "http://evil.example"}, 403),
        ({"host": "localhost:8321", "origin": "http://localhost:9999"}, 403),
        ({"host": "localhost:8321", "origin": "null"}, 403),
        ({"host": "localhost:8321", "sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost:8321", "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_open_to_this_machine_and_to_no_other_site(
    prompts: LivePrompts, headers: dict[str, str], status: int
) -> None:
    client = Client(open_app(prompts), role=None)
    assert client.get("/prompts", headers=headers).status == status
    assert client.put("/prompts/a", "user: x", headers={**YAML, **headers}).status == status


# -- ten thousand knocks ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [200, pytest.param(600, marks=pytest.mark.nightly)])
def test_a_storm_of_bad_requests_breaks_and_writes_nothing(
    prompts: LivePrompts,
    folder: Path,
    bad_requests: Callable[[int], list[tuple[Any, ...]]],
    count: int,
) -> None:
    def state() -> dict[str, bytes]:
        found = (folder / "prompts").rglob("*")
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    before, live = state(), prompts.release.id
    app = admin_app(prompts, TOKENS, limits=Limits(failures=50, failures_s=0.05))

    async def storm() -> list[int]:
        seen = []
        for role, method, path, headers, body in bad_requests(count):
            answer = await Client(app, role=role).asend(method, path, headers=headers, body=body)
            assert 400 <= answer.status < 500, (method, path, headers, body[:80], answer)
            assert set(answer.json) == {"code", "message", "hint", "findings", "current"}
            assert not any(token in answer.text for token in TOKENS)
            seen.append(answer.status)
        return seen

    assert {401, 403, 404, 413, 414, 415, 422} <= set(asyncio.run(storm()))
    assert (state(), prompts.release.id, len(prompts.releases())) == (before, live, 1)


@pytest.fixture
def bad_requests() -> Callable[[int], list[tuple[Any, ...]]]:
    from benchmarks.admin_bad_requests import bad_requests

    def made(count: int) -> list[tuple[Any, ...]]:
        return bad_requests(count, Random(7))

    return made


if os.geteuid() == 0:

    def test_a_file_keeps_an_owner_that_is_somebody_else(client: Client, folder: Path) -> None:
        os.chown(folder / "prompts/a.yaml", 12345, 23456)
        assert client.put("/prompts/a", "user: Ho {name}").status == 200
        after = (folder / "prompts/a.yaml").stat()
        assert (after.st_uid, after.st_gid) == (12345, 23456)
