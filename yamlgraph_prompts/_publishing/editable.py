"""How a `LivePrompts` is checked and changed: drafts are tried with everything before a write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._publishing.attached import Attached
from yamlgraph_prompts._publishing.attempt import Attempt
from yamlgraph_prompts._publishing.change import Transaction
from yamlgraph_prompts._publishing.drafts import Draft
from yamlgraph_prompts._publishing.engine import Engine
from yamlgraph_prompts._publishing.inspectable import Inspectable
from yamlgraph_prompts._publishing.report import summary
from yamlgraph_prompts.errors import LayerError, PromptsRejected
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.registry import is_registry, open_registry
from yamlgraph_prompts.registry.ports import Versions

if TYPE_CHECKING:
    from yamlgraph_prompts._check.untrusted import Known


class Editable(Inspectable):
    """The part of `LivePrompts` that checks layers and changes prompts in them."""

    _attached: Attached

    def _publishing(self) -> AbstractContextManager[Engine]:
        raise NotImplementedError

    def check(self, *, strict: bool = False) -> tuple[Release, tuple[Finding, ...]]:
        """Check the current content of the layers; publishes nothing.

        Args:
            strict: Report `duplicate-key`, `unused-prompt` and `missing-variable` as errors.

        Returns:
            The release that a publication would build, and its findings.

        Raises:
            LayerError: A layer cannot be read.
        """
        with self._publishing():
            before = self._engine.release
            candidate = self._engine.candidates.fetch(self._attached(), before, strict=strict)
            return candidate.release, candidate.findings

    def try_changes(
        self, drafts: Sequence[Draft], *, strict: bool = False, known: Known | None = None
    ) -> tuple[Release, tuple[Finding, ...]]:
        """As `check`, with drafts laid over what the layers hold; nothing is written.

        Args:
            drafts: The drafts; their files are examined in a worker process.
            strict: Report `duplicate-key`, `unused-prompt` and `missing-variable` as errors.
            known: What the files say by themselves, where they are examined already.

        Raises:
            LayerError: A layer cannot be read.
            WorkStopped: Examining a draft takes too much time or memory.
            WorkerUnavailable: No worker process can be started.
        """
        known = _examined(drafts) if known is None else known
        with self._publishing():
            live = self._started()
            self._engine.candidates.learn(known)
            candidate = self._engine.candidates.fetch(
                self._attached(), live.release, drafts, strict=strict
            )
            return candidate.release, candidate.findings

    def candidate(self, changes: Mapping[str, int | str]) -> Release:
        """What the layers hold, with other versions or texts of some prompts; nothing is live.

        It is kept as every release is, so that runs can try it: ``app.on(release.id).invoke(...)``.

        Args:
            changes: Prompt → the number of a version, where a layer is a database, or its text.

        Returns:
            The release; it fits every attached graph.

        Raises:
            PromptsRejected: The check refuses it.
            VersionNotFound: There is no such version.
            LayerError: A layer cannot be read, or none has versions.
            StoreError: It cannot be kept.

        Example:
            >>> from yamlgraph_prompts import LivePrompts
            >>> with LivePrompts({"greeting": "user: Hi"}) as prompts:
            ...     prompts.candidate({"greeting": "user: Hello"})["greeting"].user
            'Hello'
        """
        drafts = [self._draft(name, what) for name, what in changes.items()]
        known, attempt = _examined(drafts), Attempt(Trigger.CALL, "candidate")
        with self._publishing() as engine:
            live = engine.started()
            engine.candidates.learn(known)
            made = engine.candidates.fetch(self._attached(), live.release, drafts)
            if made.refused:
                outcome = attempt.outcome("rejected", live.release, made)
                raise PromptsRejected(summary(outcome), outcome=outcome)
            self._store.put(made.release, engine.candidates.facts(made))
            return made.release

    def _draft(self, name: str, what: int | str) -> Draft:
        if isinstance(what, str):
            return Draft(name, what.encode())
        for number, reader in enumerate(self._readers):
            url = reader.layer.at(self.environment)
            registry = open_registry(url) if is_registry(url) else None
            if isinstance(registry, Versions):
                return Draft(name, registry.version(name, what).content, number)
        text = f"No layer has numbered versions, so there is no version {what} of {name!r}."
        raise LayerError(text, layer=", ".join(reader.url for reader in self._readers))

    @contextmanager
    def change(
        self, draft: Draft, *, reason: str = "change", who: str = "", message: str = ""
    ) -> Iterator[Transaction]:
        """A change of one prompt, checked with all graphs; `commit` writes and publishes it.

        Other changes wait until the block ends.

        Args:
            draft: What to write, and in which layer.
            reason: The operation, for the log and the history.
            who: Who asks for it, for the history.
            message: What for, for the history.

        Raises:
            LayerError: A layer cannot be read.
            StoreError: Another process did not finish its change in time.
            WorkStopped: Examining the draft takes too much time or memory.
            WorkerUnavailable: No worker process can be started to examine it.

        Example:
            >>> from yamlgraph_prompts import LivePrompts
            >>> from yamlgraph_prompts._publishing.drafts import Draft
            >>> with LivePrompts({"greeting": "user: Hi"}) as prompts:
            ...     with prompts.change(Draft("greeting", b"user: Hello")) as change:
            ...         change.trial.refused
            False
        """
        known = _examined([draft])
        # Other processes first: waiting for them must not keep this one's runs waiting.
        with self._store.changing(), self._publishing() as engine:
            engine.candidates.learn(known)
            yield Transaction(engine, draft, reason, who, message)


def _examined(drafts: Iterable[Draft]) -> Known:
    from yamlgraph_prompts._check.untrusted import examined

    return examined(draft.data for draft in drafts)
