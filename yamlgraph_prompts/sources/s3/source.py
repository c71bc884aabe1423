"""A layer in S3: a published release if there is one, else the loose files below the prefix.

Knows no environments: its caller chooses the channel, and unpacks releases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Event

from yamlgraph_prompts.errors import LayerUnavailable, PromptsError
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources import Snapshot, Traffic, Unpack
from yamlgraph_prompts.sources.layer_files import case_collisions, escapes
from yamlgraph_prompts.sources.polling import poll
from yamlgraph_prompts.sources.s3.bounds import Bounds
from yamlgraph_prompts.sources.s3.errors import circumstances
from yamlgraph_prompts.sources.s3.listing import RELEASES
from yamlgraph_prompts.sources.s3.location import Location
from yamlgraph_prompts.sources.s3.loose import Loose
from yamlgraph_prompts.sources.s3.objects import Objects

LIMIT_POINTER_BYTES = 64 << 10  # a log's entry too
LIMIT_PACK_BYTES = 96 << 20

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Kept:
    etag: str
    number: int
    release: str
    content: Snapshot


class S3Source:
    """Reads a prefix of a bucket, with as few requests as possible if nothing has changed."""

    refresh_s = 30.0

    def __init__(
        self,
        url: str,
        *,
        channel: str | None = None,
        unpack: Unpack | None = None,
        bounds: Bounds = Bounds(),  # noqa: B008 - frozen
    ) -> None:
        self.location = Location.parse(url)
        self.url = self.location.url_without_secrets
        self.channel = channel
        self.unpack = unpack
        self._objects = Objects(self.location, bounds=bounds)
        self._loose = Loose(self._objects)
        self._published: _Kept | None = None
        self._is_loose = False

    def read(self) -> Snapshot:
        """All files; see `Source.read`. Fetches only what has changed."""
        self._objects.open()
        if self.channel is None or self.unpack is None:
            return self._loose.read() or Snapshot.of({})
        for _ in range(2):
            if not self._is_loose:
                content = self._read_published(self.unpack)
                if content is not None:
                    return content
                self._published = None
            # The list also shows whether a release has been published since.
            files = self._loose.read(self.channel)
            self._is_loose = files is not None
            if files is not None:
                return files
        return self._read_logged(self.unpack)

    def changes(self, stop: Event) -> Iterator[None]:
        return poll(stop, self.refresh_s)

    def release(self, release_id: str) -> Snapshot | None:
        """A published release by its full id, whichever channel it was for; None if not there."""
        if self.unpack is None or not _ID.fullmatch(release_id):
            return None
        self._objects.open()
        return self._unpacked(release_id, self.unpack)

    def folders(self) -> list[str]:
        try:
            self._objects.open()
            pages = self._objects.pages(delimiter="/")
            folders = {name.rstrip("/") for page in pages for name in page.folders}
        except LayerUnavailable:
            return []
        return sorted(name for name in folders if name and not name.startswith("."))

    @property
    def about(self) -> str:
        """Where it is and which credentials it uses, for errors."""
        return circumstances(self.location)

    @property
    def traffic(self) -> Traffic:
        return self._objects.traffic

    def close(self) -> None:
        self._objects.close()

    def _read_published(self, unpack: Unpack) -> Snapshot | None:
        kept = self._published
        answer = self._objects.ask(
            f"{RELEASES}{self.channel}/current",
            limit_bytes=LIMIT_POINTER_BYTES,
            if_none_match=kept.etag if kept else None,
            once=kept is not None,
            may_be_denied=kept is None,
        )
        if answer.status == 304 and kept is not None:
            return kept.content
        if answer.status != 200:
            if kept is not None and self._is_logged(kept.number):
                raise self._bad("is gone, though the history goes on")
            return None
        number, release_id = self._pointed(answer.data)
        if kept is not None and number < kept.number and self._is_logged(kept.number):
            # Written late by a slow pusher. The log counts; the next push repairs the pointer.
            self._published = replace(kept, etag=answer.etag)
            return kept.content
        if kept is None or kept.release != release_id:
            content = self._unpacked(release_id, unpack)
            if content is None:
                raise self._bad(f"points to release {release_id[:12]}, which is not there")
        else:
            content = kept.content
        self._published = _Kept(answer.etag, number, release_id, content)
        return content

    def _read_logged(self, unpack: Unpack) -> Snapshot:
        """The release of the history's last entry, where the pointer to it is gone."""
        current = f"{RELEASES}{self.channel}/current"
        # Where it is there and may not be read, this raises what the server says.
        self._objects.ask(current, limit_bytes=LIMIT_POINTER_BYTES)
        number = self._loose.newest
        key = f"{RELEASES}{self.channel}/log/{number:020d}.json"
        answer = self._objects.ask(key, limit_bytes=LIMIT_POINTER_BYTES)
        _, release_id = self._pointed(answer.data, "is gone, and the last entry is damaged")
        content = self._unpacked(release_id, unpack)
        if content is None:
            raise self._bad(f"is gone, and so is release {release_id[:12]} of the last entry")
        text = f"{self.url}{current} is gone: the last entry of the history is served."
        hint = "Push or roll back once; that writes it again."
        finding = Finding("warning", "pointer-missing", text, file=self.url, hint=hint)
        self._published = _Kept("", number, release_id, content)
        return replace(content, findings=(finding,))

    def _is_logged(self, number: int) -> bool:
        key = f"{RELEASES}{self.channel}/log/{number:020d}.json"
        answer = self._objects.ask(key, limit_bytes=LIMIT_POINTER_BYTES, may_be_denied=True)
        return answer.status == 200

    def _pointed(self, data: bytes, bad: str = "is no pointer to a release") -> tuple[int, str]:
        try:
            pointer = json.loads(data)
            number, release_id = pointer.get("number"), pointer["release"]
            if isinstance(release_id, str) and _ID.fullmatch(release_id):
                is_number = isinstance(number, int) and 0 < number < 10**20
                return number if is_number else 0, release_id
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass
        raise self._bad(bad)

    def _unpacked(self, release_id: str, unpack: Unpack) -> Snapshot | None:
        key = f"{RELEASES}packs/{release_id}.pack"
        answer = self._objects.ask(key, limit_bytes=LIMIT_PACK_BYTES)
        if answer.status != 200:
            return None
        try:
            prompts = unpack(answer.data, release_id)
        except PromptsError as problem:
            text = f"{self.url} has a release that is not what its name says: {problem.message}"
            hint = "It is not served. Push the release again."
            raise LayerUnavailable(text, layer=self.url, hint=hint) from problem
        files = {f"{name}.yaml": data for name, data in prompts.items()}
        if any(map(escapes, files)) or case_collisions(files):
            text = f"{self.url} has a release, {release_id[:12]}, with names that cannot be files'."
            hint = "It is not served. Push another one."
            raise LayerUnavailable(text, layer=self.url, hint=hint)
        # Every byte has just been verified against the id, so it is as good a version.
        return Snapshot(files, release_id, release=release_id)

    def _bad(self, what: str) -> LayerUnavailable:
        current = f"{self.url}{RELEASES}{self.channel}/current"
        return LayerUnavailable(
            f"{current} {what}.", layer=self.url, hint="It is not followed. Push a release again."
        )
