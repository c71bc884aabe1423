"""The former place of `yamlgraph_prompts.registry.bucket`."""

from __future__ import annotations

import warnings

from yamlgraph_prompts.registry.bucket import Bucket, LogEntry, Pushed

__all__ = ["Bucket", "LogEntry", "Pushed"]

warnings.warn(
    "Import Bucket from yamlgraph_prompts.registry.bucket; yamlgraph_prompts.bucket goes away.",
    DeprecationWarning,
    stacklevel=2,
)
