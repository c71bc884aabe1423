"""The releases in a bucket, each one object under its id, shared by all environments."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from yamlgraph_prompts.errors import ReleaseNotFound, StoreCorrupted
from yamlgraph_prompts.pack import MAX_PACK, decode_pack, encode_pack
from yamlgraph_prompts.release import Release
from yamlgraph_prompts.sources.s3.objects import Objects


class Packs:
    """The packs below ``.releases/packs/``; `listing` is the command that lists the releases."""

    def __init__(self, objects: Objects, listing: str) -> None:
        self._objects = objects
        self._url = objects.location.url_without_secrets
        self._listing = listing

    def get(self, release_id: str) -> Release:
        """A release, every byte verified; see `Bucket.get`."""
        key = _key(release_id)
        data = self._objects.get(key, MAX_PACK) if _is_id(release_id) else None
        if data is None:
            raise self._missing(release_id)
        return decode_pack(data, release_id, self._objects.url(key))

    def put(self, release: Release) -> None:
        """Write a release if it does not exist, or is damaged."""
        key, data = _key(release.id), encode_pack(release)
        try:
            if self._objects.put_new(key, data):
                return
        except NotImplementedError:
            self._objects.put(key, data)
            return
        self.repair(release)

    def repair(self, release: Release) -> bool:
        """Write a release that is missing or damaged; whether it was."""
        try:
            self.get(release.id)
        except (ReleaseNotFound, StoreCorrupted):
            # Only this content has this name, so nothing is lost.
            self._objects.put(_key(release.id), encode_pack(release))
            return True
        return False

    def find(self, prefix: str) -> str:
        """The full id of the one release whose id begins with `prefix`."""
        wanted = prefix.strip().lower()
        ids = list(islice(self._ids(wanted), 6)) if wanted else []
        if not ids:
            raise self._missing(prefix)
        if len(ids) > 1:
            shown = ", ".join(release_id[:12] for release_id in ids[:5])
            raise ReleaseNotFound(
                f"Several releases in {self._url} begin with {prefix!r}.",
                release_id=prefix,
                hint=f"Give more of the id: {shown}.",
            )
        return ids[0]

    def _ids(self, prefix: str) -> Iterator[str]:
        for key in self._objects.keys(f"packs/{prefix}"):
            release_id = key.removeprefix("packs/").removesuffix(".pack")
            if _is_id(release_id):
                yield release_id

    def _missing(self, prefix: str) -> ReleaseNotFound:
        return ReleaseNotFound(
            f"No release in {self._url} begins with {prefix[:64]!r}.",
            release_id=prefix,
            hint=f"{self._listing} lists them.",
        )


def _key(release_id: str) -> str:
    return f"packs/{release_id}.pack"


def _is_id(text: str) -> bool:
    return len(text) == 64 and not text.strip("0123456789abcdef")
