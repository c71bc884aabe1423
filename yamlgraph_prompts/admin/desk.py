"""A thread pool for blocking calls, bounded in size and time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread

from yamlgraph_prompts.admin.problems import Refusal

T = TypeVar("T")


class Desk:
    """A few places for one kind of work; each has a thread, and the app's own threads stay free.

    A place is free when its work has ended, even if the request has not waited for it.
    """

    def __init__(self, places: int, work_s: float) -> None:
        self._places = places
        self._work_s = work_s
        self._limiters: WeakKeyDictionary[Any, anyio.CapacityLimiter] = WeakKeyDictionary()

    async def do(self, work: Callable[..., T], *args: Any, **facts: Any) -> T:
        """The result of `work(*args, **facts)`; a refusal if it takes longer than `work_s`."""
        loop = asyncio.get_running_loop()
        limiter = self._limiters.setdefault(loop, anyio.CapacityLimiter(self._places))
        place = _Place(loop, limiter, partial(work, *args, **facts))
        try:
            with anyio.fail_after(self._work_s):
                return await place.do()
        except TimeoutError:
            raise Refusal(
                503,
                "too-slow",
                f"This did not finish within {self._work_s:g} s; it may still take effect.",
                hint="Check the current state before you try again.",
                headers={"Retry-After": "5"},
            ) from None


class _Place(Generic[T]):
    """One piece of work and the place that it keeps until it ends."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limiter: anyio.CapacityLimiter, work: Callable[[], T]
    ) -> None:
        self._loop = loop
        self._limiter = limiter
        self._work = work
        # Taken by the thread, or by a caller that gave up before it began.
        self._is_taken = threading.Lock()

    async def do(self) -> T:
        await self._limiter.acquire_on_behalf_of(self)
        try:
            return await anyio.to_thread.run_sync(
                self._in_thread, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
            )
        finally:
            if self._is_taken.acquire(blocking=False):
                self._limiter.release_on_behalf_of(self)

    def _in_thread(self) -> T:
        if not self._is_taken.acquire(blocking=False):
            raise asyncio.CancelledError
        try:
            return self._work()
        finally:
            with suppress(RuntimeError):  # the loop ended before the work did
                self._loop.call_soon_threadsafe(self._limiter.release_on_behalf_of, self)
