"""The audit log: who changed what, when, from where. Append-only JSON lines, no prompt text."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from yamlgraph_prompts._files import disk
from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.admin.bodies import AuditLine
from yamlgraph_prompts.admin.security.auth import Who
from yamlgraph_prompts.errors import StoreError
from yamlgraph_prompts.registry.folder import from_reserve
from yamlgraph_prompts.registry.store import AUDIT_FILE

logger = logging.getLogger("yamlgraph_prompts")

READ_BYTES = 8 << 20
# Refused attempts cost a client nothing, so their lines are limited.
REFUSALS, REFUSALS_S = 20, 60.0
REFUSALS_UP_TO_BYTES = 64 << 20
_KEPT_IN_MEMORY = 1000


@dataclass(slots=True)
class _Refused:
    """What a token was refused in this minute."""

    ends: float = 0.0
    lines: int = 0
    left_out: int = 0


class Audit:
    """The audit log of a store; every process that shares the store adds to the same file."""

    def __init__(self, folder: Callable[[], Path | None]) -> None:
        self._folder = folder
        self._lines: list[bytes] = []
        # What the disk had no room for, to be written with the next line.
        self._late: list[bytes] = []
        self._refused: dict[str, _Refused] = {}
        self._lock = threading.Lock()

    def add(
        self, who: Who, address: str, action: str, status: str, *, late: bool = False, **facts: Any
    ) -> None:
        """Add a line, with further fields of `AuditLine`. It reaches the disk in its own time.

        `late`: one that cannot be written now is kept, and written with the next one.
        """
        for name in ("prompt", "message"):
            facts[name] = facts.get(name) and printable(facts[name])
        line = AuditLine(
            at_s=time.time(),
            who=who.name,
            role=who.role,
            address=printable(address),
            action=action,
            status=status,
            **facts,
        )
        if status != "begun":
            known = {name: value for name, value in facts.items() if isinstance(value, str)}
            fields = {**known, "who": line.who, "action": action, "outcome": status}
            fields.pop("message", None)  # the record's own name for its text
            logger.info("%s by %s: %s", action, line.who, status, extra=fields)
        # A line end first: a process that was killed may have left half a line.
        data = b"\n" + json.dumps(line.model_dump(exclude_none=True)).encode() + b"\n"
        folder = self._folder()
        with self._lock:
            if folder is None:
                self._lines = [*self._lines[1 - _KEPT_IN_MEMORY :], data.strip()]
                return
            file, lines = folder / AUDIT_FILE, [*self._late, data]

            def write() -> None:
                disk.append(file, b"".join(lines), sync=late and status == "begun", alone=late)

            try:
                with disk.store_errors("Could not write the audit log in", folder):
                    if late:
                        from_reserve(folder, write)
                    else:
                        write()
            except StoreError as problem:
                if not late:
                    raise
                self._late = lines[-_KEPT_IN_MEMORY:]
                logger.error("This line of the audit log is written later: %s. %s", data, problem)
            else:
                self._late.clear()

    def begin(self, who: Who, address: str, action: str, **facts: Any) -> Callable[[], None]:
        """Add a line that says ``"begun"``; call the answer to wait until it is on disk."""
        self.add(who, address, action, "begun", **facts)
        folder = self._folder()
        if folder is None:
            return lambda: None
        synced = disk.syncing(folder / AUDIT_FILE)

        def wait() -> None:
            with disk.store_errors("Could not write the audit log in", folder):
                synced()

        return wait

    def refused(
        self, who: Who, address: str, action: str, code: str, *, prompt: str | None = None
    ) -> None:
        """Add a line on an attempt that was refused.

        Each token has `REFUSALS` of them in `REFUSALS_S` seconds, and the log only so many in all;
        the next line says how many were left out.
        """
        with self._lock:
            now, spent = time.monotonic(), self._refused.setdefault(who.name, _Refused())
            if spent.ends <= now:
                spent.ends, spent.lines = now + REFUSALS_S, 0
            spent.lines += 1
            if spent.lines > REFUSALS or self._is_large():
                spent.left_out += 1
                return
            left_out, spent.left_out = spent.left_out, 0
        self.add(
            who, address, action, "refused", code=code, left_out=left_out or None, prompt=prompt
        )

    def newest(self, limit: int, prompt: str | None = None) -> list[AuditLine]:
        """The newest lines, newest first."""
        found: list[AuditLine] = []
        prompt = prompt and printable(prompt)
        for data in self._read():
            if len(found) == limit:
                break
            try:
                line = AuditLine.model_validate_json(data)
            except ValidationError:
                logger.error("A line of the audit log is damaged and is skipped.")
                continue
            if prompt in (None, line.prompt):
                found.append(line)
        return found

    def _is_large(self) -> bool:
        folder = self._folder()
        try:
            size = os.stat(folder / AUDIT_FILE).st_size if folder else 0
        except OSError:
            return False
        return size > REFUSALS_UP_TO_BYTES

    def _read(self) -> Iterator[bytes]:
        folder = self._folder()
        if folder is None:
            return reversed(self._lines)
        path = folder / AUDIT_FILE
        try:
            size = path.stat().st_size
            start = max(0, size - READ_BYTES)
            data, _ = disk.read_file(path, READ_BYTES, start)
        except FileNotFoundError:
            return iter(())
        except StoreError:
            raise
        except OSError as problem:
            raise disk.refusal("Could not read the audit log", path, problem) from problem
        lines = [line for line in data.split(b"\n") if line.strip()]
        return reversed(lines[1:] if start else lines)
