"""What the benchmarks share: a clean workplace, interleaved timing, and the table they print.

Knows nothing of what is measured.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median, quantiles
from time import perf_counter
from typing import Any


@dataclass(frozen=True)
class Times:
    """Seconds that one thing took, again and again."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.seconds)

    @property
    def p95(self) -> float:
        return (
            quantiles(self.seconds, n=20, method="inclusive")[-1]
            if self.seconds[1:]
            else self.median
        )


@dataclass(frozen=True)
class Row:
    """One line of the table; `met` is None where there is no bar."""

    what: str
    median: str = ""
    p95: str = ""
    ratio: str = ""
    bar: str = ""
    met: bool | None = None


def is_quick(description: str | None) -> bool:
    """Read the command line; whether only a glance is wanted."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run at all?")
    return bool(parser.parse_args().quick)


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder to stand in, with a store of its own and nobody's settings."""
    logging.disable(logging.ERROR)
    for name in list(os.environ):
        if name == "ENVIRONMENT" or name.startswith(("YAMLGRAPH_", "LANGSMITH_", "LANGCHAIN_")):
            del os.environ[name]
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["YAMLGRAPH_PROMPTS_STORE"] = f"{folder}/store"
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def run_apart(script: str, *arguments: str, cache: Path | None) -> str:
    """Run a script in an interpreter of its own.

    With `cache` all modules are compiled once, as installed ones are, whatever was edited.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    if cache is not None:
        environment["PYTHONPYCACHEPREFIX"] = str(cache)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def interleaved(
    rounds: int, calls: Mapping[str, Callable[[], Any]], *, warm_up: int = 1
) -> dict[str, Times]:
    """Run the calls in turn, in a new order each round, so that noise meets all alike.

    A call that returns a float has measured itself, in seconds.
    """
    names, order = list(calls), Random(1)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        # Whatever runs after a slow call finds cold caches: each must do so as often as the others.
        for name in order.sample(names, len(names)):
            started = perf_counter()
            measured = calls[name]()
            seconds = measured if isinstance(measured, float) else perf_counter() - started
            if number >= 0:
                taken[name].append(seconds)
    return {name: Times(tuple(seconds)) for name, seconds in taken.items()}


def compared(
    what: str,
    times: Times,
    reference: Times,
    at_most: float | None = None,
    p95: float | None = None,
) -> Row:
    """A row for `times`, as a multiple of the reference's median, with the bar that it has."""
    ratio, tail = times.median / reference.median, times.p95 / reference.median
    met = None if at_most is None else ratio <= at_most and (p95 is None or tail <= p95)
    bar = (
        "" if at_most is None else f"≤ {at_most:g}×" + ("" if p95 is None else f", p95 ≤ {p95:g}×")
    )
    shown = f"{ratio:.2f}×" + ("" if p95 is None else f", p95 {tail:.2f}×")
    return Row(what, duration(times.median), duration(times.p95), shown, bar, met)


def plain(what: str, times: Times) -> Row:
    """A row that has no bar."""
    return Row(what, duration(times.median), duration(times.p95))


def duration(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def show(title: str, rows: list[Row]) -> None:
    """Print the table, and what machine it was made on."""
    lines = [("", "median", "p95", "ratio", "bar", "")]
    lines += [(r.what, r.median, r.p95, r.ratio, r.bar, _VERDICT[r.met]) for r in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{title}")
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f}", flush=True
    )


_VERDICT = {True: "met", False: "MISSED", None: ""}
