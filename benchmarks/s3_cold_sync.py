"""1,000 objects of 2 KB from a bucket to a disk: the copied loop, other tools, and ours.

At 0 and at 20 ms a request; 10,000 objects once at 0 ms. Imports and the making of Python clients
are not counted, the start of a command is. The second column is the client's CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import s3_contenders as with_
from benchmarks.measure import Row, is_quick, show, workplace
from benchmarks.s3_nginx import Nginx, nginx

FASTER_NEAR, FASTER_FAR, CPU_NEAR = 2.0, 20.0, 0.5

CONTENDERS: dict[str, Callable[[], with_.Sync | None]] = {
    "the copied loop": with_.copied_loop,
    "boto3, 16 threads": with_.boto_threads,
    "aws s3 sync": with_.aws_sync,
    "s5cmd": with_.s5cmd,
    "obstore, 64 threads": with_.obstore_threads,
    "ours, to the store": with_.ours,
    "ours, file by file": with_.ours_as_files,
}


def measured(
    server: Nginx, home: Path, delay_s: float, rounds: int, slow_rounds: int
) -> dict[str, with_.Cost]:
    with server.away(delay_s), with_.folders(home) as into:
        made = {name: make() for name, make in CONTENDERS.items()}
        calls = {name: into(sync) for name, sync in made.items() if sync is not None}
        times = {name: slow_rounds if "loop" in name else rounds for name in calls}
        if rounds > 1:
            with_.interleaved_costs(
                dict.fromkeys(calls, 1), {n: c for n, c in calls.items() if "loop" not in n}
            )
        return with_.interleaved_costs(times, calls)


def rows(delay_s: float, costs: dict[str, with_.Cost]) -> list[Row]:
    at = f"{delay_s * 1e3:.0f} ms: "
    loop, sync = costs["the copied loop"], costs.get("aws s3 sync")
    shown = []
    for name in CONTENDERS:
        cost = costs.get(name)
        if cost is None:
            shown.append(with_.left_out(at + name))
            continue
        bar = FASTER_FAR if delay_s else FASTER_NEAR
        shown.append(with_.faster(at + name, cost, loop, bar if "to the store" in name else None))
    mine = costs["ours, to the store"]
    if delay_s and sync is not None:
        shown.append(with_.faster(at + "ours and aws s3 sync", mine, sync, 1.0))
    if not delay_s:
        share = mine.cpu_s / loop.cpu_s
        shown.append(
            with_.row(
                at + "ours, CPU of the loop's", mine, f"{share:.2f}×", f"≤ {CPU_NEAR:g}×",
                share <= CPU_NEAR,
            )
        )  # fmt: skip
    return shown


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder, nginx(folder / "nginx") as server:
        server.put_prompts(100 if quick else 1000)
        found = rows(0.0, measured(server, folder, 0.0, 1 if quick else 5, 1 if quick else 3))
        found += rows(0.02, measured(server, folder, 0.02, 1 if quick else 5, 1))
        show(f"Cold sync of {100 if quick else 1000} objects", found)
        if not quick:
            server.put_prompts(10_000)
            costs = measured(server, folder, 0.0, 1, 1)
            show("Cold sync of 10,000 objects", rows(0.0, costs))


if __name__ == "__main__":
    main()
