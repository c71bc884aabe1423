"""Reads layers for one environment, within a bounded time; a miss lists what exists instead."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from yamlgraph_prompts import sources
from yamlgraph_prompts._model.health import LayerState
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerReadOnly, LayerUnavailable
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.deadline import within
from yamlgraph_prompts.sources.layers import Layer, LayerContent, environments_pattern, near

BUSY_S = 5.0  # that a thread waits for another one's call to the source
GIVE_UP_S = 120.0  # after this the call has failed, and the source is opened anew
MAX_HANGING = 3  # calls at one time; beyond them no source is opened anew
LOOK_S = 60.0  # after this a look has failed; what it fetched until then is kept


class LayerReader:
    """One layer's source for one environment."""

    def __init__(
        self, layer: Layer, environment: str, base: Path | None, refresh_s: float = 30.0
    ) -> None:
        self.layer = layer
        self.environment = environment
        self._base = base
        self.refresh_s = refresh_s
        self._source = self._open()
        self._seen_s: float | None = None
        self._trouble: str | None = None
        self._kept: LayerContent | None = None
        self._taken: str | None = None
        # The findings of an optional layer while it is missing.
        self._absent: tuple[Finding, ...] | None = None
        self._asked = -math.inf
        self._hanging: list[threading.Thread] = []
        self._earlier = sources.Traffic()
        self.renew()
        # A URL's parameters configure access, and may hold secrets.
        self.url = self._source.url if self.remote else self._path()
        # The same for one place that is written in two ways or relative to two directories.
        folders = self.watched()
        self.place = str(folders[0].absolute()) if folders else layer.at(environment)

    @property
    def remote(self) -> bool:
        return not isinstance(self._source, sources.Local)

    @property
    def listens(self) -> bool:
        """Whether its source waits for events, so that it need not be polled in turn."""
        return getattr(self._source, "listens", False) is True

    def read(self) -> LayerContent:
        self._taken = None
        content = self._ask()
        self._taken = content.version
        return content

    def kept(self, for_s: float) -> LayerContent:
        """The last content, read again if it is older than `for_s` seconds."""
        if time.monotonic() - self._asked > for_s:
            return self.read()
        if self._kept is None:
            raise LayerUnavailable(self._trouble or "It was never read.", layer=self.url)
        self._taken = self._kept.version
        return self._kept

    def look(self) -> bool:
        """Whether there is something else now than what was read last; it is kept at once."""
        return self._ask().version != self._taken

    def changes(self, stop: threading.Event) -> Iterator[bool]:
        """Looks now, and at each change of the source, until `stop` is set; see `look`."""
        yield within(LOOK_S, self.look, self.url)
        for news in self._source.changes(stop):
            if news is None:
                yield within(LOOK_S, self.look, self.url)
            else:
                yield self._keep(news).version != self._taken

    def release(self, release_id: str) -> Release | None:
        """A release that was published to the layer, by its full id; None if it has none such."""
        source = self._source
        if not isinstance(source, sources.KeepsReleases):
            return None
        with self._alone():
            content = source.release(release_id)
        if content is None:
            return None
        base = self.url.rstrip("/")
        release = Release.of(
            (
                Prompt(path.removesuffix(".yaml"), data, self.url, f"{base}/{path}")
                for path, data in content.files.items()
            ),
            environment=self.environment,
        )
        return release if release.id == release_id else None

    def _ask(self) -> LayerContent:
        try:
            with self._alone():
                content = self._source.read()
        except LayerNotFound as problem:
            if not self.layer.optional:
                raise self._missing(problem) from None
            if self._absent is None:
                self._absent = tuple(self._misspelt(problem))
            return self._keep(sources.Snapshot.of({}, self._absent))
        finally:
            self._asked = time.monotonic()
        self._absent = None
        return self._keep(content)

    def _keep(self, news: sources.Snapshot) -> LayerContent:
        self._kept = LayerContent(
            self.url, news.version, news.files, news.findings, self.layer.separator
        )
        self._asked = time.monotonic()
        return self._kept

    def version(self) -> str:
        """Which version is there; a word for the trouble where it cannot be read."""
        try:
            with self._alone():
                return self._source.read().version
        except (LayerNotFound, LayerUnavailable) as problem:
            return type(problem).__name__

    @property
    def about(self) -> str:
        """What else its errors should name."""
        return getattr(self._source, "about", "")

    @property
    def writable(self) -> bool:
        return isinstance(self._source, sources.Writable) and not self.layer.separator

    @property
    def state(self) -> LayerState:
        """When it was last read, what was wrong then, and its traffic so far."""
        traffic = self._traffic
        return LayerState(
            self.url,
            self._seen_s,
            self._trouble,
            self.writable,
            traffic.requests,
            traffic.received_bytes,
        )

    @property
    def _traffic(self) -> sources.Traffic:
        return self._earlier + getattr(self._source, "traffic", sources.Traffic())

    def write(self, change: sources.Change) -> None:
        """Change or remove one file; see `sources.Writable`."""
        source = self._source
        if not isinstance(source, sources.Writable) or self.layer.separator:
            raise LayerReadOnly(
                f"Prompts cannot be written to {self.url}: it is only read.", layer=self.url
            )
        with self._alone():
            source.write(change)

    def watched(self) -> tuple[Path, ...]:
        return self._source.watched() if isinstance(self._source, sources.Local) else ()

    def troubled(self, problem: LayerError) -> None:
        """A read was abandoned."""
        self._trouble, self._asked = problem.message, time.monotonic()

    def renew(self) -> None:
        """Make the lock anew, after a fork."""
        self._lock = threading.Lock()
        self._since = 0.0
        self._holder: threading.Thread | None = None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A source is used by one thread at a time: a publication, or the watch.
        lock = self._lock
        if not lock.acquire(timeout=BUSY_S):
            self._hanging = [thread for thread in self._hanging if thread.is_alive()]
            is_over = time.monotonic() - self._since > GIVE_UP_S
            if is_over and self._holder and len(self._hanging) < MAX_HANGING:
                self._hanging.append(self._holder)
                self._earlier = self._traffic
                self._source = self._open()
                self.renew()
            raise LayerUnavailable(
                f"{self.url} is still busy with an earlier request.", layer=self.url
            )
        self._since, self._holder = time.monotonic(), threading.current_thread()
        try:
            yield
            self._seen_s, self._trouble = time.time(), None
        except (LayerNotFound, LayerUnavailable) as problem:
            if self.layer.optional and isinstance(problem, LayerNotFound):
                self._seen_s, self._trouble = time.time(), None
            else:
                self._trouble = problem.message
            raise
        finally:
            lock.release()

    def _path(self) -> str:
        """The URL; a path that is relative to a graph's folder from the working directory."""
        url, here = self.layer.at(self.environment), Path.cwd()
        if self._base is None or "://" in url or isinstance(self.layer.url, Mapping):
            return url
        path = self._base / Path(url).expanduser()
        return str(path.relative_to(here) if path.is_relative_to(here) else path)

    def _open(self) -> sources.Source:
        if isinstance(self.layer.url, Mapping):
            from yamlgraph_prompts.sources.memory import MemorySource

            source: sources.Source = MemorySource(self.layer.url)
        else:
            url, channel = self._path(), self.environment
            source = sources.open_source(url, channel=channel, unpack=_Unpacking())
        if self.layer.roots:
            if not hasattr(source, "link_roots"):
                raise LayerError("Only a local folder has links to follow.", layer=source.url)
            source.link_roots = tuple(Path(root).absolute() for root in self.layer.roots)
        if hasattr(source, "refresh_s"):
            source.refresh_s = self.refresh_s
        return source

    def close(self) -> None:
        self._source.close()

    def _misspelt(self, problem: LayerNotFound) -> Iterator[Finding]:
        """Another environment of nearly this name must not be passed over in silence."""
        try:
            missing = self._missing(problem)
        except LayerError:
            return
        if missing.available and missing.hint:
            yield Finding("warning", "layer", missing.message, file=self.url, hint=missing.hint)

    def _missing(self, problem: LayerNotFound) -> LayerNotFound:
        text, parameters = self.layer.text, ""
        if self.remote:
            text, mark, query = text.partition("?")
            parameters = (mark + query).replace("{environment}", self.environment)
        found = environments_pattern(text)
        if found is None:
            return problem
        place, pattern = found
        source = sources.open_source(place + parameters, base=self._base)
        if not isinstance(source, sources.ListsFolders):
            return problem
        matches = filter(None, map(pattern.fullmatch, source.folders()))
        existing = [match["environment"] for match in matches]
        source.close()
        if self.environment in existing:
            # The environment is there, and something below it is not.
            return problem
        meant = near(self.environment, existing)
        where = source.watched()[0] if isinstance(source, sources.Local) else place
        exist = f"These exist: {', '.join(existing)}." if existing else f"None is in {where} yet."
        return LayerNotFound(
            f"There is no environment {self.environment!r} in {self.layer.text}. {exist}",
            layer=self.url,
            available=existing,
            hint=f"Did you mean {meant!r}?" if meant else None,
        )


class _Unpacking:
    """Packed releases → names and bytes; prompts of the previous release are reused."""

    def __init__(self) -> None:
        self._before: Mapping[str, Prompt] = {}

    def __call__(self, data: bytes, release_id: str) -> Mapping[str, bytes]:
        from yamlgraph_prompts._model.pack import decode_pack

        about, known = release_id[:12], self._before
        self._before = decode_pack(data, release_id, about, known=known).prompts
        return {name: prompt.data for name, prompt in self._before.items()}


def read_within(
    readers: Sequence[LayerReader],
    deadline_s: float | None,
    *,
    kept_s: float | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> list[LayerContent]:
    """The content of each layer: remote ones within a deadline together, at most `kept_s` old."""
    ends = None if deadline_s is None else time.monotonic() + deadline_s

    def read(reader: LayerReader) -> LayerContent:
        if not reader.remote:
            return reader.read()
        ask = reader.read if kept_s is None else partial(reader.kept, kept_s)
        if ends is None:
            return ask()
        try:
            left_s = ends - time.monotonic()
            return within(left_s, ask, reader.url, lambda: reader.about, meanwhile)
        except LayerUnavailable as problem:
            reader.troubled(problem)
            raise

    return [read(reader) for reader in readers]
