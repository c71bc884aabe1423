"""The prompts that a call selects: its graphs, layers, environment and store."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts.errors import PromptsError, ReleaseNotFound, StoreError
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.layers import AnyLayer, Layer, as_layer, environment_name
from yamlgraph_prompts.sources.reader import LayerReader

if TYPE_CHECKING:
    from yamlgraph_prompts._publishing.candidate import Candidate, Candidates
    from yamlgraph_prompts._yamlgraph_bridge import YamlGraph
    from yamlgraph_prompts.live_prompts import LivePrompts
    from yamlgraph_prompts.registry.store import Store

LIMIT_GRAPH_BYTES = 4 << 20
LIVE = "live"
LAYERS = "layers"

_AS_THE_APP = (
    "Use the same graph, layers, environment and store as the app. Relative layers are relative to "
    "the working directory."
)


@dataclass(frozen=True)
class Selection:
    """The prompts of some layers, or a graph's own, for one environment."""

    layers: tuple[AnyLayer, ...]
    graphs: tuple[Path, ...] = ()
    base: Path | None = None
    own: Path | None = None
    given: str | None = None
    root: str | None = None
    default: str | None = None  # the environment, where neither `given` nor a variable names one
    silences: Callable[[Finding], bool] | None = None

    @cached_property
    def environment(self) -> str:
        needed = any(as_layer(layer).uses_environment for layer in self.layers)
        name, is_set = _environment(self.given, self.default, needed=needed)
        if needed and not is_set:
            from yamlgraph_prompts._cli.terminal import note

            note(f"No environment is set, so {name!r} is used. Set it with --environment.")
        return name

    @cached_property
    def readers(self) -> tuple[LayerReader, ...]:
        return tuple(
            LayerReader(as_layer(layer), self.environment, self.base) for layer in self.layers
        )

    @cached_property
    def attached(self) -> tuple[YamlGraph, ...]:
        """The graphs, as a publication sees them."""
        if not self.graphs:
            return ()
        from yamlgraph_prompts._yamlgraph_bridge import YamlGraph

        folders = tuple(path for reader in self.readers for path in reader.watched())
        return tuple(
            YamlGraph(path, environment=self.environment, bundled=not self.layers, guarded=folders)
            for path in self.graphs
        )

    @cached_property
    def store(self) -> Store:
        """The store of every process that runs on the same layers and environment."""
        from yamlgraph_prompts.registry.store import Store

        places = [reader.place for reader in self.readers]
        # The app makes the folder of its releases; a misspelt one must not be made here.
        return Store.default(self.environment, places, self.root, graph=self.own, make=False)

    @property
    def shown(self) -> str:
        """The layers in words."""
        urls = ", ".join(reader.url for reader in self.readers)
        return urls or f"the prompts of {', '.join(map(str, self.graphs))}"

    def candidate(self, *, strict: bool = False, before: Release | None = None) -> Candidate:
        """What the layers and graphs hold now; nothing becomes live, and no store is touched."""
        candidates = self._candidates()
        try:
            return candidates.fetch(self.attached, before, strict=strict)
        finally:
            candidates.close()

    def kept(self, release: Release, before: Release | None) -> Candidate:
        """A kept release with the graphs as they are now; nothing becomes live."""
        return self._candidates().kept(release, self.attached, before)

    def live(self, *, watch: bool = False) -> LivePrompts:
        """The `LivePrompts` that the graphs run on, in the store that workers share."""
        from yamlgraph_prompts.live_prompts import LivePrompts

        prompts = LivePrompts(
            *self.layers,
            environment=self.environment,
            store=self.root,
            watch=watch,
            _base=self.base,
            _graph=self.own,
        )
        try:
            for graph in self.attached:
                prompts.attach(graph)
        except BaseException:
            prompts.close()
            raise
        return prompts

    def release(self, word: str) -> Release:
        """The release that a word names: an id, the beginning of one, `live`, or `layers`."""
        if word == LAYERS:
            return self.candidate().release
        pointer = self.store.current()
        if word == LIVE and pointer is not None:
            return self.store.get(pointer.release)
        if word == LIVE or not self.store.releases():
            raise self.nothing_kept()
        return self.store.get(self.store.find(word))

    def takes_orders(self) -> None:
        """Make sure that a command on this store can reach an app."""
        store = self.store
        if store.retreated and not self._app_is_here():
            text = f"No process would notice this command. {store.trouble}"
            hint = "Free some space, correct its permissions, or run this as the app's user."
            raise StoreError(text, hint=hint)
        if store.current() is None and not store.releases():
            raise self.nothing_kept()

    def _app_is_here(self) -> bool:
        """Whether an app uses the folder that stands in for the store."""
        from yamlgraph_prompts.registry.replicas import HostReplicas

        folder = self.store.folder
        if folder is None:
            return False
        return bool(HostReplicas(lambda: folder / "workers").replicas(self.store.environment))

    def nothing_kept(self) -> ReleaseNotFound:
        """The error if no app keeps its releases here; usually the arguments are not the app's."""
        where = (
            f" in {self.store.folder}" if not self.store.retreated else f". {self.store.trouble}"
        )
        text = f"No release is live for {self.shown} ({self.environment}){where}."
        return ReleaseNotFound(text, release_id=LIVE, hint=_AS_THE_APP)

    def _candidates(self) -> Candidates:
        from yamlgraph_prompts._publishing.candidate import Candidates

        nothing = (lambda _: None, lambda: None)
        return Candidates(self.readers, self.environment, (), *nothing, silences=self.silences)


