"""How much time, and how many bytes and requests, a server may take; sockets that enforce it.

Every received byte is charged, whatever it is part of: a status line, an interim response, a
header, a chunk's frame, a body, a trailer. So nothing that a server sends can go on forever.
"""

from __future__ import annotations

import io
import math
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

LIMIT_HEAD_BYTES = 64 << 10  # status line, interim responses and headers of one answer
LIMIT_ERROR_BYTES = 64 << 10
LIMIT_ANSWER_BYTES = 1 << 20  # where the call sets no limit, such as one for credentials
LIMIT_ENDS = 16  # reads past the end of a connection
LIMIT_TRIES = 12  # requests for one answer, with retries and redirects


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one operation, such as reading a whole prefix or pushing a release."""

    seconds: float = 110.0  # for all requests together, with retries and redirects
    requests: int = 200_000
    received_bytes: int = 512 << 20
    pages: int = 1_000
    patience_s: float = 10.0  # then a request must have moved `slowest_bytes_s` on average
    slowest_bytes_s: int = 16 << 10


class BoundExceeded(Exception):
    """A server exceeds a bound; the same call does not retry."""

    hint = "Check what serves the endpoint."


class TooSlow(BoundExceeded):
    """It trickles, or the whole operation takes too long."""

    hint = "Check the network, or ask the server's operator."


class TooMuch(BoundExceeded):
    """More bytes, requests or pages than it may take."""

    hint = "Check the content of the bucket, and what serves it."


class NoProgress(BoundExceeded):
    """A list goes on and brings nothing new."""


class BadEncoding(BoundExceeded):
    """An object is stored in a form that is not read."""

    hint = "Upload it as it is, or compressed with gzip."


def unpacked(data: bytes, encoding: str, limit_bytes: int) -> bytes:
    """An object as it was before it was compressed: `encoding` is its Content-Encoding."""
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in ("gzip", "x-gzip"):
            unpack = zlib.decompressobj(31)
            try:
                data = unpack.decompress(data, limit_bytes + 1)
            except zlib.error as problem:
                raise BadEncoding(
                    f"its Content-Encoding is gzip and its data is not: {problem}"
                ) from None
            if len(data) > limit_bytes:
                raise BadEncoding(f"unpacked it is larger than it may be ({limit_bytes:,} bytes)")
            if not unpack.eof:
                raise BadEncoding("its gzip data is cut off")
        elif name not in ("", "identity", "aws-chunked"):
            raise BadEncoding(f"its Content-Encoding is {name[:40]!r}, which is not read")
    return data


class Operation:
    """What is left of an operation's bounds, from now on; several threads may work on it."""

    def __init__(self, bounds: Bounds, count: Callable[[int], None] = lambda _: None) -> None:
        self.bounds = bounds
        self.count = count
        self._ends_s = time.monotonic() + bounds.seconds
        # Without a lock: two threads may lose a count, which moves no bound by much.
        self._requests = bounds.requests
        self._bytes = bounds.received_bytes

    def begin_request(self) -> None:
        self._requests -= 1
        if self._requests < 0:
            raise TooMuch(f"it takes more than {self.bounds.requests:,} requests")
        self.left_s()

    def charge(self, received_bytes: int) -> None:
        self._bytes -= received_bytes
        if self._bytes < 0:
            raise TooMuch(f"it takes more than {self.bounds.received_bytes:,} bytes in all")

    def left_s(self) -> float:
        """Seconds until the end; never 0."""
        left_s = self._ends_s - time.monotonic()
        if left_s <= 0:
            raise TooSlow(f"it takes longer than {self.bounds.seconds:g} s in all")
        return left_s

    def stop(self) -> None:
        self._ends_s = -math.inf


@dataclass
class _Call:
    """What one call may take, with its retries."""

    limit_bytes: int
    operation: Operation
    tries: int = 0


class _Here(threading.local):
    call: _Call | None = None
    exchange: Exchange


_here = _Here()


