"""Each benchmark runs to its end and prints its table; what the figures are is not tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def names(*each_run: str, nightly: tuple[str, ...]) -> pytest.MarkDecorator:
    others = [pytest.param(name, marks=pytest.mark.nightly) for name in nightly]
    return pytest.mark.parametrize("name", [*each_run, *others])


@names(
    *(
        "database_kills",
        "database_writers",
        "first_load",
        "import_time",
        "sandbox_holds",
        "sandbox_walks",
        "save_to_served",
    ),
    nightly=(
        *(
            "database",
            "database_ten_thousand",
            "admin_hostile_viewers",
            "concurrent_runs",
            "prepare_messages",
            "ten_thousand",
        ),
        *("thousand_publications", "write_then_run"),
    ),
)
def test_each_benchmark_prints_its_table(name: str) -> None:
    prints_its_table(name)


@pytest.mark.nightly
def test_the_benchmark_of_the_page_prints_its_table() -> None:
    from tests.browser import need_chromium

    need_chromium()
    prints_its_table("page")


@names("nothing_changed", nightly=("cold_sync", "one_changed", "published"))
def test_each_benchmark_of_buckets_prints_its_table(name: str) -> None:
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    prints_its_table(f"s3_{name}")


@names("herd", nightly=("outage",))
def test_each_benchmark_of_replicas_prints_its_table(name: str) -> None:
    prints_its_table(f"s3_{name}")


def prints_its_table(name: str) -> None:
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
