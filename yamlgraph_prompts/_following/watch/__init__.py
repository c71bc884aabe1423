"""File events, polling and pushes → one callback. Knows no prompts."""

from __future__ import annotations

from yamlgraph_prompts._following.watch.watch import Watch

__all__ = ["Watch"]
