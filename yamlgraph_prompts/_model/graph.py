"""A graph as a release sees it: the prompts that it uses, and how it is built. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from unicodedata import normalize

from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.findings import Finding

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

View = Callable[[str, Mapping[str, bytes]], Path]


@dataclass(frozen=True, slots=True)
class PromptUse:
    """One node of a graph that uses a prompt."""

    node: str  # its name
    kind: str  # its type, such as "llm"
    prompt: str  # the prompt's name in the graph's YAML
    passes: frozenset[str] | None  # the names that the node passes; None: it passes its state
    line: int | None = None  # of the node in its graph file, from 1
    validates: bool = True  # whether YAMLGraph refuses to run it without all variables
    seen: bool = False  # in the runs of this process, not declared


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """A prompt that YAMLGraph alone would read for a graph: its bytes and the file they are in."""

    data: bytes
    file: str


@dataclass(frozen=True)
class GraphFile:
    """One graph file, root or child, and the prompts that it uses."""

    key: str  # "" for the root; for a child its path from the root's folder, without suffix
    file: str  # relative to the working directory, if it is there
    sha256: str
    uses: tuple[PromptUse, ...] = ()
    state_keys: frozenset[str] | None = None  # the names in a node's state, if they are known
    # By name, each prompt that YAMLGraph alone would find.
    own: Mapping[str, OwnPrompt] = field(default_factory=dict)
    tried: tuple[str, ...] = ()  # where YAMLGraph alone would look for `{name}`

    def own_name(self, name: str) -> str:
        """The name in a release of a prompt that this graph brings along itself."""
        return f"{self.key}:{name}" if self.key else name


@dataclass(frozen=True)
class GraphFacts:
    """The prompts that a graph, its root file and every child, uses."""

    name: str
    # The root first. None for a graph that a function builds: it may use every prompt.
    files: tuple[GraphFile, ...]
    findings: tuple[Finding, ...] = ()  # about the graph's own files
    bundled: bool = False  # whether the graph's own prompts are the release (no layers)
    plan: Any = field(default=None, compare=False, repr=False)  # the reader's own data for a build
    calls: tuple[PromptUse, ...] = ()  # of a graph that a function builds, as far as known
    kept: bool = False  # whether it is for a kept release, which what was `seen` does not refuse

    def released_as(self, file: GraphFile, name: str) -> str:
        """The name in a release of the prompt that `file` uses as `name`."""
        return file.own_name(name) if self.bundled else name

    def prompt(self, file: GraphFile, name: str, release: Release) -> Prompt | None:
        """The prompt that `file` gets for `name`: the release's, else its own; None if neither."""
        prompt = release.prompts.get(normalize("NFC", self.released_as(file, name)))
        if prompt is None and not self.bundled and (own := file.own.get(name)):
            prompt = Prompt(name, own.data, layer=f"graph:{file.file}", file=own.file)
        return prompt

    def revision(self, release: Release) -> str:
        """The graph revision: a digest of its files and of the prompts that no layer has."""
        digest = hashlib.sha256(b"yamlgraph-prompts graph 1\n")
        for file in self.files:
            digest.update(f"{file.key}\0{file.sha256}\n".encode("utf-8", "surrogatepass"))
            if self.bundled:
                continue
            for name in sorted({use.prompt for use in file.uses}):
                if name not in release.prompts and (own := file.own.get(name)):
                    line = f"{name}\0{hashlib.sha256(own.data).hexdigest()}\n"
                    digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


class Graph(Protocol):
    """A graph that runs on the releases of a `LivePrompts`."""

    @property
    def identity(self) -> Hashable:
        """Equal for graphs that are read from the same place, and so use the same prompts."""

    def read(self, has: Callable[[str], bool]) -> GraphFacts:
        """The prompts that it uses now; `has`: whether the layers have a name."""

    def seen(self) -> tuple[PromptUse, ...]:
        """What its runs in this process asked for beyond what is known from its files."""

    def build(
        self, facts: GraphFacts, release: Release, view: View
    ) -> StateGraph[Any, Any, Any, Any]:
        """A fresh StateGraph on `release`; raises anything for a graph that cannot be built."""

    def watched(self) -> tuple[Path, ...]:
        """The files whose change may change the graph."""

    def standing(self) -> object:
        """Where its file really is; another value means that it was swapped."""

    def views(self) -> frozenset[str]:
        """The names of the views that its living builds read."""

    def output_model(self, prompt: Prompt) -> None:
        """Build a prompt's inline schema; raises anything for one that does not build."""
