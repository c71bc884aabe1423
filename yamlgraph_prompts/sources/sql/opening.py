"""Opens a database by its URL; imports no driver but the one that is needed."""

from __future__ import annotations

from yamlgraph_prompts.sources.sql.database import TIMEOUT_S, Database


def open_database(url: str, timeout_s: float = TIMEOUT_S) -> Database:
    """The database of a ``sqlite://`` or ``postgresql://`` URL. Nothing is opened yet."""
    if url.startswith("sqlite:"):
        from yamlgraph_prompts.sources.sql.sqlite import SqliteDatabase

        return SqliteDatabase(url, timeout_s)
    from yamlgraph_prompts.sources.sql.postgres import PostgresDatabase

    return PostgresDatabase(url, timeout_s)
