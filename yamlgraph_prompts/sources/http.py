"""A layer on a web server: an index lists its files with their digests.

It sends requests to the URL's own host only, over TLS; time and bytes of each reading are bounded.
"""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerUnavailable
from yamlgraph_prompts.sources import Snapshot, Traffic
from yamlgraph_prompts.sources.http_index import INDEX, Entry, entries_of
from yamlgraph_prompts.sources.polling import poll

if TYPE_CHECKING:
    import ssl

# "host=value", several of them with ";" between: each value is sent to its own host only.
AUTHORIZATION = "YAMLGRAPH_PROMPTS_AUTHORIZATION"

LIMIT_INDEX_BYTES = 8 << 20
IDLE_S = 10.0  # without a byte
_NO_LINGER = struct.pack("ii", 1, 0)
PARALLEL = 8
REDIRECTS = 3
ATTEMPTS = 3


class HttpSource:
    """Reads the files that ``index.json`` below a URL lists."""

    refresh_s = 30.0

    def __init__(self, url: str, *, deadline_s: float = 60.0) -> None:
        self._server = _Server.of(url)
        self.url = self._server.url
        self.traffic = Traffic()
        self._deadline_s = deadline_s
        self._etag = ""
        self._snapshot: Snapshot | None = None
        self._data: dict[str, bytes] = {}  # SHA-256 → the bytes

    def read(self) -> Snapshot:
        """Everything that is there now; files that are known by their digest are not fetched."""
        wrong = ""
        with _Reading(self._server, self._deadline_s) as reading:
            for _ in range(ATTEMPTS):
                # A wrong file does not mean a wrong index: fetch it anew, without the ETag.
                index = self._index(reading, "" if wrong else self._etag)
                if index.status == 304 and self._snapshot is not None:
                    return self._snapshot
                entries, findings = entries_of(index.data, self.url)
                needed = {one.sha256: one for one in entries}
                # What the index does not list is not kept: it may be another one each time.
                self._data = {key: data for key, data in self._data.items() if key in needed}
                wrong = self._fetch(reading, [needed[key] for key in needed.keys() - self._data])
                if not wrong:
                    files = {one.path: self._data[one.sha256] for one in entries}
                    # Only now: until every file is in, the next reading must see the index again.
                    self._snapshot, self._etag = Snapshot.of(files, findings), index.etag
                    return self._snapshot
        text = f"{self.url}{wrong} is not what the index says: its size or SHA-256 differs."
        hint = "Upload the files first and the index last."
        raise LayerUnavailable(text, layer=self.url, hint=hint)

    def changes(self, stop: threading.Event) -> Iterator[None]:
        return poll(stop, self.refresh_s)

    def close(self) -> None:
        """No connection is kept between two readings."""

    def _index(self, reading: _Reading, etag: str) -> _Answer:
        (answer,) = self._asked(reading, [_Request(INDEX, LIMIT_INDEX_BYTES, etag)])
        if len(answer.data) > LIMIT_INDEX_BYTES:
            text = f"{self.url}{INDEX} has more than {LIMIT_INDEX_BYTES >> 20} MiB."
            raise LayerUnavailable(text, layer=self.url, hint="Give prompts a folder of their own.")
        if answer.status in (404, 410):
            raise LayerNotFound(
                f"There is no {self.url}{INDEX}.",
                layer=self.url,
                hint="Write one with write_index, correct the URL, or mark the layer with "
                "Layer(..., optional=True).",
            )
        return answer

    def _fetch(self, reading: _Reading, entries: Sequence[Entry]) -> str:
        """Keeps what these files hold; the first path whose file is not what it should be."""
        wanted = {_Request(one.url, one.size): one for one in entries}
        wrong = ""
        for answer in self._asked(reading, list(wanted)):
            entry = wanted[answer.request]
            if answer.status == 200 and sha256(answer.data).hexdigest() == entry.sha256:
                self._data[entry.sha256] = answer.data
            else:
                wrong = wrong or entry.path
        return wrong

    def _asked(self, reading: _Reading, requests: Sequence[_Request]) -> Iterator[_Answer]:
        for answer in reading.answers(requests):
            self.traffic += Traffic(1, len(answer.data))
            if answer.status not in (200, 304, 404, 410):
                raise self._refused(answer)
            yield answer

    def _refused(self, answer: _Answer) -> LayerUnavailable:
        hint, seconds = "Look at the server's log.", answer.retry_after
        if answer.status in (401, 403):
            hint = f"Set {AUTHORIZATION}; see docs/layers.md."
        return LayerUnavailable(
            f"{self.url}{answer.request.url} was answered with status {answer.status}.",
            layer=self.url,
            hint=hint,
            retry_after_s=float(seconds) if re.fullmatch("[0-9]{1,9}", seconds) else None,
        )


