"""10,000 prompts of 2 KB with 20 versions each: reading, restart, one activation, list and search.

The measure of a restart is one on the same prompts in a folder. List and search are requests to the
admin app in memory, without a server.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

from benchmarks.databases import ENVIRONMENT, both
from benchmarks.measure import Row, Times, duration, interleaved, is_quick, plain, show, workplace
from benchmarks.ten_thousand import write

PROMPTS, VERSIONS = 10_000, 20
BUILT = {"SQLite": 1.0, "PostgreSQL": 1.5}
LIVE, LIST, SEARCH = 0.1, 0.2, 0.1
TOKEN = "a-token-of-the-viewer"

_START = """
import json, sys, time
import langgraph.graph, jinja2, yaml
from yamlgraph_prompts import LivePrompts
if "://" in sys.argv[1]:
    import yamlgraph_prompts.sources.sql.source, yamlgraph_prompts.registry
    if sys.argv[1].startswith("p"):
        import psycopg
began = time.perf_counter()
prompts = LivePrompts(sys.argv[1], environment=sys.argv[2], store=sys.argv[3], watch=False)
assert len(prompts.release) == int(sys.argv[4])
print(json.dumps(time.perf_counter() - began))
prompts.close()
"""


def fill(url: str, prompts: dict[str, bytes], versions: int) -> float:
    """Versions of all prompts, the last of them active; the seconds of the last push."""
    from yamlgraph_prompts._model.entry import Entry
    from yamlgraph_prompts._model.release import Prompt, Release
    from yamlgraph_prompts.registry.sql import SqlRegistry

    insert = (
        "INSERT INTO prompts_version (name, number, sha256, at_s, facts, data) "
        "VALUES (?, ?, ?, ?, ?, ?)"
    )
    with closing(SqlRegistry(url, timeout_s=300.0)) as registry:
        for number in range(1, versions):
            rows = []
            for name, data in prompts.items():
                old = b"# version %d\n%s" % (number, data)
                rows.append((name, number, hashlib.sha256(old).hexdigest(), 0.0, "{}", old))
            registry._database.write(lambda session, rows=rows: session.run_many(insert, rows))  # type: ignore[misc]
        release = Release.of(Prompt(name, data) for name, data in prompts.items())
        began = perf_counter()
        registry.put(release)
        entry = Entry.now(release.id, who="benchmark", why="push", message="", prompts=len(release))
        registry.append(ENVIRONMENT, entry, after=None)
        return perf_counter() - began


def built(url: str) -> Callable[[], float]:
    """Read by a source that has read nothing yet, and made a release."""
    from yamlgraph_prompts._model.release import Prompt, Release
    from yamlgraph_prompts.sources.layers import Layer
    from yamlgraph_prompts.sources.reader import LayerReader

    def build() -> float:
        reader = LayerReader(Layer(url), ENVIRONMENT, None)
        began = perf_counter()
        files = reader.read().files
        release = Release.of(Prompt(path.removesuffix(".yaml"), files[path]) for path in files)
        took = perf_counter() - began
        assert release.id
        reader.close()
        return took

    return build


def started(place: str, store: Path, count: int) -> Callable[[], float]:
    def start() -> float:
        command = [sys.executable, "-c", _START, place, ENVIRONMENT, str(store), str(count)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return float(json.loads(done.stdout))

    return start


class App:
    """A live app on the database, with its admin app."""

    def __init__(self, url: str, store: Path, names: list[str]) -> None:
        from yamlgraph_prompts import LivePrompts
        from yamlgraph_prompts.admin import admin_app
        from yamlgraph_prompts.registry.sql import SqlRegistry

        self.registry = SqlRegistry(url)
        self.prompts = LivePrompts(url, environment=ENVIRONMENT, store=store, hooks=[self._heard])
        self.admin = admin_app(self.prompts, tokens={TOKEN: "viewer"})
        self.activations: list[float] = []
        self._names = itertools.cycle(names)
        self._texts = itertools.count()
        self._live = Event()
        assert self.prompts.release
        time.sleep(2.0)  # until the layer is followed

    def _heard(self, event: Any) -> None:
        if event.kind == "publication" and event.outcome.status == "published":
            self._live.set()

    def activate(self) -> float:
        name = next(self._names)
        data = b"user: edition %d" % next(self._texts)
        made = self.registry.create(name, data, who="benchmark")
        time.sleep(0.2)
        self._live.clear()
        began = perf_counter()
        self.registry.activate(ENVIRONMENT, {name: made.number}, who="benchmark")
        self.activations.append(perf_counter() - began)
        assert self._live.wait(60)
        return perf_counter() - began

    def ask(self, path: str) -> float:
        import httpx

        async def get() -> float:
            transport = httpx.ASGITransport(app=self.admin)
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1", headers=headers
            ) as client:
                began = perf_counter()
                answer = await client.get(path)
                took = perf_counter() - began
            assert answer.status_code == 200, answer.text
            return took

        return asyncio.run(get())

    def close(self) -> None:
        self.prompts.close()
        self.registry.close()


def within(what: str, times: Times, at_most: float) -> Row:
    met = times.median <= at_most
    bar = f"≤ {duration(at_most)}"
    return Row(what, duration(times.median), duration(times.p95), "", bar, met)


def main() -> None:
    quick = is_quick(__doc__)
    count, versions, rounds = (40, 2, 1) if quick else (PROMPTS, VERSIONS, 5)
    with workplace() as folder, both(folder) as urls:
        write(folder / "prompts", count)
        base = folder / "prompts"
        prompts = {
            str(path.relative_to(base)).removesuffix(".yaml"): path.read_bytes()
            for path in sorted(base.rglob("*.yaml"))
        }
        pushes = {kind: fill(url, prompts, versions) for kind, url in urls.items()}
        rows = [
            plain(f"{kind}: pushed as version {versions}", Times((took,)))
            for kind, took in pushes.items()
        ]
        reads = interleaved(rounds, {kind: built(url) for kind, url in urls.items()})
        rows += [within(f"{kind}: release built", reads[kind], BUILT[kind]) for kind in urls]
        starts = {
            kind: started(place, folder / f"store {kind}", count)
            for kind, place in {"a folder": str(base), **urls}.items()
        }
        times = interleaved(min(rounds, 3), starts)
        for kind, taken in times.items():
            bar, ratio = times["a folder"].median, taken.median / times["a folder"].median
            rows.append(
                Row(
                    f"{kind}: restart",
                    duration(taken.median),
                    duration(taken.p95),
                    f"{ratio:.2f}×",
                    "" if kind == "a folder" else f"≤ {duration(bar)}",
                    None if kind == "a folder" else ratio <= 1.05,
                )
            )
        for kind, url in urls.items():
            with closing(App(url, folder / f"store {kind}", list(prompts))) as app:
                ask = {
                    "live": app.activate,
                    "list": lambda app=app: app.ask("/prompts?limit=100"),  # type: ignore[misc]
                    "search": lambda app=app: app.ask("/prompts?search=p0001"),  # type: ignore[misc]
                }
                taken = interleaved(rounds * 2, ask)
            rows += [
                plain(f"{kind}: one activation", Times(tuple(app.activations[1:]))),
                within(f"{kind}: one activation live", taken["live"], LIVE),
                within(f"{kind}: a page of the list", taken["list"], LIST),
                within(f"{kind}: a search", taken["search"], SEARCH),
            ]
        show(f"{count:,} prompts with {versions} versions each", rows)


if __name__ == "__main__":
    main()
