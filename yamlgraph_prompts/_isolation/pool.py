"""Pools of worker processes, bounded in number, time, memory and the size of an answer.

The parent's side: it sends jobs and reads answers, and runs no job itself.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, cast

from yamlgraph_prompts._files.forks import renewed_in_child
from yamlgraph_prompts._isolation.worker import GRACE_S, Answer, exactly, send_bytes
from yamlgraph_prompts.errors import WorkerDied, WorkerUnavailable, WorkStopped

__all__ = ["Answer", "Pool"]

_START = (
    "import json, sys; path, *facts = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from yamlgraph_prompts._isolation.worker import main; main(*facts)"
)
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
PYTHON_VARIABLE = "YAMLGRAPH_PROMPTS_PYTHON"
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_START_S = 30.0  # for a process to start; a cold disk is slow
_END_S = 1.0


class Pool(AbstractContextManager["Pool"]):
    """Worker processes that do the same kinds of job. Thread-safe.

    A process starts with the first job and is kept for the next one. It is killed when a job takes
    too long, ends when this process does, and is not shared with a forked child.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        *,
        processes: int = 1,
        memory_bytes: int = 128 << 20,
        answer_bytes: int = 32 << 20,
        nice: int = 0,
    ) -> None:
        self._facts = (tuple(kinds), memory_bytes, nice)
        self._processes = processes
        self._answer_bytes = answer_bytes
        self._changed = threading.Condition()
        self._busy = 0
        self._idle: list[_Worker] = []
        self._all: weakref.WeakSet[_Worker] = weakref.WeakSet()
        self._closings = 0
        weakref.finalize(self, _end_all, self._idle)
        _pools.add(self)

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The processes that wait for a job."""
        return [worker.process.pid for worker in self._idle]

    def resize(self, processes: int) -> None:
        """Allow another number of processes; one that is too many ends after its next job."""
        with self._changed:
            self._processes = processes
            self._changed.notify_all()

    def close(self) -> None:
        """End the processes. A later job starts one anew."""
        with self._changed:
            self._closings += 1
            idle = self._idle[:]
            self._idle.clear()
        _end_all(idle)

    def answer(self, kind: str, request: Any, *, seconds: float) -> Answer:
        """The last answer of one job; see `run`."""
        answers: list[Answer] = [({}, b"")]
        self.run(kind, request, lambda *answer: answers.__setitem__(0, answer), seconds=seconds)
        return answers[0]

    def run(
        self, kind: str, request: Any, take: Callable[[Any, bytes], object], *, seconds: float
    ) -> None:
        """Do one job in a worker process, after waiting for one that is free."""
        data = pickle.dumps((kind, seconds, request), protocol=5)
        worker, closings = self._start()
        is_kept = False
        try:
            end = worker.run(data, take, seconds, self._answer_bytes)
            is_kept = not end["last"]
            if end["failed"] is not None:
                raise _failed(end["failed"])
        finally:
            is_surplus = self._busy + len(self._idle) > self._processes
            self._give_back(worker, is_kept and closings == self._closings and not is_surplus)

    def _start(self) -> tuple[_Worker, int]:
        with self._changed:
            while self._busy >= self._processes:
                self._changed.wait()
            self._busy += 1
            worker = self._idle.pop() if self._idle else None
            closings = self._closings
        try:
            if worker is not None and worker.process.poll() is not None:
                worker.end()
                worker = None
            if worker is None:
                worker = _Worker(*self._facts)
                self._all.add(worker)
        except BaseException as problem:
            self._give_back(None, False)
            if isinstance(problem, OSError):
                raise WorkerUnavailable(
                    f"No worker process can be started: {problem}.",
                    hint="Untrusted text is worked on in processes of its own only. "
                    f"Look at the limits of processes and memory of this host, or name a Python "
                    f"{_VERSION} in {PYTHON_VARIABLE}.",
                ) from problem
            raise
        return worker, closings

    def _give_back(self, worker: _Worker | None, is_kept: bool) -> None:
        # It ends before its place is free: there are never more than are allowed.
        if worker is not None and not is_kept:
            worker.end()
        with self._changed:
            self._busy -= 1
            if worker is not None and is_kept:
                self._idle.append(worker)
            self._changed.notify()

    def _forget(self) -> None:
        """After a fork, in the child: the processes are the parent's."""
        for worker in list(self._all):
            worker.forget()
        self._all.clear()
        self._idle.clear()
        self._busy = 0
        self._changed = threading.Condition()