# Requests


@dataclass(frozen=True, slots=True)
class _Server:
    """Where a layer is: the one host that is asked, and the path below which everything lies."""

    origin: str
    host: str
    port: int | None
    path: str

    @classmethod
    def of(cls, url: str) -> _Server:
        parts = urlsplit(url)
        host, user = parts.hostname or "", "@" in parts.netloc
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~").rstrip("/") + "/"
        why = ""
        if user:
            why = f"It holds a user or a password. Set {AUTHORIZATION} instead."
        elif "?" in url or "#" in url:
            why = "It may have no part after ? or #."
        elif parts.scheme != "https" and not _is_loopback(host):
            why = "Over plain http anyone on the way could change prompts. Use https."
        try:
            port = parts.port
        except ValueError:
            port, why = None, "Its port is not a number."
        if why or not host:
            text = f"{place}{path} is not a URL to read prompts from."
            raise LayerUnavailable(text, layer=place + path, hint=why or "It names no host.")
        return cls(place, host, port, path)

    @property
    def url(self) -> str:
        return self.origin + self.path

    def authorization(self) -> dict[str, str]:
        """The header that the environment has for this host; never shown."""
        for line in filter(None, map(str.strip, os.environ.get(AUTHORIZATION, "").split(";"))):
            host, mark, value = line.partition("=")
            if not mark or not value.isascii() or not value.isprintable():
                text = f"{AUTHORIZATION} does not have the form host=value."
                hint = "For example: prompts.acme.test=Bearer TOKEN"
                raise LayerUnavailable(text, layer=self.url, hint=hint)
            if host.lower() == self.origin.partition("://")[2]:
                return {"Authorization": value}
        return {}

    def redirected(self, path: str, location: str) -> str:
        """The path that a redirect leads to, on the same host."""
        target = urlsplit(urljoin(self.origin + path, location))
        origin = f"{target.scheme}://{target.netloc.rpartition('@')[2].lower()}"
        if origin != self.origin:
            text = f"{self.url} redirects to {origin}, which is not asked."
            hint = "If that is where the prompts are, make it the layer's URL."
            raise LayerUnavailable(text, layer=self.url, hint=hint)
        return target._replace(scheme="", netloc="", fragment="").geturl()


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


@dataclass(frozen=True, slots=True)
class _Request:
    url: str
    limit_bytes: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    request: _Request
    status: int
    data: bytes
    """At most one byte more than the request's limit."""
    etag: str
    retry_after: str


