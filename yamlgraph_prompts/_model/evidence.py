"""What the code of a graph asks of its releases, as its runs in this process show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._model.graph import PromptUse
from yamlgraph_prompts._model.release import Prompt, Release

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

_MAX_NAMES = 1_000  # that calls pass for one prompt


class Evidence:
    """Which prompts the runs got, and the variables that they were filled in with. Thread-safe.

    Example:
        >>> evidence = Evidence()
        >>> release = evidence.observed(Release.of([Prompt("greeting", b"user: Hi {name}")]))
        >>> _ = release["greeting"].messages(name="Ada", tone="kind")
        >>> [(use.prompt, sorted(use.passes)) for use in evidence.uses("graph")]
        [('greeting', ['name', 'tone'])]
    """

    def __init__(self) -> None:
        self._passed: dict[str, frozenset[str] | None] = {}  # None: it was only read

    def observed(self, release: Release) -> Release:
        """The release, for the graph's code: what that asks of it is noted here."""
        return _Observed(release.prompts, release.environment, release.layers, self)

    def join(self, other: Evidence) -> None:
        """From now on, note there what is asked for; what was asked for before does not count."""
        self._passed = other._passed

    def uses(self, node: str) -> tuple[PromptUse, ...]:
        """What was asked for until now."""
        return tuple(
            PromptUse(node, "read" if passes is None else "call", prompt, passes, seen=True)
            for prompt, passes in tuple(self._passed.items())
        )

    def read(self, prompt: str) -> None:
        """A run got a prompt."""
        self._passed.setdefault(prompt, None)

    def filled_in(self, prompt: str, names: Iterable[str]) -> None:
        """A run filled in a prompt with variables of these names."""
        passed = self._passed.get(prompt)
        if passed is None or (len(passed) < _MAX_NAMES and not passed.issuperset(names)):
            self._passed[prompt] = frozenset(names) | (passed or frozenset())


def declared(uses: Mapping[str, Iterable[str]], node: str) -> tuple[PromptUse, ...]:
    """The prompts and variables that an app declares its graph to ask for."""
    found = []
    for prompt, names in uses.items():
        if isinstance(names, str) or not isinstance(prompt, str):
            raise TypeError(
                f"uses={{{prompt!r}: {names!r}}} must be a prompt's name and a list of the "
                'variables that are passed, such as uses={"greeting": ["name"]}.'
            )
        found.append(PromptUse(node, "call", prompt, frozenset(names)))
    return tuple(found)


@dataclass(frozen=True, repr=False)
class _Observed(Release):
    """A release that notes which prompts it gives."""

    evidence: Evidence = field(default_factory=Evidence, compare=False)

    def __getitem__(self, name: str) -> Prompt:
        prompt = super().__getitem__(name)
        self.evidence.read(name)
        observed = object.__new__(_ObservedPrompt)
        observed.__dict__.update(prompt.__dict__, _prompt=prompt, _evidence=self.evidence)
        return observed


class _ObservedPrompt(Prompt):
    """A prompt that notes how it is filled in; its template is the one that all share."""

    _prompt: Prompt
    _evidence: Evidence

    @property
    def template(self) -> Any:
        return self._prompt.template

    def messages(self, **variables: Any) -> list[BaseMessage]:
        messages = self._prompt.messages(**variables)
        self._evidence.filled_in(self.name, variables)
        return messages

    def __eq__(self, other: object) -> bool:
        return self._prompt == (other._prompt if isinstance(other, _ObservedPrompt) else other)

    def __hash__(self) -> int:
        return hash(self._prompt)
