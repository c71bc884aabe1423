"""Whatever a database does, runs go on, nothing is half done, and it recovers by itself."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from starlette.testclient import TestClient

from tests.conftest import run_in, wait_until
from tests.databases import PASSWORD, Postgres, Proxy, running
from tests.files import Heard
from yamlgraph_prompts import LivePrompts, PromptsRejected
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.errors import (
    LayerNotFound,
    LayerReadOnly,
    LayerUnavailable,
    PromptsError,
    VersionNotFound,
)
from yamlgraph_prompts.registry.sql import SqlRegistry
from yamlgraph_prompts.sources import open_source
from yamlgraph_prompts.sources.sql import SqlSource
from yamlgraph_prompts.sources.sql.database import CONNECTIONS, Session
from yamlgraph_prompts.sources.sql.source import _HEAD

LISTENER = 1


def activate(registry: SqlRegistry, text: str) -> None:
    version = registry.create("a", f"user: {text}".encode(), who="Ada")
    registry.activate("production", {"a": version.number}, who="Ada")


def user_of(url: str) -> str:
    return str(urlsplit(url).username)


def fill(registry: SqlRegistry, size: int) -> None:
    for _ in range(99):
        registry.create("b", os.urandom(size), who="Ada")


def live(url: str, **options: object) -> LivePrompts:
    return LivePrompts(url, environment="production", **options)  # type: ignore[arg-type]


def source_of(url: str) -> SqlSource:
    source = open_source(url, channel="production", unpack=lambda data, id_: {})
    assert isinstance(source, SqlSource)
    return source


@pytest.fixture
def registry(database_url: str) -> Iterator[SqlRegistry]:
    with closing(SqlRegistry(database_url)) as registry:
        activate(registry, "one")
        yield registry


@pytest.fixture
def proxy(postgres_server: Postgres) -> Iterator[Proxy]:
    with closing(Proxy(postgres_server.port)) as proxy:
        yield proxy


@pytest.fixture
def behind(postgres_server: Postgres, proxy: Proxy) -> str:
    """A database behind the proxy, in which "one" is active."""
    url = postgres_server.url(postgres_server.schema(), port=proxy.port)
    with closing(SqlRegistry(url)) as registry:
        activate(registry, "one")
    return url


@pytest.fixture(scope="module")
def own_server() -> Iterator[Postgres]:
    """A server that tests may stop; it has TLS."""
    with running(synchronous_commit="on") as server:
        yield server


# Down


def test_down_at_start_the_last_good_release_is_served(
    behind: str, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    with live(behind) as prompts:
        assert prompts["a"].user == "one"
    proxy.refuse()
    with live(behind) as prompts:
        assert prompts["a"].user == "one"
        assert "Connection refused" in caplog.text
        proxy.accept()
        registry = SqlRegistry(behind)
        activate(registry, "two")
        wait_until(lambda: prompts["a"].user == "two")
        registry.close()


def test_down_at_start_without_a_last_good_release_it_says_why(behind: str, proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises((PromptsRejected, LayerUnavailable), match="Connection refused") as caught:
        assert live(behind).release
    assert PASSWORD not in str(caught.value)


def test_a_damaged_file_at_start_is_not_served_and_not_touched(tmp_path: Path) -> None:
    content = b"no database at all, but many more bytes of it" * 99
    url, path = f"sqlite:///{tmp_path}/prompts.db", tmp_path / "prompts.db"
    with closing(SqlRegistry(url)) as registry:
        activate(registry, "one")
    with live(url) as prompts:
        assert prompts["a"].user == "one"
    path.write_bytes(content)
    with live(url, watch=False) as prompts:
        assert prompts["a"].user == "one"
        assert prompts.publish().status == "rejected"
    assert path.read_bytes() == content


def test_down_while_serving_writes_fail_runs_go_on_and_it_recovers_by_itself(
    behind: str, proxy: Proxy
) -> None:
    heard = Heard()
    registry = SqlRegistry(behind)
    with live(behind, hooks=[heard], refresh_s=0.2) as prompts, closing(registry):
        assert prompts["a"].user == "one"
        proxy.refuse()
        wait_until(lambda: heard.of("layer-unavailable"))
        with pytest.raises(LayerUnavailable, match=r"cannot be written: .*Connection refused"):
            registry.create("a", b"user: two", who="Ada")
        assert prompts["a"].user == "one"
        admin = TestClient(admin_app(prompts, tokens={"an-operators-token": "operator"}))
        admin.headers["authorization"] = "Bearer an-operators-token"
        body = {"name": "a", "content": "user: two", "message": ""}
        assert admin.post("/prompts", json=body).status_code == 503
        assert admin.get("/prompts/a").json()["name"] == "a"
        proxy.accept()
        activate(registry, "two")
        wait_until(lambda: prompts["a"].user == "two")


def test_a_server_that_crashes_and_comes_back_is_used_again(own_server: Postgres) -> None:
    url = own_server.url(own_server.schema())
    registry = SqlRegistry(url)
    activate(registry, "one")
    with live(url) as prompts, closing(registry):
        assert prompts["a"].user == "one"
        own_server.stop("SIGQUIT")
        with pytest.raises(LayerUnavailable):
            activate(registry, "two")
        assert prompts["a"].user == "one"
        own_server.start()
        activate(registry, "three")
        wait_until(lambda: prompts["a"].user == "three")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_killed_at_any_moment_nothing_is_half_done_and_no_answer_is_lost(
    own_server: Postgres, tmp_path: Path, kind: str
) -> None:
    from benchmarks.database_kills import kills

    url = f"sqlite:///{tmp_path}/prompts.db"
    if kind == "postgresql":
        url = own_server.url(own_server.schema())
    assert kills("kill -9", url, 5).met


# Hanging


def test_a_hanging_server_ends_each_call_in_time_and_keeps_nothing(
    behind: str, proxy: Proxy
) -> None:
    registry = SqlRegistry(behind, timeout_s=1.0)
    assert registry.active("production") == {"a": 1}
    proxy.flows.clear()

    def create(number: int) -> float:
        began_s = time.monotonic()
        with pytest.raises(LayerUnavailable):
            registry.create("a", b"user: %d" % number, who="Ada")
        return time.monotonic() - began_s

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(create, range(8))) < 8.0
    # What waited for the answer is not left behind, though the server never gave one; what only
    # waited for a connection gives up after connect_timeout.
    with closing(registry):
        wait_until(lambda: not any("ask" in one.name for one in threading.enumerate()), 12.0)
        proxy.flows.set()
        proxy.cut()
        wait_until(lambda: works(lambda: registry.create("a", b"user: later", who="Ada")))


def works(do: Callable[[], object]) -> bool:
    with suppress(LayerUnavailable):
        do()
        return True
    return False


def test_a_hanging_server_is_cut_off_and_another_connection_is_made(
    postgres_server: Postgres,
) -> None:
    url = role(postgres_server)
    with closing(SqlRegistry(url, timeout_s=0.5)) as registry:
        registry._database.timeout_s = 10.0
        activate(registry, "one")
        registry._database.timeout_s = 0.5
        ((pid,),) = postgres_server.ask(
            f"SELECT pid FROM pg_stat_activity WHERE usename = '{user_of(url)}'"
        )
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(LayerUnavailable, match="did not answer within"):
                registry.active("production")
            assert registry.active("production") == {"a": 1}
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_while_it_is_asked_for_news_is_given_up(
    behind: str, proxy: Proxy
) -> None:
    source = source_of(behind)
    source._database.timeout_s = 0.5
    proxy.hangs_at = b"LISTEN"
    with pytest.raises(LayerUnavailable, match="did not answer within"):
        next(iter(source.changes(threading.Event())))
    source.close()


def test_a_commit_whose_answer_is_lost_is_not_made_twice(behind: str, proxy: Proxy) -> None:
    with closing(SqlRegistry(behind)) as registry:
        made = registry.create("a", b"user: two", who="Ada")
        proxy.cuts_after = b"COMMIT\0"
        entry = registry.activate("production", {"a": made.number}, who="Ada")
        assert entry.number == 2
        assert [one.number for one in registry.history("production")] == [2, 1]
        proxy.cuts_after = b"COMMIT\0"
        assert registry.create("a", b"user: three", who="Ada").number == 3
        assert [one.number for one in registry.versions("a")] == [3, 2, 1]


def test_a_commit_whose_fate_is_not_known_says_so(behind: str, proxy: Proxy) -> None:
    with closing(SqlRegistry(behind)) as registry:
        made = registry.create("a", b"user: two", who="Ada")
        proxy.cuts_after, proxy.then = b"COMMIT\0", proxy.refuse
        with pytest.raises(LayerUnavailable, match="may have been made") as caught:
            registry.activate("production", {"a": made.number}, who="Ada")
        assert "what is active" in str(caught.value.hint)
        proxy.accept()
        assert registry.active("production") == {"a": 2}


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"\0" * 100, b"E\xff\xff\xff\xff"])
def test_what_is_no_postgresql_is_an_error(behind: str, proxy: Proxy, answer: bytes) -> None:
    proxy.nonsense = answer
    with closing(SqlRegistry(behind, timeout_s=2.0)) as registry:
        with pytest.raises(LayerUnavailable):
            registry.active("production")
        with pytest.raises(LayerUnavailable):
            registry.create("a", b"user: x", who="Ada")


# Connections


def connections(server: Postgres, url: str) -> int:
    # Those of one test: it has a role of its own.
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{user_of(url)}'"
    return int(server.ask(sql)[0][0])


def role(server: Postgres, *settings: str, grants: str = "ALL") -> str:
    """The URL of an empty schema for a role of its own."""
    schema = server.schema()
    server.ask(f"CREATE ROLE r{schema} LOGIN PASSWORD '{PASSWORD}'")
    server.ask(f"GRANT {grants} ON SCHEMA {schema} TO r{schema}")
    for setting in settings:
        server.ask(f"ALTER ROLE r{schema} SET {setting}")
    return server.url(schema, user=f"r{schema}")


def test_a_process_has_four_connections_and_one_that_listens(postgres_server: Postgres) -> None:
    url = role(postgres_server)
    with closing(SqlRegistry(url)) as registry:
        activate(registry, "one")
        most = 0
        done = threading.Event()

        def work(number: int) -> None:
            while not done.is_set():
                registry.active("production")

        with ThreadPoolExecutor(16) as pool:
            for number in range(16):
                pool.submit(work, number)
            for _ in range(20):
                most = max(most, connections(postgres_server, url))
            done.set()
        assert 1 < most <= CONNECTIONS
    with live(url) as prompts:
        assert prompts["a"].user == "one"
        time.sleep(0.3)
        assert connections(postgres_server, url) <= 1 + LISTENER


def test_all_connections_busy_is_an_error_after_a_while(database_url: str) -> None:
    with closing(SqlRegistry(database_url, timeout_s=0.5)) as registry:
        activate(registry, "one")
        free = threading.Event()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for _ in range(CONNECTIONS):
                pool.submit(registry._database.read, lambda session: free.wait(3), None)
            wait_until(lambda: registry._database._slots._value == 0)  # type: ignore[attr-defined]
            with pytest.raises(LayerUnavailable, match="All 4 connections"):
                registry.active("production")
            free.set()
        assert registry.active("production") == {"a": 1}


@pytest.mark.parametrize("setting", ["", "idle_session_timeout = '100ms'"])
def test_connections_that_the_server_ends_while_idle_are_not_noticed(
    own_server: Postgres, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    if setting and own_server.ask("SHOW server_version_num")[0][0] < "140000":
        pytest.skip("This server has no idle_session_timeout.")
    url = role(own_server, *filter(None, [setting]))
    heard = Heard()
    registry = SqlRegistry(url)
    activate(registry, "one")
    with live(url, hooks=[heard]) as prompts, closing(registry):
        assert prompts["a"].user == "one"
        for text in ("two", "three"):
            time.sleep(0.3)
            name = user_of(url)
            own_server.ask(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
            )
            activate(registry, text)
            wait_until(lambda text=text: prompts["a"].user == text)  # type: ignore[misc]
        assert not heard.of("layer-unavailable")
    assert not [
        text for text in caplog.messages if "postgresql" in text and "Published" not in text
    ]


def test_a_server_without_a_free_connection_says_what_to_do(own_server: Postgres) -> None:
    url = role(own_server)
    name = user_of(url)
    own_server.ask(f"ALTER ROLE {name} CONNECTION LIMIT 0")
    with (
        closing(SqlRegistry(url)) as registry,
        pytest.raises(LayerUnavailable, match="too many connections") as caught,
    ):
        registry.active("production")
    assert "max_connections" in str(caught.value.hint)


FORK = """
import os, sys
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.registry import open_registry
from tests.conftest import wait_until
url = {url!r}
registry = open_registry(url)
def activate(text):
    version = registry.create("a", f"user: {{text}}".encode(), who="Ada")
    registry.activate("production", {{"a": version.number}}, who="Ada")
