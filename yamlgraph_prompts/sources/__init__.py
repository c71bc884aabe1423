"""Where prompts come from: the `Source` port and the table that opens one by URL.

A source speaks bytes and versions. It knows nothing of YAML, environments, releases or graphs.
"""

from __future__ import annotations

import hashlib
import os.path
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol, Self, runtime_checkable

from yamlgraph_prompts.errors import UnknownScheme
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.schemes import known_schemes, opener

__all__ = [
    "Change",
    "KeepsReleases",
    "ListsFolders",
    "Local",
    "Snapshot",
    "Source",
    "Traffic",
    "Unpack",
    "Writable",
    "open_source",
]

ENTRY_POINTS = "yamlgraph_prompts.sources"

# scheme → (module:class, pip extra that it needs or None)
_SCHEMES: dict[str, tuple[str, str | None]] = {
    "file": ("yamlgraph_prompts.sources.directory:DirectorySource", None),
    "http": ("yamlgraph_prompts.sources.http:HttpSource", None),
    "https": ("yamlgraph_prompts.sources.http:HttpSource", None),
    "postgresql": ("yamlgraph_prompts.sources.sql:SqlSource", "postgres"),
    "s3": ("yamlgraph_prompts.sources.s3:S3Source", None),
    "sqlite": ("yamlgraph_prompts.sources.sql:SqlSource", None),
}


@dataclass(frozen=True)
class Snapshot:
    """Everything that a source has, read at one moment.

    Args:
        files: Path within the source, with ``/`` → the file's bytes.
        version: Names this state: an ETag, a digest, a release id. Two snapshots of one source
            with the same version have the same files and findings.
        findings: Files that could not be taken, and why.
        release: The id of the published release that this is; None: it is none.
    """

    files: Mapping[str, bytes]
    version: str
    findings: tuple[Finding, ...] = ()
    release: str | None = None

    @classmethod
    def of(cls, files: Mapping[str, bytes], findings: tuple[Finding, ...] = ()) -> Self:
        """The snapshot whose version is a digest of every path, its bytes, and the findings.

        Example:
            >>> Snapshot.of({"a.yaml": b"user: x"}).version[:12]
            '36c128fabf74'
        """
        digest = hashlib.sha256()
        for path in sorted(files):
            data = files[path]
            digest.update(b"%d %s %d\n" % (len(path), path.encode("utf-8", "replace"), len(data)))
            digest.update(data)
        for finding in findings:
            digest.update(str(finding).encode("utf-8", "replace"))
        return cls(files, digest.hexdigest(), findings)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one file of a source.

    Args:
        path: The file's path within the source, with ``/``.
        data: The bytes that it is to have; None removes it.
        replaces: The bytes that it has now; None: there is no such file.
        who: Who makes the change.
        message: Why.
    """

    path: str
    data: bytes | None
    replaces: bytes | None
    who: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Traffic:
    """A source's requests over a network so far: its optional attribute ``traffic``.

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

    `read` is called by one thread at a time, with a deadline after which it is abandoned;
    `changes` by a thread of its own, beside `read`. The protocols below are optional abilities;
    `yamlgraph_prompts.testing` has a contract to test a source with.
    """

    url: str
    """The place, as a person would write it; holds no secret."""

    def read(self) -> Snapshot:
        """Everything that is there now. Cheap where nothing has changed, if that can be.

        Raises:
            LayerNotFound: Nothing is there.
            LayerUnavailable: It cannot be read now.
        """

    def changes(self, stop: Event) -> Iterator[Snapshot | None]:
        """Changes, until `stop` is set: a new snapshot, or None for "read again".

        The content may turn out to be the same. A place that sends no events is polled every
        `refresh_s` seconds: ``return poll(stop, self.refresh_s)``, see `sources.polling`. A source
        with an attribute `refresh_s` gets the user's; one whose attribute `listens` is true is
        followed at once, where others wait for a while, so as not to poll in step.

        Raises:
            LayerError: Changes cannot be followed now. The caller waits, reads, and calls again.
        """

    def close(self) -> None:
        """Let go of connections. The source is not used afterwards."""


@runtime_checkable
class Local(Protocol):
    """A source that reads without a network: its reads have no deadline, and are not polled."""

    def watched(self) -> tuple[Path, ...]:
        """The paths to watch; the file watch is used instead of `changes`."""


@runtime_checkable
class ListsFolders(Protocol):
    """A source that can list its sibling folders, for a misspelt environment."""

    def folders(self) -> list[str]:
        """The names of the folders directly in this place; ``[]`` when there are none."""


@runtime_checkable
class Writable(Protocol):
    """A source whose files can be changed through it."""

    def write(self, change: Change) -> None:
        """Make the change: at once, or not at all.

        Raises:
            Stale: The file is not what the change replaces; compared and written in one step.
            LayerReadOnly: It cannot be written, and why.
            LayerUnavailable: It cannot be written now: there is no room, or it is another place
                than the one that was read last.
        """


Unpack = Callable[[bytes, str], Mapping[str, bytes]]
"""A packed release's bytes and its id → prompt name and bytes, every byte of them verified."""


@runtime_checkable
class KeepsReleases(Protocol):
    """A source to which whole releases can be published."""

    channel: str | None
    """Whose published releases it reads; None: none."""

    unpack: Unpack | None
    """What makes files of a published release; without it none is read."""

    def release(self, release_id: str) -> Snapshot | None:
        """A published release by its full id, whichever channel it was for; None if not there.

        Raises:
            LayerUnavailable: It cannot be read now, or is not what its id says.
        """


def open_source(
    url: str, *, base: Path | None = None, channel: str | None = None, unpack: Unpack | None = None
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
        >>> open_source("prompts/staging").url
        'prompts/staging'
    """
    scheme, separator, _ = url.partition("://")
    if not separator:
        scheme, url = "file", str((base or Path()) / os.path.expanduser(url))
    opened = opener(scheme, _SCHEMES, ENTRY_POINTS, "layer")
    if opened is None:
        known = ", ".join(f"{name}://" for name in known_schemes(_SCHEMES, ENTRY_POINTS))
        raise UnknownScheme(
            f"No source reads {scheme}:// (in {url!r}).", hint=f"Known: a path, {known}."
        )
    source: Source = opened(url)
    if channel is not None and isinstance(source, KeepsReleases):
        source.channel, source.unpack = channel, unpack
    return source
