"""The former place of `yamlgraph_prompts.registry.Channel`."""

from __future__ import annotations

import warnings

from yamlgraph_prompts.registry.channel import Channel as Bucket

__all__ = ["Bucket"]

warnings.warn(
    "Use yamlgraph_prompts.registry.channel.Channel; yamlgraph_prompts.bucket goes away.",
    DeprecationWarning,
    stacklevel=2,
)
