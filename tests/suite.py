"""Runs the suite: `python -m tests.suite [--quick] [what pytest takes]`.

First what may share the machine, on all its cores; then what measures wall time, with nothing else
running. `--quick` leaves out what is slow. What is marked `nightly` runs with plain pytest only.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ALONE = ("tests/test_hot_reload.py", "tests/test_watch.py")
"""The modules with tests that are marked `alone`."""
_PARALLEL = ("-n", "auto", "--maxprocesses", "8", "-q")
_NONE = pytest.ExitCode.NO_TESTS_COLLECTED


def main(*arguments: str) -> int:
    """The exit code: of the part that failed, else 0; 5 where there was no such test."""
    given = [argument for argument in arguments if argument != "--quick"]
    if "--quick" in arguments:
        return _run("not nightly and not alone and not slow", *_PARALLEL, *given)
    code = _run("not nightly and not alone", *_PARALLEL, *given)
    paths = [argument for argument in given if Path(argument.partition("::")[0]).exists()]
    if code in (0, _NONE) and (alone := [*_alone(paths)]):
        others = [argument for argument in given if argument not in paths]
        code_alone = _run("not nightly and alone", *others, *alone)
        code = code_alone if code == _NONE or code_alone != _NONE else code
    return code


def _alone(paths: list[str]) -> Iterator[str]:
    """Where in `paths` those tests are."""
    for module in ALONE:
        for path in paths or ["tests"]:
            if Path(path.partition("::")[0]) == Path(module):
                yield path
            elif Path(path) in Path(module).parents:
                yield module


def _run(marks: str, *arguments: str) -> int:
    command = [sys.executable, "-m", "pytest", "-m", marks, *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
