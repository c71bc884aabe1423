"""The contract for sources catches the mistakes that authors of sources make."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import mistaken_sources
from tests.mistaken_sources import MISTAKES, Mistake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """Each test of the contract that failed for a mistaken source, and what it said."""
    report = tmp_path_factory.mktemp("contract") / "report.xml"
    file = Path(mistaken_sources.__file__)
    nodes = [f"{file}::Test{one.source.__name__}::{one.test}" for one in MISTAKES.values()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, "--timeout", "60", "--junitxml", str(report), *nodes],
        cwd=file.parent.parent,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        stdout=subprocess.DEVNULL,
        timeout=110,
        check=False,
    )
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problem = case.find("failure")
        if problem is not None:
            name = case.attrib["classname"].rpartition(".")[2]
            found[name, case.attrib["name"]] = problem.attrib["message"] + (problem.text or "")
    return found


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_planted_mistake_is_caught(
    mistake: Mistake, failures: dict[tuple[str, str], str]
) -> None:
    said = failures.get((f"Test{mistake.source.__name__}", mistake.test))
    assert said is not None, "the contract does not catch it"
    assert mistake.says in said
