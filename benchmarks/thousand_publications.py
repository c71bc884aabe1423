"""1,000 publications of a graph in use: memory, descriptors and threads."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

from benchmarks.graphs import Model, chain, write_prompt
from benchmarks.measure import Row, Times, duration, is_quick, show, workplace

GROWTH_MB = 5.0
NODES = 5


def resident_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    quick = is_quick(__doc__)
    count, first = (20, 5) if quick else (1_000, 100)
    with workplace() as folder:
        import yamlgraph_prompts
        from yamlgraph_prompts import LivePrompts

        Model()
        path = chain(folder, NODES, schemas=True)
        write_prompt(folder, 0, "first")  # the one with a schema would want a real model
        write_prompt(folder, 4, "first")
        with LivePrompts({"warm": "user: up"}) as prompts:
            assert prompts.release
        open_before, threads_before = descriptors(), threading.active_count()
        prompts = LivePrompts(folder / "prompts", store=folder / "store")
        app = yamlgraph_prompts.load_and_compile(path, prompts=prompts).compile()
        took: list[float] = []
        base = 0.0
        for number in range(1, count + 1):
            write_prompt(folder, number % NODES, f"e{number}")
            outcome = prompts.publish()
            took.append(outcome.elapsed_s)
            app.invoke({"topic": "rivers"})
            if number == first:
                base = resident_mb()
        grown = resident_mb() - base
        prompts.close()
        del app
        gc.collect()
        left = descriptors() - open_before, threading.active_count() - threads_before
        times = Times(tuple(took))
        show(
            f"{count:,} publications of a graph in use",
            [
                Row("one publication", duration(times.median), duration(times.p95)),
                Row(
                    f"memory, from publication {first} to {count:,}",
                    f"{grown:+.1f} MB",
                    bar=f"≤ {GROWTH_MB:g} MB",
                    met=grown <= GROWTH_MB,
                ),
                Row("descriptors left after close", f"{left[0]}", bar="0", met=left[0] <= 0),
                Row("threads left after close", f"{left[1]}", bar="0", met=left[1] <= 0),
            ],
        )


if __name__ == "__main__":
    main()
