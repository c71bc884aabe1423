"""Frozen facts: Prompt, Release, Outcome and the releases that are stored. No I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts._text.diff import Effort, unified
from yamlgraph_prompts._text.spelling import did_you_mean
from yamlgraph_prompts.errors import (
    MissingExtra,
    PromptNotFound,
    PromptRenderError,
    ReleaseNotFound,
)
from yamlgraph_prompts.findings import Finding

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from pydantic import BaseModel

    from yamlgraph_prompts.templates.template import PromptTemplate

_FULL_ID = re.compile(r"[0-9a-f]{64}")
Status = Literal["published", "unchanged", "rejected", "held"]


@dataclass(frozen=True)
class Prompt:
    """One prompt: the bytes of its YAML file, and their content.

    Args:
        name: Its path without ``.yaml``, such as ``"router/classify"``.
        data: The bytes of the YAML file; for a ``.yaml.j2``, the bytes of its output.
        layer: The URL of the layer that it came from.
        file: The file, for messages.

    Example:
        >>> prompt = Prompt("greeting", b"system: Be kind.\\nuser: Hi {name}\\n")
        >>> prompt.user, sorted(prompt.variables)
        ('Hi {name}', ['name'])
        >>> prompt.messages(name="Ada")[1].content
        'Hi Ada'
    """

    name: str
    data: bytes = field(repr=False)
    layer: str = "memory:"
    file: str = ""

    @cached_property
    def sha256(self) -> str:
        """The digest of `data`, in hex."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The file's mapping as YAMLGraph would read it."""
        from yamlgraph_prompts._yaml_file import parse_prompt

        return MappingProxyType(parse_prompt(self.data).content)

    @cached_property
    def template(self) -> PromptTemplate:
        """The messages' templates, compiled when first rendered."""
        from yamlgraph_prompts.templates.template import PromptTemplate

        return PromptTemplate(dict(self.content), prompt=self.name)

    @property
    def system(self) -> str:
        """The text of the system message, segments joined by newlines; ``""`` if there is none."""
        return "\n".join(self.template.system_texts)

    @property
    def user(self) -> str:
        """The text of the user message; ``""`` if there is none."""
        return self.template.user_text

    @property
    def variables(self) -> frozenset[str]:
        """The names that the messages mention."""
        return self.template.variables

    @property
    def optional(self) -> frozenset[str]:
        """Those of `variables` that `messages` can do without.

        A Jinja message says so itself, with ``{{ tone | default("kind") }}`` or
        ``{% if tone is defined %}``. YAMLGraph needs all of `variables`.
        """
        return self.template.variables - self.template.required

    @property
    def output_model(self) -> type[BaseModel] | None:
        """The Pydantic class of the file's ``schema`` or ``output_schema``; None without one.

        For plain LangGraph: ``model.with_structured_output(release["triage"].output_model)``.

        Raises:
            PromptRenderError: The schema cannot be built.
            MissingExtra: yamlgraph, which builds it, is not installed.
        """
        from yamlgraph_prompts._model.output_models import output_model

        try:
            return output_model(self)  # type: ignore[no-any-return]
        except MissingExtra:
            raise
        except Exception as problem:
            raise PromptRenderError(
                f"The schema of prompt {self.name!r} cannot be built: {problem}", prompt=self.name
            ) from problem

    def messages(self, **variables: Any) -> list[BaseMessage]:
        """The LangChain messages for these variables.

        Args:
            variables: A value for each name in `variables` that is not `optional`.
                ``{{ state.field }}`` reads the mapping ``state``.

        Returns:
            A system message, if there is one, and a human message.

        Raises:
            PromptRenderError: A variable is missing, or the template fails on these values.
        """
        return self.template.messages(variables, state=variables.get("state"))


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """A layer that a release was made from: its URL and the version that was read."""

    url: str
    version: str


