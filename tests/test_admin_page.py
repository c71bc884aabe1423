"""The page over plain HTTP: who may see what, sessions, its policy, its paths, its size.

What it does in a browser stands in test_page_browser.py.
"""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import unescape
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, urljoin

import pytest
from fastapi import FastAPI
from langchain_core.runnables import RunnablePassthrough as Passthrough
from langchain_core.runnables.graph import Graph

from tests.admin_client import TOKENS, Answer, Client
from tests.conftest import wait_until
from tests.files import says, write
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts._text.diff import side_by_side
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.app import open_app
from yamlgraph_prompts.admin.page import files
from yamlgraph_prompts.admin.page.changes import Changes
from yamlgraph_prompts.admin.page.html import POLICY
from yamlgraph_prompts.admin.page.picture import HEIGHT, TooLarge, picture
from yamlgraph_prompts.admin.security.auth import ROLES, Role
from yamlgraph_prompts.admin.security.sessions import ENDED_FILE, KEY_FILE

ROOT = Path(__file__).parents[1]
HTML = {"accept": "text/html,*/*;q=0.8"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
OWN = {"sec-fetch-site": "same-origin"}
VIEWS = ["/", "/page/prompts/a", "/page/releases", "/page/releases/live/diff/layers"]
VIEWS += ["/page/audit", "/page/graphs", "/page/new"]
FIRST_LOAD_BYTES = 150_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = {"a.yaml": "user: Hi {name}\n", "b/c.yaml": "system: Be kind.\nuser: b\n"}
    return write(tmp_path / "prompts", made).parent


@pytest.fixture
def prompts(folder: Path) -> Iterator[LivePrompts]:
    with LivePrompts(
        folder / "prompts", environment="test", store=folder / "store", watch=False
    ) as made:
        yield made


@pytest.fixture
def app(prompts: LivePrompts) -> FastAPI:
    return admin_app(prompts, TOKENS)


def token(role: Role) -> str:
    return next(token for token, one in TOKENS.items() if one == role)


def browser(app: Any, root: str = "", **headers: str) -> Client:
    """Somebody without a token, who asks as a browser does."""
    return Client(app, role=None, root=root, headers={**HTML, **OWN, **headers})


def sign_in(client: Client, shown: str, *, path: str = "/page/sign-in", **fields: str) -> Answer:
    said = "&".join(f"{name}={quote(value)}" for name, value in {"token": shown, **fields}.items())
    return client.send("POST", path, body=said, headers=FORM)


def cookie(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


def signed_in(app: Any, role: Role = "operator", root: str = "") -> Client:
    """A browser with the cookie of somebody who signed in."""
    came = sign_in(browser(app, root), token(role))
    assert came.status == 303, came.text
    return browser(app, root, cookie=cookie(came))


def csrf(client: Client) -> dict[str, str]:
    found = re.search(r'data-csrf="([0-9a-f]+)"', client.get("/").text)
    assert found is not None
    return {"x-csrf-token": found[1]}


# -- signing in ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", VIEWS)
def test_whoever_is_not_signed_in_is_led_to_it_and_back(app: FastAPI, path: str) -> None:
    answer = browser(app).get(path)
    assert answer.status == 303
    assert "Prompts" not in answer.text
    there = urljoin(f"http://testserver{path}", answer.headers["location"])
    assert there.startswith("http://testserver/page/sign-in?next=")
    back = sign_in(browser(app), token("viewer"), next=path.removeprefix("/"))
    assert urljoin("http://testserver/page/sign-in", back.headers["location"]) == (
        f"http://testserver{path}"
    )


def test_a_program_without_a_token_still_gets_the_error_body(app: FastAPI) -> None:
    for path in [*VIEWS, "/prompts"]:
        answer = Client(app, role=None).get(path)
        assert (answer.status, answer.code) == (401, "no-token")
    assert browser(app).get("/prompts").status == 401


def test_a_link_from_another_site_asks_again_where_the_cookie_comes_along(app: FastAPI) -> None:
    answer = browser(app, **{"sec-fetch-site": "cross-site"}).get("/page/releases")
    assert answer.status == 200
    assert "http-equiv=refresh" in answer.text
    assert "Releases" not in answer.text


def test_the_cookie_is_signed_strict_and_holds_no_token(app: FastAPI) -> None:
    came = sign_in(browser(app), token("operator"))
    said = came.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    assert "path=/" in said
    assert "secure" not in said
    assert token("operator") not in said
    assert sha256(token("operator").encode()).hexdigest()[:16] not in said


def test_over_https_the_cookie_is_secure(app: FastAPI) -> None:
    class Https(Client):
        def scope(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
            return {**super().scope(method, path, headers), "scheme": "https"}

    client = Https(app, role=None, headers={**HTML, **OWN})
    assert "; secure" in sign_in(client, token("viewer")).headers["set-cookie"].lower()


@pytest.mark.parametrize("role", ROLES)
def test_a_session_may_what_its_token_may(app: FastAPI, role: Role) -> None:
    client = signed_in(app, role)
    page = client.get("/")
    assert f'data-role="{role}"' in page.text
    assert client.get("/prompts").json["total"] == 2
    rolled = client.post("/rollback", headers=csrf(client))
    assert (rolled.status == 403) == (role != "operator")


def test_what_a_role_may_not_do_is_not_offered(app: FastAPI, prompts: LivePrompts) -> None:
    write(prompts.folders()[0], {"a.yaml": "user: Hello {name}\n"})
    prompts.publish()
    shown = {
        role: {path: signed_in(app, role).get(path).text for path in ["/", *VIEWS[1:3]]}
        for role in ROLES
    }
    for path, mark, least in [
        ("/", "New prompt", "author"),
        ("/", 'id="reload"', "author"),
        ("/page/prompts/a", 'id="save"', "author"),
        ("/page/prompts/a", 'id="save-dialog"', "author"),
        ("/page/releases", "Go back…", "operator"),
        ("/page/releases", "Make live…", "operator"),
    ]:
        for role in ROLES:
            offered = ROLES.index(role) >= ROLES.index(least)  # type: ignore[arg-type]
            assert (mark in shown[role][path]) == offered, (path, mark, role)
    for role in ROLES:
        diff = signed_in(app, role).get("/page/releases/live/diff/layers?do=rollback").text
        assert ('id="confirm"' in diff) == (role == "operator")


def test_a_wrong_token_is_told_and_counted_like_any_other(app: FastAPI) -> None:
    client = browser(app)
    for _ in range(10):
        answer = sign_in(client, "wrong")
        assert answer.status == 401
        assert 'role="alert"' in answer.text
        assert "set-cookie" not in answer.headers
    late = sign_in(client, "wrong")
    assert late.status == 429
    assert int(late.headers["retry-after"]) > 0
    assert Client(app).get("/prompts").status == 200
    other = Client(app, role=None, address="192.0.2.99", headers={**HTML, **OWN})
    assert sign_in(other, token("viewer")).status == 303


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"&".join([b"token=a"] * 50), b"token=%ff%00"])
def test_a_form_that_makes_no_sense_signs_nobody_in(app: FastAPI, body: bytes) -> None:
    answer = browser(app).send("POST", "/page/sign-in", body=body, headers=FORM)
    assert answer.status == 401
    assert "set-cookie" not in answer.headers


def test_another_sites_form_cannot_sign_anybody_in(app: FastAPI) -> None:
    for foreign in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert sign_in(browser(app, **foreign), token("viewer")).status == 403
    old = Client(app, role=None, headers={**HTML, "origin": "https://evil.example"})
    assert sign_in(old, token("viewer")).status == 403
    old = Client(app, role=None, headers={**HTML, "origin": "http://testserver"})
    assert sign_in(old, token("viewer")).status == 303


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:alert(1)",
        "page\\..",
        "page/\r\nset-cookie: x=y",
        "health/live",
    ],
)
def test_signing_in_leads_nowhere_but_to_the_page(app: FastAPI, place: str) -> None:
    answer = sign_in(browser(app), token("viewer"), next=place)
    there = urljoin("http://testserver/page/sign-in", answer.headers["location"])
    assert there == "http://testserver/"


