"""YAMLGraph graphs to measure with, and a model that costs nothing. Measures nothing itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import yaml

SCHEMA = {
    "name": "Answer",
    "fields": {
        "summary": {"type": "str", "description": "What was found"},
        "topics": {"type": "list[str]", "description": "What it is about"},
        "score": {"type": "float", "description": "How sure", "constraints": {"ge": 0, "le": 1}},
    },
}
_TEXT = "Keep to what is asked, name your sources, and say so when you do not know. " * 4


class Model:
    """Stands in for every chat model, in this process; tells `heard` each call's texts."""

    def __init__(self, heard: Callable[[str], object] = lambda text: None) -> None:
        import yamlgraph.executor

        self.heard = heard
        yamlgraph.executor.create_llm = lambda **kwargs: self

    def invoke(self, messages: Sequence[Any]) -> Any:
        text = "\n".join(str(message.content) for message in messages)
        self.heard(text)
        return SimpleNamespace(content="done")


def chain(folder: Path, nodes: int, *, schemas: bool = False, edition: str = "first") -> Path:
    """A graph of `nodes` llm nodes in a row, each with its own prompt; its file."""
    names = [f"step{number:03d}" for number in range(nodes)]
    stops = ["START", *names, "END"]
    graph = {
        "name": "chain",
        "prompts_relative": True,
        "prompts_dir": "prompts",
        "state": {"topic": "str"},
        "nodes": {
            name: {
                "type": "llm",
                "prompt": f"steps/{name}",
                "variables": {"topic": "{state.topic}"},
                "state_key": f"{name}_said",
            }
            for name in names
        },
        "edges": [{"from": a, "to": b} for a, b in pairwise(stops)],
    }
    (folder / "prompts" / "steps").mkdir(parents=True, exist_ok=True)
    for number in range(nodes):
        write_prompt(folder, number, edition, schema=schemas and number % 4 == 0)
    path = folder / "graph.yaml"
    path.write_text(yaml.safe_dump(graph, sort_keys=False))
    return path


def write_prompt(folder: Path, number: int, edition: str, *, schema: bool = False) -> float:
    """Save a node's prompt, every other one in Jinja; the time just before it was replaced."""
    topic = "{% if topic %}{{ topic }}{% endif %}" if number % 2 else "{topic}"
    content: dict[str, Any] = {
        "system": f"You are helper {number}, edition {edition}.\n{_TEXT}\n",
        "user": f"Edition {edition}: tell me of {topic}.\n",
    }
    if schema:
        content["schema"] = SCHEMA
    path = folder / "prompts" / "steps" / f"step{number:03d}.yaml"
    return replace(path, yaml.safe_dump(content))


def replace(path: Path, text: str) -> float:
    """Save a file as a careful editor does; the time just before it was replaced."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.write_text(text)
    before = perf_counter()
    os.replace(beside, path)
    return before
