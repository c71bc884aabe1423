"""Loads graphs faster: YAMLGraph's loader gets content that is parsed already, and other files that
a build reads are parsed in C, not in Python. Every other load is untouched; nothing depends on it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import yaml

_parsed: ContextVar[Any] = ContextVar("yamlgraph_prompts_parsed", default=None)
_ours: ContextVar[bool] = ContextVar("yamlgraph_prompts_ours", default=False)
_install_lock = threading.Lock()


class _Yaml:
    """The `yaml` that one of YAMLGraph's modules sees."""

    def __init__(self, original: Any, safe_load: Callable[[Any], Any]) -> None:
        self._original = original
        self.safe_load = safe_load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def see(module: Any, safe_load: Callable[[Any], Any]) -> None:
    """Make `module` parse with `safe_load`, once; one that has no `yaml` is left as it is."""
    with _install_lock:
        original = getattr(module, "yaml", None)
        if original is not None and not isinstance(original, _Yaml):
            module.yaml = _Yaml(original, safe_load)


@contextmanager
def children_in_c() -> Iterator[None]:
    """While a graph of ours is loaded or built, which reads its children's files once more."""
    from yamlgraph.models import relay_fields

    see(relay_fields, _in_c)
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def _in_c(stream: Any) -> Any:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader) if _ours.get() else yaml.SafeLoader
    return yaml.load(stream, Loader=loader)


def _known_content(stream: Any) -> Any:
    content = _parsed.get()
    if content is None:
        return yaml.safe_load(stream)
    _parsed.set(None)
    return content


def load_graph_config(path: Path, content: Any) -> Any:
    """YAMLGraph's `GraphConfig` of a file with this content, which may be changed."""
    from yamlgraph.compile import graph_loader

    see(graph_loader, _known_content)
    token = _parsed.set(content)
    try:
        return graph_loader.load_graph_config(path)
    finally:
        _parsed.reset(token)
