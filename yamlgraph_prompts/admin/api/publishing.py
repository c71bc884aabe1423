"""Writes and activations in a channel of published releases, through its own log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._publishing.drafts import Write
from yamlgraph_prompts.errors import LayerReadOnly, PromptsError, PushRefused
from yamlgraph_prompts.registry.channel import Channel
from yamlgraph_prompts.registry.ports import Versions

logger = logging.getLogger("yamlgraph_prompts")

_NO_MESSAGE = "changed through the admin API"


@dataclass
class VersionWriter:
    """Writes a layer in a database: a version of what has changed, and its activation."""

    versions: Versions
    environment: str
    who: str
    why: str
    message: str
    number: int | None = None  # of the version that became active

    def __call__(self, old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        made: dict[str, int | None] = {}
        replaces: dict[str, str | None] = {}
        for path in sorted(old.keys() | new.keys()):
            before, after = old.get(path), new.get(path)
            if before != after:
                name = path.removesuffix(".yaml")
                made[name] = None if after is None else self._made(name, after)
                replaces[name] = None if before is None else sha256(before).hexdigest()
        said = {"who": self.who, "why": self.why, "message": self.message}
        self.versions.activate(self.environment, made, replaces=replaces, **said)
        self.number = next(iter(made.values()), None)

    def _made(self, name: str, data: bytes) -> int:
        return self.versions.create(name, data, who=self.who, message=self.message).number


def writer(channel: Channel, who: str, message: str | None, why: str) -> Write:
    """Writes to `channel` in the name of a user."""
    if isinstance(channel.registry, Versions):
        return VersionWriter(channel.registry, channel.environment, who, why, message or "")
    live = _live(channel)

    def write(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        if _release(old).id != live.release:
            raise PushRefused(
                f"Another push to {channel.url} came first.",
                hint="Read the current state and try again.",
            )
        channel.push(_release(new), message=message or _NO_MESSAGE, who=who, after=live)

    return write


def going_back(channel: Channel, live: str) -> str | None:
    """What was live in the bucket before `live`; None: that is not its live one, or not known."""
    with suppress(PromptsError):
        entry = channel.current()
        if entry is not None and entry.release == live:
            return entry.previous
    return None


def activate(channel: Channel, release_id: str, who: str, message: str) -> str | None:
    """Make a release live for every reader of the bucket; why it was not, None: it was."""
    try:
        if channel.current() is None:
            return f"Loose files in a bucket are read-only: {channel.url} has no release."
        channel.rollback(to=release_id, message=message, who=who)
    except PromptsError as problem:
        logger.error("The readers of %s do not get the change: %s", channel.url, problem)
        return problem.message
    return None


def _live(channel: Channel) -> Entry:
    live = channel.current()
    if live is None:
        text = f"Loose files in a bucket are read-only: {channel.url} has no release."
        hint = "Publish a release first: yamlgraph-prompts push"
        raise LayerReadOnly(text, layer=channel.url, hint=hint)
    return live


def _release(files: Mapping[str, bytes]) -> Release:
    return Release.of(Prompt(path.removesuffix(".yaml"), data) for path, data in files.items())
