"""Runs the examples as a user would: a copy, a process of its own, a clean environment."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.conftest import ROOT, wait_until

STOP_S = 15.0


def copy_of(example: str, folder: Path) -> Path:
    """A copy of an example in `folder`, to be run and edited."""
    copy = folder / example
    shutil.copytree(
        ROOT / "examples" / example,
        copy,
        ignore=shutil.ignore_patterns("__pycache__", ".*", "*.sqlite*"),
    )
    return copy


def settings(folder: Path, model_url: str = "http://127.0.0.1:9/v1") -> dict[str, str]:
    """The whole environment of an example: this package, that model, a store in `folder`."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "home"),
        "PYTHONPATH": str(ROOT),
        "PROVIDER": "lmstudio",
        "LMSTUDIO_BASE_URL": model_url,
        "YAMLGRAPH_PROMPTS_STORE": str(folder / "store"),
        "LANGSMITH_TRACING": "false",
        "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    }


def save(file: Path, text: str) -> None:
    """Save as an editor does: beside, then renamed."""
    beside = file.with_name(f".{file.name}.tmp")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, file)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Server:
    """A server in a process of its own, the example it serves, and what it has logged."""

    http: httpx.Client
    folder: Path
    log_file: Path
    process: subprocess.Popen[bytes]
    workers: int = 1

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def of_every_worker(self, path: str, key: str) -> dict[int, Any]:
        """Worker → the value of `key` in its answer at `path`; waits until all have answered.

        The answer names its process as `worker`. The kernel may hand every connection to the same
        one of several that wait for it, so whoever has answered stands still until all have.
        """
        heard: dict[int, Any] = {}

        def all_answer() -> bool:
            heard.clear()
            try:
                while len(heard) < self.workers:
                    heard.update([self._of_one_worker(path, key)])
                    os.kill(next(reversed(heard)), signal.SIGSTOP)
            except httpx.TransportError:
                return False
            finally:
                for worker in heard:
                    with suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGCONT)
            return True

        wait_until(all_answer, timeout_s=60)
        return heard

    def _of_one_worker(self, path: str, key: str) -> tuple[int, Any]:
        # uvicorn's supervisor takes a worker that stands still for 5 s for dead.
        answer = self.http.get(path, headers={"connection": "close"}, timeout=2)
        assert answer.is_success, answer.text
        said = answer.json()
        return said["worker"], said[key]


@contextmanager
def serving(
    arguments: Sequence[str],
    folder: Path,
    env: Mapping[str, str],
    *,
    ready: str,
    workers: int = 1,
) -> Iterator[Server]:
    """`python -m <arguments> --port N`, from when `ready` answers until the block ends.

    An argument may hold `{port}` instead. It is asked to stop, and must; whatever it has started
    is ended with it.
    """
    port = free_port()
    words = [word.format(port=port) for word in arguments]
    if words == list(arguments):
        words += ["--port", str(port)]
    log_file = folder.with_name(f"{folder.name}.log")
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http,
    ):
        server = Server(http, folder, log_file, process, workers)
        try:
            wait_until(lambda: _answers(server, ready), timeout_s=60)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            finally:
                _end_group(process.pid)


def _answers(server: Server, path: str) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return server.http.get(path).is_success
    except httpx.TransportError:
        return False


def _end_group(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
