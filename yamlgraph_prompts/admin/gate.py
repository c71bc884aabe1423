"""The former place of `yamlgraph_prompts.admin.security.gate.Limits`."""

from __future__ import annotations

import warnings

from yamlgraph_prompts.admin.security.gate import Limits

__all__ = ["Limits"]

warnings.warn(
    "Use yamlgraph_prompts.admin.security.gate.Limits; yamlgraph_prompts.admin.gate goes away.",
    DeprecationWarning,
    stacklevel=2,
)
