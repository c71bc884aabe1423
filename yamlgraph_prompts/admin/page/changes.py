"""When the text of a prompt changed, and to what, by the kept releases. Reads no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import merge

from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.live_prompts import LivePrompts

KEPT = 256


@dataclass(frozen=True, slots=True)
class Version:
    """A text of a prompt, in the release that brought it."""

    sha256: str  # empty: the prompt was removed
    release: str
    at_s: float
    reason: str
    who: str
    message: str
    live: bool = False


class Changes:
    """Remembers the digests of releases, which never change."""

    def __init__(self, prompts: LivePrompts) -> None:
        self._prompts = prompts
        self._of = lru_cache(KEPT)(self._digests)

    def times(self) -> dict[str, float]:
        """Prompt → when its text became live, in seconds since the epoch.

        One that is the same in every kept release has the time of the oldest: not later than that.
        """
        live = self._prompts.release
        now = {name: prompt.sha256 for name, prompt in live.prompts.items()}
        found: dict[str, float] = {}
        for line in sorted(self._prompts.releases(), key=lambda one: (not one.live, -one.at_s)):
            then = now if line.id == live.id else self._of(line.id) or {}
            now = {name: digest for name, digest in now.items() if then.get(name) == digest}
            found.update(dict.fromkeys(now, line.at_s))
            if not now:
                break
        return found

    def of(self, name: str) -> list[Version]:
        """Each kept version of a prompt, newest first; equal ones in a row are one."""
        kept = self._prompts.releases()
        texts = {
            line.id: of.get(name, "") for line in kept if (of := self._of(line.id)) is not None
        }
        found: list[Version] = []
        for entry in reversed([*self._prompts.history()]):
            sha256 = texts.get(entry.release)
            if sha256 is not None and sha256 != (found[-1].sha256 if found else ""):
                facts = (entry.at_s, entry.why, entry.who, entry.message)
                found.append(Version(sha256, entry.release, *facts))
        found.reverse()
        if live := self._prompts.release.prompts.get(name):
            at = next((at for at, one in enumerate(found) if one.sha256 == live.sha256), None)
            if at is not None:
                found[at] = replace(found[at], live=True)
        # What was saved during a hold may never have become live.
        waiting: dict[str, Version] = {}
        for line in reversed(kept):
            sha256 = texts.get(line.id, "")
            if sha256 and all(sha256 != one.sha256 for one in found):
                facts = (line.at_s, line.reason, line.who, line.message)
                waiting.setdefault(sha256, Version(sha256, line.id, *facts))
        return list(merge(found, reversed(waiting.values()), key=lambda one: -one.at_s))

    def _digests(self, release_id: str) -> Mapping[str, str] | None:
        try:
            return self._prompts.digests(release_id)
        except PromptsError:
            return None  # damaged, or removed in between