class _Worker:
    """One worker process."""

    def __init__(self, kinds: Sequence[str], memory_bytes: int, nice: int) -> None:
        self._pid = os.getpid()
        argument = json.dumps([_path(), kinds, memory_bytes, nice])
        python = interpreter()
        self.process = subprocess.Popen(
            [python, "-I", "-S", "-c", _START, argument],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd=os.path.abspath(os.sep),
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            start_new_session=True,
        )
        with _Killer(self.process, _START_S):
            ready = self._read(1 << 10)
        if ready is None or ready[0]["python"] != sys.implementation.cache_tag:
            self.end()
            why = f"is not {sys.implementation.cache_tag}" if ready else "did not start as Python"
            raise OSError(f"{python} {why}")

    def run(
        self, data: bytes, take: Callable[[Any, bytes], object], seconds: float, limit: int
    ) -> dict[str, Any]:
        """Do one job; the facts of its end."""
        with _Killer(self.process, max(0.0, seconds) + GRACE_S) as killer:
            try:
                send_bytes(cast(BinaryIO, self.process.stdin), len(data).to_bytes(8, "big") + data)
                while (answer := self._read(limit)) is not None:
                    facts, body = answer
                    if "done" in facts:
                        return facts
                    take(facts, body)
            except BrokenPipeError:
                pass
        if killer.fired:
            raise WorkStopped(f"It took longer than {seconds:g} s and was stopped.", why="time")
        raise WorkerDied

    def _read(self, limit: int) -> tuple[dict[str, Any], bytes] | None:
        stream = cast(BinaryIO, self.process.stdout)
        head = exactly(stream, 8)
        if head is None:
            return None
        sizes = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
        if sum(sizes) > limit:
            raise WorkStopped(f"Its answer has more than {limit:,} bytes.", why="size")
        facts, body = exactly(stream, sizes[0]), exactly(stream, sizes[1])
        return None if facts is None or body is None else (json.loads(facts), body)

    def end(self) -> None:
        if self._pid != os.getpid():
            return
        self._close_pipes()
        try:
            self.process.wait(_END_S if self.process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def forget(self) -> None:
        """Close it in a forked child; the parent goes on using it."""
        self._close_pipes()
        self.process.returncode = 0

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Killer:
    """Kills a process unless the block ends in time; `fired`: it was killed."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.fired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()

    def __enter__(self) -> _Killer:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _failed(kind: str) -> WorkStopped:
    if kind == "MemoryError":
        return WorkStopped("It exceeded its memory limit.", why="memory")
    return WorkStopped(f"It failed in its worker process ({kind}).", why="failed")


def interpreter() -> str:
    """The Python that runs workers; under uWSGI, say, `sys.executable` is none.

    Raises OSError where there is none.
    """
    if chosen := os.environ.get(PYTHON_VARIABLE):
        return chosen
    names = [f"bin/python{_VERSION}", "bin/python3", "python.exe", "Scripts/python.exe"]
    beside = [
        os.path.join(prefix, name) for prefix in (sys.prefix, sys.base_prefix) for name in names
    ]
    for path in (sys.executable or "", *beside):
        # What embeds Python would start itself once more, and serve.
        if re.search("python|pypy", os.path.basename(path), re.I) and os.access(path, os.X_OK):
            return path
    raise OSError(f"sys.executable is {sys.executable!r}, and no Python is in {sys.prefix}")


def _path() -> list[str]:
    import jinja2
    import markupsafe
    import yaml

    homes = [str(Path(__file__).parents[2])]
    files = (jinja2.__file__, markupsafe.__file__, yaml.__file__)
    homes += [str(Path(file).parents[1]) for file in files if file]
    return list(dict.fromkeys([*(entry for entry in sys.path if entry), *homes]))


def _end_all(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().end()


_pools = renewed_in_child(Pool._forget)
