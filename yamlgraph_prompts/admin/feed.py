"""Events as they happen, server-sent, for who listens. Never holds a publication up."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from yamlgraph_prompts.admin.bodies import FindingBody
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.events import Event

KEPT = 256
SHOWN_FINDINGS = 20
BEAT_S = 10.0
# A server that stops waits for open answers; a client comes back and misses nothing.
STREAM_S = 25.0
_QUIET = frozenset({"run-started"})


class Feed:
    """A hook that hands every event to whoever listens. Thread-safe.

    Args:
        listeners: How many may listen at once.
    """

    def __init__(self, listeners: int) -> None:
        self._limit = listeners
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT)
        self._listeners: dict[asyncio.Queue[bytes], asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        if event.kind in _QUIET:
            return
        with self._lock:
            number = time.time_ns()
            data = _encoded(number, event)
            self._recent.append((number, data))
            listeners = list(self._listeners.items())
        for queue, loop in listeners:
            # A loop that has ended takes no more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_offer, queue, data)

    def listen(self, after: int | None) -> AsyncIterator[bytes]:
        """The events from now on, for a while.

        Args:
            after: The number of the last event that was seen: what came since is told first.

        Raises:
            Refusal: Too many listen already.
        """
        if len(self._listeners) >= self._limit:
            raise Refusal(
                503,
                "too-many-listeners",
                "Too many clients listen to events already.",
                headers={"Retry-After": "5"},
            )
        return self._told(after)

    async def _told(self, after: int | None) -> AsyncIterator[bytes]:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes](KEPT)
        ends = loop.time() + STREAM_S
        with self._lock:
            self._listeners[queue] = loop
            missed = [d for n, d in self._recent if after is not None and n > after]
        try:
            yield b"retry: 500\n: here\n\n"
            for data in missed:
                yield data
            while (left := ends - loop.time()) > 0:
                try:
                    async with asyncio.timeout(min(BEAT_S, left)):
                        data = await queue.get()
                except TimeoutError:
                    data = b": still here\n\n"
                yield data
        finally:
            with self._lock:
                self._listeners.pop(queue, None)


def _offer(queue: asyncio.Queue[bytes], data: bytes) -> None:
    # Who does not read loses the oldest, not the newest.
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(data)


def _encoded(number: int, event: Event) -> bytes:
    said: dict[str, Any] = {
        "kind": event.kind,
        "message": event.message,
        "at_s": event.at_s,
        "environment": event.environment,
        "release": event.release,
        "reason": event.reason,
        "layer": event.layer,
    }
    if event.outcome is not None:
        findings = event.outcome.findings
        said["status"] = event.outcome.status
        said["errors"] = len(event.outcome.errors)
        said["findings"] = [
            FindingBody.of(finding).model_dump(exclude_none=True)
            for finding in findings[:SHOWN_FINDINGS]
        ]
    return f"id: {number}\nevent: {event.kind}\ndata: {json.dumps(said)}\n\n".encode()