activate("one")
prompts = LivePrompts(url, environment="production")
assert prompts["a"].user == "one"
children = []
for number in range(2):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert prompts["a"].user
            for turn in range(2):
                made = registry.create(f"c{{number}}", b"user: v%d" % turn, who="x")
                registry.activate("production", {{made.name: made.number}}, who="x")
            wait_until(lambda: prompts["a"].user == "two")
            code = 0
        finally:
            sys.exit(code) if code == 0 else os._exit(code)
    children.append(child)
activate("two")
wait_until(lambda: prompts["a"].user == "two")
for child in children:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
wait_until(lambda: {{"c0", "c1"}} <= set(registry.active("production")))
assert registry.active("production") == {{"a": 2, "c0": 2, "c1": 2}}
assert [e.number for e in registry.history("production")] == list(range(6, 0, -1))
wait_until(lambda: "c0" in prompts.release.prompts and prompts["c0"].user == "v1")
print("done")
"""


def test_forked_workers_share_no_connection(database_url: str, tmp_path: Path) -> None:
    assert run_in(tmp_path, FORK.format(url=database_url)).endswith("done\n")


# Refused


def test_a_wrong_password_is_in_no_message_and_no_log(
    postgres_server: Postgres, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = postgres_url.replace(PASSWORD, "wrong-and-secret")
    with closing(SqlRegistry(wrong)) as registry, pytest.raises(LayerUnavailable) as caught:
        registry.create("a", b"user: x", who="Ada")
    assert "the password is wrong" in str(caught.value)
    heard = Heard()
    with pytest.raises((PromptsRejected, LayerUnavailable)) as at_start:
        assert live(wrong, hooks=[heard]).release
    everything = f"{caught.value}{caught.value.hint}{at_start.value}{caplog.text}{heard!r}"
    assert "secret" not in everything


@pytest.mark.parametrize(
    "access", ["ada:p%zzsecret", "ada:p/secret", "ada:p@secret", "ada:p secret", "a?secret"]
)
def test_a_password_that_is_not_encoded_is_refused_without_showing_it(access: str) -> None:
    with pytest.raises(LayerUnavailable, match="is not a URL of a Postgre") as caught:
        SqlRegistry(f"postgresql://{access}@127.0.0.1:1/db")
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_password_may_have_any_other_character() -> None:
    registry = SqlRegistry("postgresql://ada:p?[#secret@127.0.0.1:1/db")
    with pytest.raises(LayerUnavailable, match="Connection refused") as caught:
        registry.active("production")
    assert "secret" not in str(caught.value)


def test_a_reader_reads_and_a_writer_makes_no_tables(postgres_server: Postgres) -> None:
    owner = role(postgres_server)
    schema = owner.rpartition("%3D")[2]
    reader, writer = (f"{kind}{schema}" for kind in ("reader", "writer"))
    for name in (reader, writer):
        postgres_server.ask(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
        postgres_server.ask(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    with closing(SqlRegistry(postgres_server.url(schema, user=writer))) as registry:
        with pytest.raises(LayerReadOnly) as caught:
            registry.create("a", b"user: x", who="Ada")
        assert "migrate" in str(caught.value.hint)
    with closing(SqlRegistry(owner)) as registry:
        activate(registry, "one")
    for name, rights in ((reader, "SELECT"), (writer, "SELECT, INSERT, UPDATE")):
        postgres_server.ask(f"GRANT {rights} ON ALL TABLES IN SCHEMA {schema} TO {name}")
    with closing(SqlRegistry(postgres_server.url(schema, user=writer))) as registry:
        activate(registry, "two")
    url = postgres_server.url(schema, user=reader)
    with closing(SqlRegistry(url)) as registry:
        with pytest.raises(LayerReadOnly, match="permission denied"):
            activate(registry, "three")
        assert registry.active("production") == {"a": 2}
        release = registry.current("production")
        assert release is not None
        source = source_of(url)
        assert source.read().files == {"a.yaml": b"user: two"}
        assert source.release(release.release) is not None
        source.close()


def test_a_role_whose_rights_are_taken_away_is_an_error_not_an_empty_layer(
    postgres_server: Postgres,
) -> None:
    url = role(postgres_server)
    with closing(SqlRegistry(url)) as registry:
        activate(registry, "one")
    source, schema = source_of(url), url.rpartition("%3D")[2]
    source.read()
    postgres_server.ask(f"REVOKE ALL ON SCHEMA {schema} FROM r{schema}")
    with pytest.raises(LayerUnavailable):
        source.read()
    source.close()


@pytest.fixture
def tls_server(own_server: Postgres) -> Postgres:
    """It takes connections with TLS only."""
    folder = own_server.folder
    if not (folder / "server.key").exists():
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        keys = ["-keyout", str(folder / "server.key"), "-out", str(folder / "server.crt")]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        subprocess.run([*command, *subject, *keys], check=True, capture_output=True)
        for name in ("server.key", "server.crt"):
            if os.getuid() == 0:
                shutil.chown(folder / name, "nobody")
        own_server.ask(f"ALTER SYSTEM SET ssl_cert_file = '{folder}/server.crt'")
        own_server.ask(f"ALTER SYSTEM SET ssl_key_file = '{folder}/server.key'")
        own_server.ask("ALTER SYSTEM SET ssl = on")
        own_server.ask("SELECT pg_reload_conf()")
        wait_until(lambda: own_server.ask("SHOW ssl") == [("on",)])
    return own_server


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_is_used_and_checked_as_the_url_says(tls_server: Postgres) -> None:
    url = tls_server.url(tls_server.schema())
    certificate = tls_server.folder / "server.crt"
    for good in ("sslmode=require", f"sslmode=verify-full&sslrootcert={certificate}"):
        with closing(SqlRegistry(f"{url}&{good}")) as registry:
            activate(registry, good)
            sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            used = registry._database.read(lambda session, sql=sql: session.row(sql), None)  # type: ignore[misc]
            assert used == (True,)
    for bad, why in (
        ("sslmode=verify-full&sslrootcert=/dev/null", "certificate|root"),
        (f"sslmode=verify-full&sslrootcert={certificate}&host=127.0.0.2", "127.0.0.2"),
    ):
        with (
            closing(SqlRegistry(f"{url}&{bad}")) as registry,
            pytest.raises(LayerUnavailable, match=why),
        ):
            registry.active("production")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_server_that_requires_tls_refuses_what_comes_without(tls_server: Postgres) -> None:
    rules = tls_server.folder / "data" / "pg_hba.conf"
    kept = rules.read_text()
    rules.write_text("hostnossl all all all reject\n" + kept)
    tls_server.ask("SELECT pg_reload_conf()")
    url = tls_server.url(tls_server.schema())
    try:
        with (
            closing(SqlRegistry(f"{url}&sslmode=disable")) as registry,
            pytest.raises(LayerUnavailable, match="encryption") as caught,
        ):
            registry.active("production")
        assert "sslmode" in str(caught.value.hint)
    finally:
        rules.write_text(kept)
        with psycopg.connect(f"{url}&sslmode=require") as connection:
            connection.execute("SELECT pg_reload_conf()")


def test_a_server_without_tls_is_refused_where_the_url_wants_it(postgres_url: str) -> None:
    with (
        closing(SqlRegistry(f"{postgres_url}&sslmode=require")) as registry,
        pytest.raises(LayerUnavailable, match="does not support SSL"),
    ):
        registry.active("production")


# Waiting


def test_a_deadlock_is_tried_again(postgres_server: Postgres, postgres_url: str) -> None:
    with closing(SqlRegistry(postgres_url)) as registry, ThreadPoolExecutor(1) as pool:
        activate(registry, "one")
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("BEGIN; LOCK TABLE prompts_version IN ACCESS EXCLUSIVE MODE")
            ours = pool.submit(registry.create, "a", b"user: two", who="Ada")
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation::regclass::text "
            waiting += f"LIKE '%{postgres_url.rpartition('%3D')[2]}%'"
            wait_until(lambda: postgres_server.ask(waiting))
            # Ours has waited longer, so it is the one that the server ends.
            lock = "SELECT pg_advisory_xact_lock(%s, hashtext(current_schema()))"
            other.execute(lock, (0x79677072,))
            other.execute("COMMIT")
        assert ours.result(10).number == 2


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_writers_lose_nothing_whatever_isolation_is_the_default(
    postgres_server: Postgres, level: str
) -> None:
    url = role(postgres_server, f"default_transaction_isolation = '{level}'")
    with closing(SqlRegistry(url)) as registry:
        activate(registry, "one")

        def work(number: int) -> int:
            return registry.create("a", b"user: %d" % number, who="x").number

        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(work, range(16))) == list(range(2, 18))


def test_a_statement_that_waits_too_long_is_ended(postgres_url: str) -> None:
    with closing(SqlRegistry(postgres_url, timeout_s=0.5)) as registry:
        activate(registry, "one")
        with psycopg.connect(postgres_url) as other:
            other.execute("LOCK TABLE prompts_active IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(LayerUnavailable, match="took too long"):
                registry.active("production")
        assert registry.active("production") == {"a": 1}


HOLD = """
import sys, sqlite3
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_file_that_another_process_locks_is_read_and_later_written(tmp_path: Path) -> None:
    import sys

    url = f"sqlite:///{tmp_path}/prompts.db"
    with closing(SqlRegistry(url, timeout_s=0.5)) as registry:
        activate(registry, "one")
        for how in ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"):
            command = [sys.executable, "-c", HOLD, str(tmp_path / "prompts.db"), how]
            with subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == "held\n"
                with pytest.raises(LayerUnavailable, match="another process keeps it locked"):
                    registry.create("a", b"user: two", who="Ada")
                assert registry.active("production") == {"a": 1}
                patient = SqlRegistry(url)
                with ThreadPoolExecutor(1) as pool, closing(patient):
                    later = pool.submit(patient.create, "a", how.encode(), who="Ada")
                    time.sleep(0.1)
                    assert not later.done()
                    process.communicate("\n")
                    assert later.result(10).data == how.encode()


