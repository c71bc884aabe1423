"""64 runs at once while the prompts change as fast as every 20 ms: is each run of one release?

The graph has a map, and a subgraph whose node has `timeout:`. Every prompt says its release, every
call says its run, and the model notes both. All prompts change together, by one link's swap, as
often as the bar says or as they can be published. As many processes serve as there are cores.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from random import random
from typing import Any

import yaml

from benchmarks.graphs import Model
from benchmarks.measure import Row, is_quick, show, workplace

AT_ONCE, EVERY_S, CALLS_PER_RUN = 64, 0.020, 3
RELEASES, RUNS, SECONDS = 100, 1_000, 10.0
MODEL_S = 0.15

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
        },
        "edges": [
            {"from": "START", "to": "each"},
            {"from": "each", "to": "child"},
            {"from": "child", "to": "END"},
        ],
    },
    "child.yaml": {
        "name": "child",
        "state": {"run": "str"},
        "nodes": {"inner": {**_NODE, "prompt": "inner", "timeout": 60, "state_key": "inner_said"}},
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
        for name in ("each", "inner"):
            content = {"system": f"release={edition} ", "user": f"{name}: run={{run}} "}
            (edition / f"{name}.yaml").write_text(yaml.safe_dump(content))
        link = self.folder / "next"
        link.symlink_to(edition.name)
        os.replace(link, self.folder / "prompts")


@dataclass
class Heard:
    """What the model heard: for each run, the release that each of its calls said."""

    releases: dict[str, list[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    changes: int = 0

    def __call__(self, text: str) -> None:
        said = dict(word.split("=", 1) for word in text.split() if "=" in word)
        self.releases.setdefault(said["run"], []).append(said["release"])
        # No two answers take equally long, or all runs would begin in step.
        time.sleep(MODEL_S * (0.5 + random()))

    @property
    def mixed(self) -> int:
        return sum(len(set(said)) > 1 for said in self.releases.values())

    @property
    def served(self) -> int:
        return len({release for said in self.releases.values() for release in said})


def serve(
    loader: str, folder: Path, threads: int, seconds: float, changing: bool, ready: Any, told: Any
) -> None:
    """One process: runs on every thread for `seconds`. It tells what its model heard."""
    logging.disable(logging.ERROR)
    os.environ["YAMLGRAPH_PROMPTS_WATCH"] = "0"
    editions = Editions(folder)
    app = import_module(loader).load_and_compile(folder / "graph.yaml").compile()
    heard, numbers = Heard(), itertools.count()
    Model(heard)
    app.invoke({"run": "first", "things": ["a", "b"]})
    ready.wait()
    heard.releases.clear()
    ends = time.monotonic() + seconds

    def runs() -> None:
        while time.monotonic() < ends:
            run = f"{os.getpid()}-{next(numbers)}"
            try:
                state = app.invoke({"run": run, "things": ["a", "b"]})
                if state.get("errors") or len(heard.releases[run]) != CALLS_PER_RUN:
                    heard.failures.append(f"{run}: {state.get('errors')}")
            except Exception as problem:  # noqa: BLE001 - counted, whatever it is
                heard.failures.append(f"{run}: {problem!r}")

    def changes() -> None:
        while changing and (now := time.monotonic()) < ends:
            editions.swap()
            if loader == "yamlgraph_prompts":
                assert app.prompts.publish().status == "published"
            heard.changes += 1
            time.sleep(max(0.0, EVERY_S - (time.monotonic() - now)))

    with ThreadPoolExecutor(threads + 1) as pool:
        for _ in range(threads):
            pool.submit(runs)
        pool.submit(changes).result()
    told.put(heard)


def harness(loader: str, folder: Path, *, changing: bool, quick: bool) -> Heard:
    """What was heard of the graph in all processes."""
    at_once, seconds = (4, 0.5) if quick else (AT_ONCE, SECONDS)
    count = min(os.cpu_count() or 1, at_once)
    spawn = multiprocessing.get_context("spawn")
    ready, told = spawn.Barrier(count), spawn.SimpleQueue()
    processes = [
        spawn.Process(
            target=serve,
            args=(loader, folder / str(n), at_once // count, seconds, changing, ready, told),
        )
        for n in range(count)
    ]
    folder.mkdir()
    for process in processes:
        process.start()
    whole = Heard()
    for _ in processes:
        heard = told.get()
        whole.releases |= heard.releases
        whole.failures += heard.failures
        whole.changes += heard.changes
    for process in processes:
        process.join()
    return whole


def main() -> None:
    quick = is_quick(__doc__)
    rows: list[Row] = []
    with workplace() as folder:
        for number, (what, loader, changing) in enumerate(
            (
                ("YAMLGraph alone", "yamlgraph", True),
                ("live", "yamlgraph_prompts", True),
                ("no change at all", "yamlgraph_prompts", False),
            )
        ):
            heard = harness(loader, folder / str(number), changing=changing, quick=quick)
            rows += told(what, heard, bars=what == "live" and not quick)
        show(f"{AT_ONCE} runs at once for {SECONDS:g} s, changes as fast as every 20 ms", rows)


def told(what: str, heard: Heard, *, bars: bool) -> list[Row]:
    def row(name: str, number: int, bar: str, met: bool) -> Row:
        return Row(
            f"{what}: {name}", f"{number:,}", "", "", bar if bars else "", met if bars else None
        )

    for failure in heard.failures[:5]:
        print(f"{what}: {failure}")
    runs = len(heard.releases)
    return [
        Row(f"{what}: changes", f"{heard.changes:,}"),
        row("releases served", heard.served, f"≥ {RELEASES}", heard.served >= RELEASES),
        row("runs", runs, f"≥ {RUNS:,}", runs >= RUNS),
        row("runs that failed", len(heard.failures), "0", not heard.failures),
        row("runs that mixed releases", heard.mixed, "0", heard.mixed == 0),
    ]


if __name__ == "__main__":
    main()
