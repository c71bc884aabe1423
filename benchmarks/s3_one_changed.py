"""One of 10,000 prompts changes: how soon it is live, and what is fetched for it.

Published: from the moment that `push` has returned (and from its start) until a `LivePrompts` with
`refresh_s=0.5` has published it. nginx replaces files as S3 does, but ignores `If-None-Match`, so
the pusher is a single writer.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from random import random
from time import perf_counter
from typing import Any

from benchmarks.measure import Row, Times, duration, is_quick, plain, show, workplace
from benchmarks.s3_nginx import BUCKET, PREFIX, Nginx, nginx, prompt_text

LIVE_S = 1.0
REFRESH_S = 0.5
WAIT_S = 60.0
CHANNEL = "production"


class Follower:
    """A process that follows the bucket, and when it had what."""

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

    def _told(self, event: Any) -> None:
        if event.kind == "publication" and event.outcome.status == "published":
            self.at = perf_counter()
            self.live.set()

    def wait(self) -> float:
        assert self.live.wait(WAIT_S), "the change was never published"
        self.live.clear()
        return self.at


def published(server: Nginx, store: Path, count: int, rounds: int) -> list[Row]:
    from yamlgraph_prompts.bucket import Bucket
    from yamlgraph_prompts.release import Prompt, Release

    bucket = Bucket(f"s3://{BUCKET}/{PREFIX}", environment=CHANNEL)
    prompts = {n: Prompt(f"prompt{n:05}", prompt_text(n, "first").encode()) for n in range(count)}
    said: dict[str, Any] = {"message": "a change", "who": "benchmark", "single_writer": True}
    bucket.push(Release.of(prompts.values()), **said)
    after, whole, pushing = [], [], []
    follower = Follower(store)
    with follower.prompts as live:
        follower.live.clear()
        for number in range(rounds):
            text = prompt_text(number, f"second {number}").encode()
            prompts[number] = Prompt(f"prompt{number:05}", text)
            release = Release.of(prompts.values())
            assert release.id
            # nginx makes a file's ETag from its size and its time in whole seconds; S3 does not.
            time.sleep(1.0 + random() * REFRESH_S)
            started = perf_counter()
            bucket.push(release, **said)
            pushed = perf_counter()
            at = follower.wait()
            assert live.release.id == release.id
            after.append(max(0.0, at - pushed))
            whole.append(at - started)
            pushing.append(pushed - started)
    worst = max(after)
    return [
        plain("push", Times(tuple(pushing))),
        plain("published: live after the push began", Times(tuple(whole))),
        plain("published: live after the push", Times(tuple(after))),
        Row("published: the slowest", duration(worst), "", "", f"≤ {LIVE_S:g} s", worst <= LIVE_S),
    ]


def loose(server: Nginx, store: Path, count: int, rounds: int) -> list[Row]:
    from yamlgraph_prompts.fetch import LayerReader
    from yamlgraph_prompts.layers import Layer

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
            rows += published(server, folder / "store", count, rounds)
        show(f"One of {count:,} changed", rows)


if __name__ == "__main__":
    main()
