"""What importing the package adds to importing LangGraph, in fresh interpreters."""

from __future__ import annotations

import os
from time import perf_counter

from benchmarks.measure import (
    Row,
    duration,
    interleaved,
    is_quick,
    plain,
    run_apart,
    show,
    workplace,
)

BAR_S = 0.080
LANGGRAPH = "import langgraph.graph"
OURS = (
    f"{LANGGRAPH}; import yamlgraph_prompts;"
    "yamlgraph_prompts.load_and_compile; yamlgraph_prompts.LivePrompts"
)


def main() -> None:
    quick = is_quick(__doc__)
    cpu: dict[str, list[float]] = {LANGGRAPH: [], OURS: []}
    with workplace() as folder:

        def run(script: str) -> float:
            before = os.times()
            started = perf_counter()
            run_apart(script, cache=None if quick else folder / "cache")
            took, after = perf_counter() - started, os.times()
            cpu[script].append(after.children_user - before.children_user)
            cpu[script][-1] += after.children_system - before.children_system
            return took

        times = interleaved(
            1 if quick else 15,
            {"langgraph": lambda: run(LANGGRAPH), "ours": lambda: run(OURS)},
            warm_up=0 if quick else 1,
        )
    added = min(times["ours"].seconds) - min(times["langgraph"].seconds)
    added_cpu = min(cpu[OURS]) - min(cpu[LANGGRAPH])
    show(
        "Importing the package",
        [
            plain("import langgraph.graph", times["langgraph"]),
            plain("and yamlgraph_prompts, its two names", times["ours"]),
            Row("added: minimum", duration(added), bar=f"≤ {duration(BAR_S)}", met=added <= BAR_S),
            Row("added: minimum of the CPU's time", duration(added_cpu)),
        ],
    )


if __name__ == "__main__":
    main()