def hold_writes(url: str) -> psycopg.Connection[tuple[object, ...]]:
    other = psycopg.connect(url, autocommit=True)
    other.execute("BEGIN; SELECT pg_advisory_xact_lock(2036822130, hashtext(current_schema()))")
    return other


def test_replicas_that_start_wait_for_no_writer(postgres_url: str) -> None:
    # The version of the schema is checked without a lock.
    with closing(SqlRegistry(postgres_url)) as registry:
        activate(registry, "one")
    with hold_writes(postgres_url), live(postgres_url, startup_deadline_s=9.0) as prompts:
        assert prompts["a"].user == "one"
        assert prompts.health.layers[0].trouble is None


def test_a_run_that_asks_for_a_release_waits_for_no_writer(postgres_url: str) -> None:
    with closing(SqlRegistry(postgres_url)) as registry:
        activate(registry, "one")
        entry = registry.current("production")
        assert entry is not None
        long_ago = "UPDATE prompts_release SET used_s = 0"
        registry._database.write(lambda session: session.run(long_ago))
    source = source_of(postgres_url)
    with hold_writes(postgres_url):
        began_s = time.monotonic()
        assert source.release(entry.release) is not None
        assert time.monotonic() - began_s < 10.0
    source.close()


# Files


def needs_root() -> None:
    if os.getuid() != 0:
        pytest.skip("Only root mounts, and is another user.")


