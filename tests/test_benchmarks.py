"""Each benchmark runs to its end and prints its table; what the figures are is not tested."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

NAMES = (
    "concurrent_runs",
    "first_load",
    "import_time",
    "prepare_messages",
    "save_to_served",
    "ten_thousand",
    "thousand_publications",
)


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_prints_its_table(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    head, *rows, machine = done.stdout.strip().splitlines()[1:]
    assert "median" in head
    assert rows
    assert machine.startswith("Python ")
