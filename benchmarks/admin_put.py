"""From a PUT to the new text at the model: in this process, and in every other worker.

Over HTTP on loopback, with one run, against writing the same file and publishing directly. In other
workers: the time until each of four says the new text in a run.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.graphs import Model, chain, write_prompt
from benchmarks.measure import Row, Times, compared, interleaved, is_quick, plain, show, workplace

MEDIAN, OTHERS_S, WORKERS = 2.0, 1.0, 4
TOKEN = {"authorization": "Bearer the-operators-token", "content-type": "application/yaml"}
NODES = 5


def same_process(folder: Path, rounds: int) -> list[Row]:
    import yamlgraph_prompts
    from tests.admin_client import TOKENS, served
    from yamlgraph_prompts import LivePrompts
    from yamlgraph_prompts.admin import admin_app

    heard: list[str] = []
    Model(heard.append)
    path = chain(folder, NODES)
    file = folder / "prompts/steps/step001.yaml"
    editions = itertools.count()
    prompts = LivePrompts(
        folder / "prompts", environment="bench", store=folder / "store", watch=False
    )
    app = yamlgraph_prompts.load_and_compile(path, prompts=prompts).compile()

    def answers(edition: str) -> None:
        heard.clear()
        app.invoke({"topic": "rivers"})
        assert edition in heard[1]

    def text() -> tuple[str, str]:
        edition = f"e{next(editions)}x"
        write_prompt(folder / "aside", 1, edition)
        return edition, (folder / "aside/prompts/steps/step001.yaml").read_text()

    def timed(change: Callable[[str], None], *, run: bool = True) -> Callable[[], float]:
        def once() -> float:
            edition, said = text()
            started = perf_counter()
            change(said)
            if run:
                answers(edition)
            return perf_counter() - started

        return once

    def directly(said: str) -> None:
        beside = file.with_name(".beside")
        beside.write_text(said)
        os.replace(beside, file)
        assert prompts.publish().status == "published"

    chain(folder / "aside", NODES)
    with prompts, served(admin_app(prompts, TOKENS)) as url:
        # The leanest client there is: what it costs is not the server's.
        http = HTTPConnection(url.removeprefix("http://"))

        def put(said: str) -> None:
            http.request("PUT", "/prompts/steps/step001", said, TOKEN)
            answer = http.getresponse().read()
            assert b'"status":"published"' in answer, answer

        calls = {
            "alone": timed(directly, run=False),
            "alone, run": timed(directly),
            "put": timed(put),
        }
        times = interleaved(rounds, calls, warm_up=5)
        http.close()
    return [
        plain(f"write and publish ({NODES} nodes)", times["alone"]),
        compared("write and publish, run", times["alone, run"], times["alone"]),
        compared("PUT, run, in the same process", times["put"], times["alone"], MEDIAN),
    ]


def other_workers(folder: Path, rounds: int) -> list[Row]:
    from tests.example_apps import Server, serving, settings
    from tests.test_admin_workers import APP

    (folder / "app/prompts").mkdir(parents=True)
    for name, text in {
        "app.py": APP,
        "prompts/a.yaml": "user: a",
        "prompts/b.yaml": "user: b",
    }.items():
        (folder / "app" / name).write_text(text)
    command = ("uvicorn", "app:app", "--host", "127.0.0.1", "--workers", str(WORKERS))
    env = {**settings(folder), "PATH": os.environ["PATH"]}

    def runs(server: Server) -> dict[int, str]:
        def one(_: int) -> Any:
            return server.http.get("/run", headers={"connection": "close"}).json()

        with ThreadPoolExecutor(8) as pool:
            return {said["worker"]: said["said"][0] for said in pool.map(one, range(8))}

    with serving(command, folder / "app", env, ready="/admin/health/ready") as server:
        while len(runs(server)) < WORKERS:
            time.sleep(0.1)
        took: list[float] = []
        for number in range(rounds):
            time.sleep(0.3)
            wanted, heard = f"n{number}", dict[int, str]()
            started = perf_counter()
            server.http.put("/admin/prompts/a", content=f"user: {wanted}", headers=TOKEN)
            while list(heard.values()).count(wanted) < WORKERS:
                heard.update(runs(server))
                assert perf_counter() - started < 10
            took.append(perf_counter() - started)
    times = Times(tuple(took))
    worst = max(took)
    return [
        plain(f"PUT, then a run in each of {WORKERS} workers", times),
        Row(
            "the slowest of them", f"{worst:.2f} s", bar=f"≤ {OTHERS_S:g} s", met=worst <= OTHERS_S
        ),
    ]


def main() -> None:
    quick = is_quick(__doc__)
    logging.disable(logging.CRITICAL)
    with workplace() as folder:
        rows = same_process(folder / "same", 10 if quick else 200)
        rows += other_workers(folder / "others", 5 if quick else 50)
        show("From a PUT to the next run", rows)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
