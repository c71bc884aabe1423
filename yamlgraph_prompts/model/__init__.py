"""Frozen facts: prompts, releases, what graphs ask of them, outcomes."""
