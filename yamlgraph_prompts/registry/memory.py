"""A store for prompts in memory: keeps releases for as long as the process does, and no disk."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from yamlgraph_prompts.files.disk import remove_tree
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.model.pack import PackFacts
from yamlgraph_prompts.model.release import Release, StoredRelease, full_id
from yamlgraph_prompts.registry.history import Pointer


class MemoryStore:
    """Does what `Store` does, for tests and for prompts that are given as a mapping.

    Args:
        keep: How many of the newest releases to keep.
    """

    folder: Path | None = None
    trouble: str | None = None

    def __init__(self, *, keep: int = 50) -> None:
        self._keep = keep
        self._releases: dict[str, Release] = {}
        self._changes: list[Pointer] = []
        self._views: Path | None = None
        self._end: weakref.finalize[..., MemoryStore] | None = None

    def put(
        self,
        release: Release,
        *,
        findings: Iterable[Finding] = (),
        clean: Iterable[str] = (),
        check_version: str = "",
    ) -> None:
        """Keep a release; see `Store.put`."""
        self._releases[release.id] = release
        recent = {change.release for change in self._changes[-self._keep :]}
        for old in list(self._releases)[: -self._keep]:
            if old not in recent:
                del self._releases[old]

    def make_live(
        self, release_id: str, *, reason: str, held: bool = False, since: int | None = None
    ) -> bool:
        """Point at a release; see `Store.make_live`."""
        serial = self._changes[-1].serial + 1 if self._changes else 1
        self._changes.append(Pointer(release_id, held, reason, time.time(), serial))
        del self._changes[: -2 * self._keep]
        return True

    def pointer(self) -> Pointer | None:
        """Which release is live."""
        return self._changes[-1] if self._changes else None

    def get(self, release_id: str) -> Release:
        """A kept release."""
        return self._releases[self.find(release_id)]

    def secret(self) -> None:
        """None: there is no folder that other processes could share."""

    def mark_used(self, release_id: str) -> None:
        """Nothing: a release is kept by number, not by use."""

    def facts(self, release_id: str) -> PackFacts | None:
        """None: nothing outlives the process that could be spared a check."""
        return None

    def digests(self, release_id: str) -> Mapping[str, str]:
        """Each prompt's digest in a kept release."""
        release = self._releases[self.find(release_id)]
        return {name: prompt.sha256 for name, prompt in release.prompts.items()}

    def last_good(self) -> Release | None:
        """None: a new process has none."""
        return None

    def previous(self, release_id: str) -> str | None:
        """What was live before `release_id` last became live."""
        ids = [change.release for change in self._changes]
        while ids and ids[-1] != release_id:
            ids.pop()
        return next((before for before in reversed(ids) if before != release_id), None)

    def releases(self) -> list[StoredRelease]:
        """The kept releases, newest first."""
        live = self.pointer()
        found: dict[str, StoredRelease] = {}
        for change in reversed(self._changes):
            release = self._releases.get(change.release)
            if release is not None and change.release not in found:
                found[change.release] = StoredRelease(
                    id=release.id,
                    environment=release.environment,
                    at_s=change.at_s,
                    reason=change.reason,
                    live=live is not None and live.release == release.id,
                    prompts=len(release),
                )
        return list(found.values())

    def find(self, prefix: str) -> str:
        """The full id of the one kept release whose id begins with `prefix`."""
        return full_id(prefix, self._releases)

    def view(self, name: str, files: Mapping[str, bytes]) -> Path:
        """A temporary folder of these files, for graphs that can only read folders."""
        from tempfile import mkdtemp

        if self._views is None:
            self._views = Path(mkdtemp(prefix="yamlgraph-prompts-"))
            self._end = weakref.finalize(self, _remove, self._views, os.getpid())
        folder = self._views / name
        for path, data in {"": b"", **files}.items():
            target = folder / path
            if path and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
        folder.mkdir(exist_ok=True)
        return folder

    def drop_views(self, keep: Collection[str]) -> None:
        """Nothing: the folder goes with the store."""

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nothing to keep out: nobody else has this store."""
        yield

    def changed_paths(self) -> tuple[Path, ...]:
        """None: nobody else can change it."""
        return ()

    def close(self) -> None:
        """Remove the temporary folder, if there is one."""
        if self._end is not None:
            self._end()
            self._views = self._end = None


def _remove(folder: Path, maker: int) -> None:
    # A forked child leaves alone what its parent reads.
    if os.getpid() == maker:
        remove_tree(folder)