# -- the session -----------------------------------------------------------------------------------


def test_a_cookie_that_was_tampered_with_is_none(app: FastAPI) -> None:
    name, _, value = cookie(sign_in(browser(app), token("viewer"))).partition("=")
    version, mark, ends, nonce, mac = value.split(".")
    for forged in (
        f"{version}.{mark}.{int(ends) + 9}.{nonce}.{mac}",
        f"{version}.{mark[::-1]}.{ends}.{nonce}.{mac}",
        f"{version}.{mark}.{ends}.{nonce}.{'0' * 64}",
        value[:-1],
        "",
        "1.2.3.4.5",
        "é" * 20,
    ):
        sent = f"{name}={forged}".encode().decode("latin-1")
        assert browser(app, cookie=sent).get("/").status == 303
        assert browser(app, cookie=sent).get("/prompts").status == 401
    assert browser(app, cookie=f"{name}={value}").get("/").status == 200


def test_a_session_is_over_after_its_time(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yamlgraph_prompts.admin.security.sessions.LASTS_S", -1.0)
    came = sign_in(browser(app), token("viewer"))
    assert browser(app, cookie=came.headers.get("set-cookie", "")).get("/").status == 303


def test_a_token_that_is_taken_away_ends_its_sessions_at_once(prompts: LivePrompts) -> None:
    tokens: dict[str, Role] = {"one-long-token": "author", "two-long-tokens": "author"}
    app = admin_app(prompts, tokens)
    first, second = (
        browser(app, cookie=cookie(sign_in(browser(app), shown))) for shown in list(tokens)
    )
    assert first.get("/").status == second.get("/").status == 200
    del tokens["one-long-token"]
    assert first.get("/").status == 303
    assert first.get("/prompts").status == 401
    assert second.get("/").status == 200
    tokens["two-long-tokens"] = "viewer"
    assert 'data-role="viewer"' in second.get("/").text


def test_a_tokens_file_that_rotates_ends_sessions(prompts: LivePrompts, folder: Path) -> None:
    known = folder / "tokens"

    def now(shown: str) -> None:
        known.write_text(f"{sha256(shown.encode()).hexdigest()} author ada\n")
        known.chmod(0o600)

    now("the-first-token")
    app = admin_app(prompts, known)
    client = browser(app, cookie=cookie(sign_in(browser(app), "the-first-token")))
    assert "ada, author" in client.get("/").text
    now("the-second-token")
    wait_until(lambda: client.get("/").status == 303)


def test_signing_out_ends_the_session_in_every_process(prompts: LivePrompts) -> None:
    here, there = admin_app(prompts, TOKENS), admin_app(prompts, TOKENS)
    client = signed_in(here)
    elsewhere = Client(there, role=None, headers=client.headers)
    assert elsewhere.get("/").status == 200
    shown = csrf(client)["x-csrf-token"]
    for wrong in ("", "csrf=wrong"):
        assert client.send("POST", "/page/sign-out", body=wrong, headers=FORM).status == 403
    out = client.send("POST", "/page/sign-out", body=f"csrf={shown}", headers=FORM)
    assert out.status == 303
    assert "max-age=0" in out.headers["set-cookie"].lower()
    assert client.get("/").status == 303
    wait_until(lambda: elsewhere.get("/").status == 303)


def test_processes_that_share_a_store_share_the_key(prompts: LivePrompts, folder: Path) -> None:
    client = signed_in(admin_app(prompts, TOKENS))
    key = next((folder / "store").rglob(KEY_FILE))
    if os.name != "nt":
        assert key.stat().st_mode & 0o777 == 0o600
    with LivePrompts(
        folder / "prompts", environment="test", store=folder / "store", watch=False
    ) as again:
        other = Client(admin_app(again, TOKENS), role=None, headers=client.headers)
        assert other.get("/").status == 200
    assert not list(key.parent.glob(".tmp-*"))


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_without_its_key_no_session_counts_and_the_next_makes_another(
    prompts: LivePrompts, folder: Path, damage: bytes | None
) -> None:
    app = admin_app(prompts, TOKENS)
    old = signed_in(app)
    key = next((folder / "store").rglob(KEY_FILE))
    if damage is None:
        key.unlink()
    else:
        key.write_bytes(damage)
    wait_until(lambda: old.get("/").status == 303)
    new = signed_in(app)
    assert new.get("/").status == 200
    assert old.get("/").status == 303


def test_a_key_that_cannot_be_written_is_told(prompts: LivePrompts, folder: Path) -> None:
    app = admin_app(prompts, TOKENS)
    signed_in(app)
    key = next((folder / "store").rglob(KEY_FILE))
    key.unlink()
    key.mkdir()
    again = admin_app(prompts, TOKENS)
    answer = sign_in(browser(again), token("viewer"))
    assert answer.status == 503
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers


def test_the_list_of_ended_sessions_does_not_grow_for_ever(
    prompts: LivePrompts, folder: Path
) -> None:
    app = admin_app(prompts, TOKENS)
    client = signed_in(app)
    ended = next((folder / "store").rglob(KEY_FILE)).with_name(ENDED_FILE)
    ended.write_text("".join(f"{number:032x} 1\n" for number in range(1500)))
    body = f"csrf={csrf(client)['x-csrf-token']}"
    assert client.send("POST", "/page/sign-out", body=body, headers=FORM).status == 303
    assert len(ended.read_text().splitlines()) == 1


def test_with_a_store_in_memory_sessions_work_too() -> None:
    with LivePrompts({"a": "user: Hi"}, environment="test") as prompts:
        app = admin_app(prompts, TOKENS)
        assert signed_in(app).get("/").status == 200
        assert browser(admin_app(prompts, TOKENS)).get("/").status == 303


# -- requests that change something ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/prompts/a?message=x"),
        ("DELETE", "/prompts/a"),
        ("POST", "/check"),
        ("POST", "/preview/a"),
        ("POST", "/reload"),
        ("POST", "/rollback"),
        ("POST", "/follow"),
        ("POST", "/releases/live/activate"),
    ],
)
def test_a_cookie_alone_changes_nothing(
    app: FastAPI, prompts: LivePrompts, method: str, path: str
) -> None:
    client, before = signed_in(app), prompts.release.id
    good = csrf(client)
    foreign: list[dict[str, str]] = [
        {},
        {"x-csrf-token": "0" * 32},
        csrf(signed_in(app)),
        {**good, "sec-fetch-site": "cross-site"},
        {**good, "sec-fetch-site": "same-site"},
    ]
    for headers in foreign:
        sent = {"content-type": "application/yaml", **headers}
        answer = client.send(method, path, body=b"user: evil\n", headers=sent)
        assert answer.status == 403
        assert answer.code in ("csrf", "cross-site")
    assert prompts.publish().status == "unchanged"
    assert prompts.release.id == before


