"""The versions of single prompts in a database, and which of them is active where."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from yamlgraph_prompts._model.entry import LIMIT_MESSAGE, LIMIT_WHO, Entry
from yamlgraph_prompts._model.version import Version, purged
from yamlgraph_prompts.errors import VersionNotFound, VersionRefused
from yamlgraph_prompts.registry.ports import Activation
from yamlgraph_prompts.sources.layer_files import escapes
from yamlgraph_prompts.sources.sql.database import TIMEOUT_S, Row, Session
from yamlgraph_prompts.sources.sql.opening import open_database
from yamlgraph_prompts.sources.sql.schema import unpacked

LIMIT_BYTES = 1 << 20
LIMIT_METADATA = 16 << 10


class SqlVersions:
    """Versions and pointers; the part of `SqlRegistry` that knows single prompts."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._database = open_database(url, timeout_s)
        self.url = self._database.url

    def create(
        self,
        name: str,
        data: bytes,
        *,
        who: str,
        message: str = "",
        metadata: Mapping[str, Any] | None = None,
        parent: str = "",
    ) -> Version:
        """As `Versions.create`."""
        _refuse(name, data)
        facts: dict[str, Any] = {"who": who[:LIMIT_WHO], "message": message[:LIMIT_MESSAGE]}
        facts |= {"metadata": _sized(metadata)} if metadata else {}
        facts |= {"parent": parent} if parent else {}
        digest = sha256(data).hexdigest()
        now_s = time.time()
        self._database.write(lambda s: added(s, {name: (digest, data)}, now_s, facts))
        return self._one(name, "sha256", digest)

    def version(self, name: str, number: int) -> Version:
        """As `Versions.version`."""
        return self._one(name, "number", number)

    def versions(self, name: str) -> list[Version]:
        """As `Versions.versions`."""

        def look(session: Session) -> list[Version]:
            where = _active_by_number(session, name)
            sql = "SELECT number, sha256, at_s, facts FROM prompts_version WHERE name = ? "
            rows = session.rows(f"{sql} ORDER BY number DESC", name)
            return [_version(name, row, where) for row in rows]

        return self._attributed(name, self._database.read(look, []))

    def active(self, environment: str) -> Mapping[str, int]:
        """As `Versions.active`."""
        return self._database.read(lambda session: self._active(session, environment), {})

    def activations(self, name: str, environment: str | None = None) -> list[Activation]:
        """As `Versions.activations`."""
        sql = (
            "SELECT c.environment, c.old, c.new, e.facts FROM prompts_change c "
            "JOIN prompts_entry e ON e.environment = c.environment AND e.number = c.entry "
            "WHERE c.name = ? "
        )
        given = (name,) if environment is None else (name, environment)
        sql += "" if environment is None else "AND c.environment = ? "
        rows = self._database.read(lambda s: s.rows(f"{sql} ORDER BY e.at_s DESC", *given), ())
        return [
            Activation(str(env), name, old, new, Entry.of_facts(json.loads(facts)))
            for env, old, new, facts in rows
        ]

    def environments(self) -> list[str]:
        """Those in which something is or was active."""
        sql = "SELECT DISTINCT environment FROM prompts_entry"
        return sorted(str(row[0]) for row in self._database.read(lambda s: s.rows(sql), ()))

    # Inside a transaction

    def _last(self, session: Session, environment: str) -> Entry | None:
        sql = "SELECT facts FROM prompts_entry WHERE environment = ? ORDER BY number DESC LIMIT 1"
        row = session.row(sql, environment)
        return Entry.of_facts(json.loads(row[0])) if row else None

    def _done(self, session: Session, push: str) -> Entry | None:
        row = session.row("SELECT facts FROM prompts_entry WHERE push = ?", push)
        return Entry.of_facts(json.loads(row[0])) if row else None

    def _active(self, session: Session, environment: str) -> dict[str, int]:
        sql = "SELECT name, number FROM prompts_active WHERE environment = ? AND number IS NOT NULL"
        return {str(name): int(number) for name, number in session.rows(sql, environment)}

    def _live(self, session: Session, last: Entry | None) -> dict[str, tuple[int, str, int]]:
        """Name → number, digest and id of what the last entry made active."""
        ids = ids_of(session, last.release) if last else None
        if ids is None:
            return {}
        # By their ids: a join of two large tables may scan the versions.
        condition, values = session.among("id", ids)
        sql = f"SELECT name, number, sha256, id FROM prompts_version WHERE {condition}"
        return {
            name: (number, digest, id_) for name, number, digest, id_ in session.rows(sql, values)
        }

    def _known(self, session: Session, name: str, number: int) -> tuple[int, str, int]:
        sql = "SELECT number, sha256, id, data IS NULL FROM prompts_version "
        row = session.row(f"{sql} WHERE name = ? AND number = ?", name, number)
        if row is None:
            raise self._missing(name, number)
        if row[3]:
            raise purged(name, number)
        return row[0], row[1], row[2]

    def _changed_last(self, session: Session, environment: str, name: str) -> Entry | None:
        sql = (
            "SELECT e.facts FROM prompts_active a JOIN prompts_entry e "
            "ON e.environment = a.environment AND e.number = a.entry "
            "WHERE a.environment = ? AND a.name = ?"
        )
        row = session.row(sql, environment, name)
        return Entry.of_facts(json.loads(row[0])) if row else None

    def _record(
        self,
        session: Session,
        environment: str,
        entry: Entry,
        old: Mapping[str, int],
        changed: Mapping[str, int | None],
    ) -> None:
        """Append the entry, and move the pointers that it moves."""
        facts = json.dumps(entry.facts())
        number = entry.number
        session.run(
            "INSERT INTO prompts_entry VALUES (?, ?, ?, ?, ?, ?)",
            *(environment, number, entry.release, entry.at_s, entry.push, facts),
        )
        session.run_many(
            "INSERT INTO prompts_change VALUES (?, ?, ?, ?, ?)",
            [(environment, number, name, old.get(name), new) for name, new in changed.items()],
        )
        session.run_many(
            "INSERT INTO prompts_active VALUES (?, ?, ?, ?) ON CONFLICT (environment, name) "
            "DO UPDATE SET number = excluded.number, entry = excluded.entry",
            [(environment, name, new, number) for name, new in changed.items()],
        )
        session.notify(environment)

    def _one(self, name: str, column: str, value: object) -> Version:
        def look(session: Session) -> Version | None:
            where = _active_by_number(session, name)
            sql = "SELECT number, sha256, at_s, facts, data FROM prompts_version WHERE name = ? "
            row = session.row(f"{sql} AND {column} = ?", name, value)
            return _version(name, row, where, row[4]) if row else None

        found = self._database.read(look, None)
        if found is None:
            raise self._missing(name, value)
        return self._attributed(name, [found])[0]

    def _attributed(self, name: str, versions: list[Version]) -> list[Version]:
        """The same; what came with a whole release is whose who pushed that."""
        if all(one.who for one in versions):
            return versions
        first = {one.new: one.entry for one in self.activations(name)}
        return [
            replace(one, who=entry.who, message=entry.message)
            if not one.who and (entry := first.get(one.number))
            else one
            for one in versions
        ]

    def _missing(self, name: str, number: object) -> VersionNotFound:
        return VersionNotFound(
            f"There is no version {number} of prompt {name!r} in {self.url}.",
            hint=f"yamlgraph-prompts versions {name} {self.url} lists them.",
        )


