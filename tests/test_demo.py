"""The demo is a test: it fails when a step of it did not happen as told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def demo(cwd: Path, script: str = "") -> subprocess.CompletedProcess[str]:
    run = f"import sys\n{script}\nfrom yamlgraph_prompts._cli import main; sys.exit(main(['demo']))"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("FORCE_")
    }
    return subprocess.run(
        [sys.executable, "-c", run],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT), "TMPDIR": str(cwd), "HOME": str(cwd)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_shows_a_swap_a_refusal_a_rollback_and_following_and_leaves_nothing_behind(
    tmp_path: Path, no_network_env: None
) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    answers = re.findall(r"→ (.*)", done.stdout)
    old, new = "Good day, Ada. Yours, the team.", "Welcome back, Ada! Yours, the team."
    assert answers == [old, new, new, old, new, new, "Hi Ada! Yours, the team.", new]
    milliseconds = re.search(r"from save to live: (\d+) ms", done.stdout)
    assert milliseconds is not None
    assert int(milliseconds[1]) < 5000
    assert "template-syntax" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["rollback", "follow"])
def test_it_fails_when_a_step_does_nothing(tmp_path: Path, no_network_env: None, step: str) -> None:
    done = demo(
        tmp_path,
        "from yamlgraph_prompts.live_prompts import LivePrompts\n"
        f"LivePrompts.{step} = lambda self: self.publish()",
    )
    assert done.returncode == 1
    assert "✗" in done.stdout
    assert list(tmp_path.iterdir()) == []
