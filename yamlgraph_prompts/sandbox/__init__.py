"""The guarded Jinja and `str.format` that all that a prompt author writes runs in."""

from __future__ import annotations

from yamlgraph_prompts.sandbox.jinja import GuardedEnvironment, environment

__all__ = ["GuardedEnvironment", "environment"]
