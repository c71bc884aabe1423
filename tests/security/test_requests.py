"""Nothing that a client sends makes the admin app work for longer than its length warrants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.admin_client import TOKENS, Client
from tests.files import write
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.api.conditions import Conditions
from yamlgraph_prompts.admin.api.texts import of_body
from yamlgraph_prompts.admin.api.writing import _is_no_prompt
from yamlgraph_prompts.admin.bodies import LINE_PATTERN, NAME_PATTERN
from yamlgraph_prompts.admin.page.files import takes_gzip
from yamlgraph_prompts.admin.page.routes import _form, _safe
from yamlgraph_prompts.admin.security.auth import Attempts, Tokens, _of_lines
from yamlgraph_prompts.admin.security.gate import Limits, _bearer, _hostname, is_foreign
from yamlgraph_prompts.admin.security.paths import asks_for_html, to_sign_in, up
from yamlgraph_prompts.admin.security.sessions import Sessions

HUGE = 1 << 40
N = 8_000
# Runs of what regular expressions and hand-written loops go back over again and again.
UNITS = [
    *("\xa0", " ", "\t", '"', ",", '",', 'W/"', ' "', ';"', ";", "=", "a=", "a=;", '\\"', '\\"a'),
    *("/", "a/", "./", "../", "%", "%2f", "+", "&", "a&", "[", "]", "{", ":", "a.", ".yaml", "-"),
    *("vars.", "1.", "gzip,", "q=0;", "\xff", "0", "9", "a", "*"),
]
TAILS = ["", "!"]


@pytest.fixture
def prompts(tmp_path: Path) -> Iterator[LivePrompts]:
    files = {f"{name}.yaml": "user: Hi {name}\n" for name in ("a", "b/c", "d")}
    write(tmp_path / "prompts", files)
    with LivePrompts(
        tmp_path / "prompts", environment="test", store=tmp_path / "store", watch=False
    ) as made:
        yield made


@pytest.fixture
def unlimited(prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The app without any bound on lengths: what is behind the bounds must be linear as well."""
    monkeypatch.setattr("yamlgraph_prompts.admin.api.conditions.LIMIT_CHARS", HUGE)
    monkeypatch.setattr("yamlgraph_prompts.admin.page.routes.FORM_BYTES", HUGE)
    limits = Limits(body_bytes=HUGE, path_bytes=HUGE, header_bytes=HUGE, failures=HUGE)
    return Client(admin_app(prompts, TOKENS, limits=limits))


