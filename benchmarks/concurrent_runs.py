"""64 runs at once while the prompts change as fast as every 20 ms: is each run of one release?

The graph has a map, a subgraph and a node with `timeout:`. Every prompt says its release, every
call says its run, and the model notes both. All prompts change together, by one link's swap.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from benchmarks.graphs import Model
from benchmarks.measure import Row, is_quick, show, workplace

THREADS, EVERY_S, CALLS_PER_RUN = 64, 0.020, 5
RELEASES, RUNS, SECONDS, AT_MOST_S = 100, 1_000, 10.0, 120.0
MODEL_S = 0.1

_NODE = {"type": "llm", "variables": {"run": "{state.run}"}}
_GRAPHS: dict[str, dict[str, Any]] = {
    "graph.yaml": {
        "name": "parent",
        "state": {"run": "str", "things": "list", "thing": "str", "found": "str"},
        "nodes": {
            "each": {
                "type": "map",
                "over": "{state.things}",
                "as": "thing",
                "node": {**_NODE, "prompt": "each", "state_key": "said"},
                "collect": "all_said",
            },
            "child": {
                "type": "subgraph",
                "graph": "child.yaml",
                "input_mapping": {"run": "run"},
                "output_mapping": {"found": "inner_said"},
            },
            "timed": {**_NODE, "prompt": "timed", "timeout": 60, "state_key": "timed_said"},
            "finish": {**_NODE, "prompt": "finish", "state_key": "answer"},
        },
        "edges": [
            {"from": "START", "to": "each"},
            {"from": "each", "to": "child"},
            {"from": "child", "to": "timed"},
            {"from": "timed", "to": "finish"},
            {"from": "finish", "to": "END"},
        ],
    },
    "child.yaml": {
        "name": "child",
        "state": {"run": "str"},
        "nodes": {"inner": {**_NODE, "prompt": "inner", "state_key": "inner_said"}},
        "edges": [{"from": "START", "to": "inner"}, {"from": "inner", "to": "END"}],
    },
}


class Editions:
    """A folder of prompts, behind a link, that can be swapped for the next edition at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.numbers = itertools.count()
        folder.mkdir()
        for name, graph in _GRAPHS.items():
            place = {"prompts_relative": True, "prompts_dir": "prompts"}
            (folder / name).write_text(yaml.safe_dump({**graph, **place}, sort_keys=False))
        self.swap()

    def swap(self) -> None:
        edition = self.folder / f"edition{next(self.numbers)}"
        edition.mkdir()
        for name in ("each", "inner", "timed", "finish"):
            content = {"system": f"release={edition.name} ", "user": f"{name}: run={{run}} "}
            (edition / f"{name}.yaml").write_text(yaml.safe_dump(content))
        link = self.folder / "next"
        link.symlink_to(edition.name)
        os.replace(link, self.folder / "prompts")


class Notes:
    """What the model heard: for each run, the release that each of its calls said."""

    def __init__(self) -> None:
        self.releases: dict[str, list[str]] = defaultdict(list)
        self.failures: list[str] = []
        Model(self.heard)

    def heard(self, text: str) -> None:
        said = dict(word.split("=", 1) for word in text.split() if "=" in word)
        self.releases[said["run"]].append(said["release"])
        time.sleep(MODEL_S)

    @property
    def mixed(self) -> int:
        return sum(len(set(said)) > 1 for said in list(self.releases.values()))

    @property
    def served(self) -> int:
        return len({release for said in list(self.releases.values()) for release in said})


def harness(
    app: Any,
    change: Callable[[], object],
    threads: int,
    least_s: float,
    enough: tuple[int, int],
) -> Any:
    """Run for `least_s` seconds, and until there are enough runs and releases; what came of it."""
    notes, numbers, over = Notes(), itertools.count(), threading.Event()
    started, changes = time.monotonic(), 0

    def runs() -> None:
        while not over.is_set():
            name = f"r{next(numbers)}"
            try:
                state = app.invoke({"run": name, "things": ["a", "b"]})
                if state.get("errors") or len(notes.releases[name]) != CALLS_PER_RUN:
                    notes.failures.append(f"{name}: {state.get('errors')}")
            except Exception as problem:  # noqa: BLE001 - counted, whatever it is
                notes.failures.append(f"{name}: {problem!r}")

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(runs)
        try:
            while (took := time.monotonic() - started) < AT_MOST_S:
                runs_made, served = len(notes.releases), notes.served
                if took >= least_s and runs_made >= enough[0] and served >= enough[1]:
                    break
                began = time.monotonic()
                change()
                changes += 1
                time.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
        finally:
            over.set()
    return notes, changes, took


def main() -> None:
    quick = is_quick(__doc__)
    threads = 4 if quick else THREADS
    least_s, enough = (0.2, (8, 2)) if quick else (SECONDS, (RUNS, RELEASES))
    with workplace() as folder:
        import yamlgraph

        import yamlgraph_prompts
        from yamlgraph_prompts import LivePrompts

        alone = Editions(folder / "alone")
        app = yamlgraph.load_and_compile(alone.folder / "graph.yaml").compile()
        rows = told(
            "YAMLGraph alone", *harness(app, alone.swap, threads, least_s / 2, (8, 2)), bars=False
        )

        ours = Editions(folder / "ours")
        with LivePrompts(ours.folder / "prompts", store=folder / "store", watch=False) as prompts:
            graph = yamlgraph_prompts.load_and_compile(ours.folder / "graph.yaml", prompts=prompts)
            live = graph.compile()

            def change() -> None:
                ours.swap()
                outcome = prompts.publish()
                assert outcome.status == "published", outcome

            rows += told(
                "live graph", *harness(live, change, threads, least_s, enough), bars=not quick
            )
        show(f"{threads} runs at once, changes as fast as every {EVERY_S * 1e3:.0f} ms", rows)


def told(what: str, notes: Notes, changes: int, took: float, *, bars: bool) -> list[Row]:
    def row(name: str, number: int, bar: str, met: bool) -> Row:
        return Row(
            f"{what}: {name}", f"{number:,}", "", "", bar if bars else "", met if bars else None
        )

    for failure in notes.failures[:5]:
        print(f"{what}: {failure}")
    runs = len(notes.releases)
    return [
        Row(f"{what}: changes", f"{changes:,}"),
        row("seconds until all of it", round(took), f"{SECONDS:g}", took < SECONDS + 1),
        row("releases served", notes.served, f"≥ {RELEASES}", notes.served >= RELEASES),
        row("runs", runs, f"≥ {RUNS:,}", runs >= RUNS),
        row("runs that failed", len(notes.failures), "0", not notes.failures),
        row("runs that mixed releases", notes.mixed, "0", not notes.mixed),
    ]


if __name__ == "__main__":
    main()
