"""The first check of a request: its token, its size and how fast it arrives.

Pure ASGI. A refusal here costs no thread and reads no prompt.
"""

from __future__ import annotations

import hmac
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from urllib.parse import quote
from uuid import uuid4

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from yamlgraph_prompts._text.log_escaping import request_id
from yamlgraph_prompts.admin.problems import SECURITY_HEADERS, Refusal
from yamlgraph_prompts.admin.security import paths
from yamlgraph_prompts.admin.security.auth import Attempts, Tokens, Who
from yamlgraph_prompts.admin.security.sessions import Session, Sessions

logger = logging.getLogger("yamlgraph_prompts")
T = TypeVar("T")

WHO = "yamlgraph_prompts_who"
OPEN_PATHS = frozenset({"/health/live", "/health/ready", paths.SIGN_IN})
EVENTS = "/events"
REQUEST_ID = "x-request-id"
CSRF = "x-csrf-token"
_SAFE = ("GET", "HEAD", "OPTIONS")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost.

    Args:
        body_bytes: The size of its body.
        path_bytes: The length of its path and query.
        header_bytes: The length of its headers, together.
        body_s: Seconds until its body must be here.
        work_s: Seconds after which the answer is that it takes too long.
        threads: How many requests of one kind work at once in one process: reading, changing,
            deciding which release is live, and health have places of their own.
        trials: How many previews, checks and diffs do, each in a worker process.
        bodies: How many requests with a body one role may have under way.
        failures: How often an address may send one wrong token in `failures_s`, and how many.
        failures_s: Seconds after which failures are forgotten.
        listeners: How many may listen to events at once.
    """

    body_bytes: int = 2 << 20
    path_bytes: int = 4096
    header_bytes: int = 32 << 10
    body_s: float = 10.0
    work_s: float = 30.0
    threads: int = 8
    trials: int = 2
    bodies: int = 32
    failures: int = 10
    failures_s: float = 60.0
    listeners: int = 100


class Access(Protocol):
    """Identifies the sender of a request."""

    def who(self, scope: Scope, headers: Headers) -> Who | None:
        """The owner of the request's token; None: it has none.

        Raises:
            Refusal: They may not use the API at all.
        """


class ByToken:
    """Admits requests with a token, or with the cookie of a session."""

    def __init__(self, tokens: Tokens, header: str, attempts: Attempts, sessions: Sessions) -> None:
        self._tokens = tokens
        self._header = header
        self._attempts = attempts
        self.sessions = sessions

    def who(self, scope: Scope, headers: Headers) -> Who | None:
        shown = _bearer(headers) or headers.get(self._header)
        if not shown:
            return self._by_cookie(scope, headers)
        return self._counted(scope, shown, self._tokens.find)

    def sign_in(self, scope: Scope, headers: Headers, token: str) -> Session:
        """A session for the owner of `token`."""
        if is_foreign(headers):
            raise Refusal(403, "cross-site", "Requests from other sites are not allowed.")
        return self._counted(scope, token, self.sessions.start)

    def _counted(self, scope: Scope, token: str, find: Callable[[str], T | None]) -> T:
        found = find(token)
        if found is not None:
            # Whatever others behind the same proxy send: a rollback must get through.
            return found
        from_ = address(scope)
        wait_s = self._attempts.wait_s(from_, token)
        if wait_s:
            raise Refusal(
                429,
                "too-many-attempts",
                "This wrong token, or too many others, came from this address too often.",
                hint="Use a valid token.",
                headers={"Retry-After": str(math.ceil(wait_s))},
            )
        self._attempts.failed(from_, token)
        logger.warning("Invalid admin token from %s.", from_)
        raise unknown("This token is unknown or has expired.")

    def session(self, headers: Headers) -> Session | None:
        """The session that the cookie stands for."""
        cookie = self.sessions.cookie
        pairs = (pair.partition("=") for pair in headers.get("cookie", "").split(";"))
        values = [value for name, _, value in pairs if name.strip() == cookie]
        return self.sessions.find(values[-1].strip()) if values else None

    def _by_cookie(self, scope: Scope, headers: Headers) -> Who | None:
        session = self.session(headers)
        if session is None:
            return None
        if scope["method"] not in _SAFE:
            if is_foreign(headers):
                raise Refusal(403, "cross-site", "Requests from other sites are not allowed.")
            shown = headers.get(CSRF, "").encode()
            # The form of a page that signs out has it in a field.
            if route_path(scope) != paths.SIGN_OUT and not hmac.compare_digest(
                shown, session.csrf.encode()
            ):
                text = f"With a cookie this needs the header {CSRF}."
                hint = "Load the page again."
                raise Refusal(403, "csrf", text, hint=hint)
        return session.who


class OnLoopback:
    """Admits every local user; only for `serve`, which listens on loopback.

    Pages of other sites in the same browser are refused: by the Host header (DNS rebinding) and
    by the request's origin.
    """

    def who(self, scope: Scope, headers: Headers) -> Who | None:
        host = headers.get("host", "")
        if _hostname(host) not in _LOOPBACK:
            raise Refusal(421, "host", "Without tokens only requests to localhost are answered.")
        origin = headers.get("origin")
        foreign = origin is not None and origin.partition("://")[2] != host
        if foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refusal(403, "cross-site", "Requests from other sites are not allowed.")
        return Who("local", "operator")


class Gate:
    """Middleware: refuses, or hands on with `scope["state"][WHO]` and the whole body."""

    def __init__(
        self, app: ASGIApp, access: Access, limits: Limits, count: Callable[[Refusal], None]
    ) -> None:
        self._app = app
        self._count = count
        self._small = GZipMiddleware(app, minimum_size=1000, compresslevel=4)
        self._access = access
        self._limits = limits
        self._bodies: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers[REQUEST_ID] = request_id.get() or ""
            await send(message)

        headers = Headers(scope=scope)
        request_id.set(_request_id(headers))
        try:
            self._fits(scope)
            who = self._access.who(scope, headers)
            path = route_path(scope)
            if not path:
                # The mount's own path: the page is one step below, where its links lead right.
                await RedirectResponse(f"{quote(scope['root_path'])}/")(scope, receive, send_safe)
                return
            if who is None and path not in OPEN_PATHS and not path.startswith(paths.STATIC):
                if paths.is_page(path) and paths.asks_for_html(scope, headers):
                    await paths.to_sign_in(scope, headers)(scope, receive, send_safe)
                    return
                raise unknown("A token is needed.")
            with self._counted(scope, who):
                if scope["method"] not in _SAFE:
                    receive = await self._body(headers, receive)
                await self._on(scope, who, headers)(scope, receive, send_safe)
        except Refusal as refusal:
            self._count(refusal)
            await refusal.response()(scope, receive, send_safe)
        except _Gone:
            return

    def _on(self, scope: Scope, who: Who | None, headers: Headers) -> ASGIApp:
        scope.setdefault("state", {})[WHO] = who
        # Compressed for browsers only.
        is_browser = "cookie" in headers or "sec-fetch-site" in headers
        return self._small if is_browser and route_path(scope) != EVENTS else self._app

    @contextmanager
    def _counted(self, scope: Scope, who: Who | None) -> Iterator[None]:
        """Limit the bodies in progress of one role, so that roles do not wait for each other."""
        role = who.role if who else ""
        if scope["method"] in _SAFE:
            yield
            return
        if self._bodies[role] >= self._limits.bodies:
            raise Refusal(
                503,
                "busy",
                "Too many requests of this role are in progress.",
                hint="Try again in a moment.",
                headers={"Retry-After": "1", "Connection": "close"},
            )
        self._bodies[role] += 1
        try:
            yield
        finally:
            self._bodies[role] -= 1

    def _fits(self, scope: Scope) -> None:
        length = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
        if length > self._limits.path_bytes:
            raise Refusal(414, "path-too-long", "The path is too long.")
        if sum(len(n) + len(v) for n, v in scope["headers"]) > self._limits.header_bytes:
            text = f"All headers together may have at most {self._limits.header_bytes} bytes."
            raise Refusal(431, "headers-too-large", text)

    async def _body(self, headers: Headers, receive: Receive) -> Receive:
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise Refusal(400, "bad-request", "The Content-Length is not a number.")
        if len(length) > 18 or int(length) > self._limits.body_bytes:
            raise self._too_large()
        pieces: list[bytes] = []
        size, more = 0, True
        try:
            with anyio.fail_after(self._limits.body_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > self._limits.body_bytes:
                        raise self._too_large()
                    more = message.get("more_body", False)
        except TimeoutError:
            text = f"The body did not arrive within {self._limits.body_s:g} s."
            raise Refusal(408, "too-slow", text, headers={"Connection": "close"}) from None
        return _again(b"".join(pieces), receive)

    def _too_large(self) -> Refusal:
        text = f"A body may have at most {self._limits.body_bytes} bytes."
        return Refusal(413, "too-large", text, headers={"Connection": "close"})


class _Gone(Exception):
    """The client left."""


def unknown(message: str) -> Refusal:
    """The answer to a request without a valid token."""
    hint = "Send it as: Authorization: Bearer <token>"
    return Refusal(401, "no-token", message, hint=hint, headers={"WWW-Authenticate": "Bearer"})


def sender(scope: Scope) -> Who | None:
    """The owner of the token of a request that passed the gate; None: it has none."""
    who: Who | None = scope.get("state", {}).get(WHO)
    return who


def address(scope: Scope) -> str:
    """The client's address by the server, which knows which proxies to trust."""
    client: Any = scope.get("client")
    return str(client[0]) if client else "local"


def _request_id(headers: Headers) -> str:
    """The client's or proxy's name for a request, if it is a plain word, or a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if re.fullmatch(r"[\w.:-]{1,64}", given, re.ASCII) else uuid4().hex[:16]


def _bearer(headers: Headers) -> str | None:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _hostname(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def is_foreign(headers: Headers) -> bool:
    """Whether the request comes from a page of another site, by the browser's headers."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("none", "same-origin")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def route_path(scope: Scope) -> str:
    """The path below the app's root."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _again(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
