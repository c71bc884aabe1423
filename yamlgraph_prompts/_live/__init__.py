"""A LangGraph graph whose every run keeps one build, and whose next run has the newest.

Knows LangGraph only; of prompts, layers and YAML it knows what a `Feed` publishes.
"""

from __future__ import annotations

from yamlgraph_prompts._live.feed import Build, Feed, Pin
from yamlgraph_prompts._live.graph import LiveGraph
from yamlgraph_prompts._live.release_cache import ReleaseCache
from yamlgraph_prompts._live.state_graph import LiveStateGraph, Recipe, uncompiled

__all__ = [
    "Build",
    "Feed",
    "LiveGraph",
    "LiveStateGraph",
    "Pin",
    "Recipe",
    "ReleaseCache",
    "uncompiled",
]
