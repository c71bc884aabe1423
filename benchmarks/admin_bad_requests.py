"""10,000 bad requests to the admin API: none may fail inside, write anything or tell a secret.

Bad, missing, expired and other people's tokens; odd names, wrong types; huge, broken, slow bodies.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from time import perf_counter
from typing import Any

from benchmarks.measure import Row, is_quick, show, workplace

SECRET = "hush-hush-prompt-text"
Bad = tuple[str | None, str, str, dict[str, str], bytes]

_NAMES = (
    "..",
    "%2e%2e/%2e%2e/etc/passwd",
    "a%2f..%2f..%2fb",
    "a%00b",
    "%ff%fe",
    "gr%d0%b5eting",
    "%ef%bd%81",
    "%ef%bc%8fetc",
    "a%e2%80%ae",
    ".hidden",
    "a%20b",
    "a//b",
    "x" * 400,
    "x" * 10_240,
    "vars",
    "a.yaml.j2",
    "a%0d%0aSet-Cookie:x",
)
_BODIES = (
    (b"", "application/json"),
    (b"{", "application/json"),
    (b"[" * 50_000, "application/json"),
    (b'{"user": 7', "application/json"),
    (b"user: {" + SECRET.encode(), "application/yaml"),
    (b"user: {{ x.__class__ }}", "application/yaml"),
    (b"\xff\xfe\x00", "application/yaml"),
    (b"{" * 50_000, "application/yaml"),
    (b"user: x", "application/x-www-form-urlencoded"),
    (b"user: x", "multipart/form-data; boundary=x"),
    (b"x" * (3 << 20), "application/yaml"),
    (b"- " * 2000, "application/yaml"),
)
_TOKENS = (
    "wrong",
    "",
    " ",
    "the-viewers-toke",
    "the-viewers-token x",
    "THE-VIEWERS-TOKEN",
    "\xe9\xff",
    "x" * 3000,
    "expired-token",
    "another-apps-token",
)
_DOORS = (
    ("GET", "/prompts"),
    ("PUT", "/prompts/a"),
    ("DELETE", "/prompts/a"),
    ("POST", "/rollback"),
    ("POST", "/releases/abc/activate"),
    ("POST", "/preview/a"),
    ("GET", "/audit"),
    ("GET", "/metrics"),
    ("GET", "/events"),
)


def bad_requests(count: int, random: Random) -> list[Bad]:
    """(role or None, method, path, headers, body) of requests that must all be refused."""
    makers = (_unknown, _too_low, _odd_name, _bad_body, _wrong_type, _no_such)
    return [next(makers[number % len(makers)](random)) for number in range(count)]


def _unknown(random: Random) -> Iterator[Bad]:
    method, path = random.choice(_DOORS)
    token = random.choice(_TOKENS)
    header = random.choice(("authorization", "x-api-key", "cookie"))
    scheme = random.choice(("Bearer ", "bearer ", "Basic ", "")) if header[0] == "a" else ""
    yield None, method, path, {header: f"{scheme}{token}"}, b""


def _too_low(random: Random) -> Iterator[Bad]:
    method, path = random.choice(_DOORS[1:5])
    yield "viewer", method, path, {"content-type": "application/yaml"}, b"user: x"


def _odd_name(random: Random) -> Iterator[Bad]:
    name = random.choice(_NAMES)
    method, path = random.choice(
        (("PUT", "/prompts/"), ("DELETE", "/prompts/"), ("GET", "/prompts/"), ("GET", "/releases/"))
    )
    yield "operator", method, path + name, {"content-type": "application/yaml"}, b"user: x"


def _bad_body(random: Random) -> Iterator[Bad]:
    body, kind = random.choice(_BODIES)
    method, path = random.choice(
        (("PUT", "/prompts/a"), ("POST", "/preview/a"), ("POST", "/check"))
    )
    if path == "/check" and not body:
        body = b"7"
    yield "operator", method, path, {"content-type": kind}, body


def _wrong_type(random: Random) -> Iterator[Bad]:
    wrong = random.choice((7, [], "x", None, {"variables": []}, {"text": 7}, {"prompts": 7}))
    path = random.choice(("/preview/a", "/check"))
    if wrong in ({"prompts": 7},):
        path = "/check"
    elif isinstance(wrong, dict):
        path = "/preview/a"
    body = json.dumps(wrong).encode()
    yield "operator", "POST", path, {"content-type": "application/json"}, body


def _no_such(random: Random) -> Iterator[Bad]:
    yield random.choice(
        (
            ("operator", "GET", "/prompts?limit=-1", {}, b""),
            ("operator", "GET", "/prompts?limit=" + "9" * 400, {}, b""),
            ("operator", "GET", "/audit?limit=x", {}, b""),
            ("operator", "PATCH", "/prompts/a", {}, b""),
            ("operator", "TRACE", "/prompts", {}, b""),
            ("operator", "GET", "/nowhere", {}, b""),
            ("operator", "GET", "/prompts/a?release=%00", {}, b""),
            ("operator", "POST", "/rollback?message=%0a", {}, b""),
            ("operator", "PUT", "/prompts/a", {"content-length": "-1"}, b""),
            ("operator", "PUT", "/prompts/a", {"if-match": '"0"', **_YAML}, b"user: x"),
        )
    )


_YAML = {"content-type": "application/yaml"}


def main() -> None:
    count = 600 if is_quick(__doc__) else 10_000
    logging.disable(logging.CRITICAL)
    from tests.admin_client import TOKENS, Client, Slow
    from yamlgraph_prompts import LivePrompts
    from yamlgraph_prompts.admin import admin_app
    from yamlgraph_prompts.admin.security.gate import Limits

    with workplace() as folder:
        (folder / "prompts").mkdir()
        (folder / "prompts/a.yaml").write_text(f"user: {SECRET} {{name}}\n")
        lines = [f"{_digest(token)} {role}\n" for token, role in TOKENS.items()]
        lines.append(f"{_digest('expired-token')} operator ada 2020-01-01\n")
        (folder / "tokens").write_text("".join(lines))
        prompts = LivePrompts(folder / "prompts", environment="bench", watch=False)
        with prompts:
            app = admin_app(
                prompts, folder / "tokens", limits=Limits(failures=100, failures_s=0.05, body_s=1.0)
            )
            before, seen, leaked = _state(folder), Counter[int](), 0
            asked = bad_requests(count, Random(1))
            started = perf_counter()

            async def storm() -> None:
                nonlocal leaked
                for role, method, path, headers, body in asked:
                    client: Any = Client(app, role=role)  # type: ignore[arg-type]
                    answer = await client.asend(method, path, headers=headers, body=body)
                    seen[answer.status] += 1
                    told = f"{answer.headers} {answer.text}"
                    # A stale write shows its author what is there now.
                    shown = SECRET in told and answer.status != 412
                    leaked += shown or any(token in told for token in TOKENS)

            asyncio.run(storm())
            took = perf_counter() - started

            async def trickle() -> None:
                slow: Any = Slow([b"u"] * 1_000, 0.05)
                client = Client(app)
                asked = (
                    client.asend("PUT", "/prompts/a", headers=_YAML, body=slow) for _ in range(50)
                )
                seen.update([answer.status for answer in await asyncio.gather(*asked)])

            asyncio.run(trickle())
            inside = sum(many for status, many in seen.items() if status >= 500)
            taken = sum(many for status, many in seen.items() if status < 400)
            changed = _state(folder) != before or len(prompts.releases()) != 1
        print({status: seen[status] for status in sorted(seen)}, f"{count / took:.0f} a second")
        show(
            f"{count:,} bad requests",
            [
                Row("failed inside (5xx)", str(inside), bar="0", met=inside == 0),
                Row("were let through", str(taken), bar="0", met=taken == 0),
                Row("something written", str(int(changed)), bar="0", met=not changed),
                Row("told a token or a prompt", str(leaked), bar="0", met=leaked == 0),
            ],
        )


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _state(folder: Path) -> dict[str, bytes]:
    found = (folder / "prompts").rglob("*")
    return {str(path): path.read_bytes() for path in found if path.is_file()}


if __name__ == "__main__":
    main()
