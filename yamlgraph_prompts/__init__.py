"""Deploy prompts without deploying the app: live, checked, versioned prompts for LangGraph."""

# No other import: with `python -m`, it would find modules of the working directory first.
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from yamlgraph_prompts._live import LiveGraph
    from yamlgraph_prompts._model.events import Event
    from yamlgraph_prompts._model.release import Outcome, Prompt, Release, StoredRelease
    from yamlgraph_prompts.errors import (
        GraphChanged,
        GraphNotFound,
        GraphRefused,
        InvalidEnvironment,
        LayerError,
        LayerNotFound,
        LayerReadOnly,
        LayerUnavailable,
        MissingExtra,
        PromptNotFound,
        PromptRenderError,
        PromptsError,
        PromptsRejected,
        PushRefused,
        ReleaseNotFound,
        Stale,
        StoreCorrupted,
        StoreError,
        UnknownScheme,
        UnsupportedStore,
        UnsupportedYamlgraph,
        VersionNotFound,
        VersionRefused,
    )
    from yamlgraph_prompts.findings import Finding
    from yamlgraph_prompts.live_prompts import LivePrompts
    from yamlgraph_prompts.load import live_graph, load_and_compile, load_and_compile_async
    from yamlgraph_prompts.sources.layers import Layer

# Where each public name is; the errors are in `errors`.
_HOMES = {
    "_model.events": ("Event",),
    "findings": ("Finding",),
    "sources.layers": ("Layer",),
    "_live": ("LiveGraph",),
    "live_prompts": ("LivePrompts",),
    "load": ("live_graph", "load_and_compile", "load_and_compile_async"),
    "_model.release": ("Outcome", "Prompt", "Release", "StoredRelease"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "Event",
    "Finding",
    "GraphChanged",
    "GraphNotFound",
    "GraphRefused",
    "InvalidEnvironment",
    "Layer",
    "LayerError",
    "LayerNotFound",
    "LayerReadOnly",
    "LayerUnavailable",
    "LiveGraph",
    "LivePrompts",
    "MissingExtra",
    "Outcome",
    "Prompt",
    "PromptNotFound",
    "PromptRenderError",
    "PromptsError",
    "PromptsRejected",
    "PushRefused",
    "Release",
    "ReleaseNotFound",
    "Stale",
    "StoreCorrupted",
    "StoreError",
    "StoredRelease",
    "UnknownScheme",
    "UnsupportedStore",
    "UnsupportedYamlgraph",
    "VersionNotFound",
    "VersionRefused",
    "live_graph",
    "load_and_compile",
    "load_and_compile_async",
]


def __getattr__(name: str) -> object:
    # Imported when used: a program that only reads a release should not load LangGraph.
    if name not in __all__:
        from yamlgraph_prompts._text.spelling import nearest

        meant = None if name.startswith("_") else nearest(name, __all__)
        hint = f". Did you mean {meant}?" if meant else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    value = getattr(import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
