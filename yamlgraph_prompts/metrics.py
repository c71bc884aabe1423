"""Counts what happens, for Prometheus: an observer of a `LivePrompts`. Needs the extra `admin`."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from yamlgraph_prompts._files.forks import renewed_in_child
from yamlgraph_prompts._model.events import Event
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.errors import MissingExtra

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from yamlgraph_prompts._model.health import Health, LayerState
    from yamlgraph_prompts._model.release import Outcome, Release

    Layers = Callable[[], Iterable[LayerState]]

try:
    import prometheus_client as prometheus
except ImportError as problem:
    text = "Metrics need prometheus_client."
    hint = "Install it with: pip install 'yamlgraph-prompts[admin]'"
    raise MissingExtra(text, hint=hint) from problem

CONTENT_TYPE = prometheus.CONTENT_TYPE_LATEST
KEPT_RELEASES = 20

_PREFIX = "yamlgraph_prompts"
_Mode = Literal["livemax", "livemin", "liveall"]
_TROUBLE = (
    *("layer-unavailable", "watcher-restarted", "watcher-polling", "store-trouble"),
    *("missing-release", "stale-run"),
)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """A hook that counts; give it to ``LivePrompts(hooks=[...])`` or let the admin app make one.

    Where ``PROMETHEUS_MULTIPROC_DIR`` is set, `exposed` adds up all processes.

    Args:
        registry: Where the metrics are registered; one of its own when left out.

    Example:
        >>> from yamlgraph_prompts import LivePrompts
        >>> metrics = Metrics()
        >>> with LivePrompts({"greeting": "user: Hi"}, environment="x", hooks=[metrics]) as prompts:
        ...     "yamlgraph_prompts_last_reload_successful{" in metrics.exposed().decode()
        True
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or prometheus.CollectorRegistry()
        self._several = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._layers: dict[str | None, dict[str, str]] = {}
        self._live: dict[str | None, tuple[str, float]] = {}
        self._synced: dict[tuple[str, ...], Layers] = {}
        self._counted = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._publications = self._counter(
            "publications", "Attempts to publish, by outcome and changed layer.", "outcome", "layer"
        )
        self._duration = prometheus.Histogram(
            f"{_PREFIX}_publication_duration_seconds",
            "How long an attempt to publish took.",
            ["environment", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._success_at = self._gauge(
            "last_reload_success_timestamp_seconds", "When an attempt to publish last succeeded."
        )
        text = "Whether the last attempt to publish succeeded."
        self._success = self._gauge("last_reload_successful", text, mode="livemin")
        self._edit_refused = self._gauge(
            "edit_refused", "Whether the check refuses what the layers hold."
        )
        self._info = self._gauge(
            "release_info", "1 for the live release.", "release", mode="liveall"
        )
        self._since = self._gauge(
            "release_live_since_timestamp_seconds", "When the live release became live."
        )
        self._age = self._gauge(
            "release_age_seconds", "For how long the live release has been live."
        )
        self._held = self._gauge("held", "Whether the layers are not followed.")
        self._held_since = self._gauge(
            "held_since_timestamp_seconds", "Since when they are not; 0 where they are."
        )
        self._seen = self._gauge(
            "layer_read_timestamp_seconds", "When a layer was last read without trouble.", "layer"
        )
        about = "Runs of graphs that started, by release."
        runs = (
            _SharedRuns(self._counter("runs", about, "release"))
            if self._several
            else _Runs(self.registry, about)
        )
        # Counts a run that begins on a release; each step on the way there would be felt.
        self.run_started = runs.began
        self._trouble = self._counter(
            "trouble", "Trouble with layers, the store or the watcher, by kind.", "kind", "layer"
        )
        self._refused = self._counter(
            "refused",
            "Refused requests to the admin API, by reason: the code of the error.",
            "reason",
        )
        self._requests = self._counter(
            "sync_requests",
            "Requests to remote layers, including failed and repeated ones.",
            "layer",
        )
        self._received = self._counter(
            "sync_received_bytes",
            "Bytes of prompts and lists that came from remote layers.",
            "layer",
        )

    def __call__(self, event: Event) -> None:
        environment = printable(event.environment or "")
        if event.kind == "publication" and event.outcome is not None:
            self._published(environment, event.outcome, event.at_s)
            self._holding(environment, event.held_since_s)
        elif event.kind == "following":
            self._holding(environment, None)
        elif event.kind in _TROUBLE:
            self._trouble.labels(environment, event.kind, printable(event.layer or "")).inc()
        self._sync()

    def refused(self, environment: str, reason: str) -> None:
        """Count a request to the admin API that was refused.

        Args:
            environment: The environment.
            reason: The error's code, or ``"unsafe-template"``.
        """
        self._refused.labels(printable(environment), reason).inc()

    def syncing(self, environment: str, layers: Layers) -> None:
        """Count the requests to remote layers, at each event and whenever it is `exposed`.

        Args:
            environment: The environment.
            layers: Gives the layers' states: ``lambda: prompts.health.layers``.
        """
        self._synced[environment, *(layer.url for layer in layers())] = layers
        self._sync()

    def serving(self, environment: str, release: Release, health: Health) -> None:
        """Record what is live already, for metrics that are created later.

        Args:
            environment: The environment.
            release: The live release.
            health: The state of the prompts: ``prompts.health``.
        """
        since_s, last = health.live_since_s or time.time(), health.last
        self._served(environment, release, since_s)
        self._holding(environment, health.held_since_s)
        self._attempted(environment, last)
        self._success_at.labels(environment).set(since_s)

    def exposed(self) -> bytes:
        """All of it in Prometheus' text format; its content type is `CONTENT_TYPE`."""
        self._sync()
        for environment, (_, since_s) in list(self._live.items()):
            self._age.labels(environment or "").set(max(0.0, time.time() - since_s))
        if not self._several:
            return prometheus.generate_latest(self.registry)
        together = prometheus.CollectorRegistry()
        together.register(_AllProcesses())
        return prometheus.generate_latest(together)

    def _counter(self, name: str, about: str, *labels: str) -> prometheus.Counter:
        return prometheus.Counter(
            f"{_PREFIX}_{name}", about, ["environment", *labels], registry=self.registry
        )

    def _gauge(
        self, name: str, about: str, *labels: str, mode: _Mode = "livemax"
    ) -> prometheus.Gauge:
        return prometheus.Gauge(
            f"{_PREFIX}_{name}",
            about,
            ["environment", *labels],
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def _published(self, environment: str, outcome: Outcome, at_s: float) -> None:
        layer, status = self._layer(environment, outcome), _status(outcome)
        self._publications.labels(environment, status, printable(layer)).inc()
        self._duration.labels(environment, status).observe(outcome.elapsed_s)
        if outcome.trigger is not Trigger.LAST_GOOD:
            # Where the last good release is served, what the layers hold is still refused.
            self._attempted(environment, outcome)
        if outcome.status != "rejected":
            self._success_at.labels(environment).set(at_s)
        if outcome.release is not None:
            self._served(environment, outcome.release, at_s)

    def _attempted(self, environment: str, last: Outcome | None) -> None:
        good = last is None or last.status != "rejected"
        is_refused = last is not None and last.is_refused_edit
        self._success.labels(environment).set(good)
        if good or is_refused:
            self._edit_refused.labels(environment).set(is_refused)

    def _holding(self, environment: str, since_s: float | None) -> None:
        self._held.labels(environment).set(since_s is not None)
        self._held_since.labels(environment).set(since_s or 0.0)

    def _served(self, environment: str, release: Release, at_s: float) -> None:
        before = self._live.get(environment)
        if before is not None and before[0] == release.id:
            return
        if before is not None and self._several:
            # Nothing can be removed from the files that processes share.
            self._info.labels(environment, before[0]).set(0)
        elif before is not None:
            self._info.remove(environment, before[0])
        self._live[environment] = (release.id, at_s)
        self._layers[environment] = {layer.url: layer.version for layer in release.layers}
        self._info.labels(environment, release.id).set(1)
        self._since.labels(environment).set(at_s)

    def _layer(self, environment: str, outcome: Outcome) -> str:
        """The layer that an attempt is about: of an error, or that changed; `""` if none did."""
        known = self._layers.get(environment, {})
        if outcome.status == "rejected":
            files = [finding.file or "" for finding in outcome.errors]
            return next((url for url in known for file in files if file.startswith(url)), "")
        layers = outcome.release.layers if outcome.release else ()
        return next((one.url for one in layers if known.get(one.url) != one.version), "")

    def _sync(self) -> None:
        forked = self._process != os.getpid()
        if forked:
            self._process, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            totals = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
            for (environment, *_), layers in self._synced.items():
                for layer in layers():
                    url = printable(layer.url)
                    if layer.seen_s is not None:
                        self._seen.labels(environment, url).set(layer.seen_s)
                    totals[0][environment, url] += layer.requests
                    totals[1][environment, url] += layer.received_bytes
            earlier, self._counted = self._counted, totals
            # The parent counts the requests from before a fork.
            for metric, now, before in zip(
                (self._requests, self._received), totals, earlier, strict=True
            ):
                for labels, many in now.items():
                    if many > before[labels] and not forked:
                        metric.labels(*labels).inc(many - before[labels])


class _Runs:
    """The runs of this process. Each run counts itself, so it is less than a `Counter` takes."""

    def __init__(self, registry: CollectorRegistry, about: str) -> None:
        self._about = about
        self._many: dict[tuple[str, str], int] = {}
        self._renew()
        _counting.add(self)
        registry.register(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def began(self, environment: str, release: str) -> None:
        key = environment, release
        with self._lock:
            self._many[key] = self._many.get(key, 0) + 1
            if len(self._many) > KEPT_RELEASES:
                del self._many[next(iter(self._many))]

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            f"{_PREFIX}_runs", self._about, labels=["environment", "release"]
        )
        for (environment, release), many in tuple(self._many.items()):
            family.add_metric([printable(environment), release], many)
        yield family


_counting = renewed_in_child(_Runs._renew)


class _SharedRuns:
    """The runs of all processes."""

    def __init__(self, counter: prometheus.Counter) -> None:
        self._counter = counter

    def began(self, environment: str, release: str) -> None:
        self._counter.labels(printable(environment), release).inc()


def _status(outcome: Outcome) -> str:
    """The status; where it is rejected and no author can mend that, the trouble."""
    if outcome.status != "rejected" or outcome.is_refused_edit:
        return outcome.status
    return "layer-unavailable" if outcome.errors[0].code == "layer" else "store-trouble"


class _AllProcesses:
    """The metrics of all processes together, without releases that are long gone."""

    def collect(self) -> Iterator[Metric]:
        from prometheus_client import multiprocess

        found = list(multiprocess.MultiProcessCollector(None).collect())  # type: ignore[no-untyped-call]
        live: set[str] = set()
        for family in found:
            if family.name == f"{_PREFIX}_release_info":
                family.samples = [sample for sample in family.samples if sample.value]
                live = {sample.labels["release"] for sample in family.samples}
        for family in found:
            if family.name == f"{_PREFIX}_runs":
                # In the order in which they began.
                releases = dict.fromkeys(sample.labels["release"] for sample in family.samples)
                kept = {*live, *list(releases)[-KEPT_RELEASES:]}
                family.samples = [one for one in family.samples if one.labels["release"] in kept]
            yield family
