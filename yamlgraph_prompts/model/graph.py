"""What a graph is to a release: what it asks of its prompts, and how it is built. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.model.release import Prompt, Release

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

View = Callable[[str, Mapping[str, bytes]], Path]


@dataclass(frozen=True, slots=True)
class PromptUse:
    """One place in a graph that asks for a prompt.

    Args:
        node: The node's name.
        kind: The node's type, such as ``"llm"``.
        prompt: The prompt's name as the graph's YAML says it.
        passes: The names that the node passes to the prompt; None when it passes its state.
        line: The line of the node in its graph file, from 1, where known.
        validates: Whether YAMLGraph itself refuses to run the node without all variables.
    """

    node: str
    kind: str
    prompt: str
    passes: frozenset[str] | None
    line: int | None = None
    validates: bool = True


@dataclass(frozen=True, slots=True)
class OwnPrompt:
    """A prompt that YAMLGraph alone would read for a graph: its bytes and the file they are in."""

    data: bytes
    file: str


@dataclass(frozen=True)
class GraphFile:
    """One graph file, root or child, and what it asks for.

    Args:
        key: ``""`` for the root; for a child its path from the root's folder, without suffix.
        file: The graph file, as a person would name it.
        sha256: The digest of the file's bytes.
        uses: Every place that asks for a prompt.
        state_keys: The names that a node's state can have; None when they cannot be known.
        own: For each prompt name that YAMLGraph alone would find: what it would read.
        tried: Where YAMLGraph alone would look for `{name}`.
    """

    key: str
    file: str
    sha256: str
    uses: tuple[PromptUse, ...] = ()
    state_keys: frozenset[str] | None = None
    own: Mapping[str, OwnPrompt] = field(default_factory=dict)
    tried: tuple[str, ...] = ()

    def own_name(self, name: str) -> str:
        """The name in a release of a prompt that this graph brings along itself."""
        return f"{self.key}:{name}" if self.key else name


@dataclass(frozen=True)
class GraphFacts:
    """What a graph (its root file and every child) asks of its prompts.

    Args:
        name: The graph as a person would name it.
        files: The root file first, then every child file. None for a graph that a function builds:
            it may use every prompt.
        findings: What was wrong with the graph's own files.
        bundled: The graph's own prompts are the release (no layers were given).
        plan: Whatever its reader wants to keep with it for building; it does not count.
    """

    name: str
    files: tuple[GraphFile, ...]
    findings: tuple[Finding, ...] = ()
    bundled: bool = False
    plan: Any = field(default=None, compare=False, repr=False)

    def released_as(self, file: GraphFile, name: str) -> str:
        """What a release calls the prompt that `file` asks for as `name`."""
        return file.own_name(name) if self.bundled else name

    def prompt(self, file: GraphFile, name: str, release: Release) -> Prompt | None:
        """The prompt that `file` gets for `name`: the release's, else its own; None if neither."""
        found = release.prompts.get(self.released_as(file, name))
        if found is None and not self.bundled and (own := file.own.get(name)):
            found = Prompt(name, own.data, layer=f"graph:{file.file}", file=own.file)
        return found

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
        """Equal for graphs that are read from the same place, and so ask for the same."""

    def read(self, has: Callable[[str], bool]) -> GraphFacts:
        """What it asks of its prompts now; `has` says which names the layers have."""

    def build(
        self, facts: GraphFacts, release: Release, view: View
    ) -> StateGraph[Any, Any, Any, Any]:
        """A fresh StateGraph on `release`; raises anything for a graph that cannot be built."""

    def watched(self) -> tuple[Path, ...]:
        """The files whose change is news for it."""

    def standing(self) -> object:
        """Where its file really is; another answer says that it was swapped for another one."""

    def views(self) -> frozenset[str]:
        """The names of the views that its living builds read."""

    def output_model(self, prompt: Prompt) -> None:
        """Build a prompt's inline schema; raises anything for one that does not build."""
