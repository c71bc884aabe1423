"""A YAMLGraph graph as `LivePrompts` sees it: read its facts, build it on a release."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from langgraph.graph import StateGraph

from yamlgraph_prompts._files.regular_file import standing
from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, PromptUse, View
from yamlgraph_prompts._model.output_models import output_model
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._yamlgraph_bridge import adopt, execute
from yamlgraph_prompts._yamlgraph_bridge.facts import GraphReader, GraphYaml
from yamlgraph_prompts._yamlgraph_bridge.graph_errors import error_findings
from yamlgraph_prompts._yamlgraph_bridge.known import supported
from yamlgraph_prompts.errors import GraphRefused, PromptsError, StoreError


class YamlGraph:
    """One graph file and its children."""

    def __init__(
        self, path: Path, *, environment: str, bundled: bool, guarded: tuple[Path, ...] = ()
    ) -> None:
        supported()
        self.identity = path.resolve()
        self._reader = GraphReader(path.absolute(), environment, bundled)
        self._guarded = guarded
        self._config: Any = None
        self._savers: dict[str, Any] = {}
        self._folders: WeakSet[execute.Folder] = WeakSet()

    def read(self, has: Callable[[str], bool]) -> GraphFacts:
        facts = self._reader.read(has)
        if facts.plan:
            # The root comes first, and none is without it.
            self._config = next(iter(facts.plan.values())).config
        return facts

    def seen(self) -> tuple[PromptUse, ...]:
        """Its files say all."""
        return ()

    def watched(self) -> tuple[Path, ...]:
        return self._reader.watched()

    async def checkpointer(self) -> Any:
        """The checkpointer that the graph's YAML names; None where it names none."""
        from yamlgraph.storage.checkpointer_factory import get_checkpointer_async

        return await get_checkpointer_async(self._config.checkpointer)

    def marks(self) -> dict[str, Any]:
        """The attributes that YAMLGraph's own runners read from a compiled graph."""
        return {
            "_yamlgraph_graph_name": self._config.name,
            "_yamlgraph_source_path": str(self._config.source_path),
            "_yamlgraph_max_concurrency": self._config.max_concurrency,
        }

    def output_model(self, prompt: Prompt) -> None:
        """Build a prompt's inline schema; raises whatever YAMLGraph raises."""
        output_model(prompt)

    def build(
        self, facts: GraphFacts, release: Release, view: View
    ) -> StateGraph[Any, Any, Any, Any]:
        """The graph as a fresh StateGraph whose every prompt is `release`'s."""
        plan: Mapping[Path, GraphYaml] = facts.plan
        configs: dict[Path, Any] = {}
        keys: dict[Path, str] = {}
        folders: list[execute.Folder] = []
        for (path, graph), file in zip(plan.items(), _files(facts, plan), strict=True):
            prompts = {use.prompt: facts.prompt(file, use.prompt, release) for use in file.uses}
            folder = _folder({n: p for n, p in prompts.items() if p is not None}, view)
            folders.append(folder)
            configs[path] = adopt.adopted_config(graph.config, folder.path)
            keys[path] = file.key
        root = next(iter(plan.values()))
        try:
            built = adopt.build(root.path, self._adoption(plan, configs, keys))
        except PromptsError:
            raise
        except Exception as problem:
            findings = error_findings(facts.name, root.data, problem, code="compile")
            raise GraphRefused(f"{facts.name} does not build.", findings=findings) from problem
        # A compiled graph, and every copy of it, keeps the StateGraph that it was made from, and
        # with it what answers its reads.
        built.__dict__["_yamlgraph_prompts_folders"] = folders
        self._folders.update(folders)
        return built

    def standing(self) -> object:
        """Where its file really is; see `regular_file.standing`."""
        return standing(self._reader.path)

    def views(self) -> frozenset[str]:
        """The names of the folders that a graph which is still alive may read."""
        return frozenset(folder.view for folder in self._folders)

    def _adoption(
        self, plan: Mapping[Path, GraphYaml], configs: Mapping[Path, Any], keys: Mapping[Path, str]
    ) -> adopt.Adoption:
        return adopt.Adoption(
            configs=configs,
            keys=keys,
            original={path: _prompts_folder(graph) for path, graph in plan.items()},
            guarded=self._guarded,
            savers=self._savers,
            relays=frozenset(path.resolve() for graph in plan.values() for path in graph.relays),
        )


def _files(facts: GraphFacts, plan: Mapping[Path, GraphYaml]) -> list[GraphFile]:
    """The facts' files in the plan's order; every file of an accepted graph is in both."""
    if len(facts.files) != len(plan):
        raise ValueError(f"{facts.name} has a graph file that could not be loaded.")
    return list(facts.files)


def _prompts_folder(graph: GraphYaml) -> Path | None:
    config = graph.config
    if not config.prompts_dir:
        return None
    return Path(graph.path.parent / config.prompts_dir).resolve()


def _folder(prompts: Mapping[str, Prompt], view: View) -> execute.Folder:
    """The folder that has these prompts, deep enough for every name that begins with ``..``."""
    depth = max((name.split("/").count("..") for name in prompts), default=0)
    inner = "/".join(["_"] * depth)
    digest = hashlib.sha256(b"yamlgraph-prompts view 1\n")
    files: dict[str, bytes] = {}
    for name in sorted(prompts):
        prompt = prompts[name]
        digest.update(f"{name}\0{prompt.sha256}\n".encode())
        place = _normal(f"{inner}/{name}.yaml" if inner else f"{name}.yaml")
        if place is not None:
            files[place] = prompt.data
    name = execute.VIEW + digest.hexdigest()
    try:
        path = view(name, files) / inner
        path.mkdir(parents=True, exist_ok=True)
    except StoreError:
        # Nothing can be written; every read of it is answered from memory.
        path = Path(os.sep, name, inner)
    return execute.serve(path, name, prompts)


def _normal(path: str) -> str | None:
    """`path` without ``.`` and ``..``; None for an absolute one, which stays where it is."""
    parts: list[str] = []
    if path.startswith("/") or "//" in path:
        return None
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
