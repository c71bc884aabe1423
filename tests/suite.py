"""Runs the suite: `python -m tests.suite [--quick] [what pytest takes]`.

First what may share the machine, on all its cores; then what measures wall time, with nothing else
running. `--quick` leaves out what is slow. What is marked `nightly` runs with plain pytest only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ALONE = ("tests/test_hot_reload.py", "tests/test_watch.py")
"""The modules with tests that are marked `alone`."""
# One worker more than processors, since some always wait for a server or a clock.
_PARALLEL = ("-n", str(min((os.cpu_count() or 1) + 1, 8)), "-q", "--hypothesis-profile", "few")
_NONE = pytest.ExitCode.NO_TESTS_COLLECTED
_IN_MEMORY = "/dev/shm"
_ROOM_BYTES = 2 << 30


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
    folder = tempfile.mkdtemp(prefix="suite-", dir=_temporary())
    os.chmod(folder, 0o755)  # some tests are other users' processes
    code = subprocess.run(command, env={**os.environ, "TMPDIR": folder}, check=False).returncode
    if code in (0, _NONE):
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _temporary() -> str:
    """In memory if there is room: on a disk, the tests wait half of their time for it."""
    if "TMPDIR" not in os.environ and os.access(_IN_MEMORY, os.W_OK):
        facts = os.statvfs(_IN_MEMORY)
        if facts.f_bavail * facts.f_frsize >= _ROOM_BYTES and not facts.f_flag & os.ST_NOEXEC:
            return _IN_MEMORY
    return tempfile.gettempdir()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
