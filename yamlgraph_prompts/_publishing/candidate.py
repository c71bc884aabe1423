"""The first half of the pipeline: fetch, resolve, render, check. Nothing in it is live yet."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary, ref

from yamlgraph_prompts._files.regular_file import standing
from yamlgraph_prompts._model.graph import Graph, GraphFacts
from yamlgraph_prompts._model.release import LayerVersion, Prompt, Release
from yamlgraph_prompts._publishing.decide import State
from yamlgraph_prompts._publishing.drafts import Draft, laid_over
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.layers import LayerContent, Resolved, composed, resolve
from yamlgraph_prompts.sources.reader import LayerReader, read_within

if TYPE_CHECKING:
    from yamlgraph_prompts._check import Checker
    from yamlgraph_prompts._check.facts import FileFacts
    from yamlgraph_prompts._model.entry import Entry
    from yamlgraph_prompts._model.pack import ReleaseFacts
    from yamlgraph_prompts.templates.render import J2Renderer

ATTEMPTS = 10

logger = logging.getLogger("yamlgraph_prompts")

# Codes of findings about one file that cannot be read.
_OF_ONE_FILE = {"too-large", "unreadable", "not-utf8"}

Check = Callable[[Release, Sequence[GraphFacts]], Iterable[Finding]]


@dataclass(frozen=True)
class Candidate:
    """A release that could become live, with the graphs that would run on it."""

    release: Release
    graphs: Mapping[Graph, GraphFacts]  # every attached graph, which this does not keep alive
    findings: tuple[Finding, ...]
    graph_files: tuple[str, ...] = ()  # in the layers: graphs, and so no prompts
    # What the layers held, without drafts; empty for a release that was kept.
    contents: Sequence[LayerContent] = field(default=(), repr=False, compare=False)

    @cached_property
    def state(self) -> State:
        """It as a fact for `decide`."""
        graphs = {ref(graph): facts.revision(self.release) for graph, facts in self.graphs.items()}
        refused = any(finding.severity == "error" for finding in self.findings)
        return State(self.release.id, graphs, refused=refused)

    @property
    def refused(self) -> bool:
        """Whether a finding rejects it."""
        return self.state.refused


@dataclass(frozen=True)
class _Found:
    """The layers without drafts, and what they and the graphs come to with them."""

    contents: Sequence[LayerContent]
    emptied: tuple[Finding, ...]
    versions: tuple[LayerVersion, ...]
    resolved: Resolved
    facts: WeakKeyDictionary[Graph, GraphFacts]


class Candidates:
    """Makes candidates from the layers, or from a release that was kept. Not thread-safe."""

    def __init__(
        self,
        readers: Sequence[LayerReader],
        environment: str,
        checks: Sequence[Check],
        known: Callable[[str], ReleaseFacts | None],
        live: Callable[[], Entry | None],
        *,
        silences: Callable[[Finding], bool] | None = None,
    ) -> None:
        self._readers = readers
        self._environment = environment
        self._checks = checks
        self._known = known
        self._live = live
        self._silences = silences
        self._checker: Checker | None = None
        self._learned: Mapping[str, FileFacts] = {}
        self._renderer: J2Renderer | None = None
        self._rendered: tuple[str, Mapping[str, bytes], tuple[Finding, ...]] = ("", {}, ())

    def learn(self, known: Mapping[str, FileFacts]) -> None:
        """Take the files of drafts as they were examined elsewhere, by their digests."""
        self._learned = known

    def fetch(
        self,
        graphs: Sequence[Graph],
        before: Release | None,
        drafts: Sequence[Draft] = (),
        *,
        deadline_s: float | None = None,
        kept_s: float | None = None,
        strict: bool = False,
    ) -> Candidate:
        """What the layers and graphs hold now, with drafts laid over it."""
        for _ in range(ATTEMPTS):
            # As they were together: one link may lead to all of them.
            stood = self._standing(graphs)
            contents = read_within(
                self._readers, deadline_s, kept_s=kept_s, meanwhile=_import_the_check
            )
            found = self._laid(contents, graphs, before, drafts)
            if self._standing(graphs) == stood:
                return self._made(found, before, strict=strict)
            # Remote ones have answered just now.
            kept_s = math.inf
        restless = next((reader.url for reader in self._readers), "the graphs' own prompts")
        raise LayerUnavailable(
            "The layers and graphs change faster than they can be read.", layer=restless
        )

    def undrafted(self, drafted: Candidate, graphs: Sequence[Graph], before: Release) -> Candidate:
        """What the layers held without the drafts when `drafted` was made."""
        return self._made(self._laid(drafted.contents, graphs, before), before, strict=False)

    def _laid(
        self,
        contents: Sequence[LayerContent],
        graphs: Sequence[Graph],
        before: Release | None,
        drafts: Sequence[Draft] = (),
    ) -> _Found:
        laid = laid_over(contents, drafts)
        resolved = resolve(laid, self._environment, before.prompts if before else {})
        names = resolved.prompts.keys() | resolved.templates.keys()
        versions = tuple(LayerVersion(content.url, content.version) for content in laid)
        emptied = tuple(self._emptied(contents, before))
        facts = _facts(graphs, lambda name: composed(name) in names)
        return _Found(contents, emptied, versions, resolved, facts)

    def _emptied(
        self, contents: Sequence[LayerContent], before: Release | None
    ) -> Iterator[Finding]:
        """Layers that gave prompts until now, and have none any more."""
        had = {prompt.layer for prompt in before.prompts.values()} if before else ()
        for reader, content in zip(self._readers, contents, strict=True):
            may_be_empty = reader.layer.optional or reader.layer.allow_empty
            if content.url in had and not (may_be_empty or content.has_prompts):
                text = f"the layer {content.url} has no prompt any more"
                hint = "If it may be empty: Layer(..., allow_empty=True), or --allow-empty."
                yield Finding("error", "emptied-layer", text, hint=hint)

    def _standing(self, graphs: Sequence[Graph]) -> list[object]:
        if len(self._readers) + len(graphs) == 1:
            # Each by itself is read as it was at one moment.
            return []
        folders = [standing(path) for reader in self._readers for path in reader.watched()]
        return [*folders, *(graph.standing() for graph in graphs)]

    def _made(self, found: _Found, before: Release | None, *, strict: bool) -> Candidate:
        old = before.prompts if before else {}
        resolved, facts = found.resolved, found.facts
        outputs, rendering = self._render(resolved)
        bundled, clashes = _bundled(facts.values())
        made = (old[p.name] if old.get(p.name) == p else p for p in (*outputs, *bundled))
        release = Release.of(
            (*resolved.prompts.values(), *made),
            environment=self._environment,
            layers=found.versions,
        )
        findings = (*resolved.findings, *rendering)
        if found.emptied and ((live := self._live()) is None or live.release != release.id):
            findings = (*findings, *found.emptied)
        extra = (*_as_used(findings, resolved, outputs, tuple(facts.values())), *clashes)
        texts = {name: template.text for name, template in resolved.templates.items()}
        candidate = self._checked(release, facts, before, extra, texts, strict=strict)
        return replace(candidate, graph_files=resolved.graphs, contents=found.contents)

    def kept(self, release: Release, graphs: Sequence[Graph], before: Release | None) -> Candidate:
        """A release that exists already, with today's graphs."""
        facts = _facts(graphs, release.prompts.__contains__)
        for graph in graphs:
            facts[graph] = replace(facts[graph], kept=True)
        made = self._checked(release, facts, before)
        return replace(made, findings=tuple(_of_kept(made.findings, release)))

    def facts(self, candidate: Candidate) -> ReleaseFacts:
        """What the check found in a candidate, for the store."""
        from yamlgraph_prompts._check import CHECK_VERSION
        from yamlgraph_prompts._model.pack import ReleaseFacts

        clean = self._checker.clean(candidate.release) if self._checker else ()
        return ReleaseFacts.of(candidate.findings, clean, CHECK_VERSION)

    def close(self) -> None:
        """End the rendering process."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _render(self, resolved: Resolved) -> tuple[list[Prompt], tuple[Finding, ...]]:
        templates = resolved.templates.values()
        if not templates:
            return [], ()
        key = _digest(resolved, self._environment)
        if self._rendered[0] != key:
            if self._renderer is None:
                from yamlgraph_prompts.templates.render import J2Renderer

                self._renderer = J2Renderer()
            result = self._renderer.render(
                self._environment,
                resolved.variables,
                {template.path: template.text for template in templates},
                resolved.parts,
            )
            shown = {template.path: template.shown for template in templates}
            findings = tuple(f.at(file=shown.get(f.file or "", f.file)) for f in result.findings)
            self._rendered = (key, result.outputs, findings)
        _, outputs, findings = self._rendered
        prompts = [
            Prompt(template.name, outputs[template.path], template.layer, template.shown)
            for template in templates
            if template.path in outputs
        ]
        return prompts, findings

    def _checked(
        self,
        release: Release,
        facts: Mapping[Graph, GraphFacts],
        before: Release | None,
        extra: Iterable[Finding] = (),
        texts: Mapping[str, str] = MappingProxyType({}),
        *,
        strict: bool = False,
    ) -> Candidate:
        from yamlgraph_prompts._check.rendered import in_templates

        findings = self._prepared(release).check(
            release,
            tuple(facts.values()),
            strict=strict,
            previous=before,
            extra=(*extra, *self._further(release, tuple(facts.values()))),
            schema_problem=_schema_problem(facts),
            silences=self._silences,
        )
        every = in_templates(findings, release, texts)
        return Candidate(release, facts, tuple(every))

    def _prepared(self, release: Release) -> Checker:
        if self._checker is None:
            from yamlgraph_prompts._check import CHECK_VERSION, Checker

            self._checker = Checker()
            known = self._known(release.id)
            if known is not None and known.check_version == CHECK_VERSION:
                self._checker.prime(known.clean)
        self._checker.learn(self._learned)
        self._learned = {}
        return self._checker

    def _further(self, release: Release, graphs: Sequence[GraphFacts]) -> Iterator[Finding]:
        for check in self._checks:
            name = getattr(check, "__qualname__", type(check).__name__)
            try:
                for found in check(release, graphs):
                    if not isinstance(found, Finding):
                        raise TypeError(f"it gave a {type(found).__name__}, which is no Finding")
                    yield found
            except (Exception, SystemExit) as problem:
                logger.exception("A check failed")
                yield Finding("error", "custom", f"The check {name} failed: {problem!r}")


def _of_kept(findings: Iterable[Finding], release: Release) -> Iterator[Finding]:
    """The findings, with a hint that the files may hold other text by now."""
    whose = f"This is about release {release.id[:12]}; the layers may hold other prompts by now."
    for found in findings:
        if found.severity == "error" and found.prompt is not None:
            found = found.at(hint=f"{found.hint} {whose}" if found.hint else whose)
        yield found


def _import_the_check() -> None:
    # It takes a tenth of a second, which a fallback at the deadline does not have.
    import yamlgraph_prompts._check  # noqa: F401


def _schema_problem(graphs: Iterable[Graph]) -> Callable[[Prompt], str | None] | None:
    graph = next(iter(graphs), None)
    if graph is None:
        return None

    def problem(prompt: Prompt) -> str | None:
        try:
            graph.output_model(prompt)
        except Exception as error:  # noqa: BLE001 - whatever a schema's builder raises
            return str(error) or type(error).__name__
        return None

    return problem


def _facts(
    graphs: Iterable[Graph], has: Callable[[str], bool]
) -> WeakKeyDictionary[Graph, GraphFacts]:
    found: WeakKeyDictionary[Graph, GraphFacts] = WeakKeyDictionary()
    for graph in graphs:
        found[graph] = graph.read(has)
    return found


def _bundled(graphs: Iterable[GraphFacts]) -> tuple[list[Prompt], list[Finding]]:
    """The graphs' own prompts, where they are the release; and those that cannot be together."""
    found: dict[str, Prompt] = {}
    clashes: list[Finding] = []
    for facts in graphs:
        for file in facts.files if facts.bundled else ():
            for name, own in file.own.items():
                prompt = Prompt(file.own_name(name), own.data, f"graph:{file.file}", own.file)
                other = found.setdefault(prompt.name, prompt)
                if other.data != prompt.data:
                    clashes.append(_clash(prompt, other))
    return list(found.values()), clashes


