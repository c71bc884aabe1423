"""A layer in memory: a mapping of names to prompts, for tests. Touches no disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

from yamlgraph_prompts.sources import Snapshot
from yamlgraph_prompts.sources.layer_files import is_read
from yamlgraph_prompts.sources.polling import poll


class MemorySource:
    """Reads a mapping: name → YAML text or content, or path (.yaml, .j2) → the file's text.

    The caller may change it between two publications.
    """

    url = "memory:"
    refresh_s = 1.0

    def __init__(self, prompts: Mapping[str, Any]) -> None:
        self.prompts = prompts

    def read(self) -> Snapshot:
        return Snapshot.of({_path(name): _data(one) for name, one in dict(self.prompts).items()})

    def changes(self, stop: Event) -> Iterator[None]:
        return poll(stop, self.refresh_s)

    def watched(self) -> tuple[Path, ...]:
        return ()

    def close(self) -> None:
        """Nothing is open."""


def _path(name: str) -> str:
    return name if is_read(name) else f"{name}.yaml"


def _data(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
