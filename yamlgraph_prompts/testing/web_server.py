"""A web server that answers what a test says, well or badly. Serves this machine only."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Fault:
    """How a `WebServer` misbehaves.

    Args:
        kind: ``"status"``, ``"silence"``, ``"slow head"``, ``"slow body"``, ``"cut"``,
            ``"flood"``, ``"garbage"`` or ``"body"``.
        status: The status, for ``"status"``.
        location: Where it redirects to.
        retry_after: The header of that name.
        body: What is answered instead, for ``"body"``.
    """

    kind: str
    status: int = 500
    location: str = ""
    retry_after: str = ""
    body: bytes = b""


class WebServer:
    """A web server on this machine that answers as it is set up, well or badly.

    Attributes:
        answers: Path without escapes → the body; everything else is 404.
        faults: Path → what happens instead; ``"*"`` stands for all.
        asked: Every request: its path, the status it was answered with (0: none), its headers.
        sent_bytes: How many bytes of bodies were sent.
        strangers: The names of threads that began since, were alive during a request, and would
            keep the process from ending.
    """

    def __init__(self) -> None:
        self.answers: Mapping[str, bytes] = {}
        self.faults: dict[str, Fault] = {}
        self.asked: list[tuple[str, int, Mapping[str, str]]] = []
        self.sent_bytes = 0
        self.strangers: set[str] = set()
        self._closing = threading.Event()
        self._before = set(threading.enumerate())
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop; connections that are still open are closed."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.strangers |= {
            thread.name for thread in set(threading.enumerate()) - self._before if not thread.daemon
        }
        path = unquote(urlsplit(handler.path).path)
        fault = self.faults.get(path, self.faults.get("*"))
        body = self.answers.get(path)
        if fault is not None and fault.kind != "body":
            self.asked.append((path, fault.status, dict(handler.headers)))
            with suppress(OSError):
                self._misbehave(handler, fault)
            handler.close_connection = True
            return
        if fault is not None:
            body = fault.body
        etag = f'"{sha256(body or b"").hexdigest()[:16]}"'
        if body is None:
            status, body = 404, b"no such file"
        elif handler.headers["If-None-Match"] == etag:
            status, body = 304, b""
        else:
            status = 200
        self.asked.append((path, status, dict(handler.headers)))
        handler.send_response(status)
        handler.send_header("ETag", etag)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        self.sent_bytes += len(body)

    def _misbehave(self, handler: BaseHTTPRequestHandler, fault: Fault) -> None:
        out = handler.wfile
        if fault.kind == "silence":
            self._closing.wait()
        elif fault.kind == "garbage":
            out.write(b"\x00\xffno HTTP at all\r\n\r\n" * 3)
        elif fault.kind == "slow head":
            out.write(b"HTTP/1.1 200 OK\r\n")
            self._slowly(handler, b"X-Slow: x\r\n")
        elif fault.kind == "slow body":
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            self._slowly(handler, b"x")
        elif fault.kind == "cut":
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nuser")
        elif fault.kind == "flood":
            out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
            for _ in range(160):
                out.write(b"x" * (1 << 20))
                self.sent_bytes += 1 << 20
        else:
            handler.send_response(fault.status)
            if fault.location:
                handler.send_header("Location", fault.location)
            if fault.retry_after:
                handler.send_header("Retry-After", fault.retry_after)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

    def _slowly(self, handler: BaseHTTPRequestHandler, piece: bytes) -> None:
        while not self._closing.wait(0.05):
            handler.wfile.write(piece)
            handler.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what is tested."""
