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
    "9p afs ceph cifs glusterfs lustre nfs nfs4 smb3 smbfs vboxsf virtiofs".split()
)
_AGAIN = ("SQLITE_BUSY", "SQLITE_LOCKED")
# The file has moved away under it; or another process has just removed the log beside it.
_LOST = ("SQLITE_READONLY_DBMOVED", "SQLITE_CANTOPEN")


class _Connection(sqlite3.Connection):
    is_immutable = False
    identity: tuple[object, ...] | None = None
    """Of the file that it opened: another one may have taken its place."""


class SqliteDatabase(Database):
    """`sqlite:///relative/path.db`, or `sqlite:////absolute/path.db`."""

    errors = (sqlite3.Error,)
    types = MappingProxyType({"identity": "INTEGER PRIMARY KEY", "bytes": "BLOB"})
    listed = "SELECT 1 FROM sqlite_master WHERE name = 'prompts_schema'"

    def __init__(self, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout_s)
        self._warned = False
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
            return self._opened("mode=ro" if self._log().exists() else "immutable=1")
        may_write = not self.path.exists() or os.access(self.path, os.W_OK)
        connection = self._opened("mode=rwc" if may_write else "mode=ro")
        if may_write:
            try:
                self._set_up(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def cut(self, connection: Any) -> None:
        with suppress(sqlite3.Error):
            connection.interrupt()

    def begin(self, connection: Any, left_s: float, *, writing: bool) -> None:
        connection.execute(f"PRAGMA busy_timeout = {int(left_s * 1000)}")
        # At once: a transaction that reads first and then wants to write could not wait.
        connection.execute("BEGIN IMMEDIATE" if writing else "BEGIN")

    def dialect(self, sql: str) -> str:
        return sql

    def among(self, column: str, values: list[object]) -> tuple[str, object]:
        return f"{column} IN (SELECT value FROM json_each(?))", json.dumps(values)

    def is_stale(self, connection: Any) -> bool:
        return bool(connection.identity != self._identity(connection.is_immutable))

    def fate(self, problem: Exception) -> Fate:
        name = getattr(problem, "sqlite_errorname", "")
        if name.startswith(_AGAIN):
            return "again"
        return "lost" if name.startswith(_LOST) else "final"

    def words(self, problem: Exception) -> tuple[str, str | None, bool]:
        text, name = str(problem), getattr(problem, "sqlite_errorname", "")
        if name.startswith(_AGAIN):
            return "another process keeps it locked", "Try again, or end that process.", False
        if name.startswith("SQLITE_READONLY"):
            hint = "Make the file and its folder writable for this user."
            return "the file is read-only", hint, True
        if name.startswith("SQLITE_FULL"):
            return "the disk is full", "Free some space, then try again.", False
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            hint = "Restore a backup: yamlgraph-prompts restore FILE URL."
            return f"the file is damaged ({text})", hint, False
        hint = (
            f"Look at {self.path.parent}: it must exist, be writable for this user, and not full."
        )
        if name.startswith("SQLITE_CANTOPEN"):
            return "the file cannot be opened", hint, False
        return text, hint if name.startswith("SQLITE_IOERR") else None, False

    def changes(self, stop: Event, refresh_s: float) -> Iterator[None]:
        """Asks the file's own counter, which costs no read of a table."""
        try:
            while not stop.is_set():
                if self._identity() is None:
                    stop.wait(LOOK_S)
                    yield None
                    continue
                with closing(self.connect()) as connection:
                    yield from self._written(connection, stop, refresh_s)
        except sqlite3.Error as problem:
            raise self.problem(problem, writing=False) from problem

    def _written(
        self, connection: sqlite3.Connection, stop: Event, refresh_s: float
    ) -> Iterator[None]:
        """Hints until the file is another one."""
        seen: object = None
        due_s = 0.0
        while not stop.is_set():
            version = connection.execute("PRAGMA data_version").fetchone()
            if version != seen or time.monotonic() > due_s:
                seen, due_s = version, time.monotonic() + refresh_s
                yield None
            if self.is_stale(connection):
                return
            stop.wait(LOOK_S)

    def _opened(self, mode: str) -> _Connection:
        is_immutable = mode == "immutable=1"
        # Before it opens: what happens meanwhile makes it stale.
        identity = self._identity(is_immutable)
        connection: _Connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?{mode}",
            uri=True,
            timeout=self.timeout_s,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        # A file that this has made has no identity before.
        connection.identity = identity or self._identity(is_immutable)
        connection.is_immutable = is_immutable
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        # Shared memory, which a write-ahead log needs, does not reach across a network.
        wanted = "delete" if is_network_mount(self.path.parent) else "wal"
        if wanted == "delete" and not self._warned:
            self._warned = True
            logger.warning(
                "%s is on a network mount: it is kept with a rollback journal, and all depends "
                "on the locks of that mount. Use PostgreSQL for several machines.",
                self.url,
            )
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        if mode != wanted:
            with suppress(sqlite3.OperationalError):
                connection.execute(f"PRAGMA journal_mode = {wanted}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    def _log(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def _identity(self, is_immutable: bool = False) -> tuple[object, ...] | None:
        """Which file is there; and for a connection that locks nothing, which state of it."""
        try:
            facts = os.stat(self.path)
        except OSError:
            return None
        file = facts.st_dev, facts.st_ino
        if not is_immutable:
            return file
        return *file, facts.st_mtime_ns, facts.st_size, self._log().exists()


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
    # The most of them that a user mounts lead elsewhere.
    return kind in _NETWORK or (kind.startswith("fuse.") and kind != "fuse.fuse-overlayfs")
