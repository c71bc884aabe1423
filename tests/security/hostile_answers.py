"""What a hostile or broken server writes instead of an answer: often without end."""

from __future__ import annotations

import itertools
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.scripted_server import Asked, Handler

PAUSE_S = 0.02
BLOCK = b"x" * (64 << 10)

Pieces = Iterable[bytes]
Answer = Callable[[Asked], Pieces]


@dataclass
class Hostile:
    """A fault of the scripted server that writes an answer of these.

    Args:
        answer: The pieces, for each request.
        hits: Which requests get them; all when left out.
    """

    answer: Answer
    hits: Callable[[Asked], bool] = lambda asked: True
    asked: int = 0
    sent_bytes: int = 0
    busy: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, handler: Handler, asked: Asked) -> bool:
        if not self.hits(asked):
            return False
        self.write(handler, self.answer(asked))
        return True

    def write(self, handler: Handler, pieces: Pieces) -> None:
        """Write them until they end, the client hangs up, or the test ends."""
        with self._counting:
            self.asked += 1
            self.busy += 1
        try:
            for piece in pieces:
                if handler.script.closing.is_set():
                    break
                if piece:
                    handler.connection.sendall(piece)
                    self.sent_bytes += len(piece)
                elif has_hung_up(handler.connection):
                    break
        except OSError:
            pass
        finally:
            handler.close_connection = True
            with self._counting:
                self.busy -= 1


def has_hung_up(connection: socket.socket) -> bool:
    """Whether the client has closed the connection; waits for a moment."""
    if not select.select([connection], [], [], PAUSE_S)[0]:
        return False
    return not connection.recv(64 << 10)


# Ways to send


def once(*pieces: bytes) -> Pieces:
    return pieces


def forever(begin: bytes, again: bytes) -> Iterator[bytes]:
    """`begin`, and then `again` as fast as it is taken."""
    many = again * max(1, len(BLOCK) // len(again))
    return itertools.chain([begin], itertools.repeat(many))


def trickle(begin: bytes, again: bytes) -> Iterator[bytes]:
    """`begin`, and then a bit now and then, so that no read timeout strikes."""
    yield begin
    while True:
        yield again
        yield b""


def silence(begin: bytes = b"") -> Iterator[bytes]:
    """`begin`, and then nothing."""
    return itertools.chain([begin], itertools.repeat(b""))


# Answers


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def length(count: int | str) -> bytes:
    return OK + f"Content-Length: {count}\r\n\r\n".encode()


def page(body: bytes | str, headers: bytes = b"") -> bytes:
    data = body.encode() if isinstance(body, str) else body
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(data) + data


def listing(*keys: str, token: str | None = None, size: int | str = 1, etag: str = "e") -> str:
    """A list page in XML."""
    lines = "".join(
        f"<Contents><Key>{quote(key)}</Key><ETag>{etag}</ETag><Size>{size}</Size></Contents>"
        for key in keys
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token is not None else ""
    return (
        "<ListBucketResult><EncodingType>url</EncodingType>"
        f"<IsTruncated>{str(token is not None).lower()}</IsTruncated>{more}{lines}"
        "</ListBucketResult>"
    )


def pack_of_absurd_sizes(head_bytes: int, magic: bytes) -> bytes:
    return magic + struct.pack(">I", head_bytes) + bytes(32) + b"{}"


FLOODS: dict[str, Callable[[], Pieces]] = {
    "100 Continue without end": lambda: forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 Continue with headers without end": lambda: forever(
        b"", b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"
    ),
    "one 100 Continue of endless headers": lambda: forever(
        b"HTTP/1.1 100 Continue\r\n", b"X: yyyyyyyyyyyyyyyyyyyyyyyyy\r\n"
    ),
    "headers without end": lambda: forever(OK, b"X: yyyyyyyyyyyyyyyyyyyyyyyyy\r\n"),
    "a header line without end": lambda: forever(OK + b"X: ", b"y"),
    "a folded header without end": lambda: forever(OK + b"X: y\r\n", b" y\r\n"),
    "a status line without end": lambda: forever(b"HTTP/1.1 200 ", b"y"),
    "chunks without end": lambda: forever(CHUNKED, b"4\r\nxxxx\r\n"),
    "chunks of one byte without end": lambda: forever(CHUNKED, b"1\r\nx\r\n"),
    "a chunk extension without end": lambda: forever(CHUNKED + b"1;", b"y"),
    "chunk extensions without end": lambda: forever(CHUNKED, b"1;" + b"y" * 900 + b"\r\nx\r\n"),
    "trailers without end": lambda: forever(CHUNKED + b"0\r\n", b"X: y\r\n"),
    "a trailer line without end": lambda: forever(CHUNKED + b"0\r\nX: ", b"y"),
    "a chunk of a petabyte": lambda: forever(CHUNKED + b"4000000000000\r\n", b"x"),
    "a body of a petabyte": lambda: forever(length(1 << 50), b"x"),
    "a body until the connection ends": lambda: forever(OK + b"\r\n", b"x"),
    "a gzip body without end": lambda: forever(
        OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n"
    ),
    "an error's body without end": lambda: forever(
        b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n"
    ),
    "an overload's body without end": lambda: forever(
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 1125899906842624\r\n\r\n", b"x"
    ),
}

TRICKLES: dict[str, Callable[[], Pieces]] = {
    "a status line, bit by bit": lambda: trickle(b"HTTP/1.1 200 ", b"y"),
    "100 Continue, bit by bit": lambda: trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "headers, bit by bit": lambda: trickle(OK, b"X: y\r\n"),
    "a body, bit by bit": lambda: trickle(length(60_000), b"x"),
    "chunks, bit by bit": lambda: trickle(CHUNKED, b"1\r\nx\r\n"),
    "trailers, bit by bit": lambda: trickle(CHUNKED + b"0\r\n", b"X: y\r\n"),
    "an error's body, bit by bit": lambda: trickle(
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 60000\r\n\r\n", b"x"
    ),
    "silence": lambda: silence(),
    "silence after the head": lambda: silence(length(60_000)),
}

LIES: dict[str, Callable[[], Pieces]] = {
    "a length that is too large": lambda: once(length(100) + b"x" * 50),
    "a length that is negative": lambda: once(length(-5) + b"x"),
    "a length that is no number": lambda: once(length("many") + b"x"),
    "a length of 5,000 digits": lambda: once(length("9" * 5_000)),
    "a chunk whose length is no number": lambda: once(CHUNKED + b"zz\r\nx\r\n"),
    "a chunk whose length is negative": lambda: once(CHUNKED + b"-5\r\nx\r\n"),
    "a chunk that is cut": lambda: once(CHUNKED + b"ffff\r\nx"),
    "no status": lambda: once(b"\x16\x03\x01 this is not HTTP\r\n\r\n"),
    "a status of ten digits": lambda: once(b"HTTP/1.1 2000000000 OK\r\n\r\n"),
    "a status without an answer": lambda: once(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "early hints": lambda: once(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a switch of protocols": lambda: once(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "a redirect to itself": lambda: once(
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /acme\r\nContent-Length: 0\r\n\r\n"
    ),
    "a redirect to another region": lambda: once(
        b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: us-west-2\r\nContent-Length: 0\r\n\r\n"
    ),
    "an end without an answer": lambda: once(b""),
}