def environment_set(arguments: Any) -> tuple[str, bool]:
    """As `environment_name`; what the project's file names comes after the variables."""
    default = arguments.config and arguments.config.environment
    return _environment(arguments.environment, default, needed=True)


def _environment(given: str | None, default: str | None, *, needed: bool) -> tuple[str, bool]:
    name, is_set = environment_name(given, needed=needed)
    return environment_name(default) if default and not is_set else (name, is_set)


def common(arguments: Any) -> dict[str, Any]:
    """What the selections of a call have in common."""
    config = arguments.config
    return {
        "given": arguments.environment,
        "root": arguments.store,
        "default": config and config.environment,
        "silences": config and config.silences,
    }


def selections(arguments: Any, graphs: Sequence[str], *, reading: bool = False) -> list[Selection]:
    """The selections that a call selects; graphs that share their prompts are together."""
    empty = arguments.allow_empty
    layers = tuple(Layer(url, optional, empty) for url, optional in arguments.layers or ())
    if not graphs:
        if not layers:
            raise PromptsError(
                f"{arguments.command} needs a graph or a layer.",
                hint=f"For example: yamlgraph-prompts {arguments.command} graph.yaml, "
                f"or {arguments.command} -l prompts/base",
            )
        return [Selection(layers, **common(arguments))]
    # Its import is slow, and not needed without a graph.
    from yamlgraph_prompts.load import Home, home_of

    if reading:
        from yamlgraph_prompts._yamlgraph_bridge.known import import_for_reading

        import_for_reading()

    grouped: dict[Home, list[Path]] = {}
    for path in map(Path, graphs):
        grouped.setdefault(home_of(path, layers or None), []).append(path)
    return [
        Selection(
            home.layers,
            tuple(files),
            None if arguments.rooted else home.base,
            home.graph,
            **common(arguments),
        )
        for home, files in grouped.items()
    ]


def one_selection(arguments: Any, graphs: Sequence[str], *, reading: bool = False) -> Selection:
    """The one place that a call selects; see `selections`."""
    found = selections(arguments, graphs, reading=reading)
    if len(found) > 1:
        text = "These graphs do not share their prompts."
        raise PromptsError(text, hint="Name one graph, or use --layer.")
    return found[0]


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(graph files, other words) of the arguments."""
    graphs = [word for word in words if word.endswith((".yaml", ".yml"))]
    for graph in graphs:
        if Path(graph).is_file() and not is_graph(Path(graph), broken=True):
            text = f"{graph} is not a graph: it has no nodes."
            hint = "Name a prompt without its folder and .yaml, such as greeting."
            raise PromptsError(text, hint=hint)
    return graphs, [word for word in words if word not in graphs]


def is_graph(path: Path, *, broken: bool = False) -> bool:
    """Whether a YAML file is a graph; `broken` is the answer for one that cannot be parsed."""
    from yamlgraph_prompts._yaml_file import parse_yaml

    try:
        content, findings = parse_yaml(path.read_bytes(), limit_bytes=LIMIT_GRAPH_BYTES)
    except OSError as problem:
        raise PromptsError(f"{path} cannot be read: {problem.strerror}.") from problem
    if any(finding.severity == "error" for finding in findings):
        return broken
    return isinstance(content, dict) and "nodes" in content


def seems_graph(path: Path) -> bool:
    """Whether a YAML file is a graph, or a broken one: no prompt has nodes or edges."""
    if is_graph(path):
        return True
    data = path.read_bytes()[:LIMIT_GRAPH_BYTES]
    return re.search(rb"^(nodes|edges)\s*:", data, re.MULTILINE) is not None
