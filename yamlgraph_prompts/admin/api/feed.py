"""Server-sent events. Never delays a publication."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial
from typing import Any, get_args

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from yamlgraph_prompts._model.events import Event, EventKind
from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.admin.bodies import FindingBody
from yamlgraph_prompts.admin.problems import Refusal

KEPT = 256
SHOWN_FINDINGS = 20
BEAT_S = 10.0
# A server that stops waits for open answers; a client comes back and misses nothing.
STREAM_S = 25.0
# How much longer sending the last events may take.
UNREAD_S = 5.0


class Feed:
    """A hook that passes every event to all listeners. Thread-safe."""

    def __init__(self, listeners: int) -> None:
        self._limit = listeners
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._listeners: dict[asyncio.Queue[bytes], asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()

    kinds = frozenset(get_args(EventKind)) - {"run-started"}

    def __call__(self, event: Event) -> None:
        with self._lock:
            number = time.time_ns()
            data = _encoded(number, event)
            self._recent.append((number, data))
            listeners = list(self._listeners.items())
        for queue, loop in listeners:
            # A loop that has ended takes no more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_offer, queue, data)

    def listen(self, after: int | None) -> Listener:
        """The events from now on, for a while. Close it."""
        queue = asyncio.Queue[bytes](KEPT)
        with self._lock:
            if len(self._listeners) >= self._limit:
                text = "Too many clients are listening to events."
                raise Refusal(503, "too-many-listeners", text, headers={"Retry-After": "5"})
            self._listeners[queue] = asyncio.get_running_loop()
            missed = [d for n, d in self._recent if after is not None and n > after]
        return Listener(queue, missed, partial(self._leave, queue))

    def _leave(self, queue: asyncio.Queue[bytes]) -> None:
        with self._lock:
            self._listeners.pop(queue, None)


class Listener(AsyncIterator[bytes]):
    """One listener."""

    def __init__(
        self, queue: asyncio.Queue[bytes], missed: list[bytes], leave: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._first = [b"retry: 500\n: here\n\n", *missed]
        self._ends = asyncio.get_running_loop().time() + STREAM_S
        self.close = leave

    async def __anext__(self) -> bytes:
        if self._first:
            return self._first.pop(0)
        left = self._ends - asyncio.get_running_loop().time()
        if left <= 0:
            raise StopAsyncIteration
        try:
            async with asyncio.timeout(min(BEAT_S, left)):
                return await self._queue.get()
        except TimeoutError:
            return b": still here\n\n"


class EventStream(StreamingResponse):
    """The answer to a listener; ends if the client does not read, so that others get the place."""

    media_type = "text/event-stream"

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener, headers={"X-Accel-Buffering": "no"})
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(STREAM_S + UNREAD_S):
                    await super().__call__(scope, receive, send)
        finally:
            self._listener.close()


def _offer(queue: asyncio.Queue[bytes], data: bytes) -> None:
    # A client that does not read loses the oldest, not the newest.
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(data)


def _encoded(number: int, event: Event) -> bytes:
    data: dict[str, Any] = {
        "kind": event.kind,
        "message": event.message,
        "at_s": event.at_s,
        "environment": event.environment,
        "release": event.release,
        "reason": event.reason and printable(event.reason),
        "layer": event.layer and printable(event.layer),
    }
    if event.outcome is not None:
        findings = event.outcome.findings
        data["status"] = event.outcome.status
        data["errors"] = len(event.outcome.errors)
        data["findings"] = [
            FindingBody.of(finding).model_dump(exclude_none=True)
            for finding in findings[:SHOWN_FINDINGS]
        ]
    return f"id: {number}\nevent: {event.kind}\ndata: {json.dumps(data)}\n\n".encode()
