"""Frozen facts: prompts, releases, the uses of prompts in graphs, outcomes."""
