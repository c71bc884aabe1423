"""A database: a few connections, transactions that may be tried again, errors in our words."""

from __future__ import annotations

import random
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from yamlgraph_prompts._files.forks import renewed_in_child
from yamlgraph_prompts.errors import LayerReadOnly, LayerUnavailable
from yamlgraph_prompts.sources.deadline import within
from yamlgraph_prompts.sources.sql.schema import CURRENT, MIGRATIONS

T = TypeVar("T")
A = TypeVar("A")
Row = tuple[Any, ...]
Fate = Literal["again", "lost", "final"]
"""What an error means: try the transaction again; on another connection; or not at all."""

CONNECTIONS = 4  # of a process, for transactions
TIMEOUT_S = 30.0  # of a transaction, with all that it waits for
TRIES = 6
PAUSE_S = 0.02


class Session:
    """One transaction. SQL has `?` for parameters, in every database."""

    def __init__(self, database: Database, connection: Any) -> None:
        self._database = database
        self._connection = connection

    def rows(self, sql: str, *parameters: object) -> list[Row]:
        """All rows of a query."""
        return self._connection.execute(self._database.dialect(sql), parameters).fetchall()  # type: ignore[no-any-return]

    def row(self, sql: str, *parameters: object) -> Row | None:
        """The first row of a query."""
        return next(iter(self.rows(sql, *parameters)), None)

    def run(self, sql: str, *parameters: object) -> int:
        """Execute a statement; how many rows it changed."""
        return int(self._connection.execute(self._database.dialect(sql), parameters).rowcount)

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Execute a statement once for each row of parameters."""
        cursor = self._connection.cursor()
        try:
            cursor.executemany(self._database.dialect(sql), list(rows))
        finally:
            cursor.close()

    def among(self, column: str, values: Iterable[object]) -> tuple[str, object]:
        """A condition that the column has one of these values, and its parameter."""
        return self._database.among(column, list(values))

    def notify(self, environment: str) -> None:
        """Tell all who listen, with the commit, that the environment has changed."""
        self._database.notify(self, environment)


class Database(ABC):
    """A database by its URL. Opens nothing before it is used; thread-safe; survives a fork."""

    url: str
    """The URL without password and parameters."""
    errors: tuple[type[Exception], ...]
    """What its driver raises."""
    types: Mapping[str, str]
    """The words for columns, as `schema` has them."""
    listed: str
    """A query that has a row if the tables are there."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = redacted(url)
        self.timeout_s = timeout_s
        self._schema = 0
        self._idle: list[Any] = []
        self._renew()
        _all.add(self)
        weakref.finalize(self, _end, self._idle, self.errors)

    # -- transactions

    def read(self, do: Callable[[Session], T], absent: A) -> T | A:
        """What `do` finds in one consistent view; `absent` where there are no tables yet."""

        def look(session: Session) -> T | A:
            if not self._schema:
                self._schema = self._found(session)
            return do(session) if self._schema else absent

        if not self.exists():
            return absent
        return self._within(lambda: self._transaction(look, writing=False))

    def write(self, do: Callable[[Session], T]) -> T:
        """Commit what `do` does. It may be called again, so it must find out what is done already.

        One transaction writes at a time. Makes the tables, or brings them up to date.
        """

        def change(session: Session) -> T:
            found = self._found(session)
            if found > CURRENT:
                text = f"The schema of {self.url} is ahead: {found}, and {CURRENT} is known here."
                hint = "Prompts are still read. To change them, upgrade yamlgraph-prompts."
                raise LayerReadOnly(text, layer=self.url, hint=hint)
            self._migrate(session, found)
            return do(session)

        return self._within(lambda: self._transaction(change, writing=True))

    def schema(self) -> int:
        """The version of its tables; 0 without any."""
        return self.read(lambda session: self._found(session), 0)

    def close(self) -> None:
        """Close idle connections; it can be used again."""
        with self._lock:
            _end(self._idle, self.errors)

    # -- what a database has

    @abstractmethod
    def exists(self) -> bool:
        """Whether there may be something to read."""

    @abstractmethod
    def connect(self) -> Any:
        """A new connection, in autocommit mode."""

    @abstractmethod
    def begin(self, connection: Any, *, writing: bool) -> None:
        """Begin a transaction; for writing, wait until no other one writes."""

    @abstractmethod
    def dialect(self, sql: str) -> str:
        """The statement with its parameters as the driver has them."""

    @abstractmethod
    def among(self, column: str, values: list[object]) -> tuple[str, object]:
        """As `Session.among`."""

    @abstractmethod
    def fate(self, problem: Exception) -> Fate:
        """What to do after an error."""

    @abstractmethod
    def words(self, problem: Exception) -> tuple[str, str | None, bool]:
        """What went wrong, what to do about it, and whether it may only be read."""

    @abstractmethod
    def changes(self, stop: threading.Event, refresh_s: float) -> Iterator[None]:
        """Yields at each hint that something has changed, and every `refresh_s` seconds."""

    def notify(self, session: Session, environment: str) -> None:
        """As `Session.notify`; nothing where nobody needs it."""
        return

    def is_stale(self, connection: Any) -> bool:
        """Whether an idle connection leads to what is no longer there."""
        return False

    # -- inside

    def _found(self, session: Session) -> int:
        if session.row(self.listed) is None:
            return 0
        return int((session.row("SELECT version FROM prompts_schema") or (0,))[0])

    def _migrate(self, session: Session, found: int) -> None:
        if found == CURRENT:
            return
        if not found:
            session.run("CREATE TABLE prompts_schema (version INTEGER NOT NULL)")
            session.run("INSERT INTO prompts_schema VALUES (0)")
        for migration in MIGRATIONS[found:]:
            for statement in migration:
                session.run(statement.format_map(self.types))
        session.run("UPDATE prompts_schema SET version = ?", CURRENT)

    def _within(self, ask: Callable[[], T]) -> T:
        # A name server or a mount that hangs is reached by no timeout of a driver.
        hint = "Check the database and the network; see what is live before you try again."
        when = f"within {self.timeout_s:g} s"
        return within(self.timeout_s + 1.0, ask, self.url, when=when, hint=hint)

    def _transaction(self, do: Callable[[Session], T], *, writing: bool) -> T:
        ends_s = time.monotonic() + self.timeout_s
        tries = 0
        while True:
            tries += 1
            try:
                with self._connected(ends_s) as connection:
                    self.begin(connection, writing=writing)
                    try:
                        result = do(Session(self, connection))
                        connection.execute("COMMIT")
                    except BaseException:
                        with suppress(*self.errors):
                            connection.execute("ROLLBACK")
                        raise
                    return result
            except self.errors as problem:
                # Also where only the answer to a COMMIT got lost: `do` finds what it did.
                fate = self.fate(problem)
                if fate == "lost":
                    self.close()  # the other ones are lost with it
                if fate == "final" or tries == TRIES or time.monotonic() > ends_s:
                    raise self._problem(problem, writing=writing) from problem
            time.sleep(PAUSE_S * 2**tries * random.random())

    @contextmanager
    def _connected(self, ends_s: float) -> Iterator[Any]:
        """A connection of this transaction's own; kept for the next one unless it is broken."""
        slots = self._slots
        if not slots.acquire(timeout=max(0.0, ends_s - time.monotonic())):
            text = f"All {CONNECTIONS} connections to {self.url} are busy."
            raise LayerUnavailable(text, layer=self.url, hint="Try again.")
        connection = None
        try:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is not None and self.is_stale(connection):
                connection.close()
                connection = None
            if connection is None:
                connection = self._new()
            yield connection
        except BaseException as problem:
            is_broken = isinstance(problem, self.errors) and self.fate(problem) != "final"
            if connection is not None and (is_broken or not isinstance(problem, Exception)):
                with suppress(*self.errors):
                    connection.close()
                connection = None
            raise
        finally:
            if connection is not None:
                with self._lock:
                    self._idle.append(connection)
            slots.release()

    def _new(self) -> Any:
        try:
            return self.connect()
        except self.errors as problem:
            raise self._problem(problem, writing=False) from problem

    def _problem(self, problem: Exception, *, writing: bool) -> LayerUnavailable | LayerReadOnly:
        text, hint, only_read = self.words(problem)
        if writing and only_read:
            return LayerReadOnly(
                f"{self.url} cannot be written: {text}.", layer=self.url, hint=hint
            )
        verb = "written" if writing else "read"
        return LayerUnavailable(f"{self.url} cannot be {verb}: {text}.", layer=self.url, hint=hint)

    def _renew(self) -> None:
        """Connections, locks and threads belong to one process; a fork makes them anew."""
        # Kept, since closing the child's copy would end the parent's connection.
        _inherited.extend(self._idle)
        self._idle.clear()
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(CONNECTIONS)


_inherited: list[Any] = []
_all = renewed_in_child(Database._renew)


def _end(connections: list[Any], errors: tuple[type[Exception], ...]) -> None:
    while connections:
        with suppress(*errors):
            connections.pop().close()


def redacted(url: str) -> str:
    """The URL without password and parameters, which may hold secrets."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0]
    access, at, place = place.rpartition("@")
    user = urlsplit(f"//{access}@x").username if at else None
    return f"{scheme}://{user}@{place}" if user else f"{scheme}://{place}"