def test_with_its_header_a_session_writes(app: FastAPI, prompts: LivePrompts) -> None:
    client = signed_in(app, "author")
    answer = client.put("/prompts/a?message=softer", "user: Dear {name}\n", headers=csrf(client))
    assert answer.json["status"] == "published"
    assert prompts["a"].user == "Dear {name}"
    assert "softer" in client.get("/page/audit").text
    assert "softer" in client.get("/page/prompts/a").text
    assert "softer" in client.get("/page/releases").text


def test_whoever_shows_a_token_needs_no_cookie_and_no_csrf(app: FastAPI) -> None:
    assert Client(app, "author").put("/prompts/a", "user: x\n").status == 200
    answer = Client(app, "viewer", headers=HTML).get("/")
    assert answer.status == 200
    assert 'data-csrf=""' in answer.text


def test_a_wrong_token_counts_whatever_the_cookie_says(app: FastAPI) -> None:
    client = signed_in(app)
    assert client.get("/prompts", headers={"authorization": "Bearer wrong"}).status == 401


# -- what a browser may do with it -----------------------------------------------------------------


@pytest.mark.parametrize("path", [*VIEWS, "/page/sign-in", "/page/nothing", "/page/prompts/none"])
def test_every_view_runs_only_its_own_scripts(app: FastAPI, path: str) -> None:
    client = browser(app) if path == "/page/sign-in" else signed_in(app)
    answer = client.get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<script(?![^>]* src=)", answer.text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", answer.text)
    assert not re.findall(r'(?:href|src|action)="(?:https?:)?//', answer.text)


