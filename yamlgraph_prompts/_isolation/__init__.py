"""Worker processes for work on untrusted text: they can be killed, and they share nothing."""

from __future__ import annotations

from yamlgraph_prompts._isolation.compiling import Compiled, compile_text
from yamlgraph_prompts._isolation.pool import Pool

__all__ = ["Compiled", "Pool", "compile_text"]
