"""Runs a catalog entry through any loader and keeps what the model got and how the state ended."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tests.graphs.catalog import Entry, Resume
from tests.model_server import ModelServer, Request

Load = Callable[[Path], Any]

TAG = re.compile(r"\[[^\[\]\n]* (\w+) edition\]")
_PASSING = frozenset({"id", "timestamp", "created_at", "system_fingerprint", "dispatch"})


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What came of all runs of an entry: requests in order, one final state for each step."""

    requests: tuple[Request, ...]
    states: tuple[Any, ...]
    unordered: bool

    @property
    def bodies(self) -> list[bytes]:
        """The request bodies byte for byte, sorted where branches run at the same time."""
        raw = [request.raw for request in self.requests]
        return sorted(raw) if self.unordered else raw

    @property
    def text(self) -> str:
        return "\n".join(request.text for request in self.requests)

    @property
    def editions(self) -> frozenset[str]:
        """The editions of the prompts, schemas included, that the model got."""
        found = (re.findall(rb"(\w+) edition", request.raw) for request in self.requests)
        return frozenset(word.decode() for words in found for word in words)


def script(server: ModelServer, entry: Entry) -> None:
    """Make the server forget everything, and ready for this entry."""
    server.reset()
    server.answer(*entry.answers)
    server.fields.update(entry.fields)


def run(entry: Entry, graph: Path, load: Load, server: ModelServer) -> Recorded:
    """Load `graph`, compile it with a saver in memory, and run all of the entry's runs.

    `load` is what `yamlgraph.load_and_compile` is: path → StateGraph.
    """
    from langgraph.checkpoint.memory import InMemorySaver

    return invoke(entry, load(graph).compile(checkpointer=InMemorySaver()), server)


def invoke(entry: Entry, app: Any, server: ModelServer, *, thread: str = "t") -> Recorded:
    """Run all of the entry's runs on a compiled graph."""
    script(server, entry)
    states = []
    for number, steps in enumerate(entry.runs):
        config = {"configurable": {"thread_id": f"{thread}-{number}"}}
        states += [normal(app.invoke(given(step), config)) for step in steps]
    return Recorded(tuple(server.requests), tuple(states), entry.unordered)


async def ainvoke(
    entry: Entry,
    call: Callable[[Any, dict[str, Any]], Awaitable[Any]],
    server: ModelServer,
    *,
    thread: str = "t",
) -> Recorded:
    """Run all of the entry's runs through `await call(input, config)`."""
    script(server, entry)
    states = []
    for number, steps in enumerate(entry.runs):
        config = {"configurable": {"thread_id": f"{thread}-{number}"}}
        for step in steps:
            states.append(normal(await call(given(step), config)))
    return Recorded(tuple(server.requests), tuple(states), entry.unordered)


def first_run(entry: Entry) -> Entry:
    """The entry with its first run alone: one input and the answers to its interrupts."""
    steps = entry.runs[0]
    resumes = itertools.takewhile(lambda step: isinstance(step, Resume), steps[1:])
    return dataclasses.replace(entry, runs=((steps[0], *resumes),))


def given(step: Any) -> Any:
    """What LangGraph is given for a step."""
    from langgraph.types import Command

    return Command(resume=step.value) if isinstance(step, Resume) else step


def normal(value: Any) -> Any:
    """A value that can be compared: plain containers, without ids, times and addresses."""
    if hasattr(value, "model_dump"):
        return {"type": type(value).__name__, **normal(value.model_dump())}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {"type": type(value).__name__, **normal(vars_of(value))}
    if isinstance(value, Mapping):
        return {str(k): normal(v) for k, v in value.items() if k not in _PASSING}
    if isinstance(value, (list, tuple)):
        return [normal(item) for item in value]
    return value


def vars_of(value: Any) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


def prompt_files(folder: Path) -> list[Path]:
    """The files below a folder that hold a tag."""
    return [path for path in sorted(folder.rglob("*.yaml")) if TAG.search(path.read_text("utf-8"))]


def tags(entry: Entry, folder: Path) -> set[str]:
    """Every tag in the prompts below a folder that the entry's runs must send."""
    texts = (path.read_text("utf-8") for path in prompt_files(folder))
    return {match.group() for text in texts for match in TAG.finditer(text)} - {*entry.unsent}


def edit(folder: Path, edition: str, *, only: Path | None = None) -> list[Path]:
    """Make a new edition of every prompt below a folder, each file replaced in one step."""
    changed = []
    for path in [only] if only else prompt_files(folder):
        text = path.read_bytes().decode("utf-8")
        fresh = re.sub(r"\b\w+ edition\b", f"{edition} edition", text)
        beside = path.with_name(f".{path.name}.tmp")
        beside.write_bytes(fresh.encode("utf-8"))
        beside.replace(path)
        changed.append(path)
    return changed
