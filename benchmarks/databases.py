"""A SQLite file and a PostgreSQL server that sync as in production, for the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = "production"


@contextmanager
def both(folder: Path) -> Iterator[dict[str, str]]:
    """Kind → URL of an empty database."""
    from tests.databases import running

    with running(
        fsync="on", full_page_writes="on", synchronous_commit="on", shared_buffers="'128MB'"
    ) as server:
        yield {"SQLite": f"sqlite:///{folder}/prompts.db", "PostgreSQL": server.url()}


def deadlocks(url: str) -> int:
    """How many the PostgreSQL server has counted."""
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT sum(deadlocks) FROM pg_stat_database").fetchone()
    return int(row[0]) if row else 0
