"""The drop-ins: `load_and_compile`, `load_and_compile_async` and `live_graph`."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from yamlgraph_prompts._files.forks import in_child
from yamlgraph_prompts._live import LiveGraph, LiveStateGraph, Pin, uncompiled
from yamlgraph_prompts._model.evidence import Evidence, declared
from yamlgraph_prompts._model.graph import GraphFacts, PromptUse
from yamlgraph_prompts._model.output_models import output_model
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import GraphNotFound
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.sources.layers import PLACEHOLDER, AnyLayer, as_layer, environment_name

if TYPE_CHECKING:
    from langgraph.graph import StateGraph

    from yamlgraph_prompts._yamlgraph_bridge import YamlGraph

PromptsDir = AnyLayer | Sequence[AnyLayer] | None

# Stands for YAMLGraph's own cache, which cannot be named before yamlgraph is imported.
GRAPH_CACHE: MutableMapping[str, Any] = {}

# Where a cached handle keeps the arguments that it was loaded with.
_CALL = "_yamlgraph_prompts_call"

# Kept while a load call uses them.
_turns: WeakValueDictionary[tuple[object, str], asyncio.Lock] = WeakValueDictionary()

_shared: WeakValueDictionary[tuple[object, ...], LivePrompts] = WeakValueDictionary()
_shared_lock = threading.Lock()


@in_child
def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()


def load_and_compile(
    path: str | PathLike[str],
    prompts_dir: PromptsDir = None,
    *,
    environment: str | None = None,
    prompts: LivePrompts | None = None,
    watch: bool = True,
    pin: Pin = "run",
    allow_release_override: bool = False,
) -> LiveStateGraph:
    """Load a YAMLGraph graph with live prompts; replaces `yamlgraph.load_and_compile`.

    Args:
        path: The graph's YAML file.
        prompts_dir: A path, a URL, or a sequence of them, highest priority first; each may contain
            ``{environment}``. None: what the graph's own YAML says, else the prompts that
            YAMLGraph itself would read.
        environment: The value of ``{environment}``.
        prompts: A shared `LivePrompts`, instead of `prompts_dir` and `environment`.
        watch: Whether to follow changes.
        pin: Which release a run uses after another one became live: ``"run"`` (an interrupted run
            resumes on the one that it started with), ``"thread"`` or ``"none"``.
        allow_release_override: Whether a caller's config may choose a release by its full id in
            ``prompts_release``. On a LangGraph server the callers are the server's clients.

    Returns:
        A StateGraph; its ``.compile(...)`` gives a `LiveGraph`.

    Raises:
        GraphNotFound: The file of the graph does not exist.
        LayerNotFound: A layer, or its environment, does not exist; the error lists what does.
        PromptsRejected: The prompts were rejected and there is no earlier good release.
        UnsupportedYamlgraph: The installed version of yamlgraph is not supported.
    """
    return _load(path, prompts_dir, environment, prompts, watch, pin, allow_release_override)[0]


async def load_and_compile_async(
    path: str | PathLike[str],
    prompts_dir: PromptsDir = None,
    *,
    cache: MutableMapping[str, Any] | None = GRAPH_CACHE,
    environment: str | None = None,
    prompts: LivePrompts | None = None,
    watch: bool = True,
    pin: Pin = "run",
    allow_release_override: bool = False,
) -> LiveGraph:
    """Load and compile; replaces `yamlgraph.executor_async.load_and_compile_async`.

    Args:
        path: The graph's YAML file.
        prompts_dir: As for `load_and_compile`.
        cache: Where compiled graphs are cached by path; by default YAMLGraph's own cache, so that
            `run_graph_async` and `run_graph_streaming_native` run the live graph. None: nowhere.
        environment: As for `load_and_compile`.
        prompts: As for `load_and_compile`.
        watch: As for `load_and_compile`.
        pin: As for `load_and_compile`.
        allow_release_override: As for `load_and_compile`.

    Returns:
        The live graph, with the checkpointer that the graph's YAML names.

    Raises:
        PromptsError: As for `load_and_compile`.
    """
    call = (prompts_dir, environment, prompts, watch, pin, allow_release_override)
    if cache is GRAPH_CACHE:
        cache = await asyncio.to_thread(_yamlgraph_cache)
    key = fspath(path)

    async def load() -> LiveGraph:
        live, graph = await asyncio.to_thread(_load, path, *call)
        return await asyncio.to_thread(live.compile, checkpointer=await graph.checkpointer())

    if cache is None:
        return await load()
    # Requests that come together must not get a checkpointer each: one would lose its answers.
    turn = _turns.setdefault((asyncio.get_running_loop(), key), asyncio.Lock())
    async with turn:
        kept = cache.get(key)
        if isinstance(kept, LiveGraph) and vars(kept).get(_CALL) == call:
            return kept
        live = cache[key] = await load()
        setattr(live, _CALL, call)
        return live


def _yamlgraph_cache() -> MutableMapping[str, Any]:
    from yamlgraph_prompts._yamlgraph_bridge.known import graph_cache

    return graph_cache()


def live_graph(
    build: Callable[[Release], StateGraph[Any, Any, Any, Any]],
    *layers: AnyLayer,
    environment: str | None = None,
    prompts: LivePrompts | None = None,
    watch: bool = True,
    pin: Pin = "run",
    allow_release_override: bool = False,
    uses: Mapping[str, Iterable[str]] | None = None,
) -> LiveStateGraph:
    """A plain LangGraph graph that is built again for each release.

    Args:
        build: Called with the release to build on; returns a StateGraph, or a graph compiled
            from one, such as `create_agent` makes.
        layers: Paths, URLs or mappings, highest priority first.
        environment: The value of ``{environment}``.
        prompts: A shared `LivePrompts`, instead of `layers` and `environment`.
        watch: Whether to follow changes.
        pin: As for `load_and_compile`.
        allow_release_override: As for `load_and_compile`.
        uses: The prompts that the nodes ask for, each with the variables that they pass, such as
            ``{"greeting": ["name"]}``: a release without one of them, or that needs a further
            variable, is refused. What is not declared is learned from the runs of this process.

    Returns:
        A StateGraph; its ``.compile(...)`` gives a `LiveGraph`.

    Raises:
        PromptsError: As for `load_and_compile`.

    Example:
        >>> from langgraph.graph import StateGraph
        >>> def build(release):
        ...     def hello(state):
        ...         return {"text": release["greeting"].messages(name=state["text"])[0].content}
        ...     return StateGraph(dict).add_node(hello).set_entry_point("hello")
        >>> live_graph(build, {"greeting": "user: Hi {name}"}).compile().invoke({"text": "Ada"})
        {'text': 'Hi Ada'}
    """
    _one_way(layers or None, environment, prompts)
    if not callable(build):
        hint = "load_and_compile takes the file of a graph."
        raise TypeError(f"live_graph takes a function first, not {build!r}. {hint}")
    if prompts is None:
        if not layers:
            raise TypeError("live_graph needs a layer, or prompts=.")
        prompts = _share(layers, environment, watch, None)
    graph = _Built(build, uses or {})
    return prompts.live(graph, pin=pin, allow_release_override=allow_release_override)


class _Built:
    """A graph that a function builds, as `LivePrompts` sees it."""

    def __init__(
        self,
        build: Callable[[Release], StateGraph[Any, Any, Any, Any]],
        uses: Mapping[str, Iterable[str]],
    ) -> None:
        self._build = self.identity = build
        self._name = getattr(build, "__qualname__", "graph")
        self._declared = declared(uses, self._name)
        self._evidence = Evidence()

    def read(self, has: Callable[[str], bool]) -> GraphFacts:
        return GraphFacts(self._name, (), calls=(*self._declared, *self.seen()))

    def seen(self) -> tuple[PromptUse, ...]:
        return self._evidence.uses(self._name)

    def build(
        self, facts: GraphFacts, release: Release, view: object
    ) -> StateGraph[Any, Any, Any, Any]:
        from langgraph.graph import StateGraph
        from langgraph.graph.state import CompiledStateGraph

        # What a candidate's build asks for is no run's; it may be refused.
        building = Evidence()
        built = self._build(building.observed(release))
        building.join(self._evidence)
        if isinstance(built, CompiledStateGraph):
            return uncompiled(built)
        if not isinstance(built, StateGraph):
            raise TypeError(
                f"{facts.name}(release) must return a StateGraph, or a graph that was compiled "
                f"from one, and returned a {type(built).__name__}. An @entrypoint can be called in "
                "a node of a StateGraph."
            )
        return built

    def watched(self) -> tuple[Path, ...]:
        return ()

    def standing(self) -> object:
        """There is no file."""
        return None

    def views(self) -> frozenset[str]:
        return frozenset()

    def output_model(self, prompt: Prompt) -> None:
        """Only yamlgraph can build it; without it there is nothing to check."""
        if find_spec("yamlgraph"):
            output_model(prompt)


def _load(
    path: str | PathLike[str],
    prompts_dir: PromptsDir,
    environment: str | None,
    prompts: LivePrompts | None,
    watch: bool,
    pin: Pin,
    allow_release_override: bool,
) -> tuple[LiveStateGraph, YamlGraph]:
    _one_way(prompts_dir, environment, prompts)
    # First of all: yamlgraph loads .env when it is imported, and .env may name the environment.
    from yamlgraph_prompts._yamlgraph_bridge import YamlGraph

    file = Path(path)
    if prompts is None:
        home = home_of(file, prompts_dir)
        prompts = _share(home.layers, environment, watch, home.base, home.graph)
    graph = YamlGraph(
        _there(file),
        environment=prompts.environment,
        bundled=not prompts.layers,
        guarded=prompts.folders(),
    )
    live = prompts.live(
        graph, pin=pin, allow_release_override=allow_release_override, marks=graph.marks
    )
    return live, graph


@dataclass(frozen=True)
class Home:
    """Where a graph's prompts come from."""

    layers: tuple[AnyLayer, ...]  # highest priority first
    base: Path | None  # of relative layers; None: the working directory
    graph: Path | None  # the graph's file, where its own prompts are the release


