"""A start from a published release of 1,000 prompts, and the copied loop over the same prompts.

In memory: what a release is read into. To the store: with the fsynced pack of it, and the check of
every prompt beside it, as `LivePrompts` starts. 10,000 once at 0 ms. Imports and the making of
clients are not counted; the second column is the client's CPU.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks import s3_contenders as with_
from benchmarks.measure import Row, is_quick, show, workplace
from benchmarks.s3_nginx import BUCKET, PREFIX, Nginx, nginx

NEAR, FAR, NEAR_10_000 = 45.0, 400.0, 25.0
REQUESTS = 2
CHANNEL = "production"


def publish(server: Nginx) -> str:
    """What `push` leaves in the bucket, of everything that lies there."""
    from yamlgraph_prompts._model.pack import encode_pack
    from yamlgraph_prompts._model.release import Prompt, Release

    root = server.bucket / PREFIX
    release = Release.of(
        Prompt(str(path.relative_to(root)).removesuffix(".yaml"), path.read_bytes())
        for path in root.rglob("*.yaml")
    )
    releases = root / ".releases"
    (releases / "packs").mkdir(parents=True, exist_ok=True)
    (releases / CHANNEL / "log").mkdir(parents=True, exist_ok=True)
    (releases / f"packs/{release.id}.pack").write_bytes(encode_pack(release))
    entry = {
        "number": 1, "release": release.id, "previous": None, "at_s": 0.0, "who": "benchmark",
        "message": "first", "why": "push", "prompts": len(release), "push": "0",
    }  # fmt: skip
    (releases / CHANNEL / f"log/{1:020d}.json").write_text(json.dumps(entry))
    (releases / CHANNEL / "current").write_text(
        json.dumps({"release": release.id, "number": 1, "at_s": 0.0})
    )
    return release.id


def in_memory() -> with_.Sync:
    from yamlgraph_prompts.sources.layers import Layer
    from yamlgraph_prompts.sources.reader import LayerReader
    from yamlgraph_prompts.sources.s3.client import connection
    from yamlgraph_prompts.sources.s3.location import Location

    connection(Location.parse(f"s3://{BUCKET}/{PREFIX}"))

    def start(_: Path) -> None:
        reader = LayerReader(Layer(f"s3://{BUCKET}/{PREFIX}"), CHANNEL, None)
        assert reader.read().files
        reader.close()

    return start


def to_store() -> with_.Sync:
    from yamlgraph_prompts._model.release import Prompt, Release
    from yamlgraph_prompts.registry.store import Store
    from yamlgraph_prompts.sources.layers import Layer
    from yamlgraph_prompts.sources.reader import LayerReader

    def start(folder: Path) -> None:
        reader = LayerReader(Layer(f"s3://{BUCKET}/{PREFIX}"), CHANNEL, None)
        files = reader.read().files
        reader.close()
        release = Release.of(Prompt(n.removesuffix(".yaml"), d) for n, d in files.items())
        store = Store(folder)
        store.put(release)
        store.make_live(release.id, reason="start")

    return start


def checked_and_live() -> with_.Sync:
    from yamlgraph_prompts import LivePrompts

    def start(folder: Path) -> None:
        url = f"s3://{BUCKET}/{PREFIX}"
        with LivePrompts(url, environment=CHANNEL, store=folder, watch=False) as prompts:
            assert prompts.release

    return start


CONTENDERS: dict[str, Callable[[], with_.Sync]] = {
    "the copied loop": with_.copied_loop,
    "ours, in memory": in_memory,
    "ours, to the store": to_store,
    "ours, checked and live": checked_and_live,
}


def measured(
    server: Nginx, home: Path, delay_s: float, rounds: int, slow_rounds: int
) -> dict[str, with_.Cost]:
    with server.away(delay_s), with_.folders(home) as into:
        calls = {name: into(make()) for name, make in CONTENDERS.items()}
        quick_ones = {name: call for name, call in calls.items() if "loop" not in name}
        with_.interleaved_costs(dict.fromkeys(quick_ones, 1), quick_ones)
        times = {name: slow_rounds if "loop" in name else rounds for name in calls}
        return with_.interleaved_costs(times, calls)


def requests(server: Nginx) -> Row:
    with server.away(0.0):
        server.asked()
        in_memory()(Path())
        asked = server.asked()
    met = len(asked) == REQUESTS
    return Row("requests of a start", str(len(asked)), "", "", f"= {REQUESTS}", met)


def rows(delay_s: float, costs: dict[str, with_.Cost], bar: float | None) -> list[Row]:
    at, loop = f"{delay_s * 1e3:.0f} ms: ", costs["the copied loop"]
    return [
        with_.faster(at + name, cost, loop, bar if "store" in name else None)
        for name, cost in costs.items()
    ]


def main() -> None:
    quick = is_quick(__doc__)
    count = 100 if quick else 1000
    with workplace() as folder, nginx(folder / "nginx") as server:
        # The loop's list has the loose prompts only.
        server.put_prompts(count)
        publish(server)
        rounds = 3 if quick else 15
        # The bars are on 1,000.
        near, far = (None, None) if quick else (NEAR, FAR)
        found = rows(0.0, measured(server, folder, 0.0, rounds, 1 if quick else 3), near)
        found += rows(0.02, measured(server, folder, 0.02, rounds, 1), far)
        show(f"Cold start from a published release of {count}", [*found, requests(server)])
        if not quick:
            shutil.rmtree(server.bucket / PREFIX / ".releases")
            server.put_prompts(10_000)
            publish(server)
            costs = measured(server, folder, 0.0, 5, 1)
            show("Cold start from a published release of 10,000", rows(0.0, costs, NEAR_10_000))


if __name__ == "__main__":
    main()
