"""Waits for an answer no longer than it may take; what hangs is left to its own daemon thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

from yamlgraph_prompts.errors import LayerUnavailable

T = TypeVar("T")


def within(
    seconds: float,
    ask: Callable[[], T],
    url: str,
    about: Callable[[], str] = str,
    meanwhile: Callable[[], object] = lambda: None,
    when: str = "in time",
    hint: str = "Check the endpoint and the network, or raise startup_deadline_s.",
) -> T:
    """The answer to a question that may never be answered; it is not waited for any longer."""
    # A daemon thread: a call that hangs in a client must not keep the process from ending.
    answer: list[tuple[T | None, BaseException | None]] = []

    def answered() -> None:
        try:
            answer.append((ask(), None))
        except BaseException as problem:  # noqa: BLE001 - handed to the caller's thread
            answer.append((None, problem))

    ends = time.monotonic() + seconds
    thread = threading.Thread(target=answered, name="yamlgraph-prompts-ask", daemon=True)
    thread.start()
    meanwhile()
    thread.join(max(0.0, ends - time.monotonic()))
    if not answer:
        # Only now: which credentials are used is found out while they are waited for.
        further = about()
        raise LayerUnavailable(
            f"{url} did not answer {when}{f' ({further})' if further else ''}.",
            layer=url,
            hint=hint,
        )
    found, problem = answer[0]
    if problem is not None:
        raise problem
    return cast(T, found)