@contextmanager
def allowed(limit_bytes: int, operation: Operation) -> Iterator[None]:
    """Bound this thread's requests within the block: each body, and all together."""
    before, _here.call = _here.call, _Call(limit_bytes, operation)
    try:
        yield
    finally:
        _here.call = before


def operation_here() -> Operation:
    """The operation of the `allowed` block around; a new one outside of any."""
    return _here.call.operation if _here.call else Operation(Bounds())


class Exchange:
    """What one request of this thread and its answer may take; the sockets look it up."""

    def __init__(self, limit_bytes: int | float) -> None:
        call = _here.call or _Call(LIMIT_ANSWER_BYTES, operation_here())
        call.tries += 1
        if call.tries > LIMIT_TRIES:
            raise TooMuch(f"one answer takes more than {LIMIT_TRIES} requests")
        self.operation = call.operation
        self.operation.begin_request()
        self.limit_bytes = min(limit_bytes, call.limit_bytes)
        self._began_s = time.monotonic()
        self._moved_bytes = 0
        self._left_bytes: float = LIMIT_HEAD_BYTES
        self._ends = 0

    def __enter__(self) -> Exchange:
        _here.exchange = self
        return self

    def __exit__(self, *_: object) -> None:
        del _here.exchange

    def allow_body(self, is_error: bool) -> None:
        """The head is complete: from now on, allow the bytes of a body."""
        if is_error:
            self.limit_bytes = min(self.limit_bytes, LIMIT_ERROR_BYTES)
        # The frames of chunks and trailers count as well.
        self._left_bytes += self.limit_bytes + self.limit_bytes // 8

    def wait_s(self, at_most_s: float | None) -> float:
        """Seconds that the server may be waited for now; never 0."""
        bounds, left_s = self.operation.bounds, self.operation.left_s()
        lasts_s = max(bounds.patience_s, self._moved_bytes / bounds.slowest_bytes_s)
        left_s = min(left_s, self._began_s + lasts_s - time.monotonic())
        if left_s <= 0:
            raise TooSlow(
                f"it brings less than {bounds.slowest_bytes_s:,} bytes a second for longer "
                f"than {bounds.patience_s:g} s"
            )
        return left_s if at_most_s is None else min(left_s, at_most_s)

    def received(self, count: int) -> None:
        """Charge received bytes; 0 is the end of the connection."""
        self._moved_bytes += count
        self._left_bytes -= count
        if not count:
            self._ends += 1
            if self._ends > LIMIT_ENDS:
                raise ConnectionResetError("the connection has ended")
        self.operation.charge(count)
        if self._left_bytes < 0:
            raise TooMuch("an answer is larger than it may be")

    def sent(self, count: int) -> None:
        self._moved_bytes += count


class BoundedSocket:
    """A socket, plain or with TLS, that moves no more, and no longer, than the exchange allows."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._timeout_s: float | None = None
        self.used_s = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        self._timeout_s = seconds
        self._socket.settimeout(seconds)

    def sendall(self, data: Any) -> None:
        self._socket.settimeout(_here.exchange.wait_s(self._timeout_s))
        self._socket.sendall(data)
        _here.exchange.sent(memoryview(data).nbytes)

    def recv_into(self, buffer: Any) -> int:
        exchange = _here.exchange
        self._socket.settimeout(exchange.wait_s(self._timeout_s))
        try:
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            # Either the next byte is late, or the whole takes too long.
            exchange.wait_s(self._timeout_s)
            raise
        self.used_s = time.monotonic()
        exchange.received(count)
        return count

    def makefile(self, mode: str = "r", buffering: int = -1) -> io.RawIOBase | io.BufferedReader:
        """A file to read from; `mode` is ``"rb"``, as all HTTP clients use it."""
        raw = _Incoming(self, self._socket)
        return raw if buffering == 0 else io.BufferedReader(raw)


class _Incoming(io.RawIOBase):
    def __init__(self, bounded: BoundedSocket, connected: socket.socket) -> None:
        self._bounded = bounded
        # Keeps the socket open if its connection closes it before the answer has been read.
        self._hold = connected.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._bounded.recv_into(buffer)

    def close(self) -> None:
        self._hold.close()
        super().close()
