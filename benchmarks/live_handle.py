"""What a live handle adds to LangGraph's own invoke, in µs and in checkpointer reads.

    python benchmarks/live_handle.py [--rounds 4000]

Plain and live calls alternate in one process; medians are printed. Exits 1 above the bars: 30 µs
added, no read added for a fresh input, at most one for a resume.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
from time import perf_counter_ns
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from yamlgraph_prompts.live import Build, LiveGraph, Recipe

BAR_US = 30.0


class State(TypedDict):
    x: int


class OneBuild:
    """A feed whose live build never changes."""

    pin = "run"
    allow_release_override = False

    def __init__(self, graph: StateGraph, **arguments: Any) -> None:
        self.build = Recipe((), arguments).make(graph, "r" * 64, "g" * 64)
        self.owner = self

    def current(self) -> Build:
        return self.build

    async def acurrent(self) -> Build:
        return self.current()

    def at(self, release: str, graph: str | None) -> Build:
        return self.build

    def live_release(self) -> None:
        return None

    def ran(self, build: Build) -> None:
        return None


class CountingSaver(InMemorySaver):
    reads = 0

    def get_tuple(self, config: Any) -> Any:
        self.reads += 1
        return super().get_tuple(config)


def trivial() -> StateGraph:
    return StateGraph(State).add_node("n", lambda state: {"x": 1}).add_edge(START, "n")


def asking() -> StateGraph:
    ask = StateGraph(State).add_node("n", lambda state: {"x": interrupt("?")})
    return ask.add_edge(START, "n")


def timed(call: Any, config: Any) -> int:
    before = perf_counter_ns()
    call({"x": 0}, config)
    return perf_counter_ns() - before


def compare(plain: Any, live: Any, config: Any, rounds: int) -> tuple[float, float, float]:
    """Medians of plain and live, and the median of the pairs' differences, in µs."""
    pairs = []
    for number in range(rounds + 200):
        if number % 2:
            pairs.append((timed(plain, config), timed(live, config)))
        else:
            after = timed(live, config)
            pairs.append((timed(plain, config), after))
    pairs = pairs[200:]
    medians = [statistics.median(times) / 1000 for times in zip(*pairs, strict=True)]
    return medians[0], medians[1], statistics.median(b - a for a, b in pairs) / 1000


def reads(graph: Any, saver: CountingSaver, given: Any, config: Any) -> int:
    before = saver.reads
    graph.invoke(given, config)
    return saver.reads - before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4000, help="pairs of calls")
    rounds = parser.parse_args().rounds
    gc.disable()
    worst = 0.0
    feed = OneBuild(trivial())
    app = LiveGraph.of(feed, None)
    loop = asyncio.new_event_loop()
    cases: list[tuple[str, Any, Any, Any]] = [
        ("invoke", feed.build.compiled.invoke, app.invoke, None),
        (
            "invoke, with a config",
            feed.build.compiled.invoke,
            app.invoke,
            {"configurable": {"thread_id": "1", "user": "ada"}, "metadata": {"who": "me"}},
        ),
        (
            "ainvoke",
            lambda given, config: loop.run_until_complete(
                feed.build.compiled.ainvoke(given, config)
            ),
            lambda given, config: loop.run_until_complete(app.ainvoke(given, config)),
            None,
        ),
    ]
    for name, plain, live, config in cases:
        one, other, added = compare(plain, live, config, rounds)
        worst = max(worst, added)
        print(
            f"{name:24} plain {one:7.1f} µs   live {other:7.1f} µs   added {added:5.1f} µs"
            f"   ratio {other / one:.3f}   bar ≤ {BAR_US:.0f} µs"
        )
    loop.close()

    saver = CountingSaver()
    feed = OneBuild(asking(), checkpointer=saver)
    app = LiveGraph.of(feed, None)
    added_reads = []
    for given in ({"x": 0}, Command(resume=1)):
        counted = []
        for name, graph in (("plain", feed.build.compiled), ("live", app)):
            counted.append(reads(graph, saver, given, {"configurable": {"thread_id": name}}))
        added_reads.append(counted[1] - counted[0])
    print(f"checkpointer reads added: fresh input {added_reads[0]} (bar 0), ", end="")
    print(f"resume {added_reads[1]} (bar ≤ 1)")
    return int(worst > BAR_US or added_reads[0] > 0 or added_reads[1] > 1)


if __name__ == "__main__":
    sys.exit(main())
