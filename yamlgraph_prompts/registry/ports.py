"""What a registry is: releases, their history, and who serves them. A back end has what it can."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Protocol, runtime_checkable

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import NO_FACTS, ReleaseFacts
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts._model.version import Version


@dataclass(frozen=True, slots=True)
class Replica:
    """One process that serves `release` to an environment, held or not."""

    environment: str
    release: str
    held: bool = False
    pid: int = field(default_factory=os.getpid)


@runtime_checkable
class Releases(Protocol):
    """Releases by their id, of every environment that shares the registry. Thread-safe.

    A release is immutable, so putting an equal one changes nothing.
    """

    url: str
    """The registry, as a person would write it; holds no secret."""

    def put(self, release: Release, facts: ReleaseFacts = NO_FACTS) -> bool:
        """Keep a release. It is not live yet, and durable at the latest when an entry names it.

        Returns:
            Whether it was written: False where the same was there, whole.

        Raises:
            StoreError: It could not be written; everything is as it was before.
            LayerUnavailable: The same, where the registry is remote.
        """

    def get(self, release_id: str) -> Release:
        """A release by its full id, every byte verified.

        Raises:
            ReleaseNotFound: It is not here.
            StoreCorrupted: It is here, but damaged.
        """

    def ids(self, prefix: str = "") -> Iterator[str]:
        """The full id of every release whose id begins with `prefix`, in no order."""


@runtime_checkable
class Log(Protocol):
    """What was live when, for each environment. Entries are only ever appended. Thread-safe."""

    def current(self, environment: str) -> Entry | None:
        """The last entry; None before the first."""

    def history(self, environment: str) -> Iterator[Entry]:
        """Every entry, newest first. Damaged ones, and old ones that were removed, are left out."""

    def append(self, environment: str, entry: Entry, *, after: Entry | None) -> Entry:
        """Add an entry, unless another was added since `after`: compare-and-set.

        Killed between any two steps, it leaves the old entry current or the new one.

        Args:
            environment: Whose history.
            entry: What to add; `number` and `previous` are set by the registry.
            after: The entry that was current when this was decided; None for none.

        Returns:
            The entry as it stands in the history; it is durable.

        Raises:
            Conflict: Another writer was first; `winner` is the entry that is current.
            StoreError: It could not be written; everything is as it was before.
            LayerUnavailable: It could not be written, or its fate is not known.
        """

    def changes(self, environment: str, stop: Event) -> Iterator[Entry]:
        """Each entry that any writer appends from now on, until `stop` is set.

        Entries that come together may be skipped up to the last of them.
        """


@runtime_checkable
class Hinted(Protocol):
    """What a log has as well whose readers do not read it, but a hint of its last entry."""

    def behind(self, environment: str) -> bool:
        """Whether the hint is not that of the last entry, because its writer died."""

    def repair(self, environment: str) -> bool:
        """Make the hint that of the last entry; whether it was not."""


@runtime_checkable
class Presence(Protocol):
    """Which processes serve an environment. Informs people and decides nothing."""

    def announce(self, replica: Replica) -> None:
        """Record what this process serves, in place of the record before. Never raises."""

    def replicas(self, environment: str) -> list[Replica]:
        """The living processes."""


@dataclass(frozen=True, slots=True)
class Activation:
    """One prompt's part of an entry: the version before and after; None: not from the registry."""

    environment: str
    name: str
    old: int | None
    new: int | None
    entry: Entry


@runtime_checkable
class Versions(Protocol):
    """Versions of single prompts, and which one is active in which environment. Thread-safe.

    A release is the set of versions that are active together.
    """

    def create(
        self,
        name: str,
        data: bytes,
        *,
        who: str,
        message: str = "",
        metadata: Mapping[str, Any] | None = None,
        parent: str = "",
    ) -> Version:
        """Make a version, which is not active yet; the one that has this content, if there is one.

        Args:
            name: The prompt's name.
            data: The bytes of its file.
            who: Who makes it.
            message: Why.
            metadata: What else to note.
            parent: What it was made from, as ``name@number``; the newest version when left out.

        Raises:
            VersionRefused: No prompt can have this name, or it is too large.
            LayerReadOnly: Nothing may be written.
            LayerUnavailable: It could not be written.
        """

    def version(self, name: str, number: int) -> Version:
        """One version, with its bytes.

        Raises:
            VersionNotFound: There is none.
        """

    def versions(self, name: str) -> list[Version]:
        """All versions of a prompt, newest first, without their bytes."""

    def active(self, environment: str) -> Mapping[str, int]:
        """Name → number of what is active."""

    def activations(self, name: str, environment: str | None = None) -> list[Activation]:
        """When which version of a prompt became active, by whom and why; newest first."""

    def activate(
        self,
        environment: str,
        versions: Mapping[str, int | None],
        *,
        who: str,
        why: str = "activate",
        message: str = "",
        replaces: Mapping[str, str | None] | None = None,
    ) -> Entry:
        """Make versions active, all in one entry; None: the prompt is not from here any more.

        Args:
            environment: Whose prompts.
            versions: Name → number.
            who: Who does it.
            why: The same as a word, for the history.
            message: What for.
            replaces: Name → digest of what was active when this was decided; None: nothing was.

        Returns:
            The new entry; the last one where all of it was active already.

        Raises:
            Conflict: Something else is active; `winner` is the entry that made it so.
            VersionNotFound: There is no such version.
        """

    def environments(self) -> list[str]:
        """Those in which something is or was active."""


class Registry(Releases, Log, Protocol):
    """Releases and their history, as `open_registry` gives them."""


def poll_changes(
    current: Callable[[], Entry | None], stop: Event, pause_s: float = 0.05
) -> Iterator[Entry]:
    """`Log.changes` for a back end that has no news of its own: asks every `pause_s` seconds."""
    last = current()
    while not stop.wait(pause_s):
        entry = current()
        if entry is not None and (last is None or entry.number > last.number):
            last = entry
            yield entry
