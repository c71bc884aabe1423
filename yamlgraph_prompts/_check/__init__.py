"""A release and the graphs that use it → findings. Pure: reads nothing, and nothing is live yet."""

from __future__ import annotations

from yamlgraph_prompts._check.checker import CHECK_VERSION, Checker, check

__all__ = ["CHECK_VERSION", "Checker", "check"]
