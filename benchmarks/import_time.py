"""What importing the package adds to importing LangGraph, in fresh interpreters."""

from __future__ import annotations

from time import perf_counter

from benchmarks.measure import (
    Row,
    Times,
    duration,
    interleaved,
    is_quick,
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
    with workplace() as folder:

        def run(script: str) -> float:
            started = perf_counter()
            run_apart(script, cache=None if quick else folder / "cache")
            return perf_counter() - started

        times = interleaved(
            1 if quick else 15,
            {"langgraph": lambda: run(LANGGRAPH), "ours": lambda: run(OURS)},
            warm_up=0 if quick else 1,
        )
    least = {name: min(one.seconds) for name, one in times.items()}
    added = least["ours"] - least["langgraph"]
    rows = [
        row("import langgraph.graph", times["langgraph"], least["langgraph"]),
        row("and yamlgraph_prompts, its two names", times["ours"], least["ours"]),
        Row(
            "added, of the minima", duration(added), "", "", f"≤ {duration(BAR_S)}", added <= BAR_S
        ),
    ]
    show("Importing the package", rows)


def row(what: str, times: Times, least: float) -> Row:
    return Row(f"{what} (minimum {duration(least)})", duration(times.median), duration(times.p95))


if __name__ == "__main__":
    main()
