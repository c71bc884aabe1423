"""From an activation in a database to the next run: in the same process, and in 8 other ones.

Beside it a publication from a folder; and MLflow's server and client, from moving an alias to the
next `load_prompt` that gives the new text, with its cache as it comes and without. MLflow is
installed into a venv in the temporary folder (MLFLOW_VENV names another), and left out where it
cannot be.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from threading import Event
from time import perf_counter
from typing import Any

from benchmarks.databases import ENVIRONMENT, both
from benchmarks.measure import (
    Row,
    Times,
    compared,
    duration,
    interleaved,
    is_quick,
    plain,
    show,
    workplace,
)

REPLICAS = 8
SAME = 1.1
OTHERS = {"SQLite": (0.150, 1.0), "PostgreSQL": (0.060, 0.3)}
WAIT_S = 30.0
Change = Callable[[], object]

_REPLICA = """
import sys, time
from yamlgraph_prompts import LivePrompts
def heard(event):
    if event.kind == "publication" and event.outcome.status == "published":
        at = time.monotonic()
        print(event.outcome.release["a"].user, at, flush=True)
prompts = LivePrompts(sys.argv[1], environment=sys.argv[2], store=sys.argv[3], hooks=[heard])
prompts["a"]
sys.stdin.read()
"""
_MLFLOW = """
import json, sys, time
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
ask = {} if sys.argv[2] == "cached" else {"cache_ttl_seconds": 0}
print("ready", flush=True)
for line in sys.stdin:
    wanted = line.strip()
    while mlflow.genai.load_prompt("prompts:/a@production", **ask).template != wanted:
        time.sleep(0.002)
    print(time.monotonic(), flush=True)
"""


class Place:
    """A live app on one layer, and how its prompt is changed."""

    def __init__(self, url: str, store: Path, prepare: Callable[[str], Change]) -> None:
        from langgraph.graph import START, StateGraph

        from yamlgraph_prompts import LivePrompts, live_graph

        def build(release: Any) -> Any:
            graph: Any = StateGraph(dict)
            graph.add_node("say", lambda state: {"said": release["a"].user})
            graph.add_edge(START, "say")
            return graph

        self._prepare = prepare
        self._live = Event()
        self._texts = itertools.count()
        prepare("first")()
        self.prompts = LivePrompts(url, environment=ENVIRONMENT, store=store, hooks=[self._heard])
        self.app = live_graph(build, prompts=self.prompts).compile()
        assert self.run() == "first"
        time.sleep(1.0)  # until the layer is followed

    def run(self) -> str:
        return str(self.app.invoke({})["said"])

    def published(self) -> float:
        """By a call of `publish`, as an admin API makes it."""
        return self._timed(lambda text: self.prompts.publish())

    def followed(self) -> float:
        """By the layer's own news."""
        return self._timed(lambda text: self._live.wait(WAIT_S))

    def _timed(self, until_live: Callable[[str], object]) -> float:
        time.sleep(0.1)
        text = f"edition {next(self._texts)}"
        change = self._prepare(text)
        self._live.clear()
        began = perf_counter()
        change()
        until_live(text)
        assert self.run() == text
        return perf_counter() - began

    def _heard(self, event: Any) -> None:
        if event.kind == "publication" and event.outcome.status == "published":
            self._live.set()


class Desk:
    """Activates versions that were made before, so that only the activation is timed."""

    def __init__(self, url: str) -> None:
        from yamlgraph_prompts.registry.sql import SqlRegistry

        self.registry = SqlRegistry(url)

    def prepare(self, text: str) -> Change:
        version = self.registry.create("a", f"user: {text}".encode(), who="benchmark")
        active = {"a": version.number}
        return lambda: self.registry.activate(ENVIRONMENT, active, who="benchmark")


def same_process(folder: Path, urls: dict[str, str], rounds: int) -> list[Row]:
    prompts = folder / "prompts"
    prompts.mkdir()

    def prepare(text: str) -> Change:
        beside = prompts / ".new"
        beside.write_text(f"user: {text}")
        return lambda: beside.replace(prompts / "a.yaml")

    calls: dict[str, Callable[[], float]] = {}
    with ExitStack() as stack:
        places = {"a folder": Place(str(prompts), folder / "store folder", prepare)}
        for kind, url in urls.items():
            desk = Desk(url)
            stack.enter_context(closing(desk.registry))
            places[kind] = Place(url, folder / f"store {kind}", desk.prepare)
        for kind, place in places.items():
            stack.enter_context(place.prompts)
            calls[kind] = place.published
            calls[f"{kind}, by its news"] = place.followed
        times = interleaved(rounds, calls, warm_up=2)
    rows = []
    for how in ("", ", by its news"):
        folders = times[f"a folder{how}"]
        rows.append(plain(f"saved in a folder → next run{how}", folders))
        rows += [
            compared(f"active in {kind} → next run{how}", times[f"{kind}{how}"], folders, SAME)
            for kind in urls
        ]
    return rows


