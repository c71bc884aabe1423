"""A graph's YAML files → `GraphFacts`: which node uses which prompt, with which variables."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from yamlgraph_prompts._files.regular_file import read_regular, standing
from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, OwnPrompt, PromptUse
from yamlgraph_prompts._yaml_file import parse_prompt, parse_yaml
from yamlgraph_prompts._yamlgraph_bridge.fast_yaml import children_in_c, load_graph_config
from yamlgraph_prompts._yamlgraph_bridge.graph_config import (
    bypass_warnings,
    can_be,
    children_named,
    children_of,
    files_beside,
    prompt_uses,
)
from yamlgraph_prompts._yamlgraph_bridge.graph_errors import error_findings, missing_child
from yamlgraph_prompts._yamlgraph_bridge.known import supported
from yamlgraph_prompts.errors import GraphNotFound
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.layers import PLACEHOLDER

logger = logging.getLogger("yamlgraph_prompts")

ATTEMPTS = 5
LIMIT_GRAPHS = 200
LIMIT_GRAPH_BYTES = 4 << 20


@dataclass(frozen=True)
class GraphYaml:
    """One graph file as YAMLGraph loaded it; kept until the file's bytes change."""

    path: Path
    data: bytes
    digest: str
    config: Any
    """A `yamlgraph.compile.graph_loader.GraphConfig`; never changed, only copied."""
    children: tuple[Path, ...]
    state_keys: frozenset[str] | None
    relays: frozenset[Path]
    """The children that pause in the middle and so need a checkpointer that outlives a build."""
    beside: tuple[Path, ...] = ()
    """The files beside it that it is built from too."""
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class GraphSettings:
    """What a graph's YAML sets for the place of its prompts."""

    prompts_dir: str | tuple[str, ...] | None = None  # several: layers
    prompts_relative: bool = False


def peek(path: Path) -> GraphSettings:
    """The settings of a graph file; the defaults for one that cannot be read."""
    supported()
    # yamlgraph loads .env when it is imported, and .env may name the environment.
    import yamlgraph.config  # noqa: F401

    try:
        data = read_regular(path, limit_bytes=LIMIT_GRAPH_BYTES)
    except OSError:
        return GraphSettings()
    content, _ = parse_yaml(data, limit_bytes=LIMIT_GRAPH_BYTES)
    if not isinstance(content, dict):
        return GraphSettings()
    defaults = content.get("defaults")
    settings = {**(defaults if isinstance(defaults, dict) else {}), **content}
    folder = settings.get("prompts_dir")
    relative = bool(settings.get("prompts_relative"))
    return GraphSettings(folder if isinstance(folder, str) else _layers(folder), relative)


def _layers(folder: object) -> tuple[str, ...] | None:
    is_list = isinstance(folder, list) and all(isinstance(layer, str) for layer in folder)
    return tuple(folder) if is_list else None  # type: ignore[arg-type]


