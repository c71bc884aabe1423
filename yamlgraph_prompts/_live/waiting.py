"""Which nodes a checkpoint waits for, and whether a graph still has them. It never runs any."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    INTERRUPT,
    NS_END,
    NS_SEP,
    TASKS,
)
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send

from yamlgraph_prompts._live.feed import Compiled
from yamlgraph_prompts._live.lookups import Read, Steps
from yamlgraph_prompts.errors import GraphChanged


def waiting(saved: CheckpointTuple) -> frozenset[str]:
    """The nodes that the checkpoint's next step runs, read from the checkpoint alone.

    LangGraph computes them from the graph's nodes, so it cannot see the ones that are gone.
    """
    return frozenset(_waiting(saved.checkpoint["channel_values"]))


def _waiting(values: Mapping[str, Any]) -> Iterator[str]:
    for channel, value in values.items():
        if channel == TASKS:
            yield from (send.node for send in value if isinstance(send, Send))
        elif channel == "__start__":
            yield channel
        elif channel.startswith("branch:to:"):
            yield channel.removeprefix("branch:to:")
        elif channel.startswith("join:"):
            starts, _, end = channel.removeprefix("join:").rpartition(":")
            seen, finished = value if isinstance(value, tuple) else (value, True)
            # Names may hold a plus, so lengths are compared; `seen` never has others.
            if finished and len("+".join(seen)) == len(starts):
                yield end


def without_tasks(namespace: str) -> str:
    return NS_SEP.join(part.split(NS_END)[0] for part in namespace.split(NS_SEP))


def refuse_lost_answers(
    graph: Compiled, read: Read, saved: CheckpointTuple, *, deep: bool
) -> Steps[None]:
    """Raises where the answer that a run waits for would go nowhere; `deep`: in subgraphs too."""
    if deep:
        missing = yield from _missing(graph, read, saved)
    else:
        missing = {name for name in waiting(saved) if name not in graph.nodes}
    if missing:
        names = ", ".join(sorted(missing))
        text = f"The run waits at nodes that the graph no longer has: {names}."
        hint = "Restore the nodes, or restart the thread with a fresh input."
        raise GraphChanged(text, missing=sorted(missing), hint=hint)


def _missing(graph: Compiled, read: Read, saved: CheckpointTuple) -> Steps[set[str]]:
    missing: set[str] = set()
    around = saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    asking = {task for task, channel, _ in saved.pending_writes or () if channel == INTERRUPT}
    for name in waiting(saved):
        node = graph.nodes.get(name)
        if node is None:
            missing.add(name)
            continue
        for child in node.subgraphs or ():
            if type(child) is not CompiledStateGraph:
                continue  # a live graph looks for itself when it is resumed
            for task in asking:
                place = f"{around}{NS_SEP}" * bool(around) + f"{name}{NS_END}{task}"
                place = without_tasks(place) if child.checkpointer is True else place
                inside = read.within(place)
                if below := (yield inside):
                    lost = yield from _missing(child, inside, below)
                    missing |= {f"{name}{NS_SEP}{one}" for one in lost}
    return missing
