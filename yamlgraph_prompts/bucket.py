"""Published releases in a bucket: push, promote, roll back, look at. Serves nobody.

A release goes up once under its id; then one pusher wins the next number of the environment's log.
Killed between any two steps, it leaves the old release live or the new one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from itertools import islice
from shlex import quote
from types import EllipsisType
from typing import Concatenate, ParamSpec, TypeVar

from yamlgraph_prompts.bucket_log import LIMIT_MESSAGE, LIMIT_WHO, Log, LogEntry
from yamlgraph_prompts.bucket_packs import Packs
from yamlgraph_prompts.errors import (
    LayerUnavailable,
    PromptsError,
    PushRefused,
    ReleaseNotFound,
)
from yamlgraph_prompts.fetch import within
from yamlgraph_prompts.layers import Layer, LayerContent, environment_name, resolve
from yamlgraph_prompts.release import Release
from yamlgraph_prompts.sources.s3.bounds import LIMIT_ANSWER_BYTES, Bounds, Operation, allowed
from yamlgraph_prompts.sources.s3.listing import RELEASES, case_collisions, escapes
from yamlgraph_prompts.sources.s3.location import Location
from yamlgraph_prompts.sources.s3.objects import Objects

__all__ = ["Bucket", "LogEntry", "Pushed"]

TIMEOUT_S = 120.0
LIMIT_LOG = 10_000
# Nobody serves from a push, so a server may think for longer.
BOUNDS = Bounds(patience_s=30.0)

P = ParamSpec("P")
T = TypeVar("T")


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

    entry: LogEntry
    published: bool
    before: LogEntry | None = None
    repaired: bool = False


def _bounded(
    method: Callable[Concatenate[Bucket, P], T],
) -> Callable[Concatenate[Bucket, P], T]:
    """The method with one budget for all its requests, in a thread of its own.

    The thread is for what no budget reaches: a credential process or a name server that hangs.
    """

    @wraps(method)
    def bounded(self: Bucket, /, *args: P.args, **kwargs: P.kwargs) -> T:
        def ask() -> T:
            with allowed(LIMIT_ANSWER_BYTES, Operation(self.bounds)):
                return method(self, *args, **kwargs)

        hint = f"Check what is live before you try again: {self._listing}"
        when = f"within {self.timeout_s:g} s"
        return within(self.timeout_s, ask, self.url, when=when, hint=hint)

    return bounded


class Bucket:
    """The published releases of one environment below an S3 URL. Thread-safe.

    Args:
        url: ``s3://bucket/prefix``, as a reader's layer says it; it may hold ``{environment}``.
        environment: Whose history is meant.
        timeout_s: Seconds that any one call may take.
        bounds: What one call may take otherwise; its seconds follow from `timeout_s`.

    Raises:
        InvalidEnvironment: The name is not one.
        LayerUnavailable: The URL names no bucket.

    Example:
        >>> Bucket("s3://acme-prompts/app", environment="production").url
        's3://acme-prompts/app/'
    """

    def __init__(
        self,
        url: str,
        *,
        environment: str,
        timeout_s: float = TIMEOUT_S,
        bounds: Bounds = BOUNDS,
    ) -> None:
        self.environment, _ = environment_name(environment)
        self.timeout_s = timeout_s
        # Its own thread ends soon after the caller's wait.
        self.bounds = replace(bounds, seconds=timeout_s + 1.0)
        self._given = url
        location = Location.parse(Layer(url).at(self.environment))
        self._objects = Objects(location, RELEASES, is_patient=True)
        self._log = Log(self._objects, self.environment)
        self._packs = Packs(self._objects, self._listing)
        self.url = location.url_without_secrets

    @_bounded
    def current(self) -> LogEntry | None:
        """What is live by the log, whatever the hint says; None before the first push."""
        return self._log.newest()

    @_bounded
    def behind(self) -> bool:
        """Whether readers do not see the last release, because its pusher died."""
        newest = self._log.newest()
        return newest is not None and self._log.pointed() != (newest.number, newest.release)

    @_bounded
    def log(self, limit: int | None = None) -> list[LogEntry]:
        """The history, newest first.

        Args:
            limit: How many entries at most; 10,000 when left out. Each is one request.
        """
        return list(islice(self._log.entries(), LIMIT_LOG if limit is None else limit))

    @_bounded
    def find(self, prefix: str) -> str:
        """The full id of the one release in the bucket whose id begins with `prefix`.

        Raises:
            ReleaseNotFound: There is none, or more than one.
        """
        return self._packs.find(prefix)

    @_bounded
    def get(self, release_id: str) -> Release:
        """A release of any environment that shares the prefix, every byte verified.

        Raises:
            ReleaseNotFound: The bucket does not have it.
            StoreCorrupted: What is there is not what its name says.
        """
        return self._packs.get(release_id)

    @_bounded
    def push(
        self,
        release: Release,
        *,
        message: str,
        who: str,
        single_writer: bool = False,
        after: LogEntry | EllipsisType | None = ...,
    ) -> Pushed:
        """Make a release live. It must have been checked: nobody here looks at its prompts.

        Pushing what is live already changes nothing, and repairs what a killed pusher left, or a
        pack that is gone or damaged.

        Args:
            release: The release.
            message: What for.
            who: Who does it.
            single_writer: Nobody else pushes at the same time; for servers that do not know
                ``If-None-Match: *``.
            after: What was live when this push was decided, None for nothing; whatever is live
                when left out.

        Raises:
            PushRefused: Another pusher was first, or the server cannot say who is first.
            LayerUnavailable: The bucket cannot be read or written; the hint says how to find out
                what is live.
        """
        return self._publish(
            release, message, who, "push", single_writer=single_writer, after=after
        )

    @_bounded
    def promote(
        self,
        source: str,
        *,
        message: str,
        who: str,
        release_id: str | None = None,
        single_writer: bool = False,
    ) -> Pushed:
        """Make live here what is live in another environment of the same bucket, byte for byte.

        Args:
            source: The other environment.
            message: What for.
            who: Who does it.
            release_id: One of its releases that is not, or no longer, live there.
            single_writer: As for `push`.

        Raises:
            ReleaseNotFound: Nothing is live there, or the release is not there.
            PushRefused: As for `push`.
        """
        there = Bucket(self._given, environment=source, bounds=self.bounds)
        live = there._log.newest()
        if live is None:
            raise ReleaseNotFound(
                f"Nothing is published for {source} in {there.url} yet.",
                release_id=source,
                hint="Push to it first.",
            )
        return self._publish(
            there._packs.get(live.release if release_id is None else release_id),
            message,
            who,
            f"promote from {source}",
            single_writer=single_writer,
        )

    @_bounded
    def rollback(
        self, *, message: str, who: str, to: str | None = None, single_writer: bool = False
    ) -> Pushed:
        """Make an earlier release live, by a new entry of the history.

        Args:
            message: What for.
            who: Who does it.
            to: The id of any release in the bucket; what was live before when left out.
            single_writer: As for `push`.

        Raises:
            ReleaseNotFound: There is no such release.
            StoreCorrupted: Its pack is damaged; what was live still is.
            PushRefused: As for `push`.
        """
        live = self._log.newest()
        target = to if to is not None or live is None else live.previous
        if target is None:
            raise ReleaseNotFound(
                f"There is no release before the live one for {self.environment} in {self.url}.",
                release_id="previous",
                hint="Push one, or name one that is in the bucket.",
            )
        release = self._packs.get(target)
        return self._publish(
            release, message, who, "rollback", single_writer=single_writer, after=live
        )

    @_bounded
    def repair(self) -> bool:
        """Let readers see the last release of the log; whether they did not."""
        newest = self._log.newest()
        return newest is not None and self._log.point(newest)

    def _publish(
        self,
        release: Release,
        message: str,
        who: str,
        why: str,
        *,
        single_writer: bool,
        after: LogEntry | EllipsisType | None = ...,
    ) -> Pushed:
        message, who = _text("message", message, LIMIT_MESSAGE), _text("who", who, LIMIT_WHO)
        conditional = self._conditional(single_writer)
        live = self._log.newest()
        if live is not None and live.release == release.id:
            mended = self._packs.repair(release)
            return Pushed(live, published=False, repaired=self._log.point(live) or mended)
        if not isinstance(after, EllipsisType) and live != after:
            raise self._lost(live, after)
        self._refuse_names(release)
        self._packs.put(release)
        entry = LogEntry(
            number=live.number + 1 if live else 1,
            release=release.id,
            previous=live.release if live else None,
            at_s=time.time(),
            who=who,
            message=message,
            why=why,
            prompts=len(release),
            push=uuid.uuid4().hex,
        )
        try:
            return self._commit(entry, live, conditional)
        except LayerUnavailable as problem:
            raise self._unknown(problem) from problem

    def _commit(self, entry: LogEntry, live: LogEntry | None, conditional: bool) -> Pushed:
        if not self._log.append(entry, conditional=conditional):
            winner = self._log.newest()
            if winner is not None and winner.release == entry.release:
                return Pushed(winner, published=False, repaired=self._log.point(winner))
            raise self._lost(winner, live)
        self._log.point(entry)
        # Some servers let several writers of one name win when they come at once.
        kept = self._log.entry(entry.number)
        if kept is None or kept.push != entry.push:
            winner = self._log.newest()
            if winner is not None:
                self._log.point(winner)
            raise self._lost(winner, live)
        return Pushed(entry, published=True, before=live)

    def _refuse_names(self, release: Release) -> None:
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
            raise PromptsError(
                f"Nothing was published: readers would not take {_names(left)} for a prompt.",
                hint="Files of variables (vars.yaml) and of graphs (nodes and edges) are none.",
            )

    def _conditional(self, single_writer: bool) -> bool:
        if not self._log.ignores_conditions():
            return True
        if single_writer:
            return False
        raise PushRefused(
            f"The server of {self.url} ignores If-None-Match, so two pushers at once would "
            "overwrite each other unseen.",
            hint="Say --single-writer if this is the only one, or use a server that knows it.",
        )

    def _lost(self, winner: LogEntry | None, before: LogEntry | None) -> PushRefused:
        if winner is None:
            return PushRefused(f"The history in {self.url} was removed meanwhile.")
        changed = self._changed(before, winner)
        told = f" It changed {_names(changed)}." if changed else ""
        return PushRefused(
            f"{winner.who} was first: {winner.release[:12]} is live for {self.environment} in "
            f"{self.url} now ({winner.why}: {winner.message!r}).{told}",
            winner=winner,
            changed=changed,
            hint="Nothing of yours was published. Take that change in, and push again.",
        )

    def _changed(self, before: LogEntry | None, winner: LogEntry) -> tuple[str, ...]:
        try:
            after = self._packs.get(winner.release)
            if before is None:
                return tuple(sorted(after.prompts))
            diff = self._packs.get(before.release).diff(after)
        except PromptsError:
            return ()
        return tuple(sorted((*diff.added, *diff.removed, *diff.changed)))

    @property
    def _listing(self) -> str:
        # As it was given: without its endpoint it would be another server's bucket.
        return f"yamlgraph-prompts releases {quote(self._given)} -e {self.environment}"

    def _unknown(self, problem: LayerUnavailable) -> LayerUnavailable:
        return LayerUnavailable(
            f"{problem.message} Whether the release became live is not known.",
            layer=problem.layer,
            hint=f"{problem.hint or ''} Check what is live before you try again: "
            f"{self._listing}".strip(),
        )


def _text(what: str, said: str, limit: int) -> str:
    said = said.strip()
    if not said or len(said) > limit:
        raise PromptsError(
            f"A push needs a {what} of 1 to {limit:,} characters; this one has {len(said):,}.",
            hint=f"Say it with --{what}.",
        )
    return said


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - 5
    return ", ".join(names[:5]) + (f" and {more} more" if more > 0 else "")