@dataclass
class GraphReader:
    """Reads one root graph and its children again and again; what did not change costs a stat."""

    path: Path
    environment: str  # stands for {environment} in a graph's own prompts_dir
    bundled: bool  # the graph's own prompts are the release
    _known: dict[Path, GraphYaml] = field(default_factory=dict)
    # Files that could not be loaded, which may be mended.
    _broken: tuple[Path, ...] = ()
    # Where the graphs, and the folders of their own prompts, were before each was read.
    _stood: dict[Path, tuple[object, ...]] = field(default_factory=dict)

    def read(self, has: Callable[[str], bool]) -> GraphFacts:
        """The prompts that the graph uses now, and its own ones, consistent with each other."""
        for _ in range(ATTEMPTS):
            self._stood = {self.path: standing(self.path)}
            facts = self._read_once(has)
            if all(standing(path) == stood for path, stood in self._stood.items()):
                return facts
        message = "The graph and its prompts change faster than they can be read."
        return replace(facts, findings=(*facts.findings, _finding(self.path, message)))

    def _read_once(self, has: Callable[[str], bool]) -> GraphFacts:
        if not self.path.exists() and not (self._known or self._broken):
            text = f"Graph config not found: {self.path}"
            raise GraphNotFound(text, hint="Check the path and the folder.")
        findings: list[Finding] = []
        loaded: dict[Path, GraphYaml] = {}
        files: list[GraphFile] = []
        broken: dict[Path, tuple[Path, ...]] = {}
        root = self.path.resolve()
        waiting = [root]
        while waiting:
            path = waiting.pop(0)
            if path in loaded or path in broken or len(loaded) >= LIMIT_GRAPHS:
                continue
            graph = self._load(path, findings)
            if not isinstance(graph, GraphYaml):
                broken[path] = graph
                files.append(GraphFile(_key(root, path), _shown(path), ""))
                continue
            loaded[path] = graph
            for child in graph.children:
                self._stood.setdefault(child, standing(child))
                if child.exists():
                    # Now, not when its parent was loaded: a link on the way may be swapped.
                    waiting.append(child.resolve())
                else:
                    # Watched, so that it is seen when it comes.
                    broken[child] = ()
                    findings.append(missing_child(_shown(path), graph.data, child))
                    files.append(GraphFile(_key(root, child), _shown(child), ""))
            files.append(self._facts(root, graph, has, findings))
        # Which children a broken parent will have again is not known.
        self._known = {**self._known, **loaded} if broken else loaded
        self._broken = tuple(chain(broken, *broken.values()))
        return GraphFacts(
            name=_shown(self.path),
            files=tuple(files),
            findings=tuple(findings),
            bundled=self.bundled,
            plan=loaded,
        )

    def watched(self) -> tuple[Path, ...]:
        """The files and folders whose change may change the result of `read`."""
        paths: dict[Path, None] = dict.fromkeys((self.path, *self._broken))
        for graph in self._known.values():
            paths[graph.path] = None
            paths.update(dict.fromkeys((*graph.children, *graph.beside)))
            for use in prompt_uses(graph.config):
                for place in self._places(graph, use.prompt):
                    paths[place] = None
        return tuple(_plain(path) for path in paths if can_be(path))

    def _load(
        self, path: Path, findings: list[Finding], above: tuple[Path, ...] = ()
    ) -> GraphYaml | tuple[Path, ...]:
        """The loaded file; where that fails the other files that it may fail for."""
        known = self._known.get(path)
        data = _read(path, findings)
        if data is None:
            return ()
        if known is not None and known.digest == _digest(data, known.beside):
            return known
        # YAMLGraph's own loader neither bounds nesting nor reports the place of an error.
        content, problems = parse_yaml(data, limit_bytes=LIMIT_GRAPH_BYTES)
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            findings += [e.at(code="graph", file=_shown(path), graph=_shown(path)) for e in errors]
            return ()
        # Before it is loaded, so that what changes meanwhile is seen as a change.
        beside = files_beside(content, path.parent)
        digest = _digest(data, beside)
        from yamlgraph.compile import graph_loader

        for place in (content, content.get("defaults")) if isinstance(content, dict) else ():
            if isinstance(place, dict) and _layers(place.get("prompts_dir")):
                del place["prompts_dir"]  # which YAMLGraph cannot read
        try:
            config = load_graph_config(path, content)
            with children_in_c():
                state = graph_loader._resolve_state_class(config)
                children, relays = children_of(config)
        except Exception as problem:  # noqa: BLE001 - YAMLGraph raises many kinds; each is a finding
            # YAMLGraph reads the children too, and its error does not name the file.
            deeper: list[Finding] = []
            above = (*above, path)
            for child in {path.resolve() for path in children_named(content, path.parent)}:
                if child not in above and child.exists():
                    broken = self._load(child, deeper, above)
                    beside += broken if isinstance(broken, tuple) else ()
            findings += deeper or error_findings(_shown(path), data, problem)
            return beside
        keys = frozenset(getattr(state, "__annotations__", ())) or None
        warnings = tuple(bypass_warnings(config, prompt_uses(config), _shown(path)))
        return GraphYaml(path, data, digest, config, children, keys, relays, beside, warnings)

    def _facts(
        self, root: Path, graph: GraphYaml, has: Callable[[str], bool], findings: list[Finding]
    ) -> GraphFile:
        findings += graph.warnings
        uses = tuple(prompt_uses(graph.config))
        own: dict[str, OwnPrompt] = {}
        for name in {use.prompt for use in uses}:
            is_own = self.bundled or not has(name)
            if is_own and (prompt := self._own(graph, name, findings)):
                own[name] = prompt
        missing = {use.prompt for use in uses if use.prompt not in own and not has(use.prompt)}
        return GraphFile(
            key=_key(root, graph.path),
            file=_shown(graph.path),
            sha256=graph.digest,
            uses=tuple(_placed(uses, missing, graph.data)) if missing else uses,
            state_keys=graph.state_keys,
            own=own,
            tried=tuple(_shown(place) for place in self._places(graph, "{name}")),
        )

    def _own(self, graph: GraphYaml, name: str, findings: list[Finding]) -> OwnPrompt | None:
        from yamlgraph.utils.prompts import resolve_prompt_path

        config = graph.config
        path: Path | None = None
        try:
            path = Path(
                resolve_prompt_path(
                    name,
                    prompts_dir=self._prompts_dir(config),
                    graph_path=graph.path,
                    prompts_relative=config.prompts_relative,
                )
            )
            if path.parent not in self._stood:
                self._stood[path.parent] = standing(path.parent)
            return OwnPrompt(read_regular(path), _shown(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as problem:
            why = f"{getattr(problem, 'strerror', None) or problem}".rstrip(".")
            where = f" from {_shown(path)}" if path else ""
            message = f"The prompt {name!r} cannot be read{where}: {why}."
            findings.append(_finding(graph.path, message))
            return None

    def _places(self, graph: GraphYaml, name: str) -> tuple[Path, ...]:
        """Where YAMLGraph alone looks for `name`, in its order."""
        from yamlgraph.utils import prompts

        config = graph.config
        prompts_dir = self._prompts_dir(config)
        folder, relative = graph.path.parent, config.prompts_relative
        places = []
        if prompts_dir and relative:
            places.append(folder / prompts_dir / f"{name}.yaml")
        if prompts_dir:
            places.append(prompts_dir / f"{name}.yaml")
        if relative:
            places.append(folder / f"{name}.yaml")
        places.append(prompts.PROMPTS_DIR / f"{name}.yaml")
        parent, _, base = name.rpartition("/")
        if parent:
            places.append(Path(parent) / "prompts" / f"{base}.yaml")
        return tuple(places)

    def _prompts_dir(self, config: Any) -> Path | None:
        if not config.prompts_dir:
            return None
        return Path(str(config.prompts_dir).replace(PLACEHOLDER, self.environment))


def _digest(data: bytes, beside: Iterable[Path]) -> str:
    """Of a graph file's bytes, and of the files that `beside` (paths and patterns) names."""
    digest = hashlib.sha256(data)
    for file in chain.from_iterable(map(_matching, beside)):
        try:
            other = read_regular(file, limit_bytes=LIMIT_GRAPH_BYTES)
        except OSError as problem:
            other = str(problem.errno).encode()
        digest.update(b"\n%s %d\n" % (os.fsencode(file), len(other)) + other)
    return digest.hexdigest()


def _is_pattern(path: Path) -> bool:
    return any(letter in path.name for letter in "*?[")


def _matching(path: Path) -> Iterable[Path]:
    return sorted(path.parent.glob(path.name)) if _is_pattern(path) else (path,)


def _plain(path: Path) -> Path:
    """What to watch for a path, or for the files that a pattern names."""
    while _is_pattern(path):
        path = path.parent
    return path


def _read(path: Path, findings: list[Finding]) -> bytes | None:
    try:
        return read_regular(path, limit_bytes=LIMIT_GRAPH_BYTES)
    except OSError as problem:
        findings.append(_finding(path, f"This graph cannot be read: {problem}."))
        return None


def _key(root: Path, path: Path) -> str:
    if path == root:
        return ""
    return Path(os.path.relpath(path, root.parent)).with_suffix("").as_posix()


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _finding(path: Path, message: str) -> Finding:
    return Finding("error", "graph", message, file=_shown(path), graph=_shown(path))


def _placed(uses: Iterable[PromptUse], missing: set[str], data: bytes) -> Iterator[PromptUse]:
    """The uses; those of a missing prompt with the line of the graph's file that names it."""
    file = parse_prompt(data, limit_bytes=LIMIT_GRAPH_BYTES)
    for use in uses:
        node = ("nodes", use.node, *(("node",) if use.kind.startswith("map/") else ()))
        place = file.key_position(*node, "prompt") if use.prompt in missing else None
        yield replace(use, line=place[0]) if place else use
