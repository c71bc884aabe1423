"""Writes to a bucket whose releases are published: by a new one, through the bucket's own log."""

from __future__ import annotations

from collections.abc import Mapping

from yamlgraph_prompts.bucket import Bucket, LogEntry
from yamlgraph_prompts.drafts import Write
from yamlgraph_prompts.errors import LayerReadOnly, PushRefused
from yamlgraph_prompts.release import Prompt, Release

_NO_MESSAGE = "changed through the admin API"


def writer(bucket: Bucket, who: str, message: str | None) -> Write:
    """Writes to `bucket` for somebody.

    Raises:
        LayerReadOnly: Nothing was ever published there: it is read as loose files.
        LayerUnavailable: It cannot be read.
    """
    live = _live(bucket)

    def write(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> None:
        if _release(old).id != live.release:
            raise PushRefused(
                f"Somebody published to {bucket.url} in between.", hint="Look again, and try again."
            )
        bucket.push(_release(new), message=message or _NO_MESSAGE, who=who, after=live)

    return write


def _live(bucket: Bucket) -> LogEntry:
    live = bucket.current()
    if live is None:
        raise LayerReadOnly(
            f"Loose files in a bucket are only read: nothing is published in {bucket.url}.",
            layer=bucket.url,
            hint="Publish a release first: yamlgraph-prompts push",
        )
    return live


def _release(files: Mapping[str, bytes]) -> Release:
    return Release.of(Prompt(path.removesuffix(".yaml"), data) for path, data in files.items())
