"""A thousand replicas that poll one pointer for ten minutes of simulated time: do they ever herd?

The bar is on the fullest second, as a multiple of the mean second of the same stretch of time. All
replicas start at the same instant; an outage and a throttling are seen by all of them. No request
is made: this runs the schedule that the poller runs, with a clock of its own. `--svg FILE` draws
it.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.measure import Row, show
from benchmarks.s3_herd_plot import Panel, drawn
from yamlgraph_prompts.sources.polling import Pace

REPLICAS = 1000
REFRESH_S = 30.0
LASTS_S = 600
PEAK = 2.0

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


def plotted(lasts_s: int = LASTS_S) -> str:
    """One run of some of the stories, as an SVG."""
    named = {story.what: story for story in STORIES}
    panels = [panel("A fixed interval, all started together: what this is not", in_step(lasts_s))]
    for what, away in (
        ("all well", None),
        ("after an outage of 60 s", (120, 180)),
        ("after an outage of 5 min", (60, 360)),
    ):
        said = "With our pace, all well" if away is None else f"{what.capitalize()} that all saw"
        panels.append(panel(said, looks(named[what].answer, 0, lasts_s), away))
    title = (
        f"{REPLICAS:,} replicas, refresh_s={REFRESH_S:g}: looks at the pointer, second by second"
    )
    return drawn(title, panels)


def panel(what: str, seconds: list[int], away: tuple[int, int] | None = None) -> Panel:
    mean = REPLICAS / REFRESH_S
    return Panel(what, seconds, mean, PEAK * mean, away)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few runs: does it work at all?")
    parser.add_argument("--svg", type=Path, help="draw one run of some stories into this file")
    said = parser.parse_args()
    seeds = range(2 if said.quick else 20)
    rows = [row("a fixed interval, for comparison", [in_step(LASTS_S)], 0, barred=False)]
    for story in STORIES:
        # Ten minutes are looked at, whatever came before.
        lasts_s = story.from_s + LASTS_S
        runs = [looks(story.answer, seed, lasts_s) for seed in seeds]
        rows.append(row(story.what, runs, story.from_s))
    what = f"{REPLICAS:,} replicas, refresh_s={REFRESH_S:g}, the worst of {len(seeds)} runs"
    show(f"{what}: mean, fullest second, ratio", rows)
    if said.svg:
        said.svg.write_text(plotted())


if __name__ == "__main__":
    main()