@dataclass(frozen=True)
class Release:
    """The immutable set of prompts that the layers give for one environment.

    Args:
        prompts: Name → `Prompt`.
        environment: The environment that it is for.
        layers: The layers that it was built from, highest priority first.

    Example:
        >>> hello = Release.of([Prompt("greeting", b"user: Hi {name}")])
        >>> "greeting" in hello, hello["greeting"].user
        (True, 'Hi {name}')
    """

    prompts: Mapping[str, Prompt]
    environment: str | None = None
    layers: tuple[LayerVersion, ...] = ()

    @classmethod
    def of(
        cls,
        prompts: Iterable[Prompt],
        *,
        environment: str | None = None,
        layers: Iterable[LayerVersion] = (),
    ) -> Release:
        """A release of these prompts, sorted by name."""
        ordered = {p.name: p for p in sorted(prompts, key=lambda p: p.name)}
        return cls(MappingProxyType(ordered), environment, tuple(layers))

    @cached_property
    def id(self) -> str:
        """SHA-256, in hex, over each prompt's name and digest in the order of the names.

        Nothing else enters it: the same content has the same id in every environment, on every
        machine and in every bucket.
        """
        return self.id_of({name: prompt.sha256 for name, prompt in self.prompts.items()})

    @staticmethod
    def id_of(digests: Mapping[str, str]) -> str:
        """The id of a release whose prompts have these digests, by name."""
        lines = ["yamlgraph-prompts release 1\n"]
        for name, digest in sorted(digests.items()):
            size = len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))
            lines.append(f"{size} {name} {digest}\n")
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()

    def __getitem__(self, name: str) -> Prompt:
        try:
            return self.prompts[name]
        except KeyError:
            # A graph's node reads it here, and its errors go to the clients of a server.
            raise self.not_found(name, show=False) from None

    def __contains__(self, name: object) -> bool:
        return name in self.prompts

    def __iter__(self) -> Iterator[str]:
        return iter(self.prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def __bool__(self) -> bool:
        return True  # one without prompts is a release too

    def __repr__(self) -> str:
        prompts = f"{len(self)} prompt{'' if len(self) == 1 else 's'}"
        return f"<Release {self.id[:12]} of {prompts}, environment {self.environment!r}>"

    def not_found(
        self, name: str, tried: Iterable[str] = (), *, show: bool = True
    ) -> PromptNotFound:
        """The error for a missing name, with the most similar names.

        Args:
            name: The name.
            tried: Places that were searched in addition to the layers.
            show: Whether its text lists the places; `PromptNotFound.tried` always does.
        """
        if not isinstance(name, str):
            raise TypeError(f"A prompt is named by a text, such as 'greeting', not by {name!r}.")
        places = [*tried, *(f"{layer.url.rstrip('/')}/{name}.yaml" for layer in self.layers)]
        return PromptNotFound(
            f"There is no prompt {name!r} for environment {self.environment!r}."
            + (f" Looked at: {', '.join(places)}." if places and show else ""),
            name=name,
            tried=places,
            hint=did_you_mean(name, self.prompts),
        )

    def diff(self, other: Release) -> ReleaseDiff:
        """The difference from this release to `other`."""
        mine, theirs = self.prompts, other.prompts
        return ReleaseDiff(
            before=self,
            after=other,
            added=tuple(n for n in theirs if n not in mine),
            removed=tuple(n for n in mine if n not in theirs),
            changed=tuple(n for n in theirs if n in mine and mine[n].sha256 != theirs[n].sha256),
        )


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """The names that differ between two releases. `str()` of it is a unified diff."""

    before: Release = field(repr=False)
    after: Release = field(repr=False)
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def __str__(self) -> str:
        effort = Effort()
        return "".join(unified(*self.texts(name), effort) for name in self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """All names that differ, in their order."""
        return tuple(sorted([*self.added, *self.removed, *self.changed]))

    def unified(self, name: str) -> str:
        """One prompt's change as a unified diff; of texts that are too different a statement."""
        return unified(*self.texts(name))

    def texts(self, name: str) -> tuple[str, str, str, str]:
        """One prompt's text before and after, and what a diff calls them."""
        old, new = self.before.prompts.get(name), self.after.prompts.get(name)
        return (
            old.data.decode("utf-8", "replace") if old else "",
            new.data.decode("utf-8", "replace") if new else "",
            f"{name}.yaml ({self.before.id[:12]})" if old else "/dev/null",
            f"{name}.yaml ({self.after.id[:12]})" if new else "/dev/null",
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one attempt to publish.

    Args:
        status: ``"published"``: it is live now. ``"unchanged"``: it was live already.
            ``"rejected"``: it has errors, and the live release stays live. ``"held"``: it is
            good, but another release is held.
        release: The live release after the attempt; None if there is none yet.
        findings: The findings about the candidate.
        elapsed_s: How long it took, in seconds.
        candidate: The id of the release that was checked, if it could be built.
        reason: The reason of the attempt, such as ``"file change"``.
        trigger: What started the attempt.
    """

    status: Status
    release: Release | None
    findings: tuple[Finding, ...]
    elapsed_s: float
    candidate: str | None = None
    reason: str = "call"
    trigger: Trigger = Trigger.CALL

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that reject a release."""
        return tuple(f for f in self.findings if f.severity == "error")

    @property
    def is_refused_edit(self) -> bool:
        """Whether the prompts themselves are refused, and not a layer or the store in trouble."""
        return not {finding.code for finding in self.errors} <= {"layer", "store"}

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that do not reject a release."""
        return tuple(f for f in self.findings if f.severity == "warning")


@dataclass(frozen=True, slots=True)
class StoredRelease:
    """A kept release.

    Args:
        id: The release's id.
        environment: The environment that it is for.
        at_s: When it last became live, in seconds since the epoch.
        reason: Why it became live.
        live: Whether it is the live one.
        prompts: How many prompts it has.
        who: Who made it live; a process if it was not asked for.
        message: What for.
    """

    id: str
    environment: str | None
    at_s: float
    reason: str
    live: bool
    prompts: int
    who: str = ""
    message: str = ""


def is_full_id(word: str) -> bool:
    """Whether it can be a release's whole id, and not only the beginning of one."""
    return _FULL_ID.fullmatch(word) is not None


def full_id(prefix: str, stored: Iterable[str]) -> str:
    """The one of the stored ids that begins with `prefix`."""
    if not isinstance(prefix, str):
        raise TypeError(f"The id of a release is a text, not {prefix!r}.")
    wanted = prefix.strip().lower()
    ids = sorted(stored)
    found = [release_id for release_id in ids if wanted and release_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(release_id[:12] for release_id in (found or ids)[:5])
    if found:
        subject, hint = f"{len(found)} stored releases begin", f"Give more of the id: {shown}."
    else:
        subject = "No stored release begins"
        hint = f"Stored are {shown}." if shown else "Nothing is stored yet."
    raise ReleaseNotFound(f"{subject} with {prefix!r}.", release_id=prefix, hint=hint)