def test_the_picture_needs_no_script_and_no_inline_style(prompts: LivePrompts) -> None:
    live_graph(says("a"), prompts=prompts).compile()
    client = signed_in(admin_app(prompts, TOKENS))
    answer, other = client.get("/page/graphs/0"), client.get("/")
    policy = answer.headers["content-security-policy"]
    assert policy == other.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|graph\.js", answer.text)


HOSTILE = "</textarea><script>alert(1)</script>\"'{{ 7*7 }}&<img src=x onerror=alert(2)>"


def test_a_hostile_text_is_only_text(prompts: LivePrompts, app: FastAPI) -> None:
    text = f"user: |\n  {HOSTILE.replace('{{ 7*7 }}', '')}\n"
    client = signed_in(app)
    wrote = client.put(f"/prompts/a?message={quote('<b>hi')}", text, headers=csrf(client))
    assert wrote.status == 200, wrote.text
    for path in VIEWS:
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<img" not in page
        assert "<b>hi" not in page
    page = client.get("/page/prompts/a").text
    shown = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page, re.DOTALL)
    assert shown is not None
    assert unescape(shown[1]) == text
    before = next(one.id for one in prompts.releases() if not one.live)
    assert "<script>alert" not in client.get(f"/page/releases/{before}/diff/live").text


def test_a_hostile_name_is_only_a_name() -> None:
    names = ['"><script>alert(1)<', "a b?c#d%2F&e", "{{ 7*7 }}", "ä/ö", "it's"]
    with LivePrompts(dict.fromkeys(names, "user: Hi"), environment="x") as prompts:
        client = signed_in(admin_app(prompts, TOKENS))
        page = client.get("/").text
        assert "<script>alert" not in page
        assert "{{ 7*7 }}" in unescape(page)
        links = re.findall(r'<li data-name="[^"]*"><a href="([^"]*)"', page)
        assert len(links) == len(names)
        for link in links:
            answer = client.get(urljoin("http://testserver/", unescape(link))[17:])
            assert answer.status == 200
            assert "<script>alert" not in answer.text
            assert 'data-new="no"' in answer.text


