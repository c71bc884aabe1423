"""Back up, restore and purge a database of prompts. The history is never shortened."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from yamlgraph_prompts._files.disk import sync_folder
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts.errors import LayerReadOnly, LayerUnavailable, PromptsError
from yamlgraph_prompts.sources.sql.database import Database, Row, Session
from yamlgraph_prompts.sources.sql.opening import open_database
from yamlgraph_prompts.sources.sql.schema import CURRENT, KEYS, unpacked

BATCH = 200
_NOTHING = {"releases": 0, "versions": 0, "bytes": 0}


def back_up(database: Database, path: Path) -> dict[str, int]:
    """Copy a database, as it is at one moment, to a new file; table → number of rows."""
    if path.exists():
        raise PromptsError(f"{path} is there already.", hint="Name a file that is not.")
    if not path.parent.is_dir():
        raise PromptsError(f"There is no folder {path.parent}.")
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder, "backup")
        with closing(_file(made, database.timeout_s)) as target:
            rows = _copied(database, target)
        os.replace(made, path)
    sync_folder(path.parent)
    return rows


def restore(path: Path, database: Database) -> dict[str, int]:
    """Copy a backup into an empty database of either kind; as `back_up`."""
    if not path.is_file():
        raise PromptsError(f"There is no file {path}.")
    return _copied(_file(path, database.timeout_s), database)


def purge(database: Database, *, older_than_s: float, keep: int, do: bool) -> dict[str, int]:
    """Remove releases that are not needed, and the content of versions in none; how much that is.

    Spared is what is active, what was made, live or used within the time, and the releases of the
    last `keep` entries of each environment. Entries and the numbers of versions stay for ever.
    """
    look = partial(_purge, since_s=time.time() - older_than_s, keep=keep, do=do)
    return database.write(look) if do else database.read(look, _NOTHING)


def _purge(session: Session, *, since_s: float, keep: int, do: bool) -> dict[str, int]:
    spared = _live_since(session, since_s, keep)
    gone: list[tuple[str]] = []
    needed: set[int] = set()
    for id_, at_s, used_s in session.rows("SELECT id, at_s, used_s FROM prompts_release"):
        if id_ not in spared and max(at_s, used_s) <= since_s:
            gone.append((id_,))
        elif row := session.row("SELECT versions FROM prompts_release WHERE id = ?", id_):
            needed.update(unpacked(bytes(row[0])))
    sql = (
        "SELECT v.id, length(v.data) FROM prompts_version v WHERE v.data IS NOT NULL AND "
        "v.at_s <= ? AND NOT EXISTS (SELECT 1 FROM prompts_active a WHERE a.name = v.name "
        "AND a.number = v.number)"
    )
    old = [row for row in session.rows(sql, since_s) if row[0] not in needed]
    if do:
        session.run_many("DELETE FROM prompts_release WHERE id = ?", gone)
        ids = [(id_,) for id_, _ in old]
        session.run_many("UPDATE prompts_version SET data = NULL WHERE id = ?", ids)
    size = sum(size for _, size in old)
    return {"releases": len(gone), "versions": len(old), "bytes": size}


def _live_since(session: Session, since_s: float, keep: int) -> set[str]:
    """The releases of the last entries, and those that were live at some time since then."""
    spared: set[str] = set()
    # Of each environment: how many entries came already, and when the last of them began.
    seen: dict[str, tuple[int, float]] = {}
    sql = "SELECT environment, at_s, facts FROM prompts_entry ORDER BY environment, number DESC"
    for environment, at_s, facts in session.rows(sql):
        count, until_s = seen.get(environment, (0, math.inf))
        if count < keep or until_s > since_s:
            spared.update(arm.release for arm in Entry.of_facts(json.loads(facts)).arms)
        seen[environment] = (count + 1, at_s)
    return spared


def _copied(source: Database, target: Database) -> dict[str, int]:
    found = source.schema()
    if found != CURRENT:
        text = f"The schema of {source.url} is {found or 'not there'}, and {CURRENT} is expected."
        hint = "If it is older: yamlgraph-prompts migrate URL. If it is newer: upgrade this."
        raise LayerUnavailable(text, layer=source.url, hint=hint)

    def copy(from_: Session) -> dict[str, int]:
        return target.write(lambda into: _copy(source, from_, target, into))

    try:
        return source.read(copy, {})
    finally:
        source.close()


def _copy(source: Database, from_: Session, target: Database, into: Session) -> dict[str, int]:
    if any(into.row(f"SELECT 1 FROM {table} LIMIT 1") for table in KEYS):
        raise LayerReadOnly(
            f"{target.url} is not empty, so nothing was restored: the numbers of its history "
            "could go back, which replicas report and do not follow.",
            layer=target.url,
            hint="Restore into an empty database, then give its URL to the replicas.",
        )
    counts = dict.fromkeys(KEYS, 0)
    for table, keys in KEYS.items():
        for rows in _batches(source, from_, table, keys):
            marks = ", ".join("?" for _ in rows[0])
            into.run_many(f"INSERT INTO {table} VALUES ({marks})", rows)
            counts[table] += len(rows)
    target.numbered(into)
    for (environment,) in into.rows("SELECT DISTINCT environment FROM prompts_entry"):
        into.notify(environment)
    return counts


def _batches(
    source: Database, session: Session, table: str, keys: Sequence[str]
) -> Iterator[list[Row]]:
    """The rows of a table in the order of their keys, which are its first columns."""
    order, marks = ", ".join(keys), ", ".join("?" for _ in keys)
    where, after = "", ()
    while True:
        sql = f"SELECT * FROM {table} {where} ORDER BY {order} LIMIT {BATCH}"
        try:
            rows = session.rows(sql, *after)
        except source.errors as problem:
            # The target would take it for an error of its own.
            raise source.problem(problem, writing=False) from problem
        if not rows:
            return
        yield rows
        where, after = f"WHERE ({order}) > ({marks})", rows[-1][: len(keys)]


def _file(path: Path, timeout_s: float) -> Database:
    return open_database(f"sqlite:///{quote(str(path.absolute()))}", timeout_s)
