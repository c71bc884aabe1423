"""A start while the bucket is away: is the last good release served in time, does the process end?

Each start is a process of its own, which imports boto3 within the deadline. Shown are the median
and the worst. An exit lasts from the script's last line to the end of the process; that takes a
while where LangGraph is imported, so it is compared with that of a start without an outage. All
take turns.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.measure import Row, duration, is_quick, show, workplace
from benchmarks.s3_nginx import KEYS, free_port
from tests import scripted_server as s3

WELL = "no outage"
DEADLINE_S = 5.0  # the default
SLACK_S = 0.2
AT_ONCE_S = 1.0  # over an exit without an outage; whatever hangs would hang for 1.5 s at least
ROUNDS = 20

START = f"""
import json, sys, time
from yamlgraph_prompts import LivePrompts
began = time.perf_counter()
prompts = LivePrompts("s3://{s3.BUCKET}/prompts/", environment="production", store=sys.argv[1],
                      startup_deadline_s=float(sys.argv[2]))
release = prompts.release.id
print(json.dumps([time.perf_counter() - began, release, time.time()]), flush=True)
"""

Endpoint = Callable[[], "Iterator[str]"]


def answering(fault: s3.Fault | None) -> Endpoint:
    def served() -> Iterator[str]:
        with s3.Server() as server, s3.ScriptedS3(server, fault=fault) as script:
            script.put(**{f"prompt{number}": f"user: Hello {number}" for number in range(50)})
            yield script.endpoint

    return served


def refusing() -> Iterator[str]:
    yield f"http://127.0.0.1:{free_port()}"


def deaf() -> Iterator[str]:
    """Whoever connects hears nothing, not even that."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def objects_only(fault: s3.Fault) -> s3.Fault:
    return lambda handler, asked: bool(asked.key.endswith(".yaml") and fault(handler, asked))


OUTAGES: dict[str, Endpoint] = {
    "silent: accepts, never answers": answering(s3.silent),
    "an object is silent": answering(objects_only(s3.silent)),
    "refused: nobody listens": refusing,
    "trickling: a byte of a list now and then": answering(s3.trickling),
    "trickling headers": answering(s3.trickling_head),
    "trickling objects": answering(objects_only(s3.trickling)),
    "dropped: cut in the middle of a body": answering(s3.cut),
    "dropped packets: no connection": deaf,
}


def start(store: Path, endpoint: str, deadline_s: float) -> tuple[float, str, float]:
    """Seconds until a release is there, its id, and seconds from then until the process is gone."""
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL_S3": endpoint}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    # Modules are compiled once, as installed ones are.
    environment["PYTHONPYCACHEPREFIX"] = str(store.parent / "compiled")
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", START, str(store), str(deadline_s)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    ended = time.time()
    if done.returncode:
        raise RuntimeError(done.stderr)
    took_s, release, at = json.loads(done.stdout)
    return took_s, release, ended - at


def row(what: str, seconds: list[float], limit_s: float, bar: str) -> Row:
    good = sum(one <= limit_s for one in seconds)
    count = f"{good} of {len(seconds)}"
    worst = duration(max(seconds))
    return Row(what, duration(median(seconds)), worst, count, bar, good == len(seconds))


def main() -> None:
    rounds = 1 if is_quick(__doc__) else ROUNDS
    endpoints = {WELL: answering(None), **OUTAGES}
    with workplace() as folder, ExitStack() as stack:
        urls = {n: stack.enter_context(contextmanager(e)()) for n, e in endpoints.items()}
        store = folder / "store"
        _, good, _ = start(store, urls[WELL], 60.0)
        starts: dict[str, list[float]] = {name: [] for name in urls}
        exits: dict[str, list[float]] = {name: [] for name in urls}
        order = Random(1)
        for _ in range(rounds):
            for name in order.sample(list(urls), len(urls)):
                took_s, release, left_s = start(store, urls[name], DEADLINE_S)
                assert release == good
                starts[name].append(took_s)
                exits[name].append(left_s)
        limit_s, exit_limit_s = DEADLINE_S + SLACK_S, median(exits[WELL]) + AT_ONCE_S
        rows = []
        for name in urls:
            rows.append(row(name, starts[name], limit_s, f"≤ {limit_s:g} s"))
            rows.append(row("    exit", exits[name], exit_limit_s, f"≤ {duration(exit_limit_s)}"))
        show(f"A start in an outage, startup_deadline_s={DEADLINE_S:g}: median, worst", rows)


if __name__ == "__main__":
    main()
