"""Keeps worker processes between tests: one takes 0.3 s to start, and many tests need some.

A worker is made to do one job after another, so which pool it serves makes no difference to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from yamlgraph_prompts._isolation import pool

_MOST = 2
_Worker, _end_all = pool._Worker, pool._end_all
_kept: dict[str, list[pool._Worker]] = {}


@contextmanager
def kept_workers() -> Iterator[None]:
    """In this block a pool that is closed or dropped leaves its workers to the next one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_Worker", _worker)
        patch.setattr(pool, "_end_all", _keep_all)
        yield
    for workers in _kept.values():
        _end_all(workers)


def _worker(kinds: Sequence[str], memory_bytes: int, nice: int) -> pool._Worker:
    facts = json.dumps([pool._START, pool._path(), kinds, memory_bytes, nice])
    same = _kept.setdefault(facts, [])
    while same:
        worker = same.pop()
        if worker.process.poll() is None:
            return worker
        worker.end()
    worker = _Worker(kinds, memory_bytes, nice)
    worker.facts = facts
    return worker


def _keep_all(workers: list[pool._Worker]) -> None:
    while workers:
        worker = workers.pop()
        same = _kept.setdefault(getattr(worker, "facts", ""), [])
        if worker._pid != os.getpid() or len(same) >= _MOST or worker.process.poll() is not None:
            worker.end()
        else:
            same.append(worker)


def _forget() -> None:
    for workers in _kept.values():
        for worker in workers:
            worker.forget()
        workers.clear()


os.register_at_fork(after_in_child=_forget)
