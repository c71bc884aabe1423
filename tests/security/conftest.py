"""The fuzzer runs beside the other tests of this folder, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDER = Path(__file__).parent


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Wait for the fuzzer last of all tests here."""
    places = [place for place, item in enumerate(items) if item.path.parent == FOLDER]
    here = [items[place] for place in places]
    here.sort(key=lambda item: "fuzz_run" in getattr(item, "fixturenames", ()))
    for place, item in zip(places, here, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def fuzz_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The process of the fuzzer and where it will write its report."""
    seconds = request.config.getoption("--fuzz-seconds")
    if not seconds:
        pytest.skip("--fuzz-seconds 0")
    report = tmp_path_factory.mktemp("fuzzer") / "report.json"
    command = [sys.executable, "-m", "tests.security.fuzzer", "--seconds", str(seconds)]
    command += ["--seed", str(request.config.getoption("--fuzz-seed")), "--report", str(report)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process, report
        process.kill()


@pytest.fixture(scope="session", autouse=True)
def _start_the_fuzzer_first(request: pytest.FixtureRequest) -> None:
    fuzzes = any("fuzz_run" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if fuzzes and request.config.getoption("--fuzz-seconds"):
        request.getfixturevalue("fuzz_run")
