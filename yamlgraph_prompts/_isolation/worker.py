"""A worker process: reads jobs from its input, writes their answers, ends when its input ends.

It imports neither langgraph nor yamlgraph, gets no environment variables and opens no files.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, BinaryIO

Answer = tuple[Mapping[str, Any], bytes]
"""One answer of a job: facts that JSON can hold, and bytes."""

Job = Callable[[Any], Iterator[Answer]]

JOBS = {
    "compile": "yamlgraph_prompts._isolation.compiling:compile_job",
    "render": "yamlgraph_prompts.templates.render_job:render_all",
    "preview": "yamlgraph_prompts._check.untrusted_jobs:preview",
    "examine": "yamlgraph_prompts._check.untrusted_jobs:examine",
    "drafts": "yamlgraph_prompts._check.untrusted_jobs:drafts",
    "version": "yamlgraph_prompts._check.untrusted_jobs:version",
    "yaml": "yamlgraph_prompts._check.untrusted_jobs:as_yaml",
    "diff": "yamlgraph_prompts._check.untrusted_jobs:diff",
}
"""Kind of job → the function that does it. It is imported in the worker only."""

# Python reads these when they are first used, which a worker cannot.
_READ_LATE = (
    *("encodings.ascii", "encodings.latin_1", "encodings.unicode_escape", "encodings.utf_8_sig"),
    *("encodings.utf_16", "encodings.utf_16_le", "encodings.utf_16_be", "encodings.utf_32"),
    *("encodings.punycode", "encodings.idna", "encodings.cp1252", "encodings.charmap"),
    *("_strptime", "unicodedata", "linecache", "jinja2.debug"),
)
GRACE_S = 0.5  # on top of a job's time, so that it can report itself what took too long
_KEPT = 32 << 20  # bytes above its start with which a process takes another job


is_worker = False
"""Whether this process is a worker, which starts no others."""


def send(stream: BinaryIO, facts: Mapping[str, Any], body: bytes = b"") -> None:
    """Write one answer: the lengths of facts and body in four bytes each, then both."""
    head = json.dumps(facts).encode()
    for data in (len(head).to_bytes(4, "big") + len(body).to_bytes(4, "big") + head, body):
        send_bytes(stream, data)


def send_bytes(stream: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def exactly(stream: BinaryIO, length: int) -> bytes | None:
    """Read exactly `length` bytes; None when the other side is gone."""
    chunks = []
    while length:
        chunk = stream.read(min(length, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def main(kinds: Sequence[str], memory_bytes: int, nice: int) -> None:
    """Do jobs until the input ends."""
    global is_worker
    is_worker = True
    source: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=0)
    target: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing else may reach the pipe
    jobs = {kind: _job(kind) for kind in kinds}
    for module in _READ_LATE:
        import_module(module)
    size = _Size()
    _bound(size.address_space, memory_bytes)
    if nice and hasattr(os, "nice"):
        os.nice(nice)
    try:
        send(target, {"ready": os.getpid(), "python": sys.implementation.cache_tag})
        while (length := exactly(source, 8)) is not None:
            data = exactly(source, int.from_bytes(length, "big"))
            if data is None:
                return
            failed = _do(jobs, data, target)
            is_last = failed == "MemoryError" or size.grown() > _KEPT
            send(target, {"done": True, "failed": failed, "last": is_last})
            if is_last:
                return
    except BrokenPipeError:
        return


def _job(kind: str) -> Job:
    module, _, name = JOBS[kind].partition(":")
    job: Job = getattr(import_module(module), name)
    return job


def _do(jobs: Mapping[str, Job], data: bytes, target: BinaryIO) -> str | None:
    """Do one job and write its answers; the kind of error where it failed."""
    try:
        kind, seconds, request = pickle.loads(data)  # from our own parent, through our own pipe
        # Also where the parent is gone: nothing here runs on for ever.
        _alarm(seconds + 2 * GRACE_S)
        for facts, body in jobs[kind](request):
            send(target, facts, body)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a text does, the next job is another
        return type(error).__name__
    finally:
        _alarm(0.0)
    return None


def _alarm(seconds: float) -> None:
    """End this process after so many seconds; 0 for never."""
    if hasattr(signal, "setitimer"):  # not on Windows
        signal.setitimer(signal.ITIMER_REAL, seconds)


class _Size:
    """The memory of this process, in bytes; 0 where the system does not show it."""

    def __init__(self) -> None:
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:  # not Linux
            self._statm = -1
        self.address_space, self._start = self._read()

    def grown(self) -> int:
        """How much more memory it holds than at its start."""
        return self._read()[1] - self._start

    def _read(self) -> tuple[int, int]:
        if self._statm < 0:
            return 0, 0
        pages = os.pread(self._statm, 100, 0).split()
        page = os.sysconf("SC_PAGE_SIZE")
        return int(pages[0]) * page, int(pages[1]) * page


def _bound(address_space: int, memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows; the budgets still hold
        return
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NPROC": 0, "RLIMIT_NOFILE": 0}
    if address_space:
        limits["RLIMIT_AS"] = address_space + memory_bytes
    for name, limit in limits.items():
        if hasattr(resource, name):
            resource.setrlimit(getattr(resource, name), (limit, limit))
