"""One environment in a registry that its readers share: push, promote, roll back, look at.

Serves no prompts. Knows no back end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from shlex import quote
from types import EllipsisType
from typing import Any

from yamlgraph_prompts._model.entry import LIMIT_MESSAGE, LIMIT_WHO, Entry
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts.errors import Conflict, PromptsError, ReleaseNotFound
from yamlgraph_prompts.registry import open_registry
from yamlgraph_prompts.registry.ports import Hinted, Registry, Versions
from yamlgraph_prompts.sources.layer_files import case_collisions, escapes
from yamlgraph_prompts.sources.layers import LayerContent, environment_name, near, resolve

SURELY_AN_ID = 7  # digits; fewer are the number of an entry
_NUMBER = re.compile(r"(#?)([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a push, a promotion or a rollback.

    Args:
        entry: What is live now.
        published: Whether this call made it live; it may have been live already.
        before: What was live before; None where nothing was, or where nothing changed.
        repaired: Whether readers could not see it before this call, because its pusher had died or
            its pack was gone or damaged.
    """

    entry: Entry
    published: bool
    before: Entry | None = None
    repaired: bool = False


class Channel:
    """The published releases of one environment. Thread-safe.

    Args:
        url: The registry's URL, as a reader's layer says it; it may hold ``{environment}``.
        environment: Whose history is meant.
        registry: The registry, where it is open already.
        options: What else the registry takes, such as ``timeout_s`` or ``single_writer``.

    Raises:
        InvalidEnvironment: The name is not one.
        UnknownScheme: No registry has such URLs.
        LayerUnavailable: The URL names no place.

    Example:
        >>> Channel("s3://acme-prompts/app", environment="production").url
        's3://acme-prompts/app/'
    """

    def __init__(
        self, url: str, *, environment: str, registry: Registry | None = None, **options: Any
    ) -> None:
        self.environment, _ = environment_name(environment)
        # As it was given: without its endpoint it would be another server's.
        self.given = url
        self.registry = registry or open_registry(url, environment=self.environment, **options)
        self.url = self.registry.url

    def current(self) -> Entry | None:
        """What is live; None before the first push."""
        return self.registry.current(self.environment)

    def history(self) -> Iterator[Entry]:
        """Every entry, newest first. Each may be a request."""
        return self.registry.history(self.environment)

    def versions(self) -> Versions:
        """The registry as one that keeps versions of single prompts; PromptsError if it is none."""
        if isinstance(self.registry, Versions):
            return self.registry
        text = f"{self.url} keeps whole releases, and no versions of single prompts."
        raise PromptsError(text, hint="Use a database, such as sqlite:///prompts.db.")

    def behind(self) -> bool:
        """Whether readers do not see the last release, because its pusher died."""
        registry = self.registry
        return isinstance(registry, Hinted) and registry.behind(self.environment)

    def repair(self) -> bool:
        """Let readers see the last release; whether they did not."""
        registry = self.registry
        return isinstance(registry, Hinted) and registry.repair(self.environment)

    def get(self, release_id: str) -> Release:
        """A release of any environment that shares the registry; see `Releases.get`."""
        return self.registry.get(release_id)

    def named(self, word: str) -> Release:
        """The release that a word names: an id, the beginning of one, or `live`."""
        if word != "live":
            return self.get(self.find(word))
        live = self.current()
        if live is None:
            raise self.nothing_published()
        return self.get(live.release)

    def nothing_published(self) -> ReleaseNotFound:
        """The error where there is no entry: often the URL or the environment is misspelt."""
        text = f"Nothing is published for {self.environment} in {self.url} yet."
        hint = "Push to it first, or correct the URL or the environment."
        known = self.registry.environments() if isinstance(self.registry, Versions) else []
        if known:
            meant = near(self.environment, known)
            hint = f"Did you mean {meant!r}?" if meant else f"There are: {', '.join(known)}."
        return ReleaseNotFound(text, release_id="live", hint=hint)

    def find(self, word: str) -> str:
        """The full id of the one release that a word names: the beginning of an id, or a number
        of the history, ``41`` or ``#41``.
        """
        prefix = word.strip().lower()
        number = _NUMBER.fullmatch(prefix)
        if number is not None:
            known = (entry for entry in self.history() if entry.number <= int(number[2]))
            if (entry := next(known, None)) and entry.number == int(number[2]):
                return entry.release
        is_id = number is None or (not number[1] and len(prefix) >= SURELY_AN_ID)
        found = list(islice(self.registry.ids(prefix), 6)) if prefix and is_id else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise ReleaseNotFound(
                f"No release in {self.url} begins with {word[:64]!r}."
                if is_id
                else f"The history of {self.environment} in {self.url} has no number {word[:64]}.",
                release_id=word,
                hint=f"yamlgraph-prompts releases {quote(self.given)} -e {self.environment} "
                "lists them.",
            )
        shown = ", ".join(release_id[:12] for release_id in found[:5])
        text = f"Several releases in {self.url} begin with {word!r}."
        hint = f"Give more of the id: {shown}."
        raise ReleaseNotFound(text, release_id=word, hint=hint)

    def push(
        self,
        release: Release,
        *,
        message: str,
        who: str,
        why: str = "push",
        after: Entry | EllipsisType | None = ...,
    ) -> Pushed:
        """Make a release live. It must have been checked: its prompts are not looked at here.

        Pushing what is live already changes nothing, and repairs what a killed pusher left, or a
        pack that is gone or damaged.

        Args:
            release: The release.
            message: What for, in words.
            who: Who does it.
            why: What for, as a word.
            after: What was live when this push was decided, None for nothing; whatever is live
                when left out.

        Raises:
            PushRefused: Another pusher was first, or the server cannot say who is first.
            LayerUnavailable: The registry cannot be read or written; the hint says how to find out
                what is live.
        """
        message, who = _text("message", message, LIMIT_MESSAGE), _text("who", who, LIMIT_WHO)
        live = self.current()
        if live is not None and live.release == release.id:
            mended = self.registry.put(release)
            return Pushed(live, published=False, repaired=self.repair() or mended)
        if isinstance(after, EllipsisType):
            after = live
        try:
            if live != after:
                raise Conflict.between(self.url, self.environment, live)
            self.refuse_names(release)
            self.registry.put(release)
            count = len(release)
            entry = Entry.now(release.id, who=who, why=why, message=message, prompts=count)
            appended = self.registry.append(self.environment, entry, after=live)
        except Conflict as conflict:
            winner = conflict.winner
            if isinstance(winner, Entry) and winner.release == release.id:
                return Pushed(winner, published=False, repaired=self.repair())
            raise self._explained(conflict, after) from None
        return Pushed(appended, published=True, before=live)

    def promote(
        self, source: Channel, *, message: str, who: str, release_id: str | None = None
    ) -> Pushed:
        """Make live here what is live in another environment, or `release_id`, byte for byte.

        Raises:
            ReleaseNotFound: Nothing is live there, or the release is not there.
            PushRefused: As for `push`.
        """
        live = source.current()
        if live is None:
            raise source.nothing_published()
        release = source.get(live.release if release_id is None else release_id)
        why = f"promote from {source.environment}"
        return self.push(release, message=message, who=who, why=why)

    def rollback(self, *, who: str, message: str = "", to: str | None = None) -> Pushed:
        """Make live what was live before, or the release `to`, by a new entry of the history.

        Without a message, the entry says what was done.

        Raises:
            ReleaseNotFound: There is no such release.
            StoreCorrupted: It is damaged; what was live still is.
            PushRefused: As for `push`.
        """
        live = self.current()
        target = to if to is not None or live is None else live.previous
        if target is None:
            text = f"There is no release before the live one for {self.environment} in {self.url}."
            hint = "Push one, or name one that is there."
            raise ReleaseNotFound(text, release_id="previous", hint=hint)
        release = self.get(target)
        if not message.strip():
            gone = f"{live.release[:12]} (number {live.number})" if live else "nothing"
            message = f"From {gone} back to {target[:12]}"
        return self.push(release, message=message, who=who, why="rollback", after=live)

    def refuse_names(self, release: Release) -> None:
        """Readers make files of the prompts, so they refuse or leave out what cannot be some."""
        files = {f"{name}.yaml": prompt.data for name, prompt in release.prompts.items()}
        bad = [path for path in files if escapes(path)] + case_collisions(files)
        if bad:
            names = tuple(repr(path.removesuffix(".yaml")) for path in bad)
            raise PromptsError(
                f"Nothing was published: {_names(names)} cannot be the name of a "
                "file beside the others.",
                hint="A name leads out of no folder, and differs from others not only in capitals.",
            )
        taken = resolve([LayerContent(self.url, "", files)], self.environment).prompts
        if left := tuple(repr(f"{name}.yaml") for name in release.prompts if name not in taken):
            text = f"Nothing was published: readers would not take {_names(left)} for a prompt."
            hint = "Files of variables (vars.yaml) and of graphs (nodes and edges) are none."
            raise PromptsError(text, hint=hint)

    def _explained(self, conflict: Conflict, before: Entry | None) -> Conflict:
        """The same, with what the winner changed."""
        if conflict.winner is None:
            return conflict
        try:
            after = self.get(conflict.winner.release)
            diff = self.get(before.release).diff(after) if before else None
        except PromptsError:
            return conflict
        names = (*diff.added, *diff.removed, *diff.changed) if diff else after.prompts
        changed = tuple(sorted(names))
        what = f" It changed {_names(changed)}." if changed else ""
        return Conflict(
            f"{conflict.message}{what}", winner=conflict.winner, changed=changed, hint=conflict.hint
        )


def _text(what: str, text: str, limit: int) -> str:
    text = text.strip()
    if not text or len(text) > limit:
        text = f"A push needs a {what} of 1 to {limit:,} characters; this one has {len(text):,}."
        raise PromptsError(text, hint=f"Say it with --{what}.")
    return text


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
