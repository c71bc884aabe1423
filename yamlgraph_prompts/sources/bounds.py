"""What a remote end may take altogether: time, bytes, requests, pages. Opens no connection.

Every byte is charged when it comes, whatever it is part of: a status line, an interim response, a
header, a chunk's frame, a body, a trailer. So nothing that a server sends can go on without end.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

LIMIT_HEAD_BYTES = 64 << 10  # status line, interim responses and headers of one exchange
LIMIT_ERROR_BYTES = 64 << 10
LIMIT_ANSWER_BYTES = 1 << 20  # where the call names no limit, such as one for credentials
LIMIT_PAGE_BYTES = 4 << 20  # 1,000 keys of 1,024 bytes, each quoted
LIMIT_IDLE_PAGES = 16  # a bucket full of deletion markers lists some empty pages
LIMIT_ENDS = 16  # reads past the end of a connection
LIMIT_TRIES = 12  # requests for one answer, with retries and redirects


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one operation, such as reading a whole prefix or pushing a release.

    Args:
        seconds: Seconds that it may take with all its requests, retries and redirects.
        requests: The most requests.
        received_bytes: The most bytes that may come, for all requests together.
        pages: The most pages of one list.
        patience_s: Seconds after which an exchange must have moved `slowest_bytes_s` on average.
        slowest_bytes_s: Bytes a second.

    Example:
        >>> Bounds(seconds=5.0).pages
        1000
    """

    seconds: float = 110.0
    requests: int = 200_000
    received_bytes: int = 512 << 20
    pages: int = 1_000
    patience_s: float = 10.0
    slowest_bytes_s: int = 16 << 10


class BoundExceeded(Exception):
    """A remote end takes more than it may; it is not asked again within the same call."""

    hint = "Look at what serves the endpoint."


class TooSlow(BoundExceeded):
    """It trickles, or the whole operation takes too long."""

    hint = "Check the network, or ask who runs the server."


class TooMuch(BoundExceeded):
    """More bytes, requests or pages than it may take."""

    hint = "Look at what lies in the bucket, and at what serves it."


class NoProgress(BoundExceeded):
    """A list goes on and brings nothing new."""


