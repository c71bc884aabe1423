"""A layer in a database: what is active there for one environment. Only read, by one thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from threading import Event
from time import time

from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerUnavailable
from yamlgraph_prompts.sources import Snapshot, Unpack
from yamlgraph_prompts.sources.sql.database import Row, Session
from yamlgraph_prompts.sources.sql.opening import open_database
from yamlgraph_prompts.sources.sql.schema import unpacked

_HEAD = (
    "SELECT number, release, push FROM prompts_entry WHERE environment = ? "
    "ORDER BY number DESC LIMIT 1"
)
_KNOWN = "SELECT 1 FROM prompts_entry WHERE environment = ? AND number = ? AND push = ?"
_SINCE = (
    "SELECT a.name, v.sha256, v.data FROM prompts_active a LEFT JOIN prompts_version v "
    "ON v.name = a.name AND v.number = a.number "
    "WHERE a.environment = ? AND a.name IN "
    "(SELECT name FROM prompts_change WHERE environment = ? AND entry > ?)"
)
USED_WITHIN_S = 3600.0  # more than this after the last time, a release's use is noted
NOTE_S = 0.5  # that a run may wait for that


class SqlSource:
    """Reads the active versions of an environment; if nothing has changed, one indexed row."""

    refresh_s = 30.0
    listens = True

    def __init__(self, url: str) -> None:
        self._database = open_database(url)
        self.url = self._database.url
        self.channel: str | None = None
        self.unpack: Unpack | None = None
        self._number, self._push = 0, ""
        self._snapshot = Snapshot({}, "")

    def read(self) -> Snapshot:
        """Everything that is active; see `Source.read`. Fetches only what has changed."""
        found = self._database.read(self._read, None)
        if found is None:
            raise self._another(0) if self._number else self._nothing()
        self._number, self._push, self._snapshot = found
        return self._snapshot

    def changes(self, stop: Event) -> Iterator[None]:
        return self._database.changes(stop, self.refresh_s)

    def release(self, release_id: str) -> Snapshot | None:
        """A release by its full id, whichever environment it was for; None if it is not there."""

        found = self._database.read(lambda session: self._release(session, release_id), None)
        if found is None:
            return None
        used_s, rows = found
        if time() - used_s > USED_WITHIN_S:
            self._note_use(release_id)
        return Snapshot(self._files(rows), release_id, release=release_id)

    def close(self) -> None:
        self._database.close()

    def _read(self, session: Session) -> tuple[int, str, Snapshot] | None:
        environment = self.channel
        head = session.row(_HEAD, environment)
        if head is None:
            return None
        number, release, push = int(head[0]), str(head[1]), str(head[2])
        if (number, push) == (self._number, self._push):
            return number, push, self._snapshot
        # A backup that was restored may have got as many entries again.
        if self._number and session.row(_KNOWN, environment, self._number, self._push) is None:
            raise self._another(number)
        if self._number and release == self._snapshot.release:
            return number, push, self._snapshot
        if not self._number:
            found = self._release(session, release)
            if found is None:
                raise self._damaged(release)
            files = self._files(found[1])
        else:
            rows = session.rows(_SINCE, environment, environment, self._number)
            gone = {f"{name}.yaml" for name, digest, _ in rows if digest is None}
            news = self._files([row for row in rows if row[1] is not None])
            old = self._snapshot.files.items()
            files = {**{path: data for path, data in old if path not in gone}, **news}
        return number, push, Snapshot(files, release, release=release)

    def _files(self, rows: list[Row]) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        for name, digest, data in rows:
            files[f"{name}.yaml"] = body = bytes(data or b"")
            if sha256(body).hexdigest() != digest:
                text = f"{self.url} has a version of {name!r} that is not what its digest says."
                hint = "It is not served. Push the release again, or restore a backup."
                raise LayerUnavailable(text, layer=self.url, hint=hint)
        return files

    def _note_use(self, release_id: str) -> None:
        """Purging spares what runs still ask for; a reader's role cannot say so."""
        sql = "UPDATE prompts_release SET used_s = ? WHERE id = ?"
        with suppress(LayerError):
            self._database.write(lambda s: s.run(sql, time(), release_id), timeout_s=NOTE_S)

    def _another(self, number: int) -> LayerUnavailable:
        text = f"The history in {self.url} went back from {self._number} to {number}."
        if number >= self._number:
            text = f"The history in {self.url} is another one than before, up to number {number}."
        hint = "Was a backup restored? Restart the replicas to serve what it holds."
        return LayerUnavailable(text, layer=self.url, hint=hint)

    def _nothing(self) -> LayerNotFound:
        rows = self._database.read(
            lambda session: session.rows("SELECT DISTINCT environment FROM prompts_entry"), []
        )
        available = sorted(str(row[0]) for row in rows)
        what = f"There are: {', '.join(available)}." if available else "It holds no prompts yet."
        return LayerNotFound(
            f"Nothing is active for environment {self.channel!r} in {self.url}. {what}",
            layer=self.url,
            available=available,
            hint=f"yamlgraph-prompts import FOLDER {self.url} -e {self.channel}",
        )

    def _release(self, session: Session, release_id: str) -> tuple[float, list[Row]] | None:
        """When it was last used, and the name, digest and bytes of each of its versions."""
        row = session.row("SELECT used_s, versions FROM prompts_release WHERE id = ?", release_id)
        if row is None:
            return None
        ids = unpacked(bytes(row[1]))
        condition, values = session.among("id", ids)
        sql = f"SELECT name, sha256, data FROM prompts_version WHERE {condition}"
        rows = session.rows(sql, values)
        if len(rows) != len(ids):
            raise self._damaged(release_id)
        return float(row[0]), rows

    def _damaged(self, release_id: str) -> LayerUnavailable:
        text = f"Release {release_id[:12]} in {self.url} is damaged: a part of it is gone."
        hint = "It is not served. Push the release again, or restore a backup."
        return LayerUnavailable(text, layer=self.url, hint=hint)
