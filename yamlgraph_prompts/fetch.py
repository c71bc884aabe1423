"""Reads layers for one environment: opens their sources, bounds the time, says what exists instead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from yamlgraph_prompts.errors import LayerNotFound, LayerReadOnly, LayerUnavailable
from yamlgraph_prompts.health import LayerState
from yamlgraph_prompts.layers import Layer, LayerContent, environments_pattern
from yamlgraph_prompts.sources import Content, Source, Writable, open_source

# Seconds that a thread waits for another one's question to a source to be answered.
BUSY_S = 5.0


class LayerReader:
    """One layer's source for one environment.

    Args:
        layer: The layer.
        environment: What ``{environment}`` stands for.
        base: What a relative path is relative to; the working directory when left out.
    """

    def __init__(self, layer: Layer, environment: str, base: Path | None) -> None:
        self.layer = layer
        self.environment = environment
        self._base = base
        self._source = _open(layer, environment, base)
        self._seen_s: float | None = None
        self._trouble: str | None = None
        self.renew()
        self.url = layer.at(environment)
        # The same place said in two ways, or from two working directories, is told apart right.
        folders = self._source.watched()
        self.place = str(folders[0].absolute()) if folders else self._source.url

    @property
    def remote(self) -> bool:
        """Whether reading goes over a network."""
        return self._source.remote

    def read(self) -> LayerContent:
        """What the layer holds now.

        Raises:
            LayerNotFound: Nothing is there and the layer is not optional; the environments that
                do exist are listed.
            LayerUnavailable: It cannot be read now.
        """
        try:
            with self._alone():
                content = self._source.read()
        except LayerNotFound as problem:
            if self.layer.optional:
                self._seen_s, self._trouble = time.time(), None
                content = Content({})
            else:
                raise self._missing(problem) from None
        return LayerContent(self.url, content.version, content.files, content.findings)

    def version(self) -> str:
        """Which version is there; a word for the trouble where it cannot be read."""
        try:
            with self._alone():
                return self._source.version()
        except (LayerNotFound, LayerUnavailable) as problem:
            return type(problem).__name__

    @property
    def writable(self) -> bool:
        """Whether its files can be changed through it."""
        return isinstance(self._source, Writable)

    @property
    def state(self) -> LayerState:
        """When it was last looked at, and what was wrong then."""
        return LayerState(self.url, self._seen_s, self._trouble, self.writable)

    def write(self, path: str, data: bytes | None) -> None:
        """Change or remove one file; see `sources.Writable`.

        Raises:
            LayerReadOnly: It cannot be written, and why.
        """
        source = self._source
        if not isinstance(source, Writable):
            raise LayerReadOnly(
                f"Prompts cannot be written to {self.url}: it is only read.", layer=self.url
            )
        with self._alone():
            source.write(path, data)

    def watched(self) -> tuple[Path, ...]:
        """The local paths whose change is news."""
        return self._source.watched()

    def renew(self) -> None:
        """Make the lock anew, after a fork."""
        self._lock = threading.Lock()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # A source is used by one thread at a time: a publication, or the watch.
        if not self._lock.acquire(timeout=BUSY_S):
            raise LayerUnavailable(
                f"{self.url} is still busy with an earlier question.", layer=self.url
            )
        try:
            yield
            self._seen_s, self._trouble = time.time(), None
        except (LayerNotFound, LayerUnavailable) as problem:
            self._trouble = problem.message
            raise
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def _missing(self, problem: LayerNotFound) -> LayerNotFound:
        where = environments_pattern(self.layer.text)
        if where is None:
            return problem
        place, pattern = where
        source = open_source(place, base=self._base)
        found = [m["environment"] for name in source.places() if (m := pattern.fullmatch(name))]
        source.close()
        if self.environment in found:
            # The environment is there, and something below it is not.
            return problem
        near = get_close_matches(self.environment, found, n=1)
        exist = f"These exist: {', '.join(found)}." if found else f"Nothing is in {place} yet."
        return LayerNotFound(
            f"There is no environment {self.environment!r} in {self.layer.text}. {exist}",
            layer=self.url,
            available=found,
            hint=f"Did you mean {near[0]!r}?" if near else None,
        )


def _open(layer: Layer, environment: str, base: Path | None) -> Source:
    if isinstance(layer.url, Mapping):
        from yamlgraph_prompts.sources.memory import MemorySource

        return MemorySource(layer.url)
    return open_source(layer.at(environment), base=base)


def read_within(readers: Sequence[LayerReader], deadline_s: float | None) -> list[LayerContent]:
    """What every layer holds, remote ones together within a deadline.

    Args:
        readers: The layers, highest priority first.
        deadline_s: Seconds that the remote ones may take together; None for no bound.

    Raises:
        LayerUnavailable: A remote layer did not answer in time.
    """
    ends = None if deadline_s is None else time.monotonic() + deadline_s
    return [
        _bounded(reader, ends) if reader.remote and ends is not None else reader.read()
        for reader in readers
    ]


def _bounded(reader: LayerReader, ends: float) -> LayerContent:
    # A daemon thread: a call that hangs in a client must not keep the process from ending.
    answer: list[Any] = []

    def ask() -> None:
        try:
            answer.append(reader.read())
        except BaseException as problem:  # noqa: BLE001 - handed to the caller's thread
            answer.append(problem)

    thread = threading.Thread(target=ask, name="yamlgraph-prompts-start", daemon=True)
    thread.start()
    thread.join(max(0.0, ends - time.monotonic()))
    if not answer:
        raise LayerUnavailable(
            f"{reader.url} did not answer in time.",
            layer=reader.url,
            hint="Check the endpoint and the network, or raise startup_deadline_s.",
        )
    if isinstance(answer[0], BaseException):
        raise answer[0]
    content: LayerContent = answer[0]
    return content
