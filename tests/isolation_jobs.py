"""Jobs that misbehave, for the tests of the pool of worker processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

from yamlgraph_prompts._isolation.worker import Answer


def misbehave(request: tuple[str, Any]) -> Iterator[Answer]:
    """Do what the request names."""
    what, value = request
    yield {"began": what}, b""
    yield _ACTS[what](value), b""


def _big(size: int) -> dict[str, Any]:
    return {"text": "x" * size}


def _memory(size: int) -> dict[str, Any]:
    return {"size": len(bytearray(size))}


def _open(path: str) -> dict[str, Any]:
    with open(path) as file:
        return {"text": file.read()}


def _environment(_: Any) -> dict[str, Any]:
    return {"environment": sorted(os.environ), "modules": sorted(sys.modules)}


def _connect(address: Any) -> dict[str, Any]:
    socket.create_connection(address).close()
    return {}


def _spin(_: Any) -> dict[str, Any]:
    # One call into C that does not give the interpreter back.
    return {"found": bool(re.match("(a*)*b", "a" * 40))}


_ACTS: dict[str, Any] = {
    "echo": lambda value: {"value": value},
    "fail": lambda value: 1 // 0,
    "sleep": lambda value: time.sleep(value) or {},
    "spin": _spin,
    "kill": lambda value: os.kill(os.getpid(), signal.SIGKILL) or {},
    "pid": lambda value: {"pid": os.getpid()},
    "big": _big,
    "memory": _memory,
    "open": _open,
    "environment": _environment,
    "connect": _connect,
    "print": lambda value: print(value) or {},
}
