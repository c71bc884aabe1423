"""A look at a bucket in which nothing has changed: how many requests, and how long.

1,000 and 10,000 prompts, published and as loose files; beside it boto3's list and compare.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks import s3_contenders as with_
from benchmarks.measure import Row, compared, interleaved, is_quick, plain, show, workplace
from benchmarks.s3_nginx import BUCKET, PAGE, PREFIX, Nginx, nginx
from benchmarks.s3_published import CHANNEL, publish


def look() -> Callable[[], object]:
    """What the poller does, after a first read."""
    from yamlgraph_prompts.sources.layers import Layer
    from yamlgraph_prompts.sources.reader import LayerReader

    reader = LayerReader(Layer(f"s3://{BUCKET}/{PREFIX}"), CHANNEL, None)
    reader.read()

    def again() -> None:
        assert not reader.look()

    return again


def list_and_compare() -> Callable[[], object]:
    s3 = with_.boto()

    def listed() -> dict[str, tuple[str, int]]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
        return {o["Key"]: (o["ETag"], o["Size"]) for page in pages for o in page["Contents"]}

    known = listed()

    def again() -> None:
        assert listed() == known

    return again


def asked(server: Nginx, call: Callable[[], object], what: str, at_most: int) -> Row:
    server.asked()
    call()
    words = server.asked()
    kinds = ", ".join(sorted({word.split(" ")[0] for word in words}))
    met = len(words) <= at_most
    return Row(f"{what}: requests", f"{len(words)}", kinds, "", f"≤ {at_most}", met)


def measured(server: Nginx, count: int, rounds: int) -> list[Row]:
    server.put_prompts(count)
    found: list[Row] = []
    for delay_s in (0.0, 0.02):
        with server.away(delay_s):
            calls = {"boto3": list_and_compare(), "loose": look()}
            publish(server)
            calls["published"] = look()
            times = interleaved(rounds, calls)
            at = f"{count:,} at {delay_s * 1e3:.0f} ms: "
            found.append(plain(at + "boto3, list and compare", times["boto3"]))
            found.append(compared(at + "loose files", times["loose"], times["boto3"]))
            found.append(compared(at + "a published release", times["published"], times["boto3"]))
            if not delay_s:
                pages = (count + PAGE - 1) // PAGE
                found.append(asked(server, calls["loose"], f"{count:,} loose files", pages))
                found.append(asked(server, calls["published"], f"{count:,}, published", 1))
            shutil.rmtree(server.bucket / PREFIX / ".releases")
    return found


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder:
        rows: list[Row] = []
        for count in (1000,) if quick else (1000, 10_000):
            with nginx(Path(folder / str(count))) as server:
                rows += measured(server, count, 3 if quick else 15)
        show("Nothing has changed", rows)


if __name__ == "__main__":
    main()
