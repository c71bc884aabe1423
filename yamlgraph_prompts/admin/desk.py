"""A thread pool for blocking calls, bounded in size and time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
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
        # Taken by the thread, or by a caller that gave up before it began. Stands for the place.
        is_taken = threading.Lock()

        def in_thread() -> T:
            if not is_taken.acquire(blocking=False):
                raise asyncio.CancelledError
            try:
                return work(*args, **facts)
            finally:
                with suppress(RuntimeError):  # the loop ended before the work did
                    loop.call_soon_threadsafe(limiter.release_on_behalf_of, is_taken)

        try:
            with anyio.fail_after(self._work_s):
                await limiter.acquire_on_behalf_of(is_taken)
                try:
                    return await anyio.to_thread.run_sync(
                        in_thread, limiter=anyio.CapacityLimiter(1), abandon_on_cancel=True
                    )
                finally:
                    if is_taken.acquire(blocking=False):
                        limiter.release_on_behalf_of(is_taken)
        except TimeoutError:
            text = f"This did not finish within {self._work_s:g} s; it may still take effect."
            hint = "Check the current state before you try again."
            raise Refusal(503, "too-slow", text, hint=hint, headers={"Retry-After": "5"}) from None