def other_processes(kind: str, url: str, folder: Path, count: int, rounds: int) -> Row:
    desk = Desk(url)
    desk.prepare("before all")()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    replicas = [
        subprocess.Popen(
            [sys.executable, "-c", _REPLICA, url, ENVIRONMENT, str(folder / f"{kind} {number}")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for number in range(count)
    ]  # fmt: skip
    seconds: list[float] = []
    try:
        for replica in replicas:
            _live_at(replica, "before all")
        time.sleep(2.0)  # until they listen
        for number in range(rounds):
            time.sleep(0.1)
            activate = desk.prepare(f"edition {number}")
            began = time.monotonic()
            activate()
            seconds += [_live_at(replica, f"edition {number}") - began for replica in replicas]
    finally:
        for replica in replicas:
            assert replica.stdin is not None
            replica.stdin.close()
            replica.wait(10)
        desk.registry.close()
    return tail(f"active in {kind} → live in {count} other processes", seconds, *OTHERS[kind])


def _live_at(replica: subprocess.Popen[str], text: str) -> float:
    assert replica.stdout is not None
    for line in replica.stdout:
        said, _, at = line.rpartition(" ")
        if said == text:
            return float(at)
    raise AssertionError("A replica ended.")


def tail(what: str, seconds: list[float], middle: float, last: float) -> Row:
    p99 = quantiles(seconds, n=100, method="inclusive")[-1] if seconds[1:] else seconds[0]
    met = median(seconds) <= middle and p99 <= last
    bar = f"≤ {middle * 1e3:g} ms, p99 ≤ {last:g} s"
    return Row(what, duration(median(seconds)), duration(p99), "p99 ←", bar, met)


@contextmanager
def mlflow(folder: Path) -> Iterator[tuple[Path, str] | None]:
    """Its Python and the URL of its server."""
    from tests.s3_servers import free_port

    place = Path(os.environ.get("MLFLOW_VENV", folder / "mlflow"))
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        install = [str(python), "-m", "pip", "install", "-q", "mlflow>=3"]
        if subprocess.run(install, check=False, capture_output=True).returncode:
            print("MLflow is left out: it cannot be installed here.")
            yield None
            return
    port = free_port()
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    server = subprocess.Popen(
        [str(python), "-m", "mlflow", "server", *store, "--port", str(port)],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield python, f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        server.wait(30)


_MLFLOW_SIDE = """
import json, sys, time
import mlflow
url, rounds = sys.argv[1], int(sys.argv[2])
mlflow.set_tracking_uri(url)
for _ in range(300):
    try:
        mlflow.genai.register_prompt(name="a", template="first")
        break
    except Exception:
        time.sleep(0.5)
mlflow.genai.set_prompt_alias("a", alias="production", version=1)
import subprocess
seconds = {}
for how in ("cached", "uncached"):
    reader = subprocess.Popen([sys.executable, "-c", sys.argv[3], url, how], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout.readline() == "ready\\n"
    mlflow.genai.load_prompt("prompts:/a@production")
    seconds[how] = []
    for number in range(rounds if how == "uncached" else max(1, rounds // 10)):
        text = f"{how} {number}"
        made = mlflow.genai.register_prompt(name="a", template=text)
        began = time.monotonic()
        mlflow.genai.set_prompt_alias("a", alias="production", version=made.version)
        reader.stdin.write(text + "\\n")
        reader.stdin.flush()
        seconds[how].append(float(reader.stdout.readline()) - began)
    reader.stdin.close()
    reader.wait()
print(json.dumps(seconds))
"""


def beside_mlflow(folder: Path, rounds: int) -> list[Row]:
    with mlflow(folder) as found:
        if found is None:
            return []
        python, url = found
        command = [str(python), "-c", _MLFLOW_SIDE, url, str(rounds), _MLFLOW]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"MLflow is left out: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return []
    seconds = json.loads(done.stdout.splitlines()[-1])
    return [
        plain(f"MLflow: alias moved → next load_prompt, {words}", Times(tuple(seconds[how])))
        for how, words in (("cached", "its cache as it comes"), ("uncached", "without its cache"))
    ]


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder, both(folder) as urls:
        rows = same_process(folder, urls, 1 if quick else 60)
        for kind, url in urls.items():
            count = 1 if quick else REPLICAS
            rows.append(other_processes(kind, url, folder, count, 2 if quick else 60))
        if not quick or "MLFLOW_VENV" in os.environ:
            rows += beside_mlflow(folder, 1 if quick else 40)
        show("From an activation to the next run", rows)


if __name__ == "__main__":
    main()
