"""Logs what happened and calls the hooks; keeps what an operator asks for. Decides nothing."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Any

from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.events import Event, EventKind, Hook, tell, wants
from yamlgraph_prompts._model.release import Outcome
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._text.escaping import Lines, printable
from yamlgraph_prompts.errors import LayerError
from yamlgraph_prompts.findings import Finding

logger = logging.getLogger("yamlgraph_prompts")

SHOWN_ERRORS = 20

# What findings quote: in braces, or in quotes that are no apostrophes. Bounded, so linear.
_EXCERPT = re.compile(r"""\{[^{}]{0,200}\}|(?<!\w)'[^']{0,200}'|(?<!\w)"[^"]{0,200}\"""")


class Report:
    """The log and the hooks of one `LivePrompts`. Thread-safe."""

    def __init__(self, environment: str, hooks: Iterable[Hook]) -> None:
        self._environment = environment
        self._hooks: tuple[Hook, ...] = ()
        self._on_run: tuple[Callable[[str], object], ...] = ()
        self._observed_by(tuple(hooks))
        self._troubled: dict[str, str] = {}
        self._unused: tuple[Finding, ...] = ()
        self._warned: frozenset[Finding] = frozenset()
        self.last: tuple[Outcome, float] | None = None
        # Stands until something else was found; the last good release is not found.
        self._refused: object = None
        self._store_trouble: str | None = None
        self._disobeyed = (0, "")  # the hold that could not be obeyed: its number, and why
        self.watcher_restarts = self.stale_runs = 0
        self.renew()

    def renew(self) -> None:
        """Make the lock anew, after a fork."""
        self._lock = threading.Lock()

    def observe(self, hook: Hook) -> Callable[[], None]:
        """Call `hook` too from now on; call the answer to stop."""
        with self._lock:
            self._observed_by((*self._hooks, hook))

        def stop() -> None:
            with self._lock:
                self._observed_by(tuple(one for one in self._hooks if one is not hook))

        return stop

    def _observed_by(self, hooks: tuple[Hook, ...]) -> None:
        self._hooks = hooks
        self._on_run = tuple(
            partial(hook.run_started, self._environment)
            if hasattr(hook, "run_started")
            else partial(self._tell_run, hook)
            for hook in hooks
            if wants(hook, "run-started")
        )

    def run_started(self, release: str) -> None:
        """A run begins; every microsecond here is felt."""
        if self._unused:
            self._log_new(dict.fromkeys((*self._warned, *self._unused)))
            self._unused = ()
        for observe in self._on_run:
            try:
                observe(release)
            except (Exception, SystemExit):
                logger.exception("An observer failed at the start of a run")

    def _tell_run(self, hook: Hook, release: str) -> None:
        event = Event("run-started", "A run began.", environment=self._environment, release=release)
        tell((hook,), event)

    def fields(self, **facts: str | None) -> dict[str, str]:
        """What a record carries beside its message, for formatters that write JSON."""
        known = {name: printable(value) for name, value in facts.items() if value is not None}
        return {"environment": self._environment, **known}

    def event(self, kind: EventKind, message: str, **facts: Any) -> None:
        """Hand an event to every hook."""
        hooks = [hook for hook in self._hooks if wants(hook, kind)]
        if hooks:
            tell(hooks, Event(kind, message, environment=self._environment, **facts))

    def outcome(
        self, outcome: Outcome, held_since_s: float | None = None, store_trouble: str | None = None
    ) -> None:
        """Log an outcome and hand it to every hook, after news of the store."""
        if store_trouble is not None and store_trouble != self._store_trouble:
            self._store_trouble = store_trouble
            self.event("store-trouble", store_trouble)
        if self.last is None or outcome.trigger is not Trigger.LAST_GOOD:
            # What the layers hold is still refused where the last good release is served.
            self.last = (outcome, time.time())
        if outcome.status != "rejected" and outcome.trigger is not Trigger.LAST_GOOD:
            self._refused = None
        fields = self.fields(
            release=outcome.release.id if outcome.release else None,
            outcome=outcome.status,
            reason=outcome.reason,
            layer=next((error.file for error in outcome.errors if error.code == "layer"), None),
        )
        if outcome.status == "published" and outcome.release is not None:
            logger.info(
                "Release %s of %d prompt%s is live in %s (%s, %.1f ms).",
                outcome.release.id[:12],
                len(outcome.release),
                "" if len(outcome.release) == 1 else "s",
                self._environment,
                outcome.reason,
                outcome.elapsed_s * 1e3,
                extra=fields,
            )
            self._warn(outcome)
        elif outcome.status == "rejected" and not self._is_logged(outcome):
            where = (self._environment, outcome.reason)
            why = summary(outcome, show=without_excerpts)
            logger.warning("Not published in %s (%s): %s", *where, why, extra=fields)
        elif outcome.status == "held":
            text = "Changes are not published until follow() is called (%s)."
            logger.info(text, outcome.reason, extra=fields)
        self.event(
            "publication",
            f"{outcome.status} ({outcome.reason})",
            outcome=outcome,
            reason=outcome.reason,
            release=outcome.release.id if outcome.release else None,
            held_since_s=held_since_s,
        )

    def _is_logged(self, refused: Outcome) -> bool:
        """Whether the log has this already, for the same content."""
        before, self._refused = self._refused, (refused.candidate, refused.errors)
        return refused.trigger.is_automatic and before == self._refused

    def _warn(self, outcome: Outcome) -> None:
        """Log the warnings that the release before did not have."""
        warnings = {f: None for f in outcome.findings if f.severity == "warning"}
        if outcome.trigger is Trigger.START:
            self.attached(outcome.findings)
            warnings = {f: None for f in warnings if f not in self._unused}
        self._log_new(warnings)

    def attached(self, findings: Iterable[Finding]) -> None:
        """Keep what is unused for the first run: further graphs may be loaded before it."""
        self._unused = tuple(f for f in findings if f.code == "unused-prompt")

    def _log_new(self, warnings: Mapping[Finding, None]) -> None:
        new = [finding for finding in warnings if finding not in self._warned]
        self._warned = frozenset(warnings)
        for finding in new[:SHOWN_ERRORS]:
            logger.warning("%s", without_excerpts(finding))
        if len(new) > SHOWN_ERRORS:
            logger.warning("and %d more warnings", len(new) - SHOWN_ERRORS)

    @property
    def store_refused(self) -> bool:
        """Whether the last news was refused only because the store could not keep it."""
        errors = self.last[0].errors if self.last else ()
        return bool(errors) and all(error.code == "store" for error in errors)

    def layer_trouble(self, problem: LayerError) -> Finding:
        """Report once that a layer cannot be read, and why; returns the finding."""
        if self._troubled.get(problem.layer) != problem.message:
            self._troubled[problem.layer] = problem.message
            self.event("layer-unavailable", str(problem), layer=problem.layer)
        return Finding("error", "layer", problem.message, file=problem.layer, hint=problem.hint)

    def layers_recovered(self, still_troubled: Collection[str]) -> bool:
        """Every layer but these can be read; whether one of them could not be."""
        recovered = self._troubled.keys() - set(still_troubled)
        for layer in recovered:
            del self._troubled[layer]
            message = f"{layer} can be read again."
            logger.info(message, extra=self.fields(layer=layer))
            self.event("layer-recovered", message, layer=layer)
        return bool(recovered)

    def disobeyed(self, hold: Entry, why: str) -> None:
        """Report once that the release of a hold cannot be served, and why."""
        if self._disobeyed != (hold.number, why):
            self._disobeyed = hold.number, why
            first, *more = why.split("\n  ")
            message = Lines.of(
                f"Release {hold.release[:12]} is held, but cannot be served: {first}",
                *more,
                "What the layers hold is served here instead. The hold ends with follow().",
            )
            logger.error(message, extra=self.fields(release=hold.release))
            self.event("store-trouble", message, release=hold.release)

    def stale_run(self) -> None:
        """A run begins with old prompts: a saved file was not live in time."""
        self.stale_runs += 1
        self.event("stale-run", "A run began before a saved file was live.")

    def watcher_trouble(self, kind: str, message: str) -> None:
        """The watcher could only poll, or had to be restarted; it has logged that itself."""
        if kind == "watcher-polling":
            self.event("watcher-polling", message)
        else:
            self.watcher_restarts += 1
            self.event("watcher-restarted", message)


def without_excerpts(finding: Finding) -> str:
    """The finding for the log, which is no place for a prompt's text: words are named, no more."""
    return _EXCERPT.sub(lambda found: found[0] if " " not in found[0] else "…", str(finding))


def summary(outcome: Outcome, show: Callable[[Finding], str] = str) -> str:
    """The errors of an outcome, one a line, as `Lines`."""
    errors = outcome.errors
    lines = [show(error) for error in errors[:SHOWN_ERRORS]]
    if len(errors) > SHOWN_ERRORS:
        lines.append(f"and {len(errors) - SHOWN_ERRORS} more")
    return Lines.of(f"{len(errors)} error{'' if len(errors) == 1 else 's'}:", *lines)
