"""A database in one SQLite file, which the processes of one machine share."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.sources.sql.database import Database, Fate

logger = logging.getLogger("yamlgraph_prompts")

LOOK_S = 0.05  # between two looks at whether another process wrote
_NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "ceph",
        "glusterfs",
        "fuse.sshfs",
        "afs",
        "lustre",
    }
)
_AGAIN = ("locked", "busy")


class _Connection(sqlite3.Connection):
    inode: tuple[int, int] | None = None
    """Of the file that it opened: another one may have taken its place."""


class SqliteDatabase(Database):
    """`sqlite:///relative/path.db`, or `sqlite:////absolute/path.db`."""

    errors = (sqlite3.Error,)
    types = MappingProxyType({"identity": "INTEGER PRIMARY KEY", "bytes": "BLOB"})
    listed = "SELECT 1 FROM sqlite_master WHERE name = 'prompts_schema'"

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout_s)
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.netloc or parts.query or parts.fragment or len(path) < 2 or path.endswith("/"):
            text = f"{self.url} names no SQLite file."
            hint = "Write sqlite:///prompts.db, or sqlite:////srv/prompts.db for an absolute path."
            raise LayerUnavailable(text, layer=self.url, hint=hint)
        # The working directory of this moment counts, whatever a program does later.
        self.path = Path(path[1:]).absolute()

    def exists(self) -> bool:
        return self.path.exists()

    def connect(self) -> sqlite3.Connection:
        # Who may not write to the folder can neither make a journal nor the shared memory of one.
        folder = self.path.parent
        if self.path.exists() and not os.access(folder, os.W_OK):
            return self._opened("mode=ro" if self._beside("-wal").exists() else "immutable=1")
        may_write = not self.path.exists() or os.access(self.path, os.W_OK)
        connection = self._opened("mode=rwc" if may_write else "mode=ro")
        if may_write:
            try:
                self._set_up(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def begin(self, connection: Any, *, writing: bool) -> None:
        # At once: a transaction that reads first and then wants to write could not wait.
        connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    def dialect(self, sql: str) -> str:
        return sql

    def among(self, column: str, values: list[object]) -> tuple[str, object]:
        return f"{column} IN (SELECT value FROM json_each(?))", json.dumps(values)

    def is_stale(self, connection: Any) -> bool:
        return bool(connection.inode != self._inode())

    def fate(self, problem: Exception) -> Fate:
        return "again" if any(word in str(problem) for word in _AGAIN) else "final"

    def words(self, problem: Exception) -> tuple[str, str | None, bool]:
        text = str(problem)
        if self.fate(problem) == "again":
            return "another process keeps it locked", "Try again, or end that process.", False
        if "readonly" in text or "attempt to write" in text:
            hint = "Make the file and its folder writable for this user."
            return "the file is read-only", hint, True
        if "full" in text:
            return "the disk is full", "Free some space, then try again.", False
        if "not a database" in text or "malformed" in text:
            hint = "Restore a backup: yamlgraph-prompts restore FILE URL."
            return f"the file is damaged ({text})", hint, False
        if "unable to open" in text:
            hint = f"Look at {self.path.parent}: it must exist, and be writable for this user."
            return "the file cannot be opened", hint, False
        return text, None, False

    def changes(self, stop: Event, refresh_s: float) -> Iterator[None]:
        """Asks the file's own counter, which costs no read of a table."""
        try:
            while not stop.is_set():
                inode = self._inode()
                if inode is None:
                    stop.wait(LOOK_S)
                    yield None
                    continue
                with closing(self.connect()) as connection:
                    yield from self._written(connection, inode, stop, refresh_s)
        except sqlite3.Error as problem:
            raise self._problem(problem, writing=False) from problem

    def _written(
        self, connection: sqlite3.Connection, inode: tuple[int, int], stop: Event, refresh_s: float
    ) -> Iterator[None]:
        """Hints until the file is another one."""
        seen: object = None
        due_s = 0.0
        while not stop.is_set():
            version = connection.execute("PRAGMA data_version").fetchone()
            if version != seen or time.monotonic() > due_s:
                seen, due_s = version, time.monotonic() + refresh_s
                yield None
            if self._inode() != inode:
                return
            stop.wait(LOOK_S)

    def _opened(self, mode: str) -> _Connection:
        connection: _Connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{mode}",
            uri=True,
            timeout=min(5.0, self.timeout_s),
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        connection.inode = self._inode()
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # Shared memory, which a write-ahead log needs, does not reach across a network.
        wanted = "delete" if is_network_mount(self.path.parent) else "wal"
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != wanted:
            with suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA journal_mode = {wanted}")
            if wanted == "delete":
                logger.warning(
                    "%s is on a network mount: it is kept with a rollback journal, and all depends "
                    "on the locks of that mount. Use PostgreSQL for several machines.",
                    self.url,
                )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def _inode(self) -> tuple[int, int] | None:
        try:
            facts = os.stat(self.path)
        except OSError:
            return None
        return facts.st_dev, facts.st_ino


def is_network_mount(folder: Path, mounts: str = "/proc/self/mounts") -> bool:
    """Whether the folder lies on a file system that other machines share; False if unknown."""
    try:
        lines = Path(mounts).read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    best, kind = "", ""
    for line in lines:
        _, place, name, *_ = line.split(" ")
        place = place.replace("\\040", " ").rstrip("/")
        if len(place) >= len(best) and f"{folder}/".startswith(f"{place}/"):
            best, kind = place, name
    return kind in _NETWORK
