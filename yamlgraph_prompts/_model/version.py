"""A version of one prompt, as a registry with a database keeps it. Never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yamlgraph_prompts.errors import VersionNotFound


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a prompt.

    Args:
        name: The prompt's name.
        number: 1, 2, 3, ... for each name.
        sha256: The digest of its file, in hex.
        at_s: When it was made, in seconds since the epoch.
        who: Who made it.
        message: Why.
        metadata: What else its author noted.
        parent: The version that it was made from, as ``name@number``; empty for a first one.
        active: The environments in which it is live.
        data: The bytes of the file; None where they were not asked for, or were purged.
    """

    name: str
    number: int
    sha256: str
    at_s: float
    who: str = ""
    message: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    parent: str = ""
    active: tuple[str, ...] = ()
    data: bytes | None = field(default=None, repr=False)

    @property
    def spelled(self) -> str:
        """``name@number``."""
        return f"{self.name}@{self.number}"

    @property
    def content(self) -> bytes:
        """The bytes of the file; VersionNotFound if they were purged."""
        if self.data is None:
            raise purged(self.name, self.number)
        return self.data


def purged(name: str, number: int) -> VersionNotFound:
    """The error for a version whose content was removed."""
    text = f"Version {number} of prompt {name!r} was purged."
    return VersionNotFound(text, hint="Push the same content again, or restore a backup.")


def parse_version(word: str) -> tuple[str, int] | None:
    """The name and number of ``name@number``; None where the word is no such thing.

    Example:
        >>> parse_version("router/classify@3")
        ('router/classify', 3)
    """
    name, _, number = word.rpartition("@")
    if not name or not (number.isascii() and number.isdigit()) or len(number) > 9:
        return None
    return (name, int(number)) if int(number) else None
