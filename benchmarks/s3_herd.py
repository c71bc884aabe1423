"""A thousand replicas that poll one pointer for ten minutes of simulated time: do they ever herd?

The bar is on the fullest second, as a multiple of the mean second of the same stretch of time. All
replicas start at the same instant; an outage and a throttling are seen by all of them. No request
is made: this runs the schedule that the poller runs, with a clock of its own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.measure import Row, is_quick, show
from yamlgraph_prompts.polling import Pace

REPLICAS = 1000
REFRESH_S = 30.0
LASTS_S = 600
PEAK = 2.0
BUCKET_S = 10

Answer = Callable[[float], tuple[bool, float | None]]
"""A moment → whether a look at that moment succeeds, and the Retry-After of a refusal."""


@dataclass(frozen=True)
class Story:
    """What happens, and from which second on the herd is looked for."""

    what: str
    answer: Answer
    from_s: int = 0


def _well(_: float) -> tuple[bool, float | None]:
    return True, None


def _outage(start_s: float, end_s: float, retry_after_s: float | None = None) -> Answer:
    return lambda now: (not start_s <= now < end_s, retry_after_s)


STORIES = (
    Story("all well", _well),
    Story("after an outage of 10 s", _outage(120, 130), 130),
    Story("after an outage of 60 s", _outage(120, 180), 180),
    Story("after an outage of 5 min", _outage(60, 360), 360),
    Story("after Retry-After: 60 for 60 s", _outage(120, 180, 60.0), 180),
)


def looks(answer: Answer, seed: int, lasts_s: int) -> list[int]:
    """How many looks there were in each second."""
    rand = Random(seed).random
    pace = Pace(REFRESH_S)
    due = [(pace.first_s(rand), replica, pace) for replica in range(REPLICAS)]
    heapq.heapify(due)
    seconds = [0] * lasts_s
    while due[0][0] < lasts_s:
        now, replica, pace = heapq.heappop(due)
        seconds[int(now)] += 1
        good, retry_after_s = answer(now)
        pace = pace.well() if good else pace.failed()
        wait_s = pace.next_s(rand, None if good else retry_after_s)
        heapq.heappush(due, (now + wait_s, replica, pace))
    return seconds


def in_step(lasts_s: int) -> list[int]:
    """What a fixed interval makes of a thousand replicas that start together."""
    return [0 if now % int(REFRESH_S) else REPLICAS for now in range(lasts_s)]


def row(what: str, runs: list[list[int]], from_s: int, *, barred: bool = True) -> Row:
    """The worst of the runs."""
    found = []
    for seconds in runs:
        stretch = seconds[from_s:]
        found.append((max(stretch) / (sum(stretch) / len(stretch)), max(stretch), stretch))
    ratio, peak, stretch = max(found, key=lambda one: one[0])
    mean = f"{sum(stretch) / len(stretch):.1f}/s"
    bar = f"≤ {PEAK:g}× the mean" if barred else ""
    return Row(what, mean, f"{peak}/s", f"{ratio:.2f}×", bar, ratio <= PEAK if barred else None)


def plot(what: str, seconds: list[int]) -> None:
    """The fullest second of every ten, as bars."""
    print(f"\n{what}: the fullest second of every {BUCKET_S}, looks a second")
    for at in range(0, len(seconds), 3 * BUCKET_S):
        peaks = [
            max(seconds[start : start + BUCKET_S])
            for start in range(at, min(at + 3 * BUCKET_S, len(seconds)), BUCKET_S)
        ]
        print(f"{at:>4} s  {'█' * (max(peaks) // 2)} {max(peaks)}")


def main() -> None:
    seeds = range(2 if is_quick(__doc__) else 20)
    rows = [row("a fixed interval, for comparison", [in_step(LASTS_S)], 0, barred=False)]
    for story in STORIES:
        # Ten minutes are looked at, whatever came before.
        lasts_s = story.from_s + LASTS_S
        runs = [looks(story.answer, seed, lasts_s) for seed in seeds]
        rows.append(row(story.what, runs, story.from_s))
        if story.what in ("all well", "after an outage of 60 s"):
            plot(story.what, runs[0])
    show(f"{REPLICAS:,} replicas, refresh_s={REFRESH_S:g}: mean, fullest second, ratio", rows)


if __name__ == "__main__":
    main()
