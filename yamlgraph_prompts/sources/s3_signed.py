"""Signed GETs over kept connections, at a sixth of what boto3 takes for them.

Knows AWS's Signature Version 4 for a request without a body, and nothing else: whatever is not
answered plainly is for boto3 to ask again.
"""

from __future__ import annotations

import hmac
import ssl
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from yamlgraph_prompts.sources.metered import MeteredHTTP, MeteredHTTPS

EMPTY = sha256(b"").hexdigest()
PORTS = {"http": 80, "https": 443}
# Routers and balancers forget a silent connection after minutes, and many tell nobody.
IDLE_S = 60.0


def signature(
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    *,
    key: str,
    secret: str,
    token: str | None,
    region: str,
    at_s: float,
) -> dict[str, str]:
    """The headers that make a GET a signed one.

    Args:
        host: What the Host header will say.
        path: The path, quoted as it will be sent.
        query: The parameters, quoted and in order.
        headers: Further headers to sign.
        key: The access key's id.
        secret: Its secret.
        token: The session's token, if there is one.
        region: The region to sign for.
        at_s: Now, in seconds since the epoch.
    """
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at_s))
    made = {**headers, "x-amz-content-sha256": EMPTY, "x-amz-date": moment}
    if token:
        made["x-amz-security-token"] = token
    lines = sorted((name.lower(), value.strip()) for name, value in {**made, "host": host}.items())
    names = ";".join(name for name, _ in lines)
    canonical = "".join(f"{name}:{value}\n" for name, value in lines)
    asked = f"GET\n{path}\n{query}\n{canonical}\n{names}\n{EMPTY}"
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(asked.encode()).hexdigest()}"
    proof = hmac.digest(_key(secret, moment[:8], region), text.encode(), "sha256").hex()
    made["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={proof}"
    )
    return made


@lru_cache(maxsize=8)
def _key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


class Unanswered(TimeoutError):
    """The server took the question, and says nothing."""


class Connections:
    """Connections to one server, each used by one thread at a time. Thread-safe.

    Args:
        base: The server's URL.
        connect_s: Seconds that a connection may take.
        read_s: Seconds to wait for the next byte.
        context: How to be sure of the server, for https.
    """

    def __init__(
        self, base: str, *, connect_s: float, read_s: float, context: ssl.SSLContext | None
    ) -> None:
        parts = urlsplit(base)
        self._server = parts.hostname or ""
        self._port = parts.port or PORTS[parts.scheme]
        self._connect_s = connect_s
        self._read_s = read_s
        self._context = context
        self._idle: list[tuple[HTTPConnection, float]] = []
        self.close = weakref.finalize(self, _close, self._idle)
        name = f"[{self._server}]" if ":" in self._server else self._server
        self.host = name if self._port == PORTS[parts.scheme] else f"{name}:{self._port}"

    def ask(self, target: str, headers: Mapping[str, str]) -> tuple[HTTPConnection, HTTPResponse]:
        """An answer whose body is still to be read; then `keep` the connection, or close it."""
        connection = self._kept()
        if connection is not None:
            try:
                return connection, _asked(connection, target, headers)
            except (OSError, HTTPException) as problem:
                connection.close()
                if isinstance(problem, TimeoutError):
                    raise
                # The server has ended it meanwhile, and never saw the question. Of a connection
                # with TLS the system says so with an error of many kinds.
            except BaseException:
                connection.close()
                raise
        connection = self._connected()
        try:
            return connection, _asked(connection, target, headers)
        except BaseException:
            connection.close()
            raise

    def keep(self, connection: HTTPConnection) -> None:
        """It may be used again."""
        if connection.sock is not None and self.close.alive:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.close()

    def _kept(self) -> HTTPConnection | None:
        try:
            connection, since_s = self._idle.pop()
        except IndexError:
            return None
        if time.monotonic() - since_s < IDLE_S:
            return connection
        connection.close()
        # The others were idle for longer still.
        _close(self._idle)
        return None

    def _connected(self) -> HTTPConnection:
        given: dict[str, Any] = {"port": self._port, "timeout": self._connect_s}
        made: HTTPConnection = (
            MeteredHTTPS(self._server, context=self._context, **given)
            if self._context is not None
            else MeteredHTTP(self._server, **given)
        )
        try:
            made.connect()
        except BaseException:
            made.close()
            raise
        made.sock.settimeout(self._read_s)
        return made


def _close(idle: list[tuple[HTTPConnection, float]]) -> None:
    while idle:
        with suppress(IndexError):
            idle.pop()[0].close()


def _asked(connection: HTTPConnection, target: str, headers: Mapping[str, str]) -> HTTPResponse:
    try:
        connection.request("GET", target, headers=dict(headers))
        return connection.getresponse()
    except TimeoutError as problem:
        raise Unanswered from problem
