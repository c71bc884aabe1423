"""An S3 server in this process that can be told to misbehave: what no real one does on demand."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "acme"


@dataclass(frozen=True)
class Asked:
    """One request: `key` is empty for a list."""

    key: str
    query: dict[str, str]
    headers: dict[str, str]
    method: str = "GET"

    @property
    def lists(self) -> bool:
        return not self.key


Fault = Callable[["Handler", Asked], bool]
"""Answers in its own way and says True, or says False: then the server answers as it should."""


def refused(
    status: int, code: str, *, skew_s: float = 0.0, message: str = "no", **headers: str
) -> Fault:
    """An error of S3's kind."""

    def fault(handler: Handler, asked: Asked) -> bool:
        text = f"<Code>{code}</Code><Message>{message}</Message>"
        body = f"<?xml version='1.0'?><Error>{text}</Error>"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        handler.answer(status, body.encode(), {"Date": formatdate(time.time() + skew_s), **named})
        return True

    return fault


def silent(handler: Handler, asked: Asked) -> bool:
    """No answer at all, until the test ends."""
    handler.script.closing.wait()
    return True


def cut(handler: Handler, asked: Asked) -> bool:
    """Half of a body, then the connection is gone."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.send_header("ETag", '"x"')
    handler.end_headers()
    handler.wfile.write(b"x" * 500)
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def cut_in_its_head(handler: Handler, asked: Asked) -> bool:
    """A good status, and the connection is gone before its length was said."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nServer: x\r\nConte")
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True
    return True


def trickling(handler: Handler, asked: Asked) -> bool:
    """A byte of a body now and then, so that no read timeout ever strikes."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    return _drip(handler)


def trickling_head(handler: Handler, asked: Asked) -> bool:
    """The same before the body has begun."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    return _drip(handler)


def _drip(handler: Handler) -> bool:
    while not handler.script.closing.wait(0.1):
        try:
            handler.wfile.write(b"x")
            handler.wfile.flush()
        except OSError:
            break
    handler.close_connection = True
    return True


@dataclass
class ScriptedS3:
    """The bucket `acme`, over HTTP. Attributes may be changed at any time.

    Args:
        server: What serves it; one server may serve one after another.
        objects: Key → bytes.
        page_size: How many keys a list has at most.
        fault: What to do instead of answering.
        odd_etags: Listed ETags have no quotes and are not those of the objects.
        ignores_conditions: If-Match and If-None-Match are not looked at.
        expected: What to do instead of asking for the body of a PUT.
    """

    server: Server
    objects: dict[str, bytes] = field(default_factory=dict)
    page_size: int = 1000
    fault: Fault | None = None
    odd_etags: bool = False
    ignores_conditions: bool = False
    expected: Callable[[Handler], None] | None = None
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> ScriptedS3:
        self.server.script = self
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def url(self, prefix: str = "prompts/") -> str:
        return f"s3://{BUCKET}/{prefix}?endpoint={self.endpoint}&region=eu-north-1"

    def put(self, **files: str) -> None:
        """Give `prompts/<name>.yaml` the content of each argument."""
        for name, text in files.items():
            self.objects[f"prompts/{name}.yaml"] = text.encode()

    def fetched(self) -> list[str]:
        """The keys that were asked for since the last call, in order; ``""`` is a list."""
        keys = [asked.key for asked in self.asked]
        self.asked.clear()
        return keys


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    script: ScriptedS3

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    script: ScriptedS3
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        script = self.script = self.server.script
        parts = urlsplit(self.path)
        _, bucket, *key = unquote(parts.path).split("/", 2)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        headers = dict(self.headers.items())
        asked = Asked(key[0] if key else "", query, headers, self.command)
        script.asked.append(asked)
        if script.fault is not None and script.fault(self, asked):
            return
        if bucket != BUCKET:
            refused(404, "NoSuchBucket")(self, asked)
        elif asked.method == "PUT":
            self.take(script, asked)
        elif asked.lists:
            self.list(script, query)
        else:
            self.give(script, asked)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    do_PUT = do_HEAD = do_GET

    def handle_expect_100(self) -> bool:
        expected = self.server.script.expected
        if expected is None:
            super().handle_expect_100()
            self.wfile.flush()
            return True
        expected(self)
        self.close_connection = True
        return False

    def take(self, script: ScriptedS3, asked: Asked) -> None:
        data = self.rfile.read(int(asked.headers["Content-Length"]))
        if asked.headers.get("If-None-Match") == "*" and asked.key in script.objects:
            refused(412, "PreconditionFailed")(self, asked)
            return
        script.objects[asked.key] = data
        self.answer(200, b"", {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})

    def give(self, script: ScriptedS3, asked: Asked) -> None:
        data = script.objects.get(asked.key)
        if data is None:
            refused(404, "NoSuchKey")(self, asked)
            return
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        if not script.ignores_conditions:
            if asked.headers.get("If-Match", etag) != etag:
                refused(412, "PreconditionFailed")(self, asked)
                return
            if asked.headers.get("If-None-Match") == etag:
                self.answer(304, b"", {"ETag": etag})
                return
        self.answer(200, data, {"ETag": etag})

    def list(self, script: ScriptedS3, query: dict[str, str]) -> None:
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        keys = sorted(k for k in script.objects if k.startswith(prefix) and k > after)
        folders: list[str] = []
        if delimiter := query.get("delimiter"):
            inner = {k: k[len(prefix) :].partition(delimiter) for k in keys}
            folders = sorted(
                {prefix + name + delimiter for name, mark, _ in inner.values() if mark}
            )
            keys = [k for k in keys if not inner[k][1]]
        page, more = keys[: script.page_size], len(keys) > script.page_size
        lines = [self.line(script, key) for key in page]
        lines += [f"<CommonPrefixes><Prefix>{f}</Prefix></CommonPrefixes>" for f in folders]
        if more:
            lines.append(f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>")
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated><EncodingType>url</EncodingType>"
            f"{''.join(lines)}</ListBucketResult>"
        )
        self.answer(200, body.encode(), {"Content-Type": "application/xml"})

    def line(self, script: ScriptedS3, key: str) -> str:
        data = script.objects[key]
        etag = f"&quot;{hashlib.md5(data).hexdigest()}&quot;"
        if script.odd_etags:
            etag = hashlib.sha1(data).hexdigest()
        return (
            f"<Contents><Key>{quote(key)}</Key><ETag>{etag}</ETag><Size>{len(data)}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        )

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if status != 304 or name != "Content-Length":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Not on the terminal."""
