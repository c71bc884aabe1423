"""A process that has imported what most programs of the tests import; it forks for each of them.

Its imports depend on no folder and no variable: those of a program are set after the fork.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_SERVER = """
import json, os, sys, threading
import langchain_openai, langgraph.checkpoint.memory, langgraph.graph
assert threading.active_count() == 1
while True:
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    job = json.loads(line)
    pid = os.fork()
    if pid == 0:
        break
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
os.chdir(job["cwd"])
os.environ.clear()
os.environ.update(job["env"])
for number, path in enumerate((os.devnull, job["out"], job["err"])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
script = job["script"]
del job, line, number, path, pid
exec(compile(script, "<string>", "exec"))
"""
_server: subprocess.Popen[str] | None = None


def run(script: str, cwd: Path, env: dict[str, str], timeout_s: float) -> tuple[int, str, str]:
    """Run a script as `python -c` does; its exit code, standard output and standard error."""
    global _server
    if _server is None:
        _server = subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Any] = {name: f"{folder}/{name}" for name in ("out", "err")}
        job = {"script": script, "cwd": str(cwd), "env": env, **files}
        assert _server.stdin is not None
        assert _server.stdout is not None
        _server.stdin.write(json.dumps(job) + "\n")
        _server.stdin.flush()
        pid = int(_server.stdout.readline())
        if not select.select([_server.stdout], [], [], timeout_s)[0]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = int(_server.stdout.readline())
        return code, *(Path(path).read_text() for path in files.values())


@contextmanager
def ended() -> Iterator[None]:
    """End the process after the block."""
    global _server
    try:
        yield
    finally:
        if _server is not None:
            _server.communicate()
            _server = None
