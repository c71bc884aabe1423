"""A database: a few connections, transactions that may be tried again, errors in our words."""

from __future__ import annotations

import random
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from yamlgraph_prompts._files.forks import renewed_in_child
from yamlgraph_prompts.errors import LayerReadOnly, LayerUnavailable, PromptsError
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
        """All rows of a query. What no column can hold is not found."""
        try:
            return self._execute(sql, parameters).fetchall()  # type: ignore[no-any-return]
        except _Unstorable:
            return []

    def row(self, sql: str, *parameters: object) -> Row | None:
        """The first row of a query."""
        return next(iter(self.rows(sql, *parameters)), None)

    def run(self, sql: str, *parameters: object) -> int:
        """Execute a statement; how many rows it changed."""
        return int(self._execute(sql, parameters).rowcount)

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

    def _execute(self, sql: str, parameters: Sequence[object]) -> Any:
        # SQLite could store a NUL, and PostgreSQL could not.
        if any(isinstance(value, str) and "\0" in value for value in parameters):
            raise _Unstorable("A name with a NUL character cannot be stored.")
        try:
            options = self._database.options
            return self._connection.execute(self._database.dialect(sql), parameters, **options)
        except (UnicodeEncodeError, OverflowError) as problem:
            raise _Unstorable(f"No database can hold this: {problem}.") from problem


class _Unstorable(PromptsError):
    pass


class Database(ABC):
    """A database by its URL. Opens nothing before it is used; thread-safe; survives a fork."""

    url: str
    """The URL without password and parameters."""
    errors: tuple[type[Exception], ...]
    """What its driver raises."""
    options: Mapping[str, Any] = MappingProxyType({})
    """What its driver is given with each statement."""
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
            self._schema = self._schema or self._found(session)
            return do(session) if self._schema else absent

        if not self.exists():
            return absent
        return self._within(lambda used: self._transaction(look, used, writing=False))

    def write(self, do: Callable[[Session], T], timeout_s: float | None = None) -> T:
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
            self._schema = found
            return do(session)

        return self._within(
            lambda used: self._transaction(change, used, timeout_s, writing=True), timeout_s
        )

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
    def cut(self, connection: Any) -> None:
        """End what another thread waits for on this connection; never blocks."""

    @abstractmethod
    def begin(self, connection: Any, left_s: float, *, writing: bool) -> None:
        """Begin a transaction that has this long; for writing, wait until no other one writes."""

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
        """As `Session.notify`; nothing where it is not needed."""
        return

    def numbered(self, session: Session) -> None:
        """Go on after the greatest id, after rows with ids of their own were added."""
        return

    def is_stale(self, connection: Any) -> bool:
        """Whether a connection leads to what is no longer there, or has changed unseen."""
        return False

    # -- inside

    def _found(self, session: Session) -> int:
        if not self._schema and session.row(self.listed) is None:
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

    def _within(self, ask: Callable[[list[Any]], T], timeout_s: float | None = None) -> T:
        # A server, a name server or a mount that hangs is reached by no timeout of a driver.
        hint = "Check the database and the network; see what is live before you try again."
        left_s = self.timeout_s if timeout_s is None else timeout_s
        when = f"within {left_s:g} s"
        used: list[Any] = []
        try:
            return within(left_s + 1.0, lambda: ask(used), self.url, when=when, hint=hint)
        except LayerUnavailable:
            with self._lock:
                for connection in used:
                    self.cut(connection)
            raise

    def _transaction(
        self,
        do: Callable[[Session], T],
        used: list[Any],
        timeout_s: float | None = None,
        *,
        writing: bool,
    ) -> T:
        ends_s = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        tries, is_unsure = 0, False
        while True:
            tries += 1
            try:
                with self._connected(ends_s, used, writing=writing) as connection:
                    left_s = max(0.001, ends_s - time.monotonic())
                    self.begin(connection, left_s, writing=writing)
                    try:
                        result = do(Session(self, connection))
                        is_unsure = writing
                        connection.execute("COMMIT")
                    except BaseException:
                        with suppress(*self.errors):
                            connection.execute("ROLLBACK")
                        raise
                    if writing or tries == TRIES or not self.is_stale(connection):
                        return result
                    continue
            except LayerUnavailable as problem:
                if not is_unsure:
                    raise
                text = f"{problem.message} The change may have been made: the answer was lost."
                hint = "See what is active before you try again."
                raise LayerUnavailable(text, layer=self.url, hint=hint) from problem
            except self.errors as problem:
                # Also where only the answer to a COMMIT got lost: `do` finds what it did.
                fate = self.fate(problem)
                self._schema = 0  # the tables may have gone
                is_unsure = is_unsure and fate == "lost"
                if fate == "lost":
                    self.close()  # the other ones are lost with it
                if fate == "final" or tries == TRIES or time.monotonic() > ends_s:
                    raise self.problem(problem, writing=writing) from problem
            time.sleep(PAUSE_S * 2**tries * random.random())

    @contextmanager
    def _connected(self, ends_s: float, used: list[Any], *, writing: bool) -> Iterator[Any]:
        """A connection of its own; kept for the next transaction unless the driver failed."""
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
                connection = self._new(writing=writing)
            used.append(connection)
            yield connection
        except BaseException as problem:
            # Also where it only may not write: it may lead to a server that was the primary one.
            is_sound = isinstance(problem, Exception) and not isinstance(problem, self.errors)
            if connection is not None and not is_sound:
                self._let_go(connection, used)
                with suppress(*self.errors):
                    connection.close()
                connection = None
            raise
        finally:
            if connection is not None:
                self._let_go(connection, used)
                with self._lock:
                    self._idle.append(connection)
            slots.release()

    def _let_go(self, connection: Any, used: list[Any]) -> None:
        with self._lock:
            used[:] = [other for other in used if other is not connection]

    def _new(self, *, writing: bool) -> Any:
        try:
            return self.connect()
        except self.errors as problem:
            raise self.problem(problem, writing=writing) from problem

    def problem(self, problem: Exception, *, writing: bool) -> LayerUnavailable | LayerReadOnly:
        """The driver's error in our words."""
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
    head, _, parameters = rest.partition("?")
    if "@" in parameters and "/" not in head:
        # The question mark is part of a password, or there is no path.
        return f"{scheme}://{head.partition(':')[0]}@..."
    access, _, place = head.rpartition("@")
    user = access.partition(":")[0]
    return f"{scheme}://{user}@{place}" if user else f"{scheme}://{place}"
