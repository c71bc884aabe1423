"""The last destination of a prompt that is not live: kept releases, channel, removals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from yamlgraph_prompts._files import disk
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts._publishing.destinations import DEFAULT, Destination, destination
from yamlgraph_prompts.errors import ReleaseNotFound, StoreCorrupted
from yamlgraph_prompts.live_prompts import LivePrompts

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.channel import Channel

FILE = "destinations.json"
# How far back a bucket's history is searched: each entry may be a download.
BUCKET_ENTRIES = 50
_MAX_BYTES = 16 << 20


class LastLive:
    """The last destinations of names. An author may give a name no other one.

    Releases are removed from the store in time, and frequent writes make that sooner. So a
    removal through the API is remembered in a file of its own, which the store's processes share.
    """

    def __init__(self, prompts: LivePrompts, bucket: Channel | None) -> None:
        self._prompts = prompts
        self._bucket = bucket
        self._in_memory: dict[str, Destination] = {}

    def of(self, name: str, *, remote: bool = True) -> frozenset[Destination]:
        """Its destination by each history that knows it; `DEFAULT`: none does.

        `remote` reads the channel too, which may take seconds: not under a lock.
        """
        histories = [self._prompts.kept_texts(name)]
        if remote and self._bucket is not None:
            histories.append(self._published_texts(self._bucket, name))
        known = [next(filter(None, map(destination, texts)), None) for texts in histories]
        found = frozenset(one for one in known if one is not None)
        return found or frozenset([self._removed().get(name, DEFAULT)])

    def remove(self, name: str, went: frozenset[Destination]) -> None:
        """Remember the destinations of a prompt that is about to be removed."""
        removed = self._removed()
        now = {one: to for one, to in removed.items() if one != name or not went}
        now.update((name, to) for to in went if to != DEFAULT)
        if now == removed:
            return
        folder = self._prompts.store_folder
        if folder is None:
            self._in_memory = now
            return
        with disk.store_errors("Could not record the removal in", folder):
            disk.replace(folder / FILE, json.dumps(now).encode())

    def _removed(self) -> dict[str, Destination]:
        folder = self._prompts.store_folder
        if folder is None:
            return self._in_memory
        file = folder / FILE
        try:
            data, _ = disk.read_file(file, _MAX_BYTES)
            return {name: (provider, model) for name, (provider, model) in json.loads(data).items()}
        except FileNotFoundError:
            return {}
        except OSError as problem:
            raise disk.refusal("Could not read the removals in", file, problem) from problem
        except (ValueError, TypeError, AttributeError, RecursionError) as problem:
            raise StoreCorrupted(
                f"{file} is damaged, so it is not known where the data of removed prompts went.",
                hint="Let an operator write the prompt. Deleting the file forgets removals.",
            ) from problem

    def _published_texts(self, bucket: Channel, name: str) -> Iterator[bytes]:
        for release_id in dict.fromkeys(
            entry.release for entry in islice(bucket.history(), BUCKET_ENTRIES)
        ):
            with suppress(ReleaseNotFound):
                if (prompt := self._release(bucket, release_id).prompts.get(name)) is not None:
                    yield prompt.data

    def _release(self, bucket: Channel, release_id: str) -> Release:
        try:
            return self._prompts.find(release_id)
        except ReleaseNotFound:
            # Raises ReleaseNotFound, or another error if the channel does not answer.
            return bucket.get(release_id)
