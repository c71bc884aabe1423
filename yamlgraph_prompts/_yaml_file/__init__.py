"""A YAML file's bytes → its content, with the place of everything in it. Knows no templates."""

from __future__ import annotations

from yamlgraph_prompts._yaml_file.bounds import merge_conflict
from yamlgraph_prompts._yaml_file.parse import LIMIT_BYTES, PromptFile, parse_prompt, parse_yaml

__all__ = ["LIMIT_BYTES", "PromptFile", "merge_conflict", "parse_prompt", "parse_yaml"]