class Operation:
    """What is left of an operation's bounds; several threads may work on it.

    Args:
        bounds: Its bounds; the clock starts now.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._ends_s = time.monotonic() + bounds.seconds
        # Counted without a lock: two threads may lose a count, which moves no bound by much.
        self._requests = bounds.requests
        self._bytes = bounds.received_bytes

    def begin_request(self) -> None:
        """Count a request."""
        self._requests -= 1
        if self._requests < 0:
            raise TooMuch(f"it takes more than {self.bounds.requests:,} requests")
        self.left_s()

    def charge(self, received_bytes: int) -> None:
        """Count what came."""
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
        """Let no other thread go on with it."""
        self._ends_s = -math.inf


class _Allowance:
    """What one call may take, with its retries."""

    __slots__ = ("_exceeded", "limit_bytes", "operation", "tries")

    def __init__(self, operation: Operation, limit_bytes: int) -> None:
        self.operation = operation
        self.limit_bytes = limit_bytes
        self.tries = 0
        self._exceeded: tuple[type[BoundExceeded], str] | None = None

    def begin_request(self) -> None:
        if self._exceeded is not None:
            kind, text = self._exceeded
            raise kind(text)
        self.tries += 1
        if self.tries > LIMIT_TRIES:
            raise TooMuch(f"one answer takes more than {LIMIT_TRIES} requests")
        self.operation.begin_request()

    def remember(self, problem: BoundExceeded) -> None:
        # Not the exception itself: its frames hold the connection, which would hold it.
        self._exceeded = type(problem), str(problem)


_here = threading.local()


@contextmanager
def allowed(limit_bytes: int, operation: Operation | None = None) -> Iterator[None]:
    """Bound what this thread asks within the block.

    Args:
        limit_bytes: The most bytes of one answer's body.
        operation: What the call is part of; when left out, what the block around is part of.
    """
    before: _Allowance | None = getattr(_here, "allowance", None)
    if operation is None:
        operation = before.operation if before else Operation(Bounds())
    _here.allowance = _Allowance(operation, limit_bytes)
    try:
        yield
    finally:
        _here.allowance = before


class Meter:
    """What the exchange under way on one connection may still take.

    Args:
        limit_bytes: The most bytes of an answer's body, whatever the call allows.
    """

    def __init__(self, limit_bytes: int = sys.maxsize) -> None:
        self._limit_bytes = limit_bytes
        self.read_s: float | None = None
        self._allowance = _Allowance(Operation(Bounds()), LIMIT_ANSWER_BYTES)
        self._restart()

    def connect(self) -> None:
        """Begin to connect, maybe through a proxy, with what the calling thread is allowed."""
        self._allowance = getattr(_here, "allowance", None) or _Allowance(
            Operation(Bounds()), LIMIT_ANSWER_BYTES
        )
        self._restart()

    def begin(self) -> None:
        """Begin an exchange, with what the calling thread is allowed."""
        self.connect()
        try:
            self._allowance.begin_request()
        except BoundExceeded as problem:
            self._allowance.remember(problem)
            raise

    def body(self, status: int) -> None:
        """The head has come; the words of an error are no object."""
        limit_bytes = min(self._allowance.limit_bytes, self._limit_bytes)
        if status != 200:
            limit_bytes = min(limit_bytes, LIMIT_ERROR_BYTES)
        # Frames of chunks and trailers count as well.
        self._left_bytes += limit_bytes + limit_bytes // 8

    def wait_s(self) -> float:
        """Seconds that the connection may be waited for now; never 0."""
        operation = self._allowance.operation
        bounds = operation.bounds
        try:
            left_s = operation.left_s()
            lasts_s = max(bounds.patience_s, self._moved_bytes / bounds.slowest_bytes_s)
            left_s = min(left_s, self._began_s + lasts_s - time.monotonic())
            if left_s <= 0:
                raise TooSlow(
                    f"it brings less than {bounds.slowest_bytes_s:,} bytes a second for longer "
                    f"than {bounds.patience_s:g} s"
                )
        except BoundExceeded as problem:
            self._allowance.remember(problem)
            raise
        return left_s if self.read_s is None else min(left_s, self.read_s)

    def received(self, count: int) -> None:
        """Charge bytes that came; 0 is the connection's end."""
        self._moved_bytes += count
        self._left_bytes -= count
        if not count:
            self._ends += 1
            if self._ends > LIMIT_ENDS:
                raise ConnectionResetError("the connection has ended")
        try:
            self._allowance.operation.charge(count)
            if self._left_bytes < 0:
                raise TooMuch("an answer is larger than it may be")
        except BoundExceeded as problem:
            self._allowance.remember(problem)
            raise

    def sent(self, count: int) -> None:
        """Take bytes that went for progress."""
        self._moved_bytes += count

    def _restart(self) -> None:
        self._began_s = time.monotonic()
        self._moved_bytes = 0
        self._left_bytes = LIMIT_HEAD_BYTES
        self._ends = 0


class Page(Protocol):
    """One page of a list."""

    @property
    def names(self) -> set[str]:
        """What it lists."""

    @property
    def token(self) -> str | None:
        """How the list goes on; None at its end."""


P = TypeVar("P", bound=Page)


def pages(ask: Callable[[str | None], P], bounds: Bounds | None = None) -> Iterator[P]:
    """Every page of a list, as long as they bring something new.

    Args:
        ask: The page for a token, None for the first.
        bounds: How many there may be; what this thread is allowed when left out.
    """
    if bounds is None:
        allowance: _Allowance | None = getattr(_here, "allowance", None)
        bounds = allowance.operation.bounds if allowance else Bounds()
    token: str | None = None
    tokens: set[str] = set()
    names: set[str] = set()
    idle = 0
    for _ in range(bounds.pages):
        page = ask(token)
        yield page
        token = page.token
        if token is None:
            return
        known = len(names)
        names |= page.names
        idle = 0 if len(names) > known else idle + 1
        if token in tokens or idle > LIMIT_IDLE_PAGES:
            raise NoProgress("its list is cut off or endless, its pages bring nothing new")
        tokens.add(token)
    raise TooMuch(f"its list has more than {bounds.pages:,} pages")
