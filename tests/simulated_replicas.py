"""Many replicas that follow one pointer, in simulated time: when do they ask?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from yamlgraph_prompts.sources.polling import Pace, Random


def simulated(
    paces: Iterable[tuple[Pace, float]],
    seconds: float,
    fails: Callable[[float], float | bool | None],
    rand: Random,
) -> list[float]:
    """When many replicas would ask, in seconds from the start; in order.

    Args:
        paces: Each replica's pace and when it starts.
        seconds: For how long.
        fails: For a moment: False when the server is well; True when it is not, or the seconds
            that it asks to be left alone for.
        rand: Where the jitter comes from.
    """
    asked: list[float] = []
    for pace, start in paces:
        now = start + pace.first_s(rand)
        while now < seconds:
            asked.append(now)
            state = fails(now)
            pace = pace.well() if state is False or state is None else pace.failed()
            told = state if isinstance(state, float) else None
            now += pace.next_s(rand, told)
    return sorted(asked)


def peak_and_mean(asked: Iterable[float], begin: float, end: float) -> tuple[int, float]:
    """The most questions in one second between two moments, and how many there were on average."""
    counted = Counter(int(moment) for moment in asked if begin <= moment < end)
    return max(counted.values()), sum(counted.values()) / (end - begin)
