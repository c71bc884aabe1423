"""64 runs at once while the prompts change as fast as every 20 ms: is each run of one release?

The graph has a map, a subgraph and a node with `timeout:`. Every prompt says its release, every
call says its run, and the model notes both. All prompts change together: by one link's swap, or
by activating a release that was made ahead. Without any change: what the machine can run at all.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.graphs import Model
from benchmarks.measure import Row, is_quick, show, workplace

THREADS, EVERY_S, CALLS_PER_RUN = 64, 0.020, 4
RELEASES, RUNS, SECONDS = 100, 1_000, 10.0
# Releases made before the clock starts: compiling them takes as long as running them.
AHEAD = 120
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
            "timed": {**_NODE, "prompt": "timed", "timeout": 60, "state_key": "answer"},
        },
        "edges": [
            {"from": "START", "to": "each"},
            {"from": "each", "to": "child"},
            {"from": "child", "to": "timed"},
            {"from": "timed", "to": "END"},
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
        for name in ("each", "inner", "timed"):
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


@dataclass(frozen=True)
class Result:
    notes: Notes
    changes: int
    runs: int


def harness(app: Any, change: Callable[[], object], threads: int, seconds: float) -> Result:
    """Runs on every thread for `seconds`, changes in between; what came of it."""
    notes, numbers, over = Notes(), itertools.count(), threading.Event()
    began, changes = time.monotonic(), 0

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
            while (now := time.monotonic()) - began < seconds:
                change()
                changes += 1
                time.sleep(max(0.0, EVERY_S - (time.monotonic() - now)))
            made = len(notes.releases)
        finally:
            over.set()
    return Result(notes, changes, made)


def main() -> None:
    quick = is_quick(__doc__)
    threads, seconds, ahead = (4, 0.5, 5) if quick else (THREADS, SECONDS, AHEAD)
    with workplace() as folder:
        import yamlgraph

        import yamlgraph_prompts
        from yamlgraph_prompts import LivePrompts

        alone = Editions(folder / "alone")
        app = yamlgraph.load_and_compile(alone.folder / "graph.yaml").compile()
        rows = told("YAMLGraph alone", harness(app, alone.swap, threads, seconds))

        ours = Editions(folder / "ours")
        with LivePrompts(ours.folder / "prompts", store=folder / "store", watch=False) as prompts:
            graph = yamlgraph_prompts.load_and_compile(ours.folder / "graph.yaml", prompts=prompts)
            live = graph.compile()
            releases = []

            def publish() -> None:
                ours.swap()
                outcome = prompts.publish()
                assert outcome.status == "published", outcome

            for _ in range(ahead):
                publish()
                live.invoke({"run": "ahead", "things": ["a"]})  # a release that ran is kept
                releases.append(prompts.release.id)
            turns = itertools.cycle(releases)

            def activate() -> None:
                outcome = prompts.activate(next(turns))
                assert outcome.status == "published", outcome

            still = harness(live, lambda: None, threads, seconds)
            rows += told("no change at all", still)
            rows += told(
                "made ahead, activated", harness(live, activate, threads, seconds), bars=not quick
            )
            prompts.follow()
            rows += told("published", harness(live, publish, threads, seconds))
        show(f"{threads} runs at once for {seconds:g} s, changes as fast as every 20 ms", rows)


def told(what: str, result: Result, *, bars: bool = False) -> list[Row]:
    def row(name: str, number: int, bar: str, met: bool) -> Row:
        return Row(
            f"{what}: {name}", f"{number:,}", "", "", bar if bars else "", met if bars else None
        )

    notes = result.notes
    for failure in notes.failures[:5]:
        print(f"{what}: {failure}")
    return [
        Row(f"{what}: changes", f"{result.changes:,}"),
        row("releases served", notes.served, f"≥ {RELEASES}", notes.served >= RELEASES),
        row("runs", result.runs, f"≥ {RUNS:,}", result.runs >= RUNS),
        row("runs that failed", len(notes.failures), "0", not notes.failures),
        row("runs that mixed releases", notes.mixed, "0", not notes.mixed),
    ]


if __name__ == "__main__":
    main()
