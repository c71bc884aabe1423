"""A prompt is saved and the graph runs in the next line: how many runs have the new text, and when.

In place and by a rename; with `invoke`, `ainvoke`, and `invoke` inside a running loop, as in a
notebook; on an idle machine and with as many busy processes as it has cores. The time is that from
before the save to the end of the run.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.graphs import replace
from benchmarks.measure import Row, Times, duration, is_quick, show, workplace

NEW = 49 / 50


def invoke(app: Any) -> str:
    return str(app.invoke({})["text"])


def ainvoke(app: Any) -> str:
    async def run() -> str:
        return str((await app.ainvoke({}))["text"])

    return asyncio.run(run())


def in_a_notebook(app: Any) -> str:
    async def cell() -> str:
        return invoke(app)

    return asyncio.run(cell())


SAVES: dict[str, Callable[[Path, str], object]] = {"in place": Path.write_text, "renamed": replace}
RUNS = (invoke, ainvoke, in_a_notebook)


@contextmanager
def busy(processes: int) -> Iterator[None]:
    hogs = [subprocess.Popen([sys.executable, "-c", "while 1: 1"]) for _ in range(processes)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def measured(folder: Path, rounds: int, when: str) -> list[Row]:
    from langgraph.graph import START, StateGraph

    from yamlgraph_prompts import LivePrompts, live_graph

    def build(release: Any) -> Any:
        graph = StateGraph(dict).add_node("n", lambda _: {"text": release["greeting"].user})
        return graph.add_edge(START, "n")

    folder.mkdir()
    path = folder / "greeting.yaml"
    path.write_text("user: first")
    rows = []
    with LivePrompts(folder, store=folder.parent / "store") as prompts:
        app = live_graph(build, prompts=prompts).compile()
        app.invoke({})
        time.sleep(1.0)
        for how, save in SAVES.items():
            for run in RUNS:
                before, new, seconds = prompts.health.stale_runs, 0, []
                for number in range(rounds):
                    text = f"{run.__name__} {how} {number}"
                    started = perf_counter()
                    save(path, f"user: {text}")
                    new += run(app) == text
                    seconds.append(perf_counter() - started)
                times, stale = Times(tuple(seconds)), prompts.health.stale_runs - before
                what = f"{when}, {how}, {run.__name__.replace('_', ' ')}"
                counts = f"{new} of {rounds}, {stale} counted as stale"
                is_met = new >= NEW * rounds and stale >= rounds - new
                median, p95 = duration(times.median), duration(times.p95)
                rows.append(Row(what, median, p95, counts, f"≥ {NEW:.0%}", is_met))
    return rows


def main() -> None:
    rounds = 2 if is_quick(__doc__) else 50
    with workplace() as folder:
        rows = measured(folder / "idle", rounds, "idle")
        with busy(os.cpu_count() or 1):
            rows += measured(folder / "busy", rounds, "busy")
        show("From a save to the run in the next line", rows)


if __name__ == "__main__":
    main()
