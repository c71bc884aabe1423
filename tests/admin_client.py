"""A client that speaks ASGI itself: odd paths, slow bodies and addresses go through as they are."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import uvicorn

from tests.conftest import wait_until
from yamlgraph_prompts.admin.security.auth import Role

TOKENS: dict[str, Role] = {
    "the-viewers-token": "viewer",
    "the-authors-token": "author",
    "the-operators-token": "operator",
}
_TOKEN_OF = {role: token for token, role in TOKENS.items()}
YAML = {"content-type": "application/yaml"}
WAIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> str:
        """The code of the error body."""
        code: str = self.json["code"]
        return code


@dataclass(frozen=True)
class Slow:
    """A body that comes in pieces, with a pause before each."""

    pieces: Iterable[bytes]
    pause_s: float


@dataclass(frozen=True)
class Client:
    """Asks `app` as somebody with a role (None: nobody) from an address."""

    app: Any
    role: Role | None = "operator"
    address: str = "192.0.2.7"
    headers: Mapping[str, str] = field(default_factory=dict)
    root: str = ""

    def get(self, path: str, **more: Any) -> Answer:
        return self.send("GET", path, **more)

    def post(self, path: str, **more: Any) -> Answer:
        return self.send("POST", path, **more)

    def delete(self, path: str, **more: Any) -> Answer:
        return self.send("DELETE", path, **more)

    def put(self, path: str, text: str | bytes | None = None, **more: Any) -> Answer:
        """A PUT of YAML text, or with `json=` of an object."""
        headers = {**(YAML if "json" not in more else {}), **more.pop("headers", {})}
        return self.send("PUT", path, body=text or b"", headers=headers, **more)

    def send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | Slow = b"",
        json: Any = None,
    ) -> Answer:
        """One request; `path` goes through byte by byte, percent signs and all."""
        return asyncio.run(self.asend(method, path, headers=headers, body=body, json=json))

    async def asend(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes | Slow = b"",
        json: Any = None,
    ) -> Answer:
        sent = {"host": "testserver", **self.headers, **(headers or {})}
        if self.role is not None and "authorization" not in sent:
            sent["authorization"] = f"Bearer {_TOKEN_OF[self.role]}"
        if json is not None:
            body = _json(json)
            sent["content-type"] = "application/json"
        if isinstance(body, str):
            body = body.encode()
        if isinstance(body, bytes):
            sent.setdefault("content-length", str(len(body)))
        pieces = _pieces(body)
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            async for piece in pieces:
                return piece
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                answer["headers"] = {k.decode(): v.decode() for k, v in message["headers"]}
            elif message["type"] == "http.response.body":
                answer["body"] += message.get("body", b"")

        scope = self.scope(method, path, sent)
        async with asyncio.timeout(WAIT_S):
            await self.app(scope, receive, send)
        return Answer(answer["status"], answer["headers"], answer["body"])

    def scope(self, method: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        raw, _, query = path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": self.root + unquote(raw),
            "raw_path": (self.root + raw).encode(),
            "root_path": self.root,
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in headers.items()],
            "client": (self.address, 50000),
            "server": ("testserver", 80),
        }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


async def _pieces(body: bytes | Slow) -> AsyncIterator[dict[str, Any]]:
    if isinstance(body, bytes):
        yield {"type": "http.request", "body": body, "more_body": False}
        return
    for piece in body.pieces:
        await asyncio.sleep(body.pause_s)
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


@contextmanager
def served(app: Any) -> Iterator[str]:
    """`app` behind a real server on this machine, in a thread; its URL."""
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