def as_nobody(do: Callable[[], None]) -> None:
    """In a child, which is another user."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            do()
            code = 0
        except BaseException:  # noqa: BLE001 - it is shown, and the child ends
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can reach, but not write to."""
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("writer", ["is there", "has gone"])
def test_another_user_reads_a_folder_that_it_may_not_write_and_follows(
    public: Path, writer: str
) -> None:
    needs_root()
    url = f"sqlite:///{public}/prompts.db"
    registry = SqlRegistry(url)
    activate(registry, "one")
    if writer == "has gone":
        registry.close()
    reading, writing = os.pipe(), os.pipe()

    def reads() -> None:
        source = source_of(url)
        assert source.read().files == {"a.yaml": b"user: one"}
        with pytest.raises(LayerReadOnly, match="read-only"):
            activate(SqlRegistry(url), "three")
        news = source.changes(threading.Event())
        next(news)
        os.write(writing[1], b"x")
        os.read(reading[0], 1)
        ends_s = time.monotonic() + 5
        while source.read().files != {"a.yaml": b"user: two"}:
            assert time.monotonic() < ends_s
            next(news)

    def writes() -> None:
        os.read(writing[0], 1)
        activate(registry, "two")
        registry.close()
        os.write(reading[1], b"x")

    thread = threading.Thread(target=writes)
    thread.start()
    as_nobody(reads)
    thread.join()


