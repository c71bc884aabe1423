"""LiveGraph: a LangGraph graph. Each run uses exactly one build, and a new run uses the newest.

It knows LangGraph only, never changes a compiled graph and takes no lock.
"""

# ruff: noqa: A002 - "input" as in LangGraph

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Self

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_TASK_ID
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import StateSnapshot, StateUpdate

from yamlgraph_prompts._live.feed import Build, Compiled, Feed, Prompts
from yamlgraph_prompts._live.lookups import asettle, settle
from yamlgraph_prompts._live.marks import unmarking
from yamlgraph_prompts._live.runs import Runs
from yamlgraph_prompts._model.release import Release

# What LangGraph's graphs are made of; setting one of these on a handle changes its next run.
_FIELDS = frozenset(inspect.signature(Pregel.__init__).parameters) - {"self"}

# Runnable's methods that are made of invoke and stream: they run with the handle as self.
_MIXINS = frozenset(
    {
        *("_abatch_with_config", "_acall_with_config", "_batch_with_config", "_call_with_config"),
        *("_astream_events_v1_v2", "_astream_events_v3_unsupported"),
        *("_atransform_stream_with_config", "_transform_stream_with_config"),
        *("as_tool", "assign", "astream_log", "atransform", "bind", "map", "pick", "pipe"),
        *("transform", "with_alisteners", "with_fallbacks", "with_listeners", "with_retry"),
        "with_types",
    }
)


class LiveGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph that runs the live release. Each run keeps the build it starts with.

    Everything else is as in LangGraph: what is not defined here is taken from the compiled graph of
    the live release.

    Example:
        >>> from langgraph.graph import START, StateGraph
        >>> from types import SimpleNamespace
        >>> graph = StateGraph(dict).add_node("a", lambda state: {"text": "hi"})
        >>> from yamlgraph_prompts._live import Build, LiveGraph, Recipe
        >>> build = Recipe().make(graph.add_edge(START, "a"), "r1", "g1")
        >>> feed = SimpleNamespace(
        ...     pin="run", allow_release_override=False, owner=None, ran=lambda build: None,
        ...     at_once=lambda: build,
        ... )
        >>> LiveGraph.of(feed, prompts=None, like=build.compiled).invoke({})
        {'text': 'hi'}
    """

    __slots__ = ("_prompts", "_runs")

    _prompts: Prompts
    _runs: Runs

    @classmethod
    def of(cls, feed: Feed, prompts: Prompts, like: Compiled) -> Self:
        """A live graph of the builds of `feed`; `like`, one of them, has the same names."""
        _have_names_of(like)
        return cls._new(Runs(feed, {}), prompts, {})

    @classmethod
    def _new(cls, runs: Runs, prompts: Prompts, attributes: dict[str, Any]) -> Self:
        handle = object.__new__(cls)
        object.__setattr__(handle, "_runs", runs)
        object.__setattr__(handle, "_prompts", prompts)
        handle.__dict__.update(attributes)
        return handle

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What LangGraph's drawings and traces call it."""
        return CompiledStateGraph

    @property
    def prompts(self) -> Prompts:
        """The `LivePrompts` that its releases come from."""
        return self._prompts

    @property
    def release(self) -> Release:
        """The release that is live now."""
        return self._runs.feed.live_release()

    # Running

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As in LangGraph, on one build."""
        runs = self._runs
        plain = runs.plainly(runs.feed.at_once(), input, config)
        graph, config = plain or runs.start(runs.feed.current(), input, config)
        return graph.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As in LangGraph, on one build."""
        runs = self._runs
        plain = runs.plainly(runs.feed.at_once(), input, config)
        graph, config = plain or await runs.astart(input, config)
        return await graph.ainvoke(input, config, **kwargs)

    def stream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        """As in LangGraph, on one build, which it keeps until it is exhausted."""
        return self._streamed(self._runs.feed.current(), input, config, kwargs)

    def _streamed(
        self, live: Build, run_input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> Iterator[Any]:
        graph, chosen = self._runs.start(live, run_input, config)
        yield from graph.stream(run_input, chosen, **_as_called(kwargs, config, graph))

    async def astream(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """As in LangGraph, on one build, which it keeps until it is exhausted."""
        graph, chosen = await self._runs.astart(input, config)
        kwargs = _as_called(kwargs, config, graph)
        async with aclosing(graph.astream(input, chosen, **kwargs)) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                yield chunk

    def stream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """As in LangGraph, on one build."""
        runs = self._runs
        graph, config = runs.start(runs.feed.current(), input, config)
        return graph.stream_events(input, config, **kwargs)

    def astream_events(
        self, input: Any, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        """As in LangGraph, on one build; with ``version="v3"`` it is to be awaited."""
        if kwargs.get("version") == "v3":
            return self._aevents_v3(input, config, kwargs)
        return self._aevents(input, config, kwargs)

    async def _aevents_v3(
        self, run_input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> Any:
        graph, config = await self._runs.astart(run_input, config)
        return await graph.astream_events(run_input, config, **kwargs)

    async def _aevents(
        self, run_input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]:
        graph, config = await self._runs.astart(run_input, config)
        async with aclosing(graph.astream_events(run_input, config, **kwargs)) as events:
            async for event in events:
                yield event

    def batch(self, inputs: Any, config: Any = None, **kwargs: Any) -> list[Any]:
        """As in LangGraph; every fresh item uses the same release."""
        held = self._held(self._runs.feed.current())
        return Runnable.batch(held, inputs, config, **kwargs)

    async def abatch(self, inputs: Any, config: Any = None, **kwargs: Any) -> list[Any]:
        """As in LangGraph; every fresh item uses the same release."""
        held = self._held(await self._runs.feed.acurrent())
        return await Runnable.abatch(held, inputs, config, **kwargs)

    def batch_as_completed(self, inputs: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        """As in LangGraph; every fresh item uses the same release."""
        held = self._held(self._runs.feed.current())
        return Runnable.batch_as_completed(held, inputs, config, **kwargs)

    async def abatch_as_completed(
        self, inputs: Any, config: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """As in LangGraph; every fresh item uses the same release."""
        held = self._held(await self._runs.feed.acurrent())
        async for item in Runnable.abatch_as_completed(held, inputs, config, **kwargs):
            yield item

    # State

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """As in LangGraph, with the graph that the thread runs on."""
        return settle(self._runs.reading(config)).get_state(config, subgraphs=subgraphs)

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """As in LangGraph, with the graph that the thread runs on."""
        graph = await asettle(self._runs.reading(config))
        return await graph.aget_state(config, subgraphs=subgraphs)

    def get_state_history(self, config: RunnableConfig, **kwargs: Any) -> Iterator[StateSnapshot]:
        """As in LangGraph, with the graph that the thread runs on."""
        yield from settle(self._runs.reading(config)).get_state_history(config, **kwargs)

    async def aget_state_history(
        self, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[StateSnapshot]:
        """As in LangGraph, with the graph that the thread runs on."""
        graph = await asettle(self._runs.reading(config))
        async for snapshot in graph.aget_state_history(config, **kwargs):
            yield snapshot

    def bulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """As in LangGraph; the new checkpoint keeps the thread's release and graph revision."""
        graph, config = settle(self._runs.updating(config))
        return graph.bulk_update_state(config, supersteps)

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        """As in LangGraph; the new checkpoint keeps the thread's release and graph revision."""
        graph, config = await asettle(self._runs.updating(config))
        return await graph.abulk_update_state(config, supersteps)

    # They call bulk_update_state and abulk_update_state of the handle.
    update_state = Pregel.update_state
    aupdate_state = Pregel.aupdate_state

    # Copies stay live

    def copy(self, update: dict[str, Any] | None = None) -> Self:
        """A live graph whose every build has these changes, as `Pregel.copy` would make them."""
        return self._new(self._runs.changed(update or {}), self._prompts, self.__dict__)

    __copy__ = copy

    def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Self:
        """A live graph with these defaults for the config of its runs."""
        merged = self._runs.live_graph().with_config(config, **kwargs).config
        return self.copy({"config": merged})

    def on(self, release: str) -> Self:
        """The same graph, with every call, resume, retry, replay and fork on one release.

        A run that resumes, or that forks an old checkpoint, otherwise uses the release that it
        began with, and a graph inside another run that run's release.

        Args:
            release: ``"live"`` for the release that is live at each call, or a release's id or
                the beginning of it.

        Raises:
            ReleaseNotFound: There is no such release.
            GraphRefused: The graph cannot be built on it.

        Example:
            >>> from langgraph.graph import StateGraph
            >>> from yamlgraph_prompts import LivePrompts, live_graph
            >>> def build(release):
            ...     graph = StateGraph(dict).add_node("a", lambda _: {"a": release["a"].user})
            ...     return graph.set_entry_point("a")
            >>> texts = {"a": "user: old"}
            >>> app = live_graph(build, prompts=LivePrompts(texts)).compile()
            >>> before = app.release.id
            >>> texts["a"] = "user: new"
            >>> app.prompts.publish().status, app.on(before).invoke({}), app.invoke({})
            ('published', {'a': 'old'}, {'a': 'new'})
        """
        return self._new(self._runs.on(release), self._prompts, self.__dict__)

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            "A live graph cannot be pickled: it follows the prompts of its process. Load it in the "
            "other process too, with load_and_compile(...) or live_graph(...)."
        )

    def _held(self, live: Build) -> LiveGraph:
        return self._new(self._runs.held(live), self._prompts, self.__dict__)

    # Names

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIELDS:
            object.__setattr__(self, "_runs", self._runs.changed({name: value}))
        else:
            self.__dict__[name] = value


class _Lives:
    """A name that the handle's class inherits: on a handle it means the live graph's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, handle: LiveGraph | None, owner: type) -> Any:
        graph = CompiledStateGraph if handle is None else handle._runs.live_graph()
        return unmarking(getattr(graph, self.name))


def _have(names: Iterable[str]) -> None:
    for name in {*names} - _MIXINS - vars(LiveGraph).keys():
        if not name.startswith("__"):
            setattr(LiveGraph, name, _Lives(name))


# Names stand in the class: a __getattr__ would cost each call of a handle 5 microseconds, since
# CPython 3.11 looks up every name of such an object in the slow way.
_have(dir(CompiledStateGraph))


def _have_names_of(graph: Compiled) -> None:
    """A handle has what LangGraph sets on a graph, and what a class of the user's own adds."""
    _have(vars(graph))
    if type(graph) is not CompiledStateGraph:
        _have(dir(graph))


def _as_called(
    kwargs: dict[str, Any], config: RunnableConfig | None, graph: Compiled
) -> dict[str, Any]:
    """The arguments of a stream, with LangGraph's own default for the caller's config."""
    nested = CONFIG_KEY_TASK_ID in ((config or {}).get(CONF) or {})
    if nested or kwargs.get("stream_mode") is not None:
        return kwargs
    return {**kwargs, "stream_mode": graph.stream_mode}
