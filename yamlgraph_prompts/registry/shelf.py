"""The packs in one folder: written, found, marked as used, retired. Knows not which one is live."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from yamlgraph_prompts.files.disk import TEMPORARY, names_in, replace, unlink
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.model.pack import MAX_FINDINGS, encode_pack, read_whole
from yamlgraph_prompts.model.release import Release

logger = logging.getLogger("yamlgraph_prompts")

_ID = re.compile(r"[0-9a-f]{64}")


class Shelf:
    """The packs below `folder`. Writers hold the store's lock, readers need none."""

    def __init__(self, folder: Path) -> None:
        self.packs = folder / "packs"

    def ids(self) -> set[str]:
        names = (name for name in names_in(self.packs) if name.endswith(".pack"))
        return {name[:-5] for name in names if _ID.fullmatch(name[:-5])}

    def find(self, release_id: str) -> Path | None:
        path = self._pack(release_id)
        return path if _ID.fullmatch(release_id) and os.path.exists(path) else None

    def keep(
        self,
        release: Release,
        findings: tuple[Finding, ...],
        clean: frozenset[str],
        check_version: str,
    ) -> bool:
        """Write a release's pack, unless the same is there and whole. Says whether it wrote."""
        path = self._pack(release.id)
        if _says(path, release, findings, clean, check_version):
            self.touch(release.id)
            return False
        self.packs.mkdir(mode=0o700, exist_ok=True)
        data = encode_pack(release, findings=findings, clean=clean, check_version=check_version)
        replace(path, data)
        return True

    def touch(self, release_id: str) -> None:
        """Count a release among the newest."""
        with suppress(OSError):
            os.utime(self._pack(release_id))

    def mark_used(self, release_id: str) -> None:
        if _ID.fullmatch(release_id):
            marker = self.packs / f"{release_id}.used"
            with suppress(OSError):
                os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
                os.utime(marker)

    def retire(self, keep: int, keep_used_s: float, spared: Collection[str]) -> None:
        """Remove all but the newest `keep`, those used in `keep_used_s`, and the spared ones."""
        times = _times(self.packs)
        stored = {name[:-5]: at for name, at in times.items() if name.endswith(".pack")}
        used = {name[:-5]: at for name, at in times.items() if name.endswith(".used")}
        if len(stored) > keep:
            newest = sorted(stored, key=stored.__getitem__, reverse=True)[:keep]
            oldest_s = time.time() - keep_used_s
            for release_id in stored.keys() - {*newest, *spared}:
                if used.get(release_id, 0.0) < oldest_s:
                    unlink(self._pack(release_id))
                    del stored[release_id]
        for release_id in used.keys() - stored.keys():
            unlink(self.packs / f"{release_id}.used")

    def _pack(self, release_id: str) -> Path:
        return self.packs / f"{release_id}.pack"


def _says(
    path: Path,
    release: Release,
    findings: tuple[Finding, ...],
    clean: frozenset[str],
    check_version: str,
) -> bool:
    try:
        facts, kept = read_whole(path, release.id, release.prompts)
        return (
            (facts.check_version, facts.clean) == (check_version, clean)
            and (facts.findings_count, facts.findings) == (len(findings), findings[:MAX_FINDINGS])
            and kept == release
        )
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.error("Release %s is written again: %s", release.id[:12], error)
        return False


def sweep_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left in `folder`. The caller holds the lock."""
    for name in names_in(folder):
        if name.startswith(TEMPORARY):
            unlink(folder / name)


def _times(folder: Path) -> dict[str, float]:
    times: dict[str, float] = {}
    for name in names_in(folder):
        with suppress(OSError):
            times[name] = os.stat(folder / name).st_mtime
    return times