def home_of(file: Path, prompts_dir: PromptsDir) -> Home:
    """Where the prompts of a graph come from, for this argument of a load call."""
    from yamlgraph_prompts._yamlgraph_bridge import peek

    settings = peek(_there(file))
    base = _beside(file) if settings.prompts_relative else None
    layers = _layers(prompts_dir, settings.prompts_dir)
    return Home(layers, base, None if layers else _plain(file))


def _there(file: Path) -> Path:
    if not file.exists():
        raise GraphNotFound(
            f"Graph config not found: {file}", hint="Check the path and the working directory."
        )
    return file


def _beside(file: Path) -> Path:
    """The folder that a graph's file is really in; links on the way to the folder stay."""
    file = file.absolute()
    while file.is_symlink():
        file = file.parent / file.readlink()
    return file.parent


def _plain(file: Path) -> Path:
    # Not resolved: what was kept is found again when a folder on the way was swapped meanwhile.
    return Path(os.path.normpath(file.absolute()))


def _one_way(layers: object, environment: str | None, prompts: LivePrompts | None) -> None:
    if prompts is not None and not isinstance(prompts, LivePrompts):
        raise TypeError(
            f"prompts= takes a LivePrompts, not a {type(prompts).__name__}. A folder, a URL or a "
            "mapping is a layer: prompts_dir= of load_and_compile, an argument of live_graph."
        )
    if prompts is not None and (layers is not None or environment is not None):
        raise TypeError(
            "Give prompts=, or layers and environment=, not both: a LivePrompts has its own."
        )


