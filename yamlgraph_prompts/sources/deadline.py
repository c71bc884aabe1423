"""Bounds blocking calls in time; a call that hangs is left to its daemon thread."""

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
    """The result of a call that may hang; waits for it no longer than `seconds`."""
    # A daemon thread: a hanging call must not keep the process from ending.
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
        # Only now: the credentials become known during the call.
        further = about()
        text = f"{url} did not answer {when}{f' ({further})' if further else ''}."
        raise LayerUnavailable(text, layer=url, hint=hint)
    result, problem = answer[0]
    if problem is not None:
        raise problem
    return cast(T, result)
