"""Loading and compiling a graph for the first time, with an empty store, and YAMLGraph alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.graphs import chain, write_prompt
from benchmarks.measure import Row, compared, interleaved, is_quick, plain, show, workplace

BAR = 1.0


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder:
        rows: list[Row] = []
        for nodes in (5,) if quick else (50, 200):
            rows += measured(folder / str(nodes), nodes, 2 if quick else 21)
        show("First load, with an empty store", rows)


def measured(folder: Path, nodes: int, rounds: int) -> list[Row]:
    import yamlgraph

    import yamlgraph_prompts
    from yamlgraph_prompts import LivePrompts

    path = chain(folder, nodes, schemas=True)
    editions = itertools.count()

    def fresh(load: Callable[[Path], float]) -> Callable[[], float]:
        """Every load sees prompts that no cache of this process has seen."""

        def call() -> float:
            edition = f"e{next(editions)}"
            for number in range(nodes):
                write_prompt(folder, number, edition, schema=number % 4 == 0)
            return load(path)

        return call

    def alone(path: Path) -> float:
        return seconds(lambda: yamlgraph.load_and_compile(path).compile())

    def layered(path: Path) -> float:
        made: list[LivePrompts] = []

        def load() -> None:
            store = folder / f"store{next(editions)}"
            made.append(LivePrompts(folder / "prompts", store=store))
            yamlgraph_prompts.load_and_compile(path, prompts=made[0]).compile()

        took = seconds(load)
        made[0].close()
        return took

    def drop_in(path: Path) -> float:
        os.environ["YAMLGRAPH_PROMPTS_STORE"] = str(folder / f"store{next(editions)}")
        made: list[Any] = []
        took = seconds(lambda: made.append(yamlgraph_prompts.load_and_compile(path).compile()))
        made[0].prompts.close()
        return took

    times = interleaved(
        rounds, {"alone": fresh(alone), "layered": fresh(layered), "drop-in": fresh(drop_in)}
    )
    return [
        plain(f"{nodes} nodes: YAMLGraph alone", times["alone"]),
        compared(f"{nodes} nodes: prompts from a layer", times["layered"], times["alone"], BAR),
        compared(f"{nodes} nodes: the graph's own prompts", times["drop-in"], times["alone"], BAR),
    ]


def seconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    call()
    return perf_counter() - started


if __name__ == "__main__":
    main()
