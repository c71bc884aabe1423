"""When each live prompt last changed, by the kept releases. Reads no prompt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.live_prompts import LivePrompts

KEPT = 64


class LastChange:
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
            then = self._of(line.id) if line.id != live.id else now
            now = {name: digest for name, digest in now.items() if then.get(name) == digest}
            found.update(dict.fromkeys(now, line.at_s))
            if not now:
                break
        return found

    def _digests(self, release_id: str) -> Mapping[str, str]:
        try:
            return self._prompts.digests(release_id)
        except PromptsError:
            # Damaged, or removed in between: earlier changes are unknown.
            return {}
