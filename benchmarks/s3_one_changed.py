"""One of 10,000 prompts changes: how soon it is live, and what is fetched for it.

Published: from the moment that `push` has returned (and from its start) until a `LivePrompts` with
`refresh_s=0.5` has published it; the pusher is another process. nginx replaces files as S3 does,
but ignores `If-None-Match`, so it is a single writer.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import random
from time import perf_counter
from typing import Any

from benchmarks.measure import Row, Times, duration, is_quick, plain, show, workplace
from benchmarks.s3_nginx import BUCKET, PREFIX, Nginx, nginx

LIVE_S = 1.0
REFRESH_S = 0.5
WAIT_S = 60.0
CHANNEL = "production"


PUSHER = """
import sys, time
from benchmarks.s3_nginx import BUCKET, PREFIX, prompt_text
from yamlgraph_prompts.registry.channel import Channel
from yamlgraph_prompts._model.release import Prompt, Release
def prompt(n, edition):
    return Prompt(f"prompt{n:05}", prompt_text(n, edition).encode())
bucket = Channel(f"s3://{BUCKET}/{PREFIX}", environment=sys.argv[1], single_writer=True)
prompts = {n: prompt(n, "first") for n in range(int(sys.argv[2]))}
def push():
    release = Release.of(prompts.values())
    assert release.id
    began = time.time()
    bucket.push(release, message="a change", who="benchmark")
    print(began, time.time(), flush=True)
push()
for line in sys.stdin:
    prompts[int(line)] = prompt(int(line), "second")
    push()
"""


class Follower:
    """What follows the bucket, and when it had what."""

    def __init__(self, store: Path) -> None:
        from yamlgraph_prompts import LivePrompts

        self.at = 0.0
        self.live = threading.Event()
        self.prompts = LivePrompts(
            f"s3://{BUCKET}/{PREFIX}",
            environment=CHANNEL,
            store=store,
            refresh_s=REFRESH_S,
            startup_deadline_s=WAIT_S,
            hooks=[self._told],
        )
        assert self.prompts.release  # from now on it is followed
        self.live.clear()

    def _told(self, event: Any) -> None:
        if event.kind == "publication" and event.outcome.status == "published":
            self.at = time.time()
            self.live.set()

    def wait(self) -> float:
        assert self.live.wait(WAIT_S), "the change was never published"
        self.live.clear()
        return self.at


@contextmanager
def pusher(count: int) -> Iterator[Callable[[int], tuple[float, float]]]:
    """Somebody elsewhere who pushes `count` prompts, and one of them changed at each call."""
    command = [sys.executable, "-c", PUSHER, CHANNEL, str(count)]
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None

        def pushed() -> tuple[float, float]:
            began, ended = process.stdout.readline().split()  # type: ignore[union-attr]
            return float(began), float(ended)

        def push(number: int) -> tuple[float, float]:
            process.stdin.write(f"{number}\n")  # type: ignore[union-attr]
            process.stdin.flush()  # type: ignore[union-attr]
            return pushed()

        pushed()
        yield push


def published(store: Path, count: int, rounds: int) -> list[Row]:
    after, whole, pushing = [], [], []
    with pusher(count) as push:
        follower = Follower(store)
        with follower.prompts:
            for number in range(rounds):
                # nginx makes a file's ETag from its size and its time in whole seconds; S3 does
                # not.
                time.sleep(1.0 + random() * REFRESH_S)
                began, pushed = push(number)
                at = follower.wait()
                after.append(max(0.0, at - pushed))
                whole.append(at - began)
                pushing.append(pushed - began)
    worst = max(after)
    return [
        plain("push", Times(tuple(pushing))),
        plain("published: live after the push began", Times(tuple(whole))),
        plain("published: live after the push", Times(tuple(after))),
        Row("published: the slowest", duration(worst), "", "", f"≤ {LIVE_S:g} s", worst <= LIVE_S),
    ]


def loose(server: Nginx, store: Path, count: int, rounds: int) -> list[Row]:
    from yamlgraph_prompts.sources.layers import Layer
    from yamlgraph_prompts.sources.reader import LayerReader

    server.put_prompts(count)
    reader = LayerReader(Layer(f"s3://{BUCKET}/{PREFIX}"), CHANNEL, None)
    reader.read()
    taken, objects = [], []
    for number in range(rounds):
        time.sleep(1.0)
        server.put_prompt(number, f"second {number}")
        server.list_objects()
        server.asked()
        started = perf_counter()
        assert reader.look()
        taken.append(perf_counter() - started)
        reader.read()
        objects.append(sum(".yaml" in word for word in server.asked()))
    reader.close()
    met = set(objects) == {1}
    return [
        plain("loose: a look that finds it", Times(tuple(taken))),
        Row("loose: objects fetched", str(max(objects)), "", "", "= 1", met),
    ]


def main() -> None:
    quick = is_quick(__doc__)
    count, rounds = (1000, 3) if quick else (10_000, 15)
    with workplace() as folder:
        with nginx(folder / "loose") as server, server.away(0.0):
            rows = loose(server, folder / "store-loose", count, rounds)
        with nginx(folder / "published") as server, server.away(0.0):
            rows += published(folder / "store", count, rounds)
        show(f"One of {count:,} changed", rows)


if __name__ == "__main__":
    main()