def _layers(prompts_dir: PromptsDir, own: str | tuple[str, ...] | None) -> tuple[AnyLayer, ...]:
    """The call's layers, else the graph's own `prompts_dir` where YAMLGraph cannot read it."""
    if prompts_dir is None and not isinstance(own, str):
        return own or ()
    if prompts_dir is None:
        return (own,) if isinstance(own, str) and (PLACEHOLDER in own or "://" in own) else ()
    if isinstance(prompts_dir, (str, PathLike, Mapping)) or not isinstance(prompts_dir, Sequence):
        return (prompts_dir,)
    return tuple(prompts_dir)


def _share(
    layers: Sequence[AnyLayer],
    environment: str | None,
    watch: bool,
    base: Path | None,
    graph: Path | None = None,
) -> LivePrompts:
    """One LivePrompts for equal load calls."""

    def make() -> LivePrompts:
        return LivePrompts(*layers, environment=environment, watch=watch, _base=base, _graph=graph)

    if any(isinstance(as_layer(layer).url, Mapping) for layer in layers):
        return make()
    places = tuple(replace(one, url=one.text) for one in map(as_layer, layers))
    needed = any(place.uses_environment for place in places)
    key = (places, environment_name(environment, needed=needed), watch, base or Path.cwd(), graph)
    with _shared_lock:
        kept = _shared.get(key)
        if kept is None or kept.closed:
            kept = _shared[key] = make()
        return kept
