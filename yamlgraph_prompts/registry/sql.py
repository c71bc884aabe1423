"""A registry in a database: releases are sets of versions, and what is active is a pointer.

Every change is one transaction, and a new entry of the history.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from threading import Event

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import NO_FACTS, ReleaseFacts
from yamlgraph_prompts._model.release import Prompt, Release, is_full_id
from yamlgraph_prompts.errors import Conflict, ReleaseNotFound, StoreCorrupted
from yamlgraph_prompts.registry.sql_versions import SqlVersions, added, ids_of
from yamlgraph_prompts.sources.sql.database import Row, Session
from yamlgraph_prompts.sources.sql.schema import packed

POLL_S = 5.0


class SqlRegistry(SqlVersions):
    """Releases, versions and their history in a database. Thread-safe."""

    # Releases

    def put(self, release: Release, facts: ReleaseFacts = NO_FACTS) -> bool:
        try:
            self.get(release.id)
        except ReleaseNotFound:
            pass
        except StoreCorrupted:
            # Only this content has these digests, so nothing is lost.
            rows = [(p.data, p.name, p.sha256) for p in release.prompts.values()]
            sql = "UPDATE prompts_version SET data = ? WHERE name = ? AND sha256 = ?"
            self._database.write(lambda session: session.run_many(sql, rows))
            return True
        else:
            return False

        def put(session: Session) -> None:
            rows = {
                prompt.name: (prompt.sha256, prompt.data) for prompt in release.prompts.values()
            }
            ids = added(session, rows, time.time(), {})
            _keep(session, release.id, ids.values())

        self._database.write(put)
        return True

    def get(self, release_id: str) -> Release:
        def look(session: Session) -> list[Row]:
            ids = ids_of(session, release_id)
            if ids is None:
                raise self._not_found(release_id, session)
            condition, values = session.among("id", ids)
            return session.rows(f"SELECT name, data FROM prompts_version WHERE {condition}", values)

        rows = self._database.read(look, None) if is_full_id(release_id) else None
        if rows is None:
            raise self._not_found(release_id)
        release = Release.of(
            Prompt(name, bytes(data or b""), self.url, f"{self.url}/{name}.yaml")
            for name, data in rows
        )
        if release.id != release_id:
            raise StoreCorrupted(
                f"Release {release_id[:12]} in {self.url} is damaged: its content is not what its "
                "name says.",
                hint="It is not served. Push the same prompts again, or restore a backup.",
            )
        return release

    def ids(self, prefix: str = "") -> Iterator[str]:
        # After every hexadecimal digit comes a "g".
        sql = "SELECT id FROM prompts_release WHERE id >= ? AND id < ?"
        rows = self._database.read(lambda s: s.rows(sql, prefix, f"{prefix}g"), ())
        return (str(row[0]) for row in rows)

    # History

    def current(self, environment: str) -> Entry | None:
        return self._database.read(lambda session: self._last(session, environment), None)

    def history(self, environment: str) -> Iterator[Entry]:
        sql = (
            "SELECT facts FROM prompts_entry WHERE environment = ? AND number < ? "
            "ORDER BY number DESC LIMIT 200"
        )
        below = 1 << 62
        while rows := self._database.read(lambda s: s.rows(sql, environment, below), ()):  # noqa: B023
            for (facts,) in rows:
                entry = Entry.of_facts(json.loads(facts))
                below = entry.number
                yield entry

    def append(self, environment: str, entry: Entry, *, after: Entry | None) -> Entry:
        """As `Log.append`; what the release has more or less than the last one becomes active."""
        push = uuid.uuid4().hex

        def append(session: Session) -> Entry:
            if (done := self._done(session, push)) is not None:
                return done
            last = self._last(session, environment)
            if (last and (last.number, last.push)) != (after and (after.number, after.push)):
                raise Conflict.between(self.url, environment, last)
            ids = [ids_of(session, arm.release) for arm in entry.arms]
            if ids[0] is None or None in ids:
                raise self._not_found(entry.arms[ids.index(None)].release, session)
            next_ = replace(entry.after(last), prompts=len(ids[0]), push=push)
            condition, values = session.among("id", ids[0])
            sql = f"SELECT name, number FROM prompts_version WHERE {condition}"
            new = {str(name): int(number) for name, number in session.rows(sql, values)}
            old = self._active(session, environment)
            changed = {n: new.get(n) for n in sorted(old | new) if old.get(n) != new.get(n)}
            self._record(session, environment, next_, old, changed)
            return next_

        return self._database.write(append)

    def changes(self, environment: str, stop: Event) -> Iterator[Entry]:
        last = self.current(environment)
        for _ in self._database.changes(stop, POLL_S):
            entry = self.current(environment)
            if entry is not None and (last is None or entry.number > last.number):
                last = entry
                yield entry

    # Versions

    def activate(
        self,
        environment: str,
        versions: Mapping[str, int | None],
        *,
        who: str,
        why: str = "activate",
        message: str = "",
        replaces: Mapping[str, str | None] | None = None,
    ) -> Entry:
        """As `Versions.activate`."""
        push = uuid.uuid4().hex

        def activate(session: Session) -> Entry:
            if (done := self._done(session, push)) is not None:
                return done
            last = self._last(session, environment)
            live = self._live(session, last)
            for name, digest in (replaces or {}).items():
                if (live[name][1] if name in live else None) != digest:
                    winner = self._changed_last(session, environment, name)
                    raise Conflict.between(self.url, environment, winner or last)
            old = {name: number for name, (number, _, _) in live.items()}
            changed = {n: v for n, v in sorted(versions.items()) if old.get(n) != v}
            if not changed and last is not None:
                return last
            for name, number in changed.items():
                if number is None:
                    del live[name]
                else:
                    live[name] = self._known(session, name, number)
            release_id = Release.id_of({name: digest for name, (_, digest, _) in live.items()})
            _keep(session, release_id, [id_ for _, _, id_ in live.values()])
            text = message if message.strip() else _done_in_words(old, changed)
            entry = Entry.now(release_id, who=who, why=why, message=text, prompts=len(live))
            entry = replace(entry.after(last), push=push)
            self._record(session, environment, entry, old, changed)
            return entry

        return self._database.write(activate)

    def close(self) -> None:
        """Close the connections that are idle."""
        with suppress(Exception):
            self._database.close()

    def _not_found(self, release_id: str, session: Session | None = None) -> ReleaseNotFound:
        sql = "SELECT 1 FROM prompts_entry WHERE release = ? LIMIT 1"
        text = f"There is no release {release_id[:64]!r} in {self.url}."
        hint = f"yamlgraph-prompts releases {self.url} lists them."
        if session is not None and session.row(sql, release_id):
            text = f"Release {release_id[:12]} was purged from {self.url}."
            hint = "Push the same prompts again, or restore a backup."
        return ReleaseNotFound(text, release_id=release_id, hint=hint)


def _done_in_words(old: Mapping[str, int], changed: Mapping[str, int | None]) -> str:
    """What the history says of an activation without a message."""
    steps = [f"{n} {old.get(n) or 'none'} → {new or 'none'}" for n, new in changed.items()]
    return ", ".join(steps)


def _keep(session: Session, release_id: str, ids: Iterable[int]) -> None:
    now_s = time.time()
    sql = "INSERT INTO prompts_release VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    session.run(sql, release_id, now_s, now_s, packed(list(ids)))
