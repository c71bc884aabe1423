"""A release, and the graphs that use it → findings, in a stable order. Reads and runs nothing.

A file by itself is examined once for its bytes (`check.prompts`); here is what depends on names and
on the release before, and how severe each finding is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from yamlgraph_prompts._check import uses
from yamlgraph_prompts._check.facts import MAX_SCHEMA_BYTES, FileFacts
from yamlgraph_prompts._check.prompts import examine_prompt, place_order
from yamlgraph_prompts._check.silence import heard
from yamlgraph_prompts._model.graph import GraphFacts
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.findings import Finding, bounded

__all__ = ["CHECK_VERSION", "Checker", "check"]

CHECK_VERSION = "2"
"""Changes when the rules for one file change; what was clean under another is examined again."""

SchemaProblem = Callable[[Prompt], str | None]

_STRICT = frozenset(
    {"duplicate-key", "missing-prompt", "missing-variable", "not-filled-in", "unused-prompt"}
)
_UNSAFE = frozenset({"unsafe-template", "alias-bomb", "too-deep", "too-large"})
_REFUSED_AT_LOAD = frozenset({"yaml-syntax", "not-utf8", "schema"})
_MAX_NAME_BYTES = 250
_SHOWN = 80  # characters of a provider or a model in a message

_PART = r"(?!\.\.?(?:/|\Z))[^/\\\x00-\x1f\x7f\ud800-\udfff]+"
_SAFE_NAME = re.compile(f"{_PART}(?:/{_PART})*")

T = TypeVar("T")


class _Recent(Generic[T]):
    """Values by key, of this check and the one before; nothing older is kept."""

    def __init__(self) -> None:
        self.now: dict[str, T] = {}
        self.before: dict[str, T] = {}

    def turn(self) -> None:
        self.before, self.now = self.now, {}

    def get(self, key: str, make: Callable[[], T]) -> T:
        now, before = self.now, self.before
        if key not in now:
            now[key] = before[key] if key in before else make()
        return now[key]


class Checker:
    """Checks releases, and examines a file again only when its bytes changed. Thread-safe."""

    def __init__(self) -> None:
        self._findings: _Recent[tuple[Finding, ...]] = _Recent()
        self._files: _Recent[FileFacts] = _Recent()
        self._schemas: _Recent[str | None] = _Recent()
        self._good_names: frozenset[str] = frozenset()

    def prime(self, digests: Iterable[str]) -> None:
        """Take files to be clean without examining them."""
        self._findings.now.update(dict.fromkeys(digests, ()))

    def learn(self, known: Mapping[str, FileFacts]) -> None:
        """Take the facts of files that a worker read, by their SHA-256 digests in hex."""
        self._files.now.update(known)
        self._findings.now.update((digest, facts.findings) for digest, facts in known.items())

    def clean(self, release: Release) -> tuple[str, ...]:
        """The digests of the release's files that were found clean by themselves."""
        findings = self._findings.now
        return tuple(p.sha256 for p in release.prompts.values() if findings.get(p.sha256) == ())

    def check(
        self,
        release: Release,
        graphs: Sequence[GraphFacts] = (),
        *,
        strict: bool = False,
        previous: Release | None = None,
        extra: Iterable[Finding] = (),
        schema_problem: SchemaProblem | None = None,
        silences: Callable[[Finding], bool] | None = None,
    ) -> tuple[Finding, ...]:
        """Everything that is wrong with a release for these graphs.

        `silences` says which warnings to leave out, besides those that comments in prompts name.
        """
        for recent in (self._findings, self._files, self._schemas):
            recent.turn()
        used, missing = uses.prompts_in_use(release, graphs)
        findings = list(extra)
        for facts in graphs:
            findings += (f.at(graph=f.graph or facts.name) for f in facts.findings)
        findings += self._named(release)
        for one in used.values():
            findings += self._in_use(one, schema_problem)
        known = bool(graphs) and all(facts.files for facts in graphs)
        findings += self._not_in_use(release, used, known=known)
        findings += uses.missing_prompts(release, missing)
        findings += uses.own_prompts(release, used)
        findings += uses.unused_prompts(release, used, missing, graphs)
        if previous is not None:
            findings += self._destinations(previous, release)
        in_use = {name for name, _ in used} if known else ()
        findings = heard(findings, release, lambda one: self._facts(one).ignores, in_use)
        if silences is not None:
            findings = [f for f in findings if not silences(f)]
        if strict:
            findings = [f.at(severity="error") if f.code in _STRICT else f for f in findings]
        return tuple(sorted(dict.fromkeys(findings), key=_order))

    def _facts(self, prompt: Prompt) -> FileFacts:
        return self._files.get(prompt.sha256, lambda: FileFacts(prompt.data))

    def _examined(self, prompt: Prompt) -> tuple[Finding, ...]:
        return self._findings.get(prompt.sha256, lambda: examine_prompt(prompt.data))

    def _in_use(self, one: uses.Used, schema_problem: SchemaProblem | None) -> Iterator[Finding]:
        prompt, facts = one.prompt, self._facts(one.prompt)
        alone = self._examined(prompt)
        findings = [*alone, *uses.unread_parts(one, facts)]
        if schema_problem is not None and b"schema" in prompt.data:
            findings = self._with_schema(prompt, findings, schema_problem)
        judged = (_judged(finding, one, facts) for finding in findings)
        findings = [f.at(prompt=prompt.name, file=prompt.file or None) for f in judged if f]
        if not any(finding.severity == "error" for finding in alone):
            findings += uses.missing_variables(one, facts)
        yield from bounded(findings)

    def _with_schema(
        self, prompt: Prompt, findings: list[Finding], schema_problem: SchemaProblem
    ) -> list[Finding]:
        errors = {finding.code for finding in findings if finding.severity == "error"}
        if errors - {"schema"}:
            return findings
        facts = self._facts(prompt)
        schema = facts.schema
        if schema is None:
            problem: str | None = f"written out it has more than {MAX_SCHEMA_BYTES:,} bytes"
        else:
            alone = prompt if schema == prompt.data else replace(prompt, data=schema)
            problem = self._schemas.get(prompt.sha256, lambda: schema_problem(alone))
        if problem is None:
            # What YAMLGraph can build is no error, whatever is odd about it.
            return [f.at(severity="warning") if f.code == "schema" else f for f in findings]
        if errors:
            return findings
        name = "schema" if "schema" in facts.keys else "output_schema"
        message = f"the inline schema cannot be built: {problem}"
        return [*findings, uses.key_finding(facts, name, "error", "schema", message)]

    def _named(self, release: Release) -> list[Finding]:
        if release.prompts.keys() == self._good_names:
            return []
        findings = list(_names(release))
        own = any(prompt.layer.startswith("graph:") for prompt in release.prompts.values())
        # Of a graph's own prompts the names are not looked at.
        self._good_names = frozenset() if findings or own else frozenset(release.prompts)
        return findings

    def _destinations(self, before: Release, after: Release) -> Iterator[Finding]:
        """A change of provider or model, which decide where the data goes."""
        for name, prompt in after.prompts.items():
            old = before.prompts.get(name)
            if old is None or old is prompt or old.sha256 == prompt.sha256:
                continue
            if b"provider" not in old.data + prompt.data and b"model" not in old.data + prompt.data:
                continue
            then, facts = FileFacts(old.data).keys, self._facts(prompt)
            now = facts.keys
            for key in ("provider", "model"):
                was, will = (keys[key]["text"] if key in keys else "" for keys in (then, now))
                if was != will and facts.kind == "dict":
                    old_name, new_name = (text[:_SHOWN] or "the default" for text in (was, will))
                    message = f"the {key} changes from {old_name} to {new_name}"
                    finding = uses.key_finding(
                        facts, key, "warning", f"{key}-changed", message, key=False
                    )
                    yield finding.at(prompt=name, file=prompt.file or None)

    def _not_in_use(
        self, release: Release, used: uses.UsedPrompts, *, known: bool
    ) -> Iterator[Finding]:
        for name, prompt in release.prompts.items():
            findings = self._examined(prompt)
            if not findings or (name, prompt.sha256) in used:
                continue
            for finding in findings:
                # What no attached graph reads must not keep the others from going live.
                severity = "warning" if known else finding.severity
                yield finding.at(severity=severity, prompt=name, file=prompt.file or None)


