"""Hands YAMLGraph's graph loader YAML that was parsed already: its own parser, in pure Python, is
what loading takes longest for. Every other load goes through untouched; nothing depends on this."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_parsed: ContextVar[Any] = ContextVar("yamlgraph_prompts_parsed", default=None)
_install_lock = threading.Lock()


class _Yaml:
    """The `yaml` that the graph loader sees."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def safe_load(self, stream: Any) -> Any:
        content = _parsed.get()
        if content is None:
            return self._original.safe_load(stream)
        _parsed.set(None)
        return content


def load_graph_config(path: Path, content: Any) -> Any:
    """YAMLGraph's `GraphConfig` of a file that says `content`, which may be changed.

    Raises:
        Exception: Whatever YAMLGraph raises for a graph that it cannot load.
    """
    from yamlgraph.compile import graph_loader

    with _install_lock:
        original = getattr(graph_loader, "yaml", None)
        if original is not None and not isinstance(original, _Yaml):
            graph_loader.yaml = _Yaml(original)
    token = _parsed.set(content)
    try:
        return graph_loader.load_graph_config(path)
    finally:
        _parsed.reset(token)