def added(
    session: Session,
    prompts: Mapping[str, tuple[str, bytes]],
    at_s: float,
    facts: Mapping[str, Any],
) -> dict[str, int]:
    """Name → id of the version with this digest and content; made where there is none."""
    condition, names = session.among("name", sorted(prompts))
    sql = f"SELECT name, sha256, id, number, data IS NULL FROM prompts_version WHERE {condition}"
    ids: dict[str, int] = {}
    newest: dict[str, int] = {}
    for name, digest, id_, number, is_purged in session.rows(sql, names):
        newest[name] = max(newest.get(name, 0), number)
        if digest == prompts[name][0]:
            ids[name] = id_
            if is_purged:
                session.run(
                    "UPDATE prompts_version SET data = ? WHERE id = ?", prompts[name][1], id_
                )
    missing = [name for name in sorted(prompts) if name not in ids]
    former = _former(session, {prompts[name][0] for name in missing if name not in newest})
    rows = []
    for name in missing:
        last = newest.get(name, 0)
        digest, data = prompts[name]
        known = f"{name}@{last}" if last else former.get(digest)
        parent = {"parent": known} if known else {}
        rows.append((name, last + 1, digest, at_s, json.dumps({**parent, **facts}), data))
    session.run_many(
        "INSERT INTO prompts_version (name, number, sha256, at_s, facts, data) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        rows,
    )
    if missing:
        condition, names = session.among("name", missing)
        sql = f"SELECT name, sha256, id FROM prompts_version WHERE {condition}"
        ids |= {n: id_ for n, digest, id_ in session.rows(sql, names) if digest == prompts[n][0]}
    return ids


def _former(session: Session, digests: set[str]) -> dict[str, str]:
    """Digest → a version that is active under another name: a renamed prompt keeps its history."""
    condition, values = session.among("v.sha256", sorted(digests))
    sql = (
        "SELECT v.sha256, a.name, a.number FROM prompts_active a JOIN prompts_version v "
        f"ON v.name = a.name AND v.number = a.number WHERE {condition} ORDER BY a.name DESC"
    )
    rows = session.rows(sql, values) if digests else ()
    return {digest: f"{name}@{number}" for digest, name, number in rows}


def ids_of(session: Session, release_id: str) -> tuple[int, ...] | None:
    """The ids of a release's versions; None if there is none."""
    row = session.row("SELECT versions FROM prompts_release WHERE id = ?", release_id)
    return None if row is None else unpacked(bytes(row[0]))


def _active_by_number(session: Session, name: str) -> dict[int, list[str]]:
    sql = "SELECT number, environment FROM prompts_active WHERE name = ? AND number IS NOT NULL"
    where: dict[int, list[str]] = {}
    for number, environment in session.rows(f"{sql} ORDER BY environment", name):
        where.setdefault(number, []).append(environment)
    return where


def _version(
    name: str, row: Row, active: Mapping[int, list[str]], data: bytes | None = None
) -> Version:
    number, digest, at_s, facts = row[:4]
    known = json.loads(facts)
    return Version(
        name,
        number,
        digest,
        at_s,
        who=known.get("who", ""),
        message=known.get("message", ""),
        metadata=known.get("metadata", {}),
        parent=known.get("parent", ""),
        active=tuple(active.get(number, ())),
        data=None if data is None else bytes(data),
    )


def _refuse(name: str, data: bytes) -> None:
    if escapes(name) or "/." in f"/{name}":
        text = f"{name!r} cannot be the name of a prompt."
        raise VersionRefused(
            text, hint="A name is a path without .yaml that leads out of no folder."
        )
    if len(data) > LIMIT_BYTES:
        raise VersionRefused(f"A prompt may have at most 1 MiB; {name!r} has {len(data)} bytes.")


def _sized(metadata: Mapping[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(dict(metadata)))
    if size > LIMIT_METADATA:
        text = f"Metadata may have at most {LIMIT_METADATA:,} characters, not {size:,}."
        raise VersionRefused(text)
    return dict(metadata)