def assert_linear(work: Callable[[str], object], unit: str, tail: str = "", n: int = N) -> None:
    """`work` takes at most in proportion longer for 2n and 4n characters than for n."""

    def took_s(size: int) -> float:
        text, best = unit * (size // len(unit)) + tail, float("inf")
        for _ in range(2):
            started = time.process_time()
            work(text)
            best = min(best, time.process_time() - started)
            if best < 0.05:
                break
        return best

    if took_s(4 * n) > 0.1:
        # Long enough to tell: in proportion, with room for a machine that does other things too.
        assert took_s(2 * n) < 5 * took_s(n), (unit, tail)
        assert took_s(4 * n) < 10 * took_s(n), (unit, tail)


# -- parsers, without any bound before them --------------------------------------------------------


def _headers(**values: str) -> Any:
    from starlette.datastructures import Headers

    return Headers(raw=[(k.replace("_", "-").encode(), v.encode("latin-1", "replace"))
                        for k, v in values.items()])  # fmt: skip


def _scope(path: str) -> dict[str, Any]:
    raw = path.encode("utf-8")
    return {"path": path, "raw_path": raw, "query_string": raw, "root_path": "", "method": "GET"}


def _matched(pattern: str) -> Callable[[str], object]:
    import re

    from pydantic import StringConstraints, TypeAdapter, ValidationError
    from typing_extensions import Annotated  # noqa: UP035

    adapter = TypeAdapter(Annotated[str, StringConstraints(pattern=pattern)])

    def match(text: str) -> None:
        re.fullmatch(pattern, text)
        with suppress(ValidationError):
            adapter.validate_python(text)

    return match


def _body(kind: str) -> Callable[[str], object]:
    from yamlgraph_prompts.admin.problems import Refusal

    def parse(text: str) -> None:
        for body in (text, f'{{"user": "{text}', f'{{"{text}":' * 3):
            with suppress(Refusal):
                of_body(kind, body.encode())

    return parse


_SESSIONS = Sessions(Tokens(TOKENS), lambda: None)
_ATTEMPTS = Attempts()
PARSERS: dict[str, Callable[[str], object]] = {
    "If-Match": lambda text: Conditions.of([text], []),
    "If-None-Match": lambda text: Conditions.of([], [text, text]),
    "Authorization": lambda text: [
        _bearer(_headers(authorization=one)) for one in (text, f"Bearer {text}")
    ],
    "Host": _hostname,
    "Host in brackets": lambda text: _hostname(f"[{text}"),
    "Origin": lambda text: is_foreign(_headers(origin=text, host=text)),
    "Sec-Fetch-Site": lambda text: is_foreign(_headers(sec_fetch_site=text)),
    "Accept": lambda text: asks_for_html({"method": "GET"}, _headers(accept=text)),
    "Accept-Encoding": takes_gzip,
    "Content-Type": lambda text: _body(f"application/json;{text}")("x"),
    "the cookie's value": _SESSIONS.find,
    "a token": Tokens(TOKENS).find,
    "an address": lambda text: (_ATTEMPTS.failed(text, text), _ATTEMPTS.wait_s(text, text)),
    "the way up": lambda text: up(_scope("/" + text)),
    "the way to the sign-in": lambda text: to_sign_in(_scope("/" + text), _headers()),
    "where to go next": _safe,
    "where to go next on the page": lambda text: _safe(f"page/{text}"),
    "a form": lambda text: [_form(one.encode()) for one in (text, f"next={text}", f"a&{text}")],
    "a JSON body": _body("application/json"),
    "a prompt's name": _matched(NAME_PATTERN),
    "a file's name": _is_no_prompt,
    "a message": _matched(LINE_PATTERN),
    "the tokens' lines": _of_lines,
}


@pytest.mark.parametrize("parser", PARSERS)
def test_every_parser_of_a_request_is_linear(
    parser: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("yamlgraph_prompts.admin.api.conditions.LIMIT_CHARS", HUGE)
    monkeypatch.setattr("yamlgraph_prompts.admin.page.routes.FORM_BYTES", HUGE)
    for unit in UNITS:
        for tail in TAILS:
            assert_linear(PARSERS[parser], unit, tail)
            caplog.clear()


# -- through the whole app, with the bounds raised -------------------------------------------------

OPEN = ["cookie", "authorization", "x-api-key", "accept", "host", "origin", "content-length"]
HEADERS = [
    *("if-match", "if-none-match", "content-type", "accept-encoding", "sec-fetch-site", "range"),
    *("x-csrf-token", "last-event-id", "x-forwarded-for", "forwarded", "transfer-encoding"),
]


def some_and_nightly(some: Sequence[str], nightly: Sequence[str]) -> pytest.MarkDecorator:
    """`units`: a few in each run, the others in the night."""
    others = pytest.param(nightly, id="nightly", marks=pytest.mark.nightly)
    return pytest.mark.parametrize("units", [pytest.param(some, id="some"), others])


@some_and_nightly(
    ['"', ";", '\\"', " "], ["\xa0", 'W/",', 'a=";', "a=\\;", ",", "=", "[", "9", "a/"]
)
@pytest.mark.parametrize(
    ("role", "header"),
    [*(("operator", name) for name in OPEN + HEADERS), *((None, name) for name in OPEN)],
)
def test_no_header_of_any_length_holds_the_app_up(
    unlimited: Client, header: str, role: Any, units: Sequence[str]
) -> None:
    client = Client(unlimited.app, role=role)

    def ask(text: str) -> None:
        for value in (text, f"Bearer {text}", f"application/json; a={text}"):
            if header == "content-length" or header != "host":
                client.put("/prompts/a", "user: Hi {name}\n", headers={header: value})
        client.get("/", headers={"accept": "text/html", header: text})

    for unit in units:
        assert_linear(ask, unit, n=5_000)


QUERIES = [
    *("/prompts?search=", "/prompts?release=", "/prompts?limit=", "/prompts?offset=", "/prompts?"),
    *("/audit?prompt=", "/audit?limit=", "/?search=", "/page/audit?prompt=", "/page/new?name="),
    *("/page/prompts/a?new=", "/page/compare?a=", "/page/sign-in?next=", "/prompts/", "/releases/"),
    *("/releases/live/diff/", "/preview/", "/page/prompts/", "/page/", "/page/static/", "/", "//"),
    *("/page/graphs/", "/page/releases/a/diff/b?do=", "/docs", "/openapi.json?", "/events?"),
]


@some_and_nightly(
    ["a", "/", "%2f", "&"], ["..%2f", "%20", "=&", ";", "%", "%ff", "9", "+", "a.", "%0a"]
)
@pytest.mark.parametrize("path", QUERIES)
def test_no_path_or_query_of_any_length_holds_the_app_up(
    unlimited: Client, path: str, units: Sequence[str]
) -> None:
    for unit in units:
        assert_linear(lambda text: unlimited.get(path + text), unit, n=3_000)


@pytest.mark.parametrize("path", ["/prompts/a?message=", "/prompts/"])
def test_no_write_of_any_length_holds_the_app_up(unlimited: Client, path: str) -> None:
    for unit in ("a", "/", "a/", "%2f", "%20", "%c2%a0", "&", "a.", "vars.", ".yaml", "%0a"):
        assert_linear(lambda text: unlimited.put(path + text, "user: x"), unit, n=3_000)
        assert_linear(lambda text: unlimited.delete(path + text), unit, n=3_000)


BODIES: dict[str, Callable[[str], tuple[str, Any]]] = {
    "unknown keys": lambda n: ("/check", {f"k{i}": i for i in range(len(n) // 4)}),
    "names": lambda n: (
        "/check",
        {"prompts": {"a" * 300 + str(i): 7 for i in range(len(n) // 90)}},
    ),
    "a long name": lambda n: ("/check", {"prompts": {n: "user: x"}}),
    "a wrong type": lambda n: ("/check", {"prompts": {"a": [n, [n]]}}),
    "variables": lambda n: ("/preview/a", {"variables": n}),
    "a name in variables": lambda n: ("/preview/a", {"variables": {"name": n}}),
    "variables by number": lambda n: (
        "/preview/a",
        {"variables": {str(i): i for i in range(len(n))}},
    ),
    "deep": lambda n: ("/preview/a", {"variables": {"name": _nested(min(len(n), 400))}}),
}


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@some_and_nightly(["a", "{"], [" ", "\\"])
@pytest.mark.parametrize("what", BODIES)
def test_no_field_of_a_body_holds_the_app_up(
    unlimited: Client, what: str, units: Sequence[str]
) -> None:
    def ask(text: str) -> None:
        path, body = BODIES[what](text)
        answer = unlimited.post(path, json=body)
        assert answer.status in (200, 422)
        assert what == "a name in variables" or len(answer.body) < 20_000, "the answer is bounded"

    for unit in units:
        assert_linear(ask, unit)


@pytest.mark.parametrize("field", ["token", "next", "csrf", "x"])
def test_no_field_of_a_form_holds_the_app_up(unlimited: Client, field: str) -> None:
    def ask(text: str) -> None:
        Client(unlimited.app, role=None).post("/page/sign-in", body=f"{field}={text}")
        unlimited.post("/page/sign-out", body=f"{field}={text}")

    for unit in ("a", "+", "%", "%2f", "&", "=", ";", "&a=", "\\", "%20"):
        assert_linear(ask, unit)


# -- bounds, which come before any parsing ---------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value", "status", "code"),
    [
        ("if-match", "\xa0" * 60_000, 431, "headers-too-large"),
        ("if-match", "\xa0" * 30_000, 431, "headers-too-large"),
        ("if-none-match", '"' * 5_000, 431, "headers-too-large"),
        ("cookie", "a=b;" * 10_000, 431, "headers-too-large"),
        ("x-unheard-of", "a" * 40_000, 431, "headers-too-large"),
        ("content-length", "9" * 30_000, 413, "too-large"),
    ],
)
def test_what_is_too_long_is_refused_at_once(
    prompts: LivePrompts, header: str, value: str, status: int, code: str
) -> None:
    client = Client(admin_app(prompts, TOKENS))
    started = time.process_time()
    answer = client.put("/prompts/a", "user: Ho {name}\n", headers={header: value})
    assert (answer.status, answer.code) == (status, code)
    assert time.process_time() - started < 0.5
    assert client.get("/prompts/a").json["text"] == "user: Hi {name}\n"


def test_conditions_are_parsed_before_the_lock_is_taken(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts.admin.api import conditions

    held: list[bool] = []
    parse = conditions._digests

    def watched(*args: Any, **more: Any) -> Any:
        # An RLock that another thread holds, or nobody: this thread must not be the one.
        held.append(prompts._lock._is_owned())  # type: ignore[attr-defined]
        return parse(*args, **more)

    monkeypatch.setattr(conditions, "_digests", watched)
    client = Client(admin_app(prompts, TOKENS))
    assert client.put("/prompts/a", "user: Ho {name}\n", headers={"if-match": "*"}).status == 200
    assert client.delete("/prompts/d", headers={"if-match": '"x"'}).status == 412
    assert held == [False] * 4


def test_a_form_is_small(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts, TOKENS), role=None)
    answer = client.post("/page/sign-in", body="token=" + "a" * 100_000)
    assert answer.status == 413


def test_a_body_with_many_mistakes_is_answered_briefly(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts, TOKENS))
    answer = client.post("/check", json={"x" * 200 + str(i): 1 for i in range(5_000)})
    assert answer.status == 422
    assert len(answer.body) < 2_000


# -- the server, its documents and its headers -----------------------------------------------------

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("role", "method", "path", "more"),
    [
        ("viewer", "GET", "/prompts", {}),
        ("viewer", "GET", "/prompts/a", {}),
        ("viewer", "GET", "/prompts/none", {}),
        ("viewer", "GET", "/openapi.json", {}),
        ("viewer", "GET", "/docs", {}),
        ("viewer", "GET", "/redoc", {}),
        ("viewer", "GET", "/", {}),
        ("viewer", "GET", "/page/releases", {}),
        ("viewer", "GET", "/page/nothing", {}),
        ("viewer", "GET", "/metrics", {}),
        ("viewer", "PUT", "/prompts/a", {"body": "user: x"}),
        ("viewer", "PATCH", "/prompts/a", {}),
        ("viewer", "GET", "/" + "a" * 5_000, {}),
        ("author", "PUT", "/prompts/a", {"body": "user: '{x"}),
        ("operator", "POST", "/rollback", {}),
        (None, "GET", "/health/live", {}),
        (None, "GET", "/health/ready", {}),
        (None, "GET", "/page/sign-in", {}),
        (None, "POST", "/page/sign-in", {"body": "token=x"}),
        (None, "GET", "/", {"headers": {"accept": "text/html"}}),
        (None, "GET", "/", {"headers": {"accept": "text/html", "sec-fetch-site": "cross-site"}}),
        (None, "GET", "/prompts", {}),
        (None, "GET", "/nothing", {}),
    ],
)
def test_every_answer_has_the_headers_that_keep_browsers_in_bounds(
    prompts: LivePrompts, role: Any, method: str, path: str, more: dict[str, Any]
) -> None:
    answer = Client(admin_app(prompts, TOKENS), role=role).send(method, path, **more)
    assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in policy


def test_an_answer_to_a_bug_inside_has_them_too(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    client = Client(admin_app(prompts, TOKENS))
    monkeypatch.setattr(prompts, "releases", lambda: 1 / 0)
    sent: list[Any] = []

    async def ask() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = client.scope("GET", "/releases", {"authorization": "Bearer the-viewers-token"})
        with pytest.raises(ZeroDivisionError):
            await client.app(scope, receive, send)

    asyncio.run(ask())
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    assert sent[0]["status"] == 500
    assert {name: headers.get(name) for name in EVERYWHERE} == EVERYWHERE


def test_the_documents_load_nothing_and_run_nothing(prompts: LivePrompts) -> None:
    import re

    client = Client(admin_app(prompts, TOKENS), role="viewer")
    answer = client.get("/docs")
    assert answer.status == 200
    assert "<script" not in answer.text
    links = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
    assert links
    assert not [link for link in links if "//" in link or ":" in link]
    assert not re.search(r'\son\w+=|style="', answer.text)
    for path, operations in client.get("/openapi.json").json["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in answer.text
    assert Client(client.app, role=None).get("/docs").status == 401
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert client.get(path).status == 404


SPOOFED = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("proxies", "address"),
    [
        ([], "127.0.0.1"),
        (["--proxy", "10.0.0.7"], "127.0.0.1"),
        (["--proxy", "10.0.0.0/8", "--proxy", "::1"], "127.0.0.1"),
        (["--proxy", "127.0.0.1"], "203.0.113.9"),
        (["--proxy", "127.0.0.0/8"], "203.0.113.9"),
    ],
)
def test_only_a_proxy_that_was_named_says_where_a_request_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxies: list[str], address: str
) -> None:
    import http.client
    import socket
    import threading

    import uvicorn

    from yamlgraph_prompts import _cli as cli

    # What uvicorn itself would trust by this variable is not what was asked for here.
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    write(tmp_path / "prompts", {"a.yaml": "user: Hi\n"})
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def run(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        self.config.app, self.config.lifespan = app, "off"
        server = uvicorn.Server(self.config)
        started = threading.Event()
        startup = server.startup

        async def begun(sockets: Any = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = begun  # type: ignore[method-assign]
        thread = threading.Thread(target=uvicorn.Server.serve_it, args=(server, sockets))  # type: ignore[attr-defined]
        thread.start()
        assert started.wait(30)
        port = sockets[0].getsockname()[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/", headers=SPOOFED)
        assert connection.getresponse().status == 200
        connection.close()
        server.should_exit = True
        thread.join(30)

    monkeypatch.setattr(uvicorn.Server, "serve_it", uvicorn.Server.run, raising=False)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    arguments = ["serve", "-l", str(tmp_path / "prompts"), "-e", "test", "--port", "0"]
    assert cli.main([*arguments, "--store", str(tmp_path / "store"), *proxies]) == 0
    assert seen == [(address, "https" if address != "127.0.0.1" else "http")]


def test_a_proxy_that_is_no_address_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from yamlgraph_prompts import _cli as cli

    write(tmp_path / "prompts", {"a.yaml": "user: Hi\n"})
    for proxy in ("*", "proxy.internal", "10.0.0.1/8"):
        arguments = ["serve", "-l", str(tmp_path / "prompts"), "-e", "test", "--port", "0"]
        assert cli.main([*arguments, "--store", str(tmp_path / "s"), "--proxy", proxy]) == 2
        assert "--proxy" in capsys.readouterr().err


# -- what is refused is counted --------------------------------------------------------------------


def test_every_refusal_is_counted_by_its_reason(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts, TOKENS, limits=Limits(failures=2)))
    author, viewer = Client(client.app, role="author"), Client(client.app, role="viewer")
    nobody = Client(client.app, role=None, address="192.0.2.9")
    wrong = {"authorization": "Bearer wrong"}
    put = "/prompts/a"
    asked = {
        "no-token": [nobody.get(put), nobody.get(put, headers=wrong)],
        "too-many-attempts": [nobody.get(put, headers=wrong) for _ in range(2)][1:],
        "role": [viewer.put(put, "user: x"), author.post("/rollback")],
        "destination": [author.put(put, "user: x\nmodel: evil\n")],
        "stale": [author.put(put, "user: x", headers={"if-match": '"x"'})],
        "exists": [author.put(put, "user: x", headers={"if-none-match": "*"})],
        "too-large": [author.put(put, "x" * (3 << 20))],
        "path-too-long": [viewer.get("/" + "a" * 5_000)],
        "headers-too-large": [viewer.get(put, headers={"x-a": "a" * 40_000})],
        "no-such-prompt": [viewer.get("/prompts/none"), viewer.get("/page/prompts/none")],
        "no-such-path": [viewer.get("/nothing")],
        "method": [viewer.send("PATCH", "/prompts")],
        "invalid": [viewer.post("/check", json={"x": 1})],
        "name": [author.put("/prompts/vars", "user: x")],
        "unsafe-template": [author.put(put, "user: '{{ x.__class__ }}'")],
        "rejected": [author.put(put, "user: '{x'")],
        "content-type": [author.put(put, "user: x", headers={"content-type": "a/b"})],
    }
    for reason, answers in asked.items():
        assert all(400 <= answer.status < 500 for answer in answers), (reason, answers)
    lines = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("yamlgraph_prompts_refused_total{")
    ]
    counted = {line.split('reason="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}
    # The second of three wrong tokens is still told that it is not known.
    expected = {reason: float(len(answers)) for reason, answers in asked.items()}
    assert counted == {**expected, "no-token": 3.0}
    assert all('environment="test"' in line for line in lines)
