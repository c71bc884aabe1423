"""A start while the bucket is away: is the last good release served in time, does the process end?

Each start is a process of its own, which imports boto3 within the deadline. Shown are the median
and the worst. An exit lasts from the script's last line to the end of the process; that takes a
while where LangGraph is imported, so it is compared with the exit after a start without an outage.
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
from statistics import median

from benchmarks.measure import Row, Times, duration, is_quick, plain, show, workplace
from benchmarks.s3_nginx import KEYS, free_port
from tests import scripted_server as s3

DEADLINE_S = 2.0
SLACK_S = 0.2
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


def starts(endpoint: Endpoint, store: Path, rounds: int) -> tuple[list[float], list[float], str]:
    """How long each start and each exit took, and the release that all of them served."""
    with contextmanager(endpoint)() as url:
        found = [start(store, url, DEADLINE_S) for _ in range(rounds)]
    (release,) = {release for _, release, _ in found}
    return [took_s for took_s, _, _ in found], [left_s for _, _, left_s in found], release


def main() -> None:
    rounds = 1 if is_quick(__doc__) else ROUNDS
    with workplace() as folder:
        store = folder / "store"
        with contextmanager(answering(None))() as url:
            start(store, url, 60.0)
        took, left, good = starts(answering(None), store, rounds)
        rows = [plain("no outage", Times(tuple(took))), plain("    exit", Times(tuple(left)))]
        limit_s, exit_limit_s = DEADLINE_S + SLACK_S, median(left) + SLACK_S
        for name, endpoint in OUTAGES.items():
            took, left, release = starts(endpoint, store, rounds)
            assert release == good
            rows.append(row(name, took, limit_s, f"≤ {limit_s:g} s"))
            rows.append(row("    exit", left, exit_limit_s, f"≤ {duration(exit_limit_s)}"))
        show(f"A start in an outage, startup_deadline_s={DEADLINE_S:g}: median, worst", rows)


if __name__ == "__main__":
    main()
