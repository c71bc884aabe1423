"""A registry below an S3 prefix. Serves no prompts.

A release goes up once under its id; then one pusher wins the next number of the environment's log.
Killed between any two steps, it leaves the old release live or the new one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from shlex import quote
from threading import Event
from typing import TypeVar

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import MAX_PACK, NO_FACTS, ReleaseFacts, decode_pack, encode_pack
from yamlgraph_prompts._model.release import Release, is_full_id
from yamlgraph_prompts.errors import (
    Conflict,
    LayerUnavailable,
    PushRefused,
    ReleaseNotFound,
    StoreCorrupted,
)
from yamlgraph_prompts.registry.ports import poll_changes
from yamlgraph_prompts.registry.s3_log import S3Log
from yamlgraph_prompts.sources.deadline import within
from yamlgraph_prompts.sources.s3.bounds import LIMIT_ANSWER_BYTES, Bounds, Operation, allowed
from yamlgraph_prompts.sources.s3.listing import RELEASES
from yamlgraph_prompts.sources.s3.location import Location
from yamlgraph_prompts.sources.s3.objects import Objects

TIMEOUT_S = 120.0
PAUSE_S = 2.0
# Nobody serves from a push, so a server may think for longer.
BOUNDS = Bounds(patience_s=30.0)

T = TypeVar("T")


class S3Registry:
    """Releases and their history below an S3 URL. Thread-safe."""

    def __init__(
        self, url: str, *, timeout_s: float = TIMEOUT_S, single_writer: bool = False
    ) -> None:
        self._given = url
        self._timeout_s = timeout_s
        self._single_writer = single_writer
        # The thread of a call ends soon after the caller's wait.
        self.bounds = replace(BOUNDS, seconds=timeout_s + 1.0)
        location = Location.parse(url)
        self._objects = Objects(location, RELEASES, is_patient=True)
        self.url = location.url_without_secrets

    # Releases

    def put(self, release: Release, facts: ReleaseFacts = NO_FACTS) -> bool:
        return self._bounded(lambda: self._put(release))

    def get(self, release_id: str) -> Release:
        return self._bounded(lambda: self._get(release_id))

    def ids(self, prefix: str = "") -> Iterator[str]:
        keys = self._bounded(lambda: list(self._objects.keys(f"packs/{prefix}")))
        ids = (key.removeprefix("packs/").removesuffix(".pack") for key in keys)
        return (release_id for release_id in ids if is_full_id(release_id))

    # History

    def current(self, environment: str) -> Entry | None:
        """The last entry by the log, whatever the hint says."""
        return self._bounded(self._log(environment).newest)

    def history(self, environment: str) -> Iterator[Entry]:
        """Every entry, newest first; each is one request, and all have one budget together."""
        log, operation = self._log(environment), Operation(self.bounds)
        entry = self._bounded(log.newest, operation)
        while entry is not None:
            yield entry
            entry = self._bounded(partial(log.entry, entry.number - 1), operation)

    def append(self, environment: str, entry: Entry, *, after: Entry | None) -> Entry:
        """As `Log.append`."""
        return self._bounded(lambda: self._append(environment, entry, after))

    def changes(self, environment: str, stop: Event) -> Iterator[Entry]:
        return poll_changes(lambda: self.current(environment), stop, PAUSE_S)

    def behind(self, environment: str) -> bool:
        """Whether readers do not see the last entry, because its writer died."""
        log = self._log(environment)
        newest, pointed = self._bounded(lambda: (log.newest(), log.pointed()))
        return newest is not None and pointed != (newest.number, newest.release)

    def repair(self, environment: str) -> bool:
        """Let readers see the last entry of the log; whether they did not."""
        log = self._log(environment)
        newest = self.current(environment)
        return newest is not None and self._bounded(lambda: log.point(newest))

    def _put(self, release: Release) -> bool:
        key, data = _pack(release.id), encode_pack(release)
        try:
            if self._objects.put_new(key, data):
                return True
        except NotImplementedError:
            self._objects.put(key, data)
            return True
        try:
            self._get(release.id)
        except (ReleaseNotFound, StoreCorrupted):
            # Only this content has this name, so nothing is lost.
            self._objects.put(key, data)
            return True
        return False

    def _append(self, environment: str, entry: Entry, after: Entry | None) -> Entry:
        log = self._log(environment)
        conditional = self._conditional(log)
        # Older versions read an entry only with its count.
        prompts = len(self._get(entry.release)) if entry.prompts is None else entry.prompts
        entry = replace(entry.after(after), prompts=prompts, push=uuid.uuid4().hex)
        try:
            if log.append(entry, conditional=conditional):
                log.point(entry)
                # Some servers let several writers of one name win when they come at once.
                kept = log.entry(entry.number)
                if kept is not None and kept.push == entry.push:
                    return entry
            winner = log.newest()
            if winner is not None:
                log.point(winner)
        except LayerUnavailable as problem:
            raise self._unknown(problem, environment) from problem
        raise Conflict.between(self.url, environment, winner)

    def _bounded(self, ask: Callable[[], T], operation: Operation | None = None) -> T:
        """What `ask` returns, with one budget for all its requests, in a thread of its own.

        The thread is for what no budget reaches: a credential process or a name server that hangs.
        """

        def run() -> T:
            with allowed(LIMIT_ANSWER_BYTES, operation or Operation(self.bounds)):
                return ask()

        hint = f"Check what is live before you try again: {self._listing()}"
        when = f"within {self._timeout_s:g} s"
        return within(self._timeout_s, run, self.url, when=when, hint=hint)

    def _log(self, environment: str) -> S3Log:
        return S3Log(self._objects, environment)

    def _conditional(self, log: S3Log) -> bool:
        if not log.ignores_conditions():
            return True
        if self._single_writer:
            return False
        raise PushRefused(
            f"The server of {self.url} ignores If-None-Match, so two pushers at once would "
            "overwrite each other unseen.",
            hint="Say --single-writer if this is the only one, or use a server that knows it.",
        )

    def _get(self, release_id: str) -> Release:
        key = _pack(release_id)
        data = self._objects.get(key, MAX_PACK) if is_full_id(release_id) else None
        if data is None:
            text = f"No release in {self.url} begins with {release_id[:64]!r}."
            hint = f"{self._listing()} lists them."
            raise ReleaseNotFound(text, release_id=release_id, hint=hint)
        return decode_pack(data, release_id, self._objects.url(key))

    def _listing(self, environment: str | None = None) -> str:
        # As it was given: without its endpoint it would be another server's bucket.
        which = f" -e {environment}" if environment else ""
        return f"yamlgraph-prompts releases {quote(self._given)}{which}"

    def _unknown(self, problem: LayerUnavailable, environment: str) -> LayerUnavailable:
        return LayerUnavailable(
            f"{problem.message} Whether the release became live is not known.",
            layer=problem.layer,
            hint=f"{problem.hint or ''} See what is live before you try again: "
            f"{self._listing(environment)}".strip(),
        )


def _pack(release_id: str) -> str:
    return f"packs/{release_id}.pack"
