"""Does the core's blocking work in threads of its own, bounded in number and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread

from yamlgraph_prompts.admin.problems import Refusal

T = TypeVar("T")


class Desk:
    """A few threads of one process; the app's own threads stay free.

    Args:
        threads: How many work at once.
        work_s: Seconds after which the answer is that it takes too long; the work goes on.
    """

    def __init__(self, threads: int, work_s: float) -> None:
        self._threads = threads
        self._work_s = work_s
        self._limiters: WeakKeyDictionary[Any, anyio.CapacityLimiter] = WeakKeyDictionary()

    async def do(self, work: Callable[..., T], *args: Any, **facts: Any) -> T:
        """What `work(*args, **facts)` gives.

        Raises:
            Refusal: It takes too long.
        """
        loop = asyncio.get_running_loop()
        limiter = self._limiters.setdefault(loop, anyio.CapacityLimiter(self._threads))
        try:
            with anyio.fail_after(self._work_s):
                return await anyio.to_thread.run_sync(
                    partial(work, *args, **facts), limiter=limiter, abandon_on_cancel=True
                )
        except TimeoutError:
            raise Refusal(
                503,
                "too-slow",
                f"This was not done within {self._work_s:g} s; it may be done later.",
                hint="Look at what is there before you try again.",
                headers={"Retry-After": "5"},
            ) from None
