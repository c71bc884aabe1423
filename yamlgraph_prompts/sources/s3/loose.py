"""The files that people upload below a prefix: fetches what changed, never mixes two states."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from queue import SimpleQueue

from yamlgraph_prompts._files.regular_file import LIMIT_FILE_BYTES
from yamlgraph_prompts.errors import LayerNotFound, LayerUnavailable
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources import Snapshot
from yamlgraph_prompts.sources.layer_files import sort_out
from yamlgraph_prompts.sources.layers import near
from yamlgraph_prompts.sources.s3.client import PARALLEL
from yamlgraph_prompts.sources.s3.listing import RELEASES, Listed, channels
from yamlgraph_prompts.sources.s3.objects import Answer, Objects

ATTEMPTS = 5
LIMIT_ENTRIES = 50_000
PROGRESS_AFTER_S = 2.0


class Loose:
    """The loose files below a prefix, kept between two reads. Not thread-safe."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._url = objects.location.url_without_secrets
        self._listing: tuple[Listed, ...] | None = None
        self._content = Snapshot.of({})
        self._data: dict[Listed, bytes] = {}
        # Whether a GET's ETag is the listed one; some servers have two for each object.
        self._same_etags = True
        self.newest = 0  # the last entry of the channel's history, by the list

    def read(self, channel: str | None = None) -> Snapshot | None:
        """All files, as of one moment; None if `channel` has a history, which ends at `newest`."""
        suspects: frozenset[Listed] = frozenset()
        for _ in range(ATTEMPTS):
            listing, pages = self._list()
            found = channels(listing) if channel is not None else {}
            others = list(found)
            if channel in found:
                self.newest = found[channel]
                return None
            if listing == self._listing:
                return self._content
            wanted, findings = sort_out({one.key: one for one in listing}, self._url)
            # A first push that is under way, or ended halfway, leaves objects of its own.
            is_empty = all(one.key.startswith(RELEASES) for one in listing)
            if is_empty or (others and not wanted) or near(channel or "", others):
                raise self._nothing(channel, others)
            if others:
                findings = (*findings, self._unpublished(channel, others))
            # Keep only what this list names: a list may be another one each time.
            self._data = {one: self._data[one] for one in wanted.values() if one in self._data}
            changed = self._fetch([one for one in wanted.values() if one not in self._data])
            if changed & suspects:
                # The list is as before, and still they differ: the server has two kinds of ETags.
                self._same_etags = False
            suspects = changed
            if changed:
                continue
            if (pages > 1 or not self._same_etags) and self._list()[0] != listing:
                # Several pages may come from several states.
                continue
            files = {path: self._data[one] for path, one in wanted.items()}
            self._listing, self._content = listing, Snapshot.of(files, findings)
            return self._content
        raise LayerUnavailable(
            f"What is below {self._url} changes faster than it can be read.", layer=self._url
        )

    def _list(self) -> tuple[tuple[Listed, ...], int]:
        listing: list[Listed] = []
        pages = 0
        for page in self._objects.pages():
            pages += 1
            listing += page.listed
            if len(listing) > LIMIT_ENTRIES:
                text = f"Below {self._url} are more than {LIMIT_ENTRIES:,} objects."
                hint = "Give the prompts a prefix of their own."
                raise LayerUnavailable(text, layer=self._url, hint=hint)
        return tuple(listing), pages

    def _nothing(self, channel: str | None, others: list[str]) -> LayerNotFound:
        if others:
            text = f"No release is published for {channel!r} at {self._url}, but for "
            meant = near(channel or "", others)
            hint = "Push or promote one for it, or correct the environment."
            hint = f"Did you mean {meant!r}?" if meant else hint
            text = f"{text}{', '.join(others)}."
            return LayerNotFound(text, layer=self._url, available=others, hint=hint)
        text = f"Nothing is at {self._url}."
        hint = (
            "Upload prompts or push a release there, or mark it with Layer(optional=True). Keys "
            "that begin with a slash are not below it."
        )
        return LayerNotFound(text, layer=self._url, hint=hint)

    def _unpublished(self, channel: str | None, others: list[str]) -> Finding:
        return Finding(
            "warning",
            "not-published",
            f"No release is published for {channel!r} here, but for {', '.join(others)}: the "
            "loose files are read.",
            file=self._url,
            hint="Push a release, or correct the environment.",
        )

    # Fetching, with threads that do not keep the process from ending

    def _fetch(self, wanted: Sequence[Listed]) -> frozenset[Listed]:
        """Keep all that can be fetched exactly as listed; return the rest."""
        waiting = deque(wanted)
        answers: SimpleQueue[tuple[Listed, Answer | Exception]] = SimpleQueue()

        def work() -> None:
            while True:
                try:
                    one = waiting.popleft()
                except IndexError:
                    return
                try:
                    answers.put((one, self._get(one)))
                except Exception as problem:  # noqa: BLE001 - handed to the reading thread
                    answers.put((one, problem))

        for _ in range(min(PARALLEL, len(wanted))):
            threading.Thread(target=work, name="yamlgraph-prompts-s3", daemon=True).start()
        changed: set[Listed] = set()
        with _Progress(self._url, len(wanted)) as progress:
            for done in range(len(wanted)):
                progress.show(done)
                one, answer = answers.get()
                if isinstance(answer, Exception):
                    waiting.clear()
                    self._objects.stop()
                    raise answer
                if self._is_listed(one, answer):
                    self._data[one] = answer.data
                else:
                    changed.add(one)
        return frozenset(changed)

    def _get(self, one: Listed) -> Answer:
        etag = one.etag if self._same_etags else None
        return self._objects.ask(one.key, limit_bytes=LIMIT_FILE_BYTES, if_match=etag)

    def _is_listed(self, one: Listed, answer: Answer) -> bool:
        if answer.status != 200 or answer.size != one.size:
            return False
        return not self._same_etags or answer.etag == one.etag


class _Progress(AbstractContextManager["_Progress"]):
    """A progress line on a terminal, for what takes longer than two seconds."""

    def __init__(self, url: str, total: int) -> None:
        self._url = url
        self._total = total
        self._next = time.monotonic() + PROGRESS_AFTER_S
        self._shown = False

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now < self._next or sys.stderr is None or not sys.stderr.isatty():
            return
        self._next, self._shown = now + 0.2, True
        sys.stderr.write(f"\r\x1b[K{self._url}: {done} of {self._total} objects")
        sys.stderr.flush()
