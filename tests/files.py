"""Small things that several tests need: files from a mapping, and a listener for hooks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langgraph.graph import START, StateGraph

from yamlgraph_prompts._model.events import Event
from yamlgraph_prompts._model.release import Outcome, Release


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write `files` (path → text) below `folder`, each at once; gives back `folder`."""
    for path, text in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
        beside.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.replace(beside, target)
    return folder


class Heard(list[Event]):
    """A hook that keeps what it was told."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self if event.kind == kind]

    def outcomes(self, status: str | None = None) -> list[Outcome]:
        told = [event.outcome for event in self if event.outcome is not None]
        return [one for one in told if status in (None, one.status)]


def says(*names: str) -> Callable[[Release], Any]:
    """A builder of plain LangGraph graphs: node after node says the user text of its prompt."""

    def build(release: Release) -> Any:
        graph: Any = StateGraph(dict)
        before = START
        for number, name in enumerate(names):

            def node(state: dict[str, Any], name: str = name) -> dict[str, Any]:
                return {"said": [*state.get("said", ()), release[name].user]}

            graph.add_node(f"n{number}", node)
            graph.add_edge(before, f"n{number}")
            before = f"n{number}"
        return graph

    return build


def codes(outcome: Outcome) -> list[str]:
    return [finding.code for finding in outcome.errors]
