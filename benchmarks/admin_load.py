"""PUTs at 20 a second, half of them bad, while 32 graph runs are under way all the time.

Every node of the graph reads the same prompt, so a run that hears two editions is mixed. The
control writes and publishes the same texts directly, at the same pace, without HTTP.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml

from benchmarks.graphs import Model
from benchmarks.measure import Row, Times, duration, is_quick, show, workplace

RUNS_AT_ONCE, EVERY_S, SECONDS, P99 = 32, 0.05, 30.0, 1.5
MODEL_S, NODES = 0.1, 3

# In a process of its own: what the client costs is not the server's.
_CLIENT = """
import json, sys, time
import httpx
url, seconds, every = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
seen, number = {}, 0
headers = {"authorization": "Bearer the-operators-token", "content-type": "application/yaml"}
with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
    ends = time.monotonic() + seconds
    due = time.monotonic()
    while time.monotonic() < ends:
        number += 1
        text = f"user: '[{number}] {{run}}'" if number % 2 else "user: '{run'"
        status = http.put("/prompts/shared", content=text).status_code
        seen[status] = seen.get(status, 0) + 1
        due += every
        time.sleep(max(0.0, due - time.monotonic()))
print(json.dumps(seen))
"""


class Load:
    """Runs without end, and what each of them heard."""

    def __init__(self, folder: Path) -> None:
        import yamlgraph_prompts
        from yamlgraph_prompts import LivePrompts

        self.file = folder / "prompts/shared.yaml"
        self.file.parent.mkdir(parents=True)
        self.file.write_text("user: '[0] {run}'")
        names = [f"n{number}" for number in range(NODES)]
        stops = ["START", *names, "END"]
        graph = {
            "name": "shared",
            "state": {"run": "str"},
            "nodes": {
                name: {
                    "type": "llm",
                    "prompt": "shared",
                    "variables": {"run": "{state.run}"},
                    "state_key": f"{name}_said",
                }
                for name in names
            },
            "edges": [{"from": a, "to": b} for a, b in pairwise(stops)],
        }
        (folder / "graph.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
        self.heard: dict[str, set[str]] = defaultdict(set)
        Model(self._heard)
        self.prompts = LivePrompts(folder / "prompts", environment="bench", store=folder / "store")
        self.app = yamlgraph_prompts.load_and_compile(
            folder / "graph.yaml", prompts=self.prompts
        ).compile()
        self.failed = 0
        self.latencies: list[float] = []

    def _heard(self, text: str) -> None:
        edition, _, run = text.partition(" ")
        self.heard[run].add(edition)
        time.sleep(MODEL_S)

    def during(self, work: Callable[[], Any], block: str) -> Any:
        """What `work` gives, with runs under way all the while."""
        stop = threading.Event()
        self.latencies = []

        def run(thread: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                started = perf_counter()
                try:
                    self.app.invoke({"run": f"{block}-{thread}-{number}"})
                except Exception:  # noqa: BLE001 - that is what is counted
                    self.failed += 1
                self.latencies.append(perf_counter() - started)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(RUNS_AT_ONCE)]
        for thread in threads:
            thread.start()
        time.sleep(1.0)
        self.latencies.clear()
        try:
            return work()
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def directly(self, seconds: float) -> None:
        ends = due = time.monotonic()
        ends, number = ends + seconds, 100_000
        while time.monotonic() < ends:
            number += 1
            text = f"user: '[{number}] {{run}}'" if number % 2 else "user: '{run'"
            beside = self.file.with_name(".beside")
            beside.write_text(text)
            os.replace(beside, self.file)
            self.prompts.publish()
            due += EVERY_S
            time.sleep(max(0.0, due - time.monotonic()))

    @property
    def mixed(self) -> int:
        return sum(len(editions) > 1 for editions in self.heard.values())


def main() -> None:
    seconds = 4.0 if is_quick(__doc__) else SECONDS
    logging.disable(logging.CRITICAL)
    from tests.admin_client import TOKENS, served
    from yamlgraph_prompts.admin import admin_app

    with workplace() as folder:
        load = Load(folder)
        with load.prompts, served(admin_app(load.prompts, TOKENS)) as url:

            def put() -> dict[str, int]:
                done = subprocess.run(
                    [sys.executable, "-c", _CLIENT, url, str(seconds), str(EVERY_S)],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                seen: dict[str, int] = json.loads(done.stdout)
                return seen

            # The control before and after, so that a machine that slows down is no verdict.
            load.during(lambda: load.directly(seconds / 2), "before")
            control = load.latencies
            seen = load.during(put, "put")
            taken = load.latencies
            load.during(lambda: load.directly(seconds / 2), "after")
            control += load.latencies
        print(f"{len(load.heard)} runs; PUTs by status: {seen}")
        show(
            f"{1 / EVERY_S:.0f} PUTs a second for {seconds:g} s, {RUNS_AT_ONCE} runs at once",
            [
                Row("runs that failed", str(load.failed), bar="0", met=load.failed == 0),
                Row("runs that were mixed", str(load.mixed), bar="0", met=load.mixed == 0),
                line("a run, published directly", control, control),
                line("a run, through PUTs", taken, control),
            ],
        )


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def line(what: str, seconds: list[float], control: list[float]) -> Row:
    shown = duration(Times(tuple(seconds)).median), f"p99 {duration(p99(seconds))}"
    if seconds is control:
        return Row(what, *shown)
    ratio = p99(seconds) / p99(control)
    return Row(what, *shown, f"p99 {ratio:.2f}×", f"≤ {P99:g}×", ratio <= P99)


if __name__ == "__main__":
    main()