def test_a_hostile_search_is_only_a_search(app: FastAPI) -> None:
    page = signed_in(app).get(f"/?search={quote(HOSTILE)}").text
    assert "<script>alert" not in page
    assert "No prompt matches" in page


# -- where it is mounted ---------------------------------------------------------------------------


@pytest.mark.parametrize("root", ["", "/admin", "/a/b", "/tools/prompt desk"])
def test_its_links_lead_right_under_any_root(app: FastAPI, root: str) -> None:
    came = sign_in(browser(app, root), token("operator"))
    assert f"path={quote(root) or '/'};" in came.headers["set-cookie"].lower()
    client = browser(app, root, cookie=cookie(came))
    for path in [*VIEWS, "/page/prompts/b/c", "/page/prompts/b%2Fc"]:
        page = client.get(path)
        assert page.status == 200, path
        links = re.findall(r'(?:href|src|action)="([^"#]+)"', page.text)
        assert links
        for link in links:
            there = urljoin(f"http://testserver{root}{path}", unescape(link))
            assert there.startswith(f"http://testserver{root}/"), (path, link)
            below = there.removeprefix(f"http://testserver{root}")
            if "sign-out" not in below:
                assert client.get(below).status in (200, 303), (path, link)


@pytest.mark.parametrize("path", ["/admin", "/admin/"])
def test_mounted_it_is_found_with_and_without_the_slash(app: FastAPI, path: str) -> None:
    outer = FastAPI()
    outer.mount("/admin", app)
    client = browser(outer)
    answer = client.get(path)
    while answer.status == 307:
        answer = client.get(urljoin(f"http://testserver{path}", answer.headers["location"])[17:])
    assert answer.status == 303
    came = sign_in(client, token("viewer"), path="/admin/page/sign-in")
    assert "path=/admin;" in came.headers["set-cookie"].lower()
    inside = browser(outer, cookie=cookie(came))
    assert inside.get("/admin/").status == 200
    assert inside.get("/admin/prompts").status == 200


def test_a_server_that_says_the_root_itself_is_led_below_it(app: FastAPI) -> None:
    answer = browser(app, "/admin").get("")
    assert (answer.status, answer.headers["location"]) == (307, "/admin/")


def test_without_tokens_on_loopback_nobody_signs_in(prompts: LivePrompts) -> None:
    client = browser(open_app(prompts), host="localhost:8000")
    page = client.get("/")
    assert page.status == 200
    assert "local, operator" in page.text
    assert "Sign out" not in page.text
    assert client.get("/page/sign-in").status == 303
    assert sign_in(client, "anything").status == 303
    assert client.put("/prompts/a", "user: x\n").status == 200
    foreign = browser(open_app(prompts), host="localhost:8000", origin="https://evil.example")
    assert foreign.get("/").status == 403
    assert browser(open_app(prompts), host="evil.example").get("/").status == 421


# -- its files -------------------------------------------------------------------------------------


def unpacked(answer: Answer) -> str:
    packed = answer.headers.get("content-encoding") == "gzip"
    return (gzip.decompress(answer.body) if packed else answer.body).decode()


def test_the_first_load_is_small_and_asks_nobody_else(prompts: LivePrompts) -> None:
    write(
        prompts.folders()[0],
        {f"team{n % 20}/prompt_{n:04}.yaml": f"user: Hi {{name}}, {n}\n" for n in range(1000)},
    )
    prompts.publish()
    client = signed_in(admin_app(prompts, TOKENS))
    packed = {"accept-encoding": "gzip, br"}
    page = client.get("/", headers=packed)
    assert unpacked(page).count("<li data-name=") == 1002
    seen, todo, size = set[str](), [("/", unpacked(page))], len(page.body)
    while todo:
        base, text = todo.pop()
        for link in re.findall(r'(?:<link[^>]* href|src)="([^"]+)"|from "(\./[^"]+)"', text):
            there = urljoin(f"http://testserver{base}", link[0] or link[1])
            assert there.startswith("http://testserver/page/static/")
            if there in seen:
                continue
            seen.add(there)
            answer = client.get(there[17:], headers=packed)
            assert answer.status == 200
            size += len(answer.body)
            if there.endswith(".js"):
                todo.append((there[17:], unpacked(answer)))
    assert len(seen) >= 4
    assert size <= FIRST_LOAD_BYTES