class _Reading(AbstractContextManager["_Reading"]):
    """The requests of one reading. Its end cuts every connection, whatever is waited for there."""

    def __init__(self, server: _Server, deadline_s: float) -> None:
        self.server = server
        self.is_over = False
        self._deadline_s = deadline_s
        self._ends_s = time.monotonic() + deadline_s
        self._headers = {"Accept-Encoding": "identity", **server.authorization()}
        self._connections: list[_Connection] = []

    @cached_property
    def tls(self) -> ssl.SSLContext:
        import ssl

        return ssl.create_default_context()

    def __exit__(self, problem: object, *_: object) -> None:
        if problem:
            for connection in self._connections:
                connection.reset_on_close()
        self.is_over = True
        for connection in self._connections:
            connection.cut()

    def answers(self, requests: Sequence[_Request]) -> Iterator[_Answer]:
        """The answers as they come, to a few requests at one time."""
        waiting: SimpleQueue[_Request] = SimpleQueue()
        answers: SimpleQueue[_Answer | Exception] = SimpleQueue()
        for request in requests:
            waiting.put(request)

        def work(connection: _Connection) -> None:
            with connection, suppress(Empty):
                while not self.is_over:
                    request = waiting.get_nowait()
                    try:
                        answers.put(self._answer(connection, request))
                    except (OSError, HTTPException, ValueError) as problem:
                        connection.close()
                        answers.put(problem)

        for _ in range(min(PARALLEL, len(requests))):
            connection = _Connection(self)
            self._connections.append(connection)
            # Only daemons wait for the network, so that looking a name up cannot hold us up either.
            name = "yamlgraph-prompts-http"
            threading.Thread(target=work, args=(connection,), name=name, daemon=True).start()
        for _ in requests:
            try:
                answer = answers.get(timeout=max(0.0, self._ends_s - time.monotonic()))
            except Empty:
                raise self._trouble(f"did not answer within {self._deadline_s:g} s") from None
            if isinstance(answer, LayerError):
                raise answer
            if isinstance(answer, Exception):
                raise self._trouble(f"cannot be read: {_words(answer)}") from answer
            yield answer

    def _answer(self, connection: _Connection, request: _Request) -> _Answer:
        path = self.server.path + request.url
        headers = {**self._headers, **({"If-None-Match": request.etag} if request.etag else {})}
        for _ in range(1 + REDIRECTS):
            connection.request("GET", path, headers=headers)
            with connection.getresponse() as response:
                status, location = response.status, response.getheader("Location")
                data = response.read(request.limit_bytes + 1) if status == 200 else b""
                is_cut = bool(response.length) and len(data) <= request.limit_bytes
                etag, retry_after = (
                    response.getheader(name, "") for name in ("ETag", "Retry-After")
                )
            if status != 200 or len(data) > request.limit_bytes:
                # The rest of the answer is not waited for.
                connection.close()
            elif is_cut:
                raise ConnectionResetError("the connection ended too early")
            if status not in (301, 302, 303, 307, 308) or not location:
                etag = etag if etag.isprintable() else ""
                return _Answer(request, status, data, etag, retry_after)
            path = self.server.redirected(path, location)
        raise self._trouble("redirects without end")

    def _trouble(self, what: str) -> LayerUnavailable:
        url, hint = self.server.url, "Look at the server and at the network."
        return LayerUnavailable(f"{url} {what}.", layer=url, hint=hint)


class _Connection(HTTPConnection, AbstractContextManager["_Connection"]):
    """A connection that another thread can cut, in its TLS handshake and in its last answer too."""

    def __init__(self, reading: _Reading) -> None:
        self._is_tls = reading.server.origin.startswith("https:")
        self.default_port = 443 if self._is_tls else 80
        super().__init__(reading.server.host, reading.server.port, timeout=IDLE_S)
        self._reading = reading
        self._wire: socket.socket | None = None

    def __exit__(self, *_: object) -> None:
        self.close()
        if self._wire is not None:
            self._wire.close()

    def connect(self) -> None:
        self.sock = socket.create_connection((self.host, self.port), timeout=IDLE_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        before, self._wire = self._wire, self.sock.dup()
        if before is not None:
            before.close()
        if self._reading.is_over:
            raise TimeoutError("the reading is over")
        if self._is_tls:
            self.sock = self._reading.tls.wrap_socket(self.sock, server_hostname=self.host)

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, **options: Any
    ) -> HTTPResponse:
        """An answer that ends with the reading: what is cut may still bring bytes."""
        response = HTTPResponse(sock, **options)
        response.fp = io.BufferedReader(_Incoming(self._reading, response.fp.detach()))
        return response

    def reset_on_close(self) -> None:
        """Say no goodbye: a server whose answer is not read would wait a minute for room for it."""
        with suppress(OSError):
            if self._wire is not None:
                self._wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)

    def cut(self) -> None:
        with suppress(OSError):
            if self._wire is not None:
                self._wire.shutdown(socket.SHUT_RDWR)


class _Incoming(io.RawIOBase):
    def __init__(self, reading: _Reading, raw: io.RawIOBase) -> None:
        self._reading = reading
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int | None:
        if self._reading.is_over:
            raise TimeoutError("the reading is over")
        return self._raw.readinto(into)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _words(problem: Exception) -> str:
    """What went wrong, without anything that the server sent."""
    if not isinstance(problem, OSError):
        return f"its answer is not HTTP ({type(problem).__name__})"
    return getattr(problem, "verify_message", "") or problem.strerror or str(problem)
