"""From saving a prompt (`os.replace`) to the new text at the model, and YAMLGraph's load + compile.

Two nodes: the clock stops when the model is handed the new text, by the run in the next line;
beside it the same of YAMLGraph, which loads, compiles and runs. Then with runs made back to back,
by a thread or an event loop that never rests, which slows YAMLGraph's own load + compile too. 50
and 200 nodes: the clock stops when the new release is live, one prompt of all having changed.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.graphs import Model, chain, write_prompt
from benchmarks.measure import Row, Times, compared, interleaved, is_quick, plain, show, workplace

IDLE_MEDIAN, IDLE_P95 = 1.8, 3.5
MEDIAN, P95, LARGE = 3.0, 5.0, 1.0
WAIT_S = 30.0
# A save is one by itself only when the one before it is over.
APART_S = 0.2


class Saves:
    """A live app on a folder of prompts: what happens after each save, and when."""

    def __init__(self, folder: Path, nodes: int) -> None:
        import yamlgraph_prompts
        from yamlgraph_prompts import LivePrompts

        self.folder = folder
        self.path = chain(folder, nodes, schemas=nodes > 2)
        self.editions = itertools.count()
        self.wanted = "edition first."
        self.heard_at = self.live_at = 0.0
        self.live = threading.Event()
        self.swaps: list[float] = []
        Model(self._heard)
        self.prompts = LivePrompts(folder / "prompts", store=folder / "store", hooks=[self._told])
        self.app = yamlgraph_prompts.load_and_compile(self.path, prompts=self.prompts).compile()
        assert self.prompts.release  # from now on changes are followed
        time.sleep(1.0)

    def _heard(self, text: str) -> None:
        if not self.heard_at and self.wanted in text:
            self.heard_at = perf_counter()

    def _told(self, event: Any) -> None:
        if event.kind == "publication" and event.outcome.status == "published":
            self.live_at = perf_counter()
            self.live.set()

    def alone(self) -> None:
        import yamlgraph

        yamlgraph.load_and_compile(self.path).compile()

    def alone_beside_runs(self) -> float:
        """The same in a thread, as ours is published, with runs made back to back."""
        done: list[float] = []

        def load() -> None:
            started = perf_counter()
            self.alone()
            done.append(perf_counter() - started)

        thread = threading.Thread(target=load)
        thread.start()
        while not done:
            self.app.invoke({"topic": "rivers"})
        thread.join()
        return done[0]

    def back_to_back(self) -> float:
        saved_at = self._save()
        while not self.heard_at:
            assert perf_counter() < saved_at + WAIT_S, "the save was never served"
            self.app.invoke({"topic": "rivers"})
        return self.heard_at - saved_at

    def back_to_back_on_a_loop(self) -> float:
        async def run() -> float:
            saved_at = self._save()
            while not self.heard_at:
                assert perf_counter() < saved_at + WAIT_S, "the save was never served"
                await self.app.ainvoke({"topic": "rivers"})
            return self.heard_at - saved_at

        return asyncio.run(run())

    def idle(self) -> float:
        saved_at = self._save()
        self.app.invoke({"topic": "rivers"})
        assert self.heard_at, "the run in the next line had the old text"
        assert self.live.wait(WAIT_S), "the save was never published"
        self.swaps.append(self.live_at - saved_at)
        return self.heard_at - saved_at

    def alone_and_run(self) -> float:
        """YAMLGraph's load + compile, and its first run up to the model."""
        import yamlgraph

        time.sleep(APART_S)
        self.heard_at = 0.0
        started = perf_counter()
        yamlgraph.load_and_compile(self.path).compile().invoke({"topic": "rivers"})
        return self.heard_at - started

    def swapped(self) -> float:
        saved_at = self._save()
        assert self.live.wait(WAIT_S), "the save was never published"
        return self.live_at - saved_at

    def _save(self) -> float:
        time.sleep(APART_S)
        self.wanted = f"edition e{next(self.editions)}."
        self.heard_at = 0.0
        self.live.clear()
        return write_prompt(self.folder, 1, self.wanted.removeprefix("edition ").rstrip("."))


def small(folder: Path, rounds: int, warm_up: int) -> list[Row]:
    saves = Saves(folder, 2)
    with saves.prompts:
        calls = {"alone": saves.alone, "idle": saves.idle, "run": saves.alone_and_run}
        calls |= {"beside": saves.alone_beside_runs, "busy": saves.back_to_back}
        calls |= {"loop": saves.back_to_back_on_a_loop}
        times = interleaved(rounds, calls, warm_up=warm_up)
    alone, busy = times["alone"], times["busy"]
    return [
        plain("2 nodes: YAMLGraph's load + compile", alone),
        compared(
            "2 nodes: save → at the model, next run", times["idle"], alone, IDLE_MEDIAN, IDLE_P95
        ),
        compared("2 nodes: YAMLGraph's load + compile + run → at the model", times["run"], alone),
        compared("2 nodes: save → at the model over that", times["idle"], times["run"]),
        compared("2 nodes: save → published, durable", Times(tuple(saves.swaps[warm_up:])), alone),
        plain("2 nodes, runs back to back: YAMLGraph's load + compile", times["beside"]),
        compared("2 nodes, runs back to back: save → at the model", busy, alone, MEDIAN, P95),
        compared(
            "2 nodes, ainvoke back to back: save → at the model", times["loop"], alone, MEDIAN, P95
        ),
        compared("2 nodes, runs back to back: that over YAMLGraph's", busy, times["beside"]),
    ]


def large(folder: Path, nodes: int, rounds: int) -> list[Row]:
    saves = Saves(folder, nodes)
    with saves.prompts:
        times = interleaved(rounds, {"alone": saves.alone, "ours": saves.swapped})
    return [
        plain(f"{nodes} nodes: YAMLGraph's load + compile", times["alone"]),
        compared(f"{nodes} nodes: live, one prompt changed", times["ours"], times["alone"], LARGE),
    ]


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder:
        rows = small(folder / "2", *((5, 1) if quick else (100, 3)))
        for nodes in (5,) if quick else (50, 200):
            rows += large(folder / str(nodes), nodes, 1 if quick else 25)
        show("From a save to the next run", rows)


if __name__ == "__main__":
    main()