def test_a_read_only_mount_is_read_and_followed(tmp_path: Path) -> None:
    needs_root()
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    with closing(SqlRegistry(f"sqlite:///{here}/prompts.db")) as registry:
        activate(registry, "one")
    mount(["--bind", str(here), str(there)], ["-o", "remount,bind,ro", str(there)])
    try:
        url = f"sqlite:///{there}/prompts.db"
        with closing(SqlRegistry(url)) as other, pytest.raises(LayerReadOnly):
            activate(other, "three")
        with live(url) as prompts:
            assert prompts["a"].user == "one"
            with closing(SqlRegistry(f"sqlite:///{here}/prompts.db")) as registry:
                activate(registry, "two")
                wait_until(lambda: prompts["a"].user == "two")
                activate(registry, "three")
            wait_until(lambda: prompts["a"].user == "three")
    finally:
        subprocess.run(["umount", "-l", str(there)], check=True)


def mount(*arguments: list[str]) -> None:
    for each in arguments:
        if subprocess.run(["mount", *each], check=False, capture_output=True).returncode:
            pytest.skip("Nothing can be mounted here.")


def test_a_full_disk_keeps_what_is_active_and_takes_more_once_there_is_room(
    tmp_path: Path,
) -> None:
    needs_root()
    small = tmp_path / "small"
    small.mkdir()
    mount(["-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)])
    url = f"sqlite:///{small}/prompts.db"
    try:
        registry = SqlRegistry(url)
        activate(registry, "one")
        with closing(registry), live(url) as prompts:
            assert prompts["a"].user == "one"
            (small / "ballast").write_bytes(b"x" * 100_000)
            with pytest.raises(LayerUnavailable, match="the disk is full") as caught:
                fill(registry, 20_000)
            assert "Free some space" in str(caught.value.hint)
            assert registry.active("production") == {"a": 1}
            with closing(SqlRegistry(url)) as another:
                assert another.active("production") == {"a": 1}
            (small / "ballast").unlink()
            activate(registry, "two")
            wait_until(lambda: prompts["a"].user == "two")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


LIMITED = """
import resource
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.registry import open_registry
registry = open_registry("sqlite:///prompts.db")
made = registry.create("a", b"user: one", who="Ada")
registry.activate("production", {"a": 1}, who="Ada")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for number in range(99):
        registry.create("b", b"%d" % number * 20_000, who="Ada")
except LayerUnavailable as problem:
    print(problem)
assert registry.active("production") == {"a": 1}
"""


def test_a_file_that_may_not_grow_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    assert "cannot be written" in run_in(tmp_path, LIMITED)


def test_a_full_disk_of_the_server_is_said(own_server: Postgres, tmp_path: Path) -> None:
    needs_root()
    place = own_server.folder / "small"
    place.mkdir()
    mount(["-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)])
    url = role(own_server)
    name = user_of(url)
    try:
        shutil.chown(place, "nobody")
        own_server.ask(f"CREATE TABLESPACE small LOCATION '{place}'")
        own_server.ask(f"GRANT ALL ON TABLESPACE small TO {name}")
        own_server.ask(f"ALTER ROLE {name} SET default_tablespace = 'small'")
        with closing(SqlRegistry(url)) as registry:
            activate(registry, "one")
            with pytest.raises(LayerUnavailable, match="disk is full"):
                fill(registry, 100_000)
            assert registry.active("production") == {"a": 1}
    finally:
        own_server.ask(f"DROP OWNED BY {name} CASCADE")
        own_server.ask("DROP TABLESPACE small")
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_network_mount_is_kept_with_a_rollback_journal_and_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from yamlgraph_prompts.sources.sql import sqlite

    monkeypatch.setattr(sqlite, "is_network_mount", lambda folder: True)
    url = f"sqlite:///{tmp_path}/prompts.db"
    with closing(SqlRegistry(url)) as registry:

        def work(number: int) -> None:
            activate(registry, str(number))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(12)))
        (mode,) = registry._database.read(lambda session: session.row("PRAGMA journal_mode"), None)
    assert mode == "delete"
    assert caplog.text.count("is on a network mount") == 1
    assert not (tmp_path / "prompts.db-wal").exists()


@pytest.mark.parametrize(
    ("line", "is_network"),
    [
        ("server:/x /data nfs4 rw 0 0", True),
        ("gluster /data fuse.glusterfs rw 0 0", True),
        ("host /data virtiofs rw 0 0", True),
        ("/dev/sda /data ext4 rw 0 0", False),
        ("overlay /data fuse.fuse-overlayfs rw 0 0", False),
        ("server:/x /dat nfs4 rw 0 0", False),
        ("server:/x /data\\040x nfs4 rw 0 0", False),
    ],
)
def test_a_network_mount_is_known_by_its_kind(tmp_path: Path, line: str, is_network: bool) -> None:
    from yamlgraph_prompts.sources.sql.sqlite import is_network_mount

    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/root / ext4 rw 0 0\n{line}\n")
    assert is_network_mount(Path("/data/prompts"), str(mounts)) is is_network


def test_a_file_that_is_replaced_under_a_connection_is_opened_anew(tmp_path: Path) -> None:
    first, second = tmp_path / "prompts.db", tmp_path / "other.db"
    for path, text in ((first, "one"), (second, "two")):
        with closing(SqlRegistry(f"sqlite:///{path}")) as registry:
            activate(registry, text)
    with closing(SqlRegistry(f"sqlite:///{first}")) as registry:
        assert registry.version("a", 1).data == b"user: one"
        os.replace(second, first)
        assert registry.version("a", 1).data == b"user: two"
        activate(registry, "three")
        assert [one.number for one in registry.versions("a")] == [2, 1]


# Another history


def test_a_backup_that_has_as_many_entries_again_is_not_mixed_with_what_was_there(
    registry: SqlRegistry, database_url: str
) -> None:
    for text in ("two", "three"):
        activate(registry, text)
    source = source_of(database_url)
    assert source.read().files == {"a.yaml": b"user: three"}

    def restore(session: Session) -> None:
        session.run("UPDATE prompts_active SET number = 1, entry = 1")
        session.run("DELETE FROM prompts_change WHERE entry > 1")
        session.run("DELETE FROM prompts_entry WHERE number > 1")

    registry._database.write(restore)
    for text in ("four", "five", "six"):
        activate(registry, text)
        with pytest.raises(LayerUnavailable, match=r"went back|another one than before"):
            source.read()
    source.close()
    fresh = source_of(database_url)
    assert fresh.read().files == {"a.yaml": b"user: six"}
    fresh.close()


def test_a_database_that_is_emptied_while_it_is_followed_is_reported(
    registry: SqlRegistry, database_url: str
) -> None:
    source = source_of(database_url)
    source.read()

    def empty(session: Session) -> None:
        for table in ("prompts_active", "prompts_change", "prompts_entry"):
            session.run(f"DELETE FROM {table}")

    registry._database.write(empty)
    with pytest.raises(LayerUnavailable, match="went back from 1 to 0"):
        source.read()
    source.close()
    with pytest.raises(LayerNotFound):
        source_of(database_url).read()


# News


def test_behind_a_pooler_in_transaction_mode_it_warns_once_and_polls(
    own_server: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    from tests.s3_servers import free_port

    port, folder = free_port(), own_server.folder
    url = role(own_server)
    name, schema = user_of(url), url.rpartition("%3D")[2]
    own_server.ask(f"ALTER ROLE {name} SET search_path = {schema}")
    users = folder / "users.txt"
    users.write_text(f'"{name}" "{PASSWORD}"\n')
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={own_server.port}\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\npool_mode = transaction\nunix_socket_dir =\nserver_login_retry = 1\n"
    )
    own: dict[str, str] = {}
    if os.getuid() == 0:
        own = {"user": "nobody", "group": "nogroup"}
        for path in (users, settings):
            shutil.chown(path, "nobody")
    process = subprocess.Popen([program, "-q", str(settings)], stderr=subprocess.DEVNULL, **own)  # type: ignore[call-overload]
    try:
        pooled = own_server.url(user=name, port=port)
        registry = SqlRegistry(pooled)
        wait_until(lambda: works(lambda: activate(registry, "one")))
        with live(pooled, refresh_s=0.3) as prompts, closing(registry):
            assert prompts["a"].user == "one"
            for number in range(5):
                activate(registry, f"n{number}")
                wait_until(lambda number=number: prompts["a"].user == f"n{number}")  # type: ignore[misc]
            own_server.ask(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
            )
            activate(registry, "later")
            wait_until(lambda: prompts["a"].user == "later")
            wait_until(lambda: "does not pass notifications on" in caplog.text)
            time.sleep(0.5)
        assert caplog.text.count("does not pass notifications on") == 1
        assert not [line for line in caplog.messages if "rror" in line]
    finally:
        process.terminate()
        process.wait(10)


def test_a_standby_is_read_and_polled_and_not_written(
    own_server: Postgres, public: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = own_server.schema()
    standby = own_server.standby(public)
    standby.start()
    try:
        url = standby.url(schema)
        with closing(SqlRegistry(own_server.url(schema))) as primary:
            activate(primary, "one")
            with closing(SqlRegistry(url)) as registry:
                wait_until(lambda: registry.active("production") == {"a": 1})
                with pytest.raises(LayerReadOnly, match="read-only standby"):
                    activate(registry, "two")
            with live(url, refresh_s=0.2) as prompts:
                activate(primary, "two")
                wait_until(lambda: prompts["a"].user == "two")
                wait_until(lambda: "does not pass notifications on" in caplog.text)
        assert "ERROR" not in caplog.text
    finally:
        standby.stop()


def test_an_idle_replica_reads_one_indexed_row(postgres_server: Postgres) -> None:
    url = role(postgres_server)
    schema = url.rpartition("%3D")[2]
    with closing(SqlRegistry(url)) as registry:
        activate(registry, "one")

        def fill(session: Session) -> None:
            insert = "INSERT INTO prompts_entry VALUES (?, ?, ?, ?, ?, ?)"
            rows = [("other", n, "x", 0.0, f"p{n}", "{}") for n in range(5000)]
            session.run_many(insert, rows)

        registry._database.write(fill)
        postgres_server.ask(f"ANALYZE {schema}.prompts_entry")
        plan = registry._database.read(lambda s: s.rows(f"EXPLAIN {_HEAD}", "production"), [])
        text = "\n".join(str(row[0]) for row in plan)
        assert "Index" in text
        assert "Seq Scan" not in text
        sql = (
            "SELECT relname, COALESCE(seq_scan, 0), COALESCE(idx_tup_fetch, 0) "
            f"FROM pg_stat_user_tables WHERE schemaname = '{schema}'"
        )

        source = source_of(url)

        def counts() -> dict[str, tuple[int, int]]:
            flush = "SELECT pg_stat_force_next_flush()"
            source._database.read(lambda session: session.row(flush), None)
            return {row[0]: (row[1], row[2]) for row in postgres_server.ask(sql)}

        source.read()
        registry.close()
        time.sleep(0.5)  # until its connections have ended
        before = counts()
        for _ in range(10):
            source.read()
        after = counts()
        source.close()
    changed = {name: now for name, now in after.items() if now != before[name]}
    assert set(changed) <= {"prompts_entry"}
    assert after["prompts_entry"][0] == before["prompts_entry"][0]
    assert after["prompts_entry"][1] - before["prompts_entry"][1] <= 10


def test_an_idle_replica_of_a_file_searches_an_index(tmp_path: Path) -> None:
    with closing(SqlRegistry(f"sqlite:///{tmp_path}/prompts.db")) as registry:
        activate(registry, "one")
        plan = registry._database.read(
            lambda s: s.rows(f"EXPLAIN QUERY PLAN {_HEAD}", "production"), []
        )
    assert [str(row[3]).startswith("SEARCH prompts_entry USING INDEX") for row in plan] == [True]


# Hostile names


@pytest.mark.parametrize(
    "name", ["a\0b", "\ud800", "x'; DROP TABLE prompts_version; --", "%s", "?"]
)
def test_a_name_that_no_database_can_hold_is_not_found_and_not_made(
    registry: SqlRegistry, name: str
) -> None:
    with pytest.raises(VersionNotFound):
        registry.version(name, 1)
    assert registry.versions(name) == []
    assert registry.activations(name) == []
    assert registry.activations("a", name) == []
    with pytest.raises((VersionNotFound, PromptsError)):
        registry.activate("production", {name: 1}, who="Ada")
    assert registry.active("production") == {"a": 1}
    assert registry.active(name) == {}
    assert registry.current(name) is None
    assert list(registry.history(name)) == []


def test_numbers_that_no_column_can_hold_are_not_found(registry: SqlRegistry) -> None:
    for number in (0, -1, 2**31, 2**63, 10**30):
        with pytest.raises(VersionNotFound):
            registry.version("a", number)


def test_tables_that_were_dropped_are_missed_once_and_made_again(
    registry: SqlRegistry,
) -> None:
    from yamlgraph_prompts.sources.sql.schema import KEYS

    def drop(session: Session) -> None:
        for table in (*reversed(KEYS), "prompts_schema"):
            session.run(f"DROP TABLE {table}")

    registry._database.write(drop)
    with pytest.raises(LayerUnavailable, match="prompts_"):
        registry.active("production")
    assert registry.active("production") == {}
    activate(registry, "two")
    assert registry.active("production") == {"a": 1}
