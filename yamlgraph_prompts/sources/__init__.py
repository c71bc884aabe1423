"""Where prompts come from: the `Source` protocol and the table that opens one by URL.

A source speaks bytes and versions. It knows nothing of YAML, environments, releases or graphs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol, runtime_checkable

from yamlgraph_prompts.errors import MissingExtra, UnknownScheme
from yamlgraph_prompts.findings import Finding

__all__ = ["Content", "KeepsReleases", "Source", "Traffic", "Unpack", "Writable", "open_source"]

ENTRY_POINTS = "yamlgraph_prompts.sources"

# scheme → (module:class, pip extra that it needs or None)
_SCHEMES: dict[str, tuple[str, str | None]] = {
    "file": ("yamlgraph_prompts.sources.directory:DirectorySource", None),
    "s3": ("yamlgraph_prompts.sources.s3:S3Source", None),
}


@dataclass(frozen=True)
class Content:
    """Everything that a source has, read at one moment.

    Args:
        files: Path within the source, with ``/`` → the file's bytes.
        findings: Files that could not be taken, and why.
    """

    files: Mapping[str, bytes]
    findings: tuple[Finding, ...] = ()

    @cached_property
    def version(self) -> str:
        """A digest of every path and its bytes, and of what could not be taken."""
        digest = hashlib.sha256()
        for path in sorted(self.files):
            data = self.files[path]
            digest.update(b"%d %s %d\n" % (len(path), path.encode("utf-8", "replace"), len(data)))
            digest.update(data)
        for finding in self.findings:
            digest.update(str(finding).encode("utf-8", "replace"))
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a source has asked over a network so far, as its optional attribute ``traffic`` says.

    Args:
        requests: How many requests, those included that failed or were made again.
        received_bytes: How many bytes came as bodies.
    """

    requests: int = 0
    received_bytes: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.requests + other.requests, self.received_bytes + other.received_bytes)


@runtime_checkable
class Source(Protocol):
    """The reader of one kind of layer.

    One method reads everything, one cheap one says which version is there; the rest say where
    news would show. A source is used by one thread at a time.
    """

    url: str
    """The place, as a person would write it; holds no secret."""

    remote: bool
    """Whether reading goes over a network, and so must be bounded as a whole."""

    def read(self) -> Content:
        """Everything that is there now.

        Raises:
            LayerNotFound: Nothing is there.
            LayerUnavailable: It cannot be read now.
        """

    def version(self) -> str:
        """What `read().version` would say, as cheaply as can be. Raises what `read` raises."""

    def places(self) -> list[str]:
        """The names of the folders directly in this place; ``[]`` when there are none."""

    def watched(self) -> tuple[Path, ...]:
        """The local paths whose change is news; ``()`` when only asking tells."""

    def close(self) -> None:
        """Let go of connections. The source is not used afterwards."""


@runtime_checkable
class Writable(Protocol):
    """What a source has as well whose files can be changed through it."""

    def write(self, path: str, data: bytes | None) -> None:
        """Give the file at `path` the content `data`, or remove it: at once, or not at all.

        Args:
            path: The file's path within the source, with ``/``.
            data: What it shall hold; None to remove it.

        Raises:
            LayerReadOnly: It cannot be written, and why.
            LayerUnavailable: It cannot be written now: there is no room, or it is another place
                than the one that was read last.
        """


Unpack = Callable[[bytes, str], Mapping[str, bytes]]
"""A packed release's bytes and its id → prompt name and bytes, every byte of them verified."""


@runtime_checkable
class KeepsReleases(Protocol):
    """What a source has as well to which whole releases can be published."""

    channel: str | None
    """Whose published releases it reads; None: none."""

    unpack: Unpack | None
    """What makes files of a published release; without it none is read."""

    def release(self, release_id: str) -> Content | None:
        """A published release by its full id, whichever channel it was for; None if not there.

        Raises:
            LayerUnavailable: It cannot be read now, or is not what its id says.
        """


def open_source(
    url: str,
    *,
    base: Path | None = None,
    channel: str | None = None,
    unpack: Unpack | None = None,
) -> Source:
    """The source that reads `url`.

    Args:
        url: A path, or ``scheme://...``. Third parties add schemes by an entry point in the group
            ``yamlgraph_prompts.sources`` whose name is the scheme.
        base: What a relative path is relative to; the working directory when left out.
        channel: Whose published releases to read, for a source that keeps releases.
        unpack: What makes files of them.

    Raises:
        UnknownScheme: No source reads this scheme; the known ones are listed.
        MissingExtra: The source needs a pip extra.

    Example:
        >>> open_source("prompts/staging").remote
        False
    """
    source = _open(url, base)
    if channel is not None and isinstance(source, KeepsReleases):
        source.channel, source.unpack = channel, unpack
    return source


def _open(url: str, base: Path | None) -> Source:
    scheme, separator, _ = url.partition("://")
    if not separator:
        scheme, url = "file", str((base or Path()) / url)
    target, extra = _SCHEMES.get(scheme, (None, None))
    if target is not None:
        module, _, name = target.partition(":")
        try:
            return getattr(import_module(module), name)(url)  # type: ignore[no-any-return]
        except ImportError as problem:
            if extra is None:
                raise
            raise MissingExtra(
                f"A layer at {scheme}:// needs {problem.name}.",
                hint=f"Install it with: pip install 'yamlgraph-prompts[{extra}]'",
            ) from problem
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == scheme:
            return entry.load()(url)  # type: ignore[no-any-return]
    known = sorted({*_SCHEMES, *(e.name for e in entry_points(group=ENTRY_POINTS))})
    raise UnknownScheme(
        f"No source reads {scheme}:// (in {url!r}).",
        hint=f"Known: a path, {', '.join(name + '://' for name in known)}.",
    )
