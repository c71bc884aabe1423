"""Runs the suite: `python -m tests.suite [--quick] [what pytest takes]`.

First what may share the machine, on all its cores; then what measures wall time, with nothing else
running. `--quick` leaves out what is slow. What is marked `nightly` runs with plain pytest only.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_PARALLEL = ("-n", "auto", "-q")
_PARTS = {False: ("not alone", "alone"), True: ("not alone and not slow",)}


def main(*arguments: str) -> int:
    """The exit code: that of the first part that failed."""
    is_quick = "--quick" in arguments
    given = [argument for argument in arguments if argument != "--quick"]
    codes = []
    for part in _PARTS[is_quick]:
        more = () if part == "alone" else _PARALLEL
        command = [sys.executable, "-m", "pytest", *more, "-m", f"not nightly and {part}", *given]
        codes.append(subprocess.run(command, check=False).returncode)
    # A part may have no test of what was asked for, but not all of them.
    bad = [
        code
        for code in codes
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    ]
    return bad[0] if bad else min(codes)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