check = Checker().check
"""`Checker.check` of one shared checker."""


def _order(finding: Finding) -> tuple[str, bool, int, int, str, str]:
    return (finding.prompt or "", *place_order(finding), finding.code, finding.message)


def _judged(finding: Finding, one: uses.Used, facts: FileFacts) -> Finding | None:
    """The finding as these graphs see it; None where it does not concern them."""
    if finding.code == "missing-user":
        if not one.needs_user:
            return None
        finding = finding.at(severity="error")
    if one.bundled and finding.severity == "error" and not _stops_a_bundle(finding, one, facts):
        return finding.at(severity="warning")
    return finding


def _stops_a_bundle(finding: Finding, one: uses.Used, facts: FileFacts) -> bool:
    """Whether YAMLGraph alone refuses to load the graph, or the text must not be run at all."""
    if finding.code in _UNSAFE:
        return True
    if finding.code == "not-a-mapping":
        # It looks for `schema` in any content that supports `in`.
        return one.schema_is_read and facts.kind not in ("str", "list", "set")
    if finding.code == "shape" and facts.has_foreign_items:
        return True
    return one.schema_is_read and finding.code in _REFUSED_AT_LOAD


def _names(release: Release) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, prompt in release.prompts.items():
        if prompt.layer.startswith("graph:"):
            continue
        file = prompt.file or None
        if why := _unsafe_name(name) or _in_a_file(name, release):
            message = f"the name {name!r} {why}"
            hint = "Names are folders and a file name with `/` between them, such as `a/b`."
            yield Finding("error", "escaping-name", message, prompt=name, file=file, hint=hint)
        twin = seen.setdefault(name.casefold(), name)
        if twin != name:
            message = f"the name differs only in case from {twin!r}"
            hint = "On macOS and Windows one file would replace the other. Rename one."
            yield Finding("warning", "case-collision", message, prompt=name, file=file, hint=hint)


def _unsafe_name(name: str) -> str | None:
    if not _SAFE_NAME.fullmatch(name):
        if name.startswith("/") or ".." in name.split("/"):
            return "leads out of its folder"
        return "has an empty part, a backslash or a control character"
    if len(name) > 60 and max(len(part.encode()) for part in name.split("/")) > _MAX_NAME_BYTES:
        return f"has a part of more than {_MAX_NAME_BYTES} bytes"
    return None


def _in_a_file(name: str, release: Release) -> str | None:
    end = name.find(".yaml/")
    while end >= 0:
        if name[:end] in release.prompts:
            return f"needs a folder where the file of {name[:end]!r} is"
        end = name.find(".yaml/", end + 1)
    return None