def _as_used(
    findings: Iterable[Finding],
    resolved: Resolved,
    outputs: Iterable[Prompt],
    graphs: Collection[GraphFacts],
) -> Iterator[Finding]:
    """A file that no attached graph uses may be broken: that is a warning."""
    used = {use.prompt for facts in graphs for file in facts.files for use in file.uses}
    failed = resolved.templates.keys() - {prompt.name for prompt in outputs}
    spared = {t.shown for name, t in resolved.templates.items() if name not in used}
    for finding in findings:
        is_j2 = (finding.file or "").endswith(".j2")
        of_template = finding.code.startswith("j2-") or (finding.code == "merge-conflict" and is_j2)
        if of_template:
            # What fails in a part counts for every template that failed.
            unused = finding.file in spared or not failed & used
        else:
            unused = finding.code in _OF_ONE_FILE and finding.prompt not in {None, *used}
        yield finding.at(severity="warning") if graphs and unused else finding


def _clash(prompt: Prompt, other: Prompt) -> Finding:
    text = f"Two graphs bring different prompts of this name: {other.file} and {prompt.file}."
    hint = "Give each graph a LivePrompts of its own, or give them layers."
    return Finding("error", "graph", text, prompt=prompt.name, file=prompt.file, hint=hint)


def _digest(resolved: Resolved, environment: str) -> str:
    digest = hashlib.sha256(environment.encode())
    for path, text in sorted(resolved.parts.items()):
        digest.update(f"{path}\0{len(text)}\0{text}".encode("utf-8", "surrogatepass"))
    digest.update(repr(sorted(resolved.variables.items())).encode("utf-8", "surrogatepass"))
    digest.update(repr(sorted(t.path for t in resolved.templates.values())).encode())
    return digest.hexdigest()
