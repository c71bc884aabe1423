"""The guarded Jinja and `str.format` that everything a prompt author writes runs in. Reads nothing."""

from __future__ import annotations

from yamlgraph_prompts.sandbox.jinja import GuardedEnvironment, environment

__all__ = ["GuardedEnvironment", "environment"]
