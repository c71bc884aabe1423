"""The exception tree. Every error says what, where and what to do next.

PromptsError
├── InvalidEnvironment (ValueError)      a name that no environment can have
├── LayerError                           a layer cannot be used
│   ├── LayerNotFound (LookupError)      it does not exist; lists environments that do
│   ├── LayerUnavailable (OSError)       it cannot be read now
│   ├── LayerReadOnly (PermissionError)  it cannot be written
│   └── Stale                            another process changed the file meanwhile
├── UnknownScheme (ValueError)           no source reads such a URL
├── MissingExtra (ImportError)           a pip extra is not installed
├── PromptNotFound (LookupError)         no layer has it; lists every place tried
├── PromptsRejected (ValueError)         the check rejected it and no good release is kept
├── PromptRenderError (ValueError)       a prompt cannot be rendered
├── ReleaseNotFound (LookupError)        neither in memory, nor in the store, nor in a layer
├── VersionNotFound (LookupError)        a registry has no such version of a prompt
├── VersionRefused (ValueError)          no prompt can have such a version
├── PushRefused (RuntimeError)           another push came first, or the server cannot tell
│   └── Conflict                         another writer appended first, which is `winner`
├── GraphNotFound (FileNotFoundError)    the graph file does not exist
├── GraphRefused (ValueError)            a graph cannot be built
├── GraphChanged (RuntimeError)          a run waits at a node that no longer exists
├── StoreError (OSError)                 the store cannot be used
│   ├── StoreCorrupted                   the content of a pack does not match its id
│   └── UnsupportedStore                 another version wrote it in another format
├── UnsupportedYamlgraph (RuntimeError)  this version of yamlgraph is not supported
├── WorkStopped (RuntimeError)           untrusted work exceeded a limit or failed
│   └── WorkerDied                       its worker process was killed from outside
└── WorkerUnavailable (OSError)          no worker process can be started
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from yamlgraph_prompts._text.escaping import Lines, escaped

if TYPE_CHECKING:
    from yamlgraph_prompts.findings import Finding


class Rejected(Protocol):
    """What `PromptsRejected.outcome` has; it is an `Outcome`."""

    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def errors(self) -> tuple[Finding, ...]: ...
    @property
    def candidate(self) -> str | None: ...
    @property
    def reason(self) -> str: ...


class Published(Protocol):
    """What `PushRefused.winner` has; it is an entry of the history."""

    @property
    def number(self) -> int: ...
    @property
    def release(self) -> str: ...
    @property
    def at_s(self) -> float: ...
    @property
    def who(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def message(self) -> str: ...


def _ended(message: str) -> str:
    return message if message.endswith((".", "!", "?", ":", "…")) else f"{message}."


class PromptsError(Exception):
    """The root of every error that this package raises.

    Args:
        message: What happened, and where.
        hint: What to do about it; shown after the message.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Messages quote foreign names and texts, and are shown in many places.
        self.message = escaped(message)
        self.hint = hint and escaped(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return Lines(f"{_ended(self.message)} {self.hint}" if self.hint else self.message)


class InvalidEnvironment(PromptsError, ValueError):
    """An environment's name must match ``[A-Za-z0-9][A-Za-z0-9._-]*``."""


class LayerError(PromptsError):
    """A layer cannot be used. `layer` is its URL."""

    def __init__(self, message: str, *, layer: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.layer = layer


class LayerNotFound(LayerError, LookupError):
    """The layer does not exist. `available` lists the environments that do exist."""

    def __init__(
        self, message: str, *, layer: str, available: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, layer=layer, hint=hint)
        self.available = tuple(available)


class LayerUnavailable(LayerError, OSError):
    """The layer cannot be read now.

    `retry_after_s` is how many seconds its server asked to wait, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        layer: str,
        hint: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, layer=layer, hint=hint)
        self.retry_after_s = retry_after_s


class LayerReadOnly(LayerError, PermissionError):
    """A prompt cannot be written to this layer."""


class Stale(LayerError):
    """A file of a layer is not what a change was made on; nothing was written."""


class UnknownScheme(PromptsError, ValueError):
    """No source reads URLs of this scheme."""


class MissingExtra(PromptsError, ImportError):
    """A pip extra is needed and is not installed."""


class PromptNotFound(PromptsError, LookupError):
    """No layer has a prompt of that name. `tried` lists every place that was searched."""

    def __init__(
        self, message: str, *, name: str, tried: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.name = name
        self.tried = tuple(tried)


class PromptsRejected(PromptsError, ValueError):
    """The check rejected a release and there is no earlier good one. `outcome` has the findings."""

    def __init__(self, message: str, *, outcome: Rejected, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.outcome = outcome


class PromptRenderError(PromptsError, ValueError):
    """A prompt cannot be rendered. The error never contains the value of a variable."""

    def __init__(
        self,
        message: str,
        *,
        prompt: str | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.prompt = prompt
        self.line = line


class ReleaseNotFound(PromptsError, LookupError):
    """The release `release_id` is neither in memory, nor in the store, nor in a layer."""

    def __init__(self, message: str, *, release_id: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.release_id = release_id


class VersionNotFound(PromptsError, LookupError):
    """A registry has no such version of a prompt, or no longer."""


class VersionRefused(PromptsError, ValueError):
    """No prompt can have such a name, or such a version: it is too large."""


class PushRefused(PromptsError, RuntimeError):
    """Nothing was published: another push came first, or the server cannot decide which is first.

    `winner` is the entry of the other push, if any; `changed` has the names of the prompts that it
    changed, if they are known.
    """

    def __init__(
        self,
        message: str,
        *,
        winner: Published | None = None,
        changed: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.winner = winner
        self.changed = tuple(changed)


class Conflict(PushRefused):
    """Another writer appended an entry first: `winner`, or None where the history was removed."""

    @classmethod
    def between(cls, url: str, environment: str, winner: Published | None) -> Conflict:
        """The refusal of an entry that was to follow another one than `winner`."""
        if winner is None:
            return cls(f"The history in {url} was removed meanwhile.")
        return cls(
            f"{winner.who or 'Another process'} was first: {winner.release[:12]} is live for "
            f"{environment} in {url} now ({winner.why}: {winner.message!r}).",
            winner=winner,
            hint="Nothing of yours was published. Take that change in, and push again.",
        )


class GraphNotFound(PromptsError, FileNotFoundError):
    """The YAML file of the graph does not exist."""


class GraphRefused(PromptsError, ValueError):
    """A graph cannot be built on a release. `findings` give places in its file and causes."""

    def __init__(
        self, message: str, *, findings: Sequence[Finding] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.findings = tuple(findings)


class GraphChanged(PromptsError, RuntimeError):
    """An interrupted run waits at nodes (`missing`) that the graph no longer has."""

    def __init__(
        self, message: str, *, missing: Sequence[str] = (), hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.missing = tuple(missing)


class StoreError(PromptsError, OSError):
    """The store, the local folder of releases, cannot be used."""


class StoreCorrupted(StoreError):
    """The content of a stored release does not match its id; it is never served."""


class UnsupportedStore(StoreError):
    """Another version of this package wrote the store, or a release in it, in another format."""

    def __init__(self, path: object, found: str) -> None:
        super().__init__(
            f"{path} was written by another version of yamlgraph-prompts ({found}).",
            hint="Run that version, or name another folder in YAMLGRAPH_PROMPTS_STORE; see the "
            "page on upgrades in the documentation.",
        )


class UnsupportedYamlgraph(PromptsError, RuntimeError):
    """The installed version of yamlgraph is not supported."""


class WorkStopped(PromptsError, RuntimeError):
    """Work on untrusted text was stopped or failed.

    `why` is ``"time"``, ``"memory"``, ``"size"`` (of the answer), ``"failed"`` or ``"died"``.
    """

    def __init__(self, message: str, *, why: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.why = why


class WorkerDied(WorkStopped):
    """The worker process was killed from outside; another one does the next work."""

    def __init__(self) -> None:
        super().__init__(
            "The process that did this work ended before it was finished.",
            why="died",
            hint="Try again.",
        )


class WorkerUnavailable(PromptsError, OSError):
    """No worker process can be started, and untrusted work is never done in the app."""
