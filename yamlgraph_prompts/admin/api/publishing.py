"""Writes and activations in a channel of published releases, through its own log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._publishing.drafts import Write
from yamlgraph_prompts.errors import LayerReadOnly, PromptsError, PushRefused
from yamlgraph_prompts.registry.channel import Channel

logger = logging.getLogger("yamlgraph_prompts")

_NO_MESSAGE = "changed through the admin API"


def writer(channel: Channel, who: str, message: str | None) -> Write:
    """Writes to `channel` in the name of a user."""
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
