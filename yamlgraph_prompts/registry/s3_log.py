"""One environment's history in a bucket: an append-only log, and the hint at its end.

Each number is written once, by one pusher; the hint may be late and never counts against the log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.sources.s3.objects import Objects

LIMIT_ENTRY_BYTES = 64 << 10
ROUNDS = 10

_NUMBER = re.compile(r"([0-9]{20})\.json")


class S3Log:
    """The history below ``<environment>/``."""

    def __init__(self, objects: Objects, environment: str) -> None:
        self._objects = objects
        self._folder = f"{environment}/"

    def newest(self, known: Entry | None = None) -> Entry | None:
        """The last entry, whatever the hint says; None where there is none."""
        start = known or self.entry(self.pointed()[0])
        after = self._key(start.number) if start else ""
        last = max(
            (
                int(found[1])
                for key in self._objects.keys(f"{self._folder}log/", after)
                if (found := _NUMBER.fullmatch(key.rpartition("/")[2]))
            ),
            default=None,
        )
        return start if last is None else self.entry(last)

    def entry(self, number: int) -> Entry | None:
        """The entry of this number; None where there is none."""
        if not 0 < number < 10**20:
            return None
        data = self._objects.get(self._key(number), LIMIT_ENTRY_BYTES)
        if data is None:
            return None
        try:
            entry = Entry.of_facts(_mapping(data))
        except ValueError as problem:
            raise self._damaged(number) from problem
        if entry.number != number:
            raise self._damaged(number)
        return entry

    def append(self, entry: Entry, *, conditional: bool) -> bool:
        """Write the next entry; whether it is in the log now, and not another pusher's."""
        data = json.dumps(entry.facts(), indent=1).encode()
        key = self._key(entry.number)
        if not conditional:
            if self.entry(entry.number) is not None:
                return False
            self._objects.put(key, data)
            return True
        if self._objects.put_new(key, data):
            return True
        # An answer that got lost is asked for again, and then our own entry is in the way.
        there = self.entry(entry.number)
        return there is not None and there.push == entry.push

    def pointed(self) -> tuple[int, str]:
        """What the hint says: the number and the release; ``(0, "")`` where there is none."""
        known = _mapping(self._objects.get(self._hint, LIMIT_ENTRY_BYTES) or b"")
        number, release = known.get("number"), known.get("release")
        if isinstance(number, int) and isinstance(release, str):
            return number, release
        return 0, ""

    def point(self, entry: Entry) -> bool:
        """Make the hint say what the log says; whether it did not."""
        moved = False
        for _ in range(ROUNDS):
            pointed = self.pointed()
            if pointed[0] > entry.number:
                entry = self.newest(entry) or entry
            if pointed != (entry.number, entry.release):
                moved = True
                hint = {"release": entry.release, "number": entry.number, "at_s": entry.at_s}
                self._objects.put(self._hint, json.dumps(hint).encode())
            # A pusher that was faster may have moved the hint on before we moved it back.
            newest = self.newest(entry)
            if newest is None or newest.number == entry.number:
                break
            entry = newest
        return moved

    def ignores_conditions(self) -> bool:
        """Whether the server lets a second writer of one name win; finds out by trying."""
        probe = f"{self._folder}probe"
        try:
            return self._objects.put_new(probe, b"") and self._objects.put_new(probe, b"")
        except NotImplementedError:
            return True

    @property
    def _hint(self) -> str:
        return f"{self._folder}current"

    def _key(self, number: int) -> str:
        return f"{self._folder}log/{number:020d}.json"

    def _damaged(self, number: int) -> LayerUnavailable:
        url = self._objects.url(self._key(number))
        text = f"{url} is no entry of a history."
        hint = "Something else wrote it; look at it, and remove it if it is the last one."
        return LayerUnavailable(text, layer=url, hint=hint)


def _mapping(data: bytes) -> Mapping[str, Any]:
    try:
        known = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