def test_what_a_browser_asks_the_api_is_sent_small(app: FastAPI, prompts: LivePrompts) -> None:
    many = {f"p{n}.yaml": "user: Hi {name}\n" for n in range(50)}
    write(prompts.folders()[0], many)
    prompts.publish()
    packed = {"accept-encoding": "gzip"}
    seen = signed_in(app).get("/prompts", headers=packed)
    assert seen.headers["content-encoding"] == "gzip"
    plain = Client(app).get("/prompts", headers=packed)
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(seen.body) == plain.body


def test_files_are_kept_for_ever_under_their_digest_and_open_to_all(app: FastAPI) -> None:
    client = Client(app, role=None)
    there = f"/page/static/{files.digest()}/page.css"
    answer = client.get(there)
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    packed = client.get(there, headers={"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == answer.body
    assert client.get(there, headers={"accept-encoding": "gzip;q=0"}).body == answer.body
    for wrong in ("/page/static/0/page.css", f"/page/static/{files.digest()}/nothing.js"):
        assert client.get(wrong).status == 404
    for wrong in ("..%2f..%2fapp.py", "%2e%2e/html.py", "../templates/base.html"):
        assert client.get(f"/page/static/{files.digest()}/{wrong}").status in (401, 404)


def test_no_stored_text_looks_like_another_hosts_address() -> None:
    for name in ("page.css", *(f"{one}.js" for one in ("page", "list", "editor", "api", "diff"))):
        text = unpacked(sent(name))
        assert not re.search(r"https?://(?!example\.org)", text), name


def sent(name: str) -> Answer:
    found = files.static(name, "gzip")
    assert found is not None
    return Answer(200, dict(found.headers), bytes(found.body))


def test_a_wheel_holds_the_page(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    page = ROOT / "yamlgraph_prompts/admin/page"
    wanted = [*(page / "static").iterdir(), *(page / "templates").iterdir()]
    assert {str(one.relative_to(ROOT)) for one in wanted} <= held


def test_page_routes_are_not_in_the_apis_document(app: FastAPI) -> None:
    paths = Client(app).get("/openapi.json").json["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/page")]


# -- what it shows ---------------------------------------------------------------------------------


def test_a_refused_change_stands_on_top_with_why_and_where(
    app: FastAPI, prompts: LivePrompts
) -> None:
    client = signed_in(app)
    assert 'id="rejected"' not in client.get("/").text
    write(prompts.folders()[0], {"a.yaml": "user: |\n  Hi {% if %}\n"})
    assert prompts.publish().status == "rejected"
    page = client.get("/").text
    told = page[page.index('id="rejected"') : page.index('id="health"')]
    assert "a.yaml</span>, line 2" in told
    assert 'href="./page/prompts/a#L2"' in told
    editor = client.get("/page/prompts/a").text
    assert "Hi {% if %}" in unescape(editor)
    assert 'id="not-live"' in editor
    write(prompts.folders()[0], {"a.yaml": "user: Hi {name}\n"})
    prompts.publish()
    assert 'id="rejected"' not in client.get("/").text


def test_a_prompts_last_change_is_when_its_text_became_live(prompts: LivePrompts) -> None:
    changes, first = Changes(prompts), prompts.release.id
    write(prompts.folders()[0], {"a.yaml": "user: Hello {name}\n"})
    prompts.publish()
    at_s = {one.id: one.at_s for one in prompts.releases()}
    assert changes.times() == {"a": at_s[prompts.release.id], "b/c": at_s[first]}
    prompts.rollback()
    at_s = {one.id: one.at_s for one in prompts.releases()}
    assert changes.times()["a"] == at_s[first]


AUTHOR = f"token {sha256(token('author').encode()).hexdigest()[:8]}"


def history(page: str) -> list[str]:
    """The rows of a prompt's earlier changes, as text."""
    part = page[page.index('id="history-lines"') : page.index("</details>")]
    rows = re.findall(r"<li>(.*?)</li>", part, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", unescape(row)).split()) for row in rows]


def test_earlier_changes_are_every_kept_text_whoever_made_it(
    app: FastAPI, prompts: LivePrompts
) -> None:
    """Also the one before the first change on the page; changes of others are none of its own."""
    client, layer = signed_in(app, "author"), prompts.folders()[0]
    assert len(history(client.get("/page/prompts/a").text)) == 1
    yaml = {
        **csrf(client),
        "content-type": "application/yaml",
        "if-match": f'"{prompts["a"].sha256}"',
    }
    put = client.send("PUT", "/prompts/a?message=Kinder", body="user: Dear {name}\n", headers=yaml)
    assert put.status == 200
    for text in ("user: Hello {name}\n", "user: Hi {name}\n"):
        write(layer, {"a.yaml": text})
        prompts.publish("file change")
    write(layer, {"b/c.yaml": "user: Other\n"})
    prompts.publish("file change")
    rows = history(client.get("/page/prompts/a").text)
    assert [row.partition(": ")[2].partition(" release")[0] for row in rows] == [
        "a file was saved Live",
        "a file was saved",
        f"changed by {AUTHOR} Kinder",
        "at the start",
    ]
    assert len(history(client.get("/page/prompts/b/c").text)) == 2
    prompts.rollback(who="olga")
    assert [("Live" in row) for row in history(client.get("/page/prompts/b/c").text)] == [1, 0, 0]


def test_earlier_changes_of_a_removed_prompt_are_offered_to_who_writes_it_again(
    app: FastAPI, prompts: LivePrompts
) -> None:
    client, layer = signed_in(app, "author"), prompts.folders()[0]
    (layer / "a.yaml").unlink()
    prompts.publish("file change")
    removed, before = history(client.get("/page/prompts/a?new=1").text)
    assert "removed, a file was saved" in removed
    assert "Look at" not in removed
    assert "Look at" in before
    assert not any("Live" in row for row in (removed, before))


def test_what_is_saved_during_a_hold_is_among_the_earlier_changes(
    app: FastAPI, prompts: LivePrompts
) -> None:
    client = signed_in(app, "author")
    prompts.activate(prompts.release.id)
    yaml = {
        **csrf(client),
        "content-type": "application/yaml",
        "if-match": f'"{prompts["a"].sha256}"',
    }
    client.send("PUT", "/prompts/a?message=Later", body="user: Dear {name}\n", headers=yaml)
    saved, live = history(client.get("/page/prompts/a").text)
    assert f"never live ({AUTHOR}) Later" in saved
    assert [("Live" in row) for row in (saved, live)] == [False, True]
    prompts.follow(who="olga")
    saved, live = history(client.get("/page/prompts/a").text)
    assert f"({AUTHOR}) Live Later" in saved


def test_earlier_changes_read_no_prompt_and_come_fast(folder: Path) -> None:
    """The indexes of 50 releases of 1,000 prompts; a second look at them costs far less."""
    files = {f"prompts/p{n:04}.yaml": f"user: Hi {{name}}, {n}\n" for n in range(1000)}
    layer = write(folder, files) / "prompts"
    with LivePrompts(layer, environment="test", store=folder / "kept", watch=False) as prompts:
        assert prompts.release
        for n in range(50):
            write(layer, {"p0000.yaml": f"user: Text {n} {{name}}\n"})
            prompts.publish("file change")
        changes, took = Changes(prompts), []
        for _ in range(3):
            begun = time.perf_counter()
            assert len(changes.of("p0000")) >= 50
            took.append(time.perf_counter() - begun)
    assert min(took) < 0.05


def test_a_release_that_is_held_is_said_and_can_be_let_go(
    app: FastAPI, prompts: LivePrompts
) -> None:
    client, first = signed_in(app), prompts.release.id
    write(prompts.folders()[0], {"a.yaml": "user: Hello {name}\n"})
    prompts.publish()
    page = client.get("/page/releases").text
    assert f"page/releases/live/diff/{first}?do=rollback" in page
    assert "Follow again…" not in page
    confirm = client.get(f"/page/releases/live/diff/{first}?do=rollback").text
    assert "Go back to this release" in confirm
    assert "<del>Hello</del>" in confirm
    assert "<ins>Hi</ins>" in confirm
    assert client.post("/rollback?message=oops", headers=csrf(client)).status == 200
    page = client.get("/page/releases").text
    assert "Follow again…" in page
    assert 'data-held="yes"' in page
    assert "oops" in page
    assert 'id="is-held"' in client.get("/page/prompts/a").text


def test_whether_files_are_followed_is_said(prompts: LivePrompts, folder: Path) -> None:
    assert "Not watching" in signed_in(admin_app(prompts, TOKENS)).get("/").text
    with LivePrompts(folder / "prompts", environment="test", store=folder / "b") as watched:
        assert "Following" in signed_in(admin_app(watched, TOKENS)).get("/").text


def test_a_prompt_that_is_not_there_is_told_in_words(app: FastAPI) -> None:
    answer = signed_in(app).get("/page/prompts/aa")
    assert answer.status == 404
    assert "There is no prompt" in unescape(answer.text)
    assert 'href="?new=1">Write it<' in answer.text
    assert "Write it" not in signed_in(app, "viewer").get("/page/prompts/aa").text
    new = signed_in(app, "author").get("/page/prompts/fresh/one?new=1")
    assert 'data-new="yes"' in new.text
    assert signed_in(app, "viewer").get("/page/prompts/fresh?new=1").status == 404


def test_line_ends_of_windows_are_said_so_that_they_can_be_kept(
    app: FastAPI, prompts: LivePrompts
) -> None:
    (prompts.folders()[0] / "a.yaml").write_bytes(b"user: |\r\n  Hi\r\n")
    prompts.publish()
    page = signed_in(app).get("/page/prompts/a").text
    assert 'data-eol="crlf"' in page
    assert "\r" not in page


def test_a_graph_is_drawn_and_listed(prompts: LivePrompts) -> None:
    live_graph(says("a"), prompts=prompts).compile()
    client = signed_in(admin_app(prompts, TOKENS))
    assert 'href="../page/graphs/0"' in client.get("/page/graphs").text
    page = client.get("/page/graphs/0").text
    assert re.findall(r'<text x="\d+" y="\d+">(.+)</text>', page) == ["Start", "n0", "End"]
    assert page.count('class="arrow') == 2
    assert 'data-node="n0"' in page
    assert client.get("/page/graphs/1").status == 404


def drawing_of(nodes: str, *edges: str, conditional: bool = False) -> Graph:
    """A graph whose nodes are letters and whose edges are pairs of them."""
    graph = Graph()
    node = {name: graph.add_node(Passthrough(), name) for name in nodes}
    for one, other in edges:
        graph.add_edge(node[one], node[other], conditional=conditional)
    return graph


def test_a_picture_has_its_nodes_in_rows_from_top_to_bottom_and_side_by_side() -> None:
    drawn = picture(drawing_of("abcd", "ab", "ac", "bd", "cd", "ad"))
    at = {box.node: box for box in drawn.boxes}
    assert at["a"].y < at["b"].y == at["c"].y < at["d"].y
    assert abs(at["b"].x - at["c"].x) > (at["b"].width + at["c"].width) // 2
    for box in drawn.boxes:
        assert box.width // 2 < box.x < drawn.width - box.width // 2
        assert HEIGHT // 2 < box.y < drawn.height - HEIGHT // 2
    # An arrow past a row takes a place of its own there, so that it crosses no box.
    (past,) = [arrow.path for arrow in drawn.arrows if arrow.path.count("C") == 2]
    x = int(re.findall(rf"(\d+) {at['b'].y}(?=C)", past)[0])
    assert all(abs(x - at[node].x) > at[node].width // 2 for node in "bc")


def test_a_picture_of_circles_and_of_nothing_is_drawn_too() -> None:
    drawn = picture(drawing_of("abc", "ab", "bc", "ca", "bb", conditional=True))
    assert [box.y for box in drawn.boxes] == sorted({box.y for box in drawn.boxes})
    assert len(drawn.arrows) == 4
    assert all(arrow.conditional for arrow in drawn.arrows)
    assert picture(Graph()).boxes == ()


def test_a_picture_that_would_be_too_large_is_not_drawn_and_takes_no_time() -> None:
    names = [chr(0x4E00 + n) for n in range(400)]
    every = [one + other for n, one in enumerate(names) for other in names[n + 1 :: 5]]
    started = time.perf_counter()
    with pytest.raises(TooLarge):
        picture(drawing_of("".join(names), *every))
    assert len(picture(drawing_of("".join(names), *map("".join, pairwise(names)))).boxes) == 400
    assert time.perf_counter() - started < 5


def test_words_side_by_side() -> None:
    (row,) = side_by_side("Be kind.\n", "Be very kind.\n")
    assert row.kind == "changed"
    assert row.old is not None
    assert row.new is not None
    assert [text for text, differs in row.new.pieces if differs] == [" very"]
    assert not [text for text, differs in row.old.pieces if differs]
    assert side_by_side("a\n", "a\n") == []
    far = side_by_side("".join(f"{n}\n" for n in range(50)), "".join(f"{n}\n" for n in range(49)))
    assert [row.kind for row in far] == ["skip", "same", "same", "same", "removed"]


def test_texts_that_were_made_to_be_slow_are_compared_in_time() -> None:
    numbers = Random(7)

    def text(lines: int, words: int, kinds: int) -> str:
        return "\n".join(
            " ".join(str(numbers.randrange(kinds)) for _ in range(words)) for _ in range(lines)
        )

    started = time.perf_counter()
    for facts in [(20_000, 1, 150), (1_000, 190, 9), (3, 20_000, 3), (1, 500_000, 2)]:
        rows = side_by_side(text(*facts), text(*facts))
        assert len(rows) <= 2_001
    assert time.perf_counter() - started < 15
