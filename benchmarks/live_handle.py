"""What a live handle adds to LangGraph's own `invoke`, in µs and in checkpointer reads.

A trivial graph behind `live_graph`, its prompts in a watched folder, beside the very graph that
the handle runs, called without it: another one lies elsewhere in memory, which alone makes 5 to 12
µs here. And beside that one called with three keys in its metadata, which is what LangGraph takes
for carrying `prompts_release`, `prompts_graph` and `prompts_arm`.
Microseconds are a machine's own, so YAMLGraph's load of two nodes stands beside them: 5 ms where
the bar was set.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from typing_extensions import TypedDict

from benchmarks.graphs import chain
from benchmarks.measure import Row, duration, interleaved, is_quick, plain, show, workplace

BAR_S = 30e-6
HOOKS_BAR_S = 3e-6
KEYS = {"prompts_release": "r" * 64, "prompts_graph": "g" * 64, "prompts_arm": "A"}
CONFIG = {"configurable": {"thread_id": "1", "user": "ada"}, "metadata": {"who": "me"}}

Calls = dict[str, Callable[[], object]]


class State(TypedDict):
    x: int


def trivial(_: object = None) -> Any:
    from langgraph.graph import START, StateGraph

    return StateGraph(State).add_node("n", lambda state: {"x": 1}).add_edge(START, "n")


def asking(_: object = None) -> Any:
    from langgraph.graph import START, StateGraph
    from langgraph.types import interrupt

    ask = StateGraph(State).add_node("n", lambda state: {"x": interrupt("?")})
    return ask.add_edge(START, "n")


@contextmanager
def live(folder: Path, build: Callable[[object], Any], **arguments: Any) -> Iterator[Any]:
    """The handle that a user has."""
    from yamlgraph_prompts import LivePrompts, live_graph

    (folder / "prompts").mkdir(parents=True)
    (folder / "prompts" / "greeting.yaml").write_text("user: Hi {name}\n")
    with LivePrompts(folder / "prompts", store=folder / "store") as prompts:
        yield live_graph(build, prompts=prompts).compile(**arguments)


def told(what: str, calls: Calls, rounds: int) -> list[Row]:
    """The rows of one way to call: alone, with the keys, live; the last two as what they add."""
    gc.disable()
    times = interleaved(rounds, calls, warm_up=rounds // 20)
    gc.enable()
    alone = times["alone"].seconds
    rows = [plain(f"{what}: LangGraph alone", times["alone"])]
    for name, label in (("keys", "alone, with three keys"), ("live", "live handle")):
        added = median(b - a for a, b in zip(alone, times[name].seconds, strict=True))
        share = f"+{added / times['alone'].median:.1%}"
        bar = (f"≤ {duration(BAR_S)}", added <= BAR_S) if name == "live" else ("", None)
        rows.append(Row(f"{what}: {label} adds", duration(added), "", share, *bar))
    return rows


def with_keys(config: dict[str, Any] | None) -> dict[str, Any]:
    config = config or {}
    return {**config, "metadata": {**config.get("metadata", {}), **KEYS}}


def invoked(folder: Path, rounds: int) -> Iterator[Row]:
    loop = asyncio.new_event_loop()

    def sync(graph: Any, config: Any) -> Callable[[], object]:
        return lambda: graph.invoke({"x": 0}, config)

    def on_a_loop(graph: Any, config: Any) -> Callable[[], object]:
        return lambda: loop.run_until_complete(graph.ainvoke({"x": 0}, config))

    with live(folder, trivial) as app:
        app.invoke({"x": 0})
        alone = app._runs.live_graph()
        for what, way, config in (
            ("invoke", sync, None),
            ("invoke with a config", sync, CONFIG),
            ("ainvoke", on_a_loop, None),
        ):
            calls = {
                "alone": way(alone, config),
                "keys": way(alone, with_keys(config)),
                "live": way(app, config),
            }
            yield from told(what, calls, rounds)
    loop.close()


def observed(folder: Path, rounds: int) -> Iterator[Row]:
    """What the admin app's hooks add to a run of one and the same handle."""
    from yamlgraph_prompts.admin import admin_app

    with live(folder, trivial) as app:
        report = app.prompts._report
        without = report._on_run
        admin_app(app.prompts, tokens={"t" * 32: "viewer"})

        def run(observers: Any) -> Callable[[], object]:
            def call() -> object:
                report._on_run = observers
                return app.invoke({"x": 0})

            return call

        calls = {"without": run(without), "with": run(report._on_run)}
        gc.disable()
        times = interleaved(rounds, calls, warm_up=rounds // 20)
        gc.enable()
        pairs = zip(times["without"].seconds, times["with"].seconds, strict=True)
        added = median(after - before for before, after in pairs)
        yield plain("invoke: live handle without hooks", times["without"])
        bar = f"≤ {duration(HOOKS_BAR_S)}", added <= HOOKS_BAR_S
        yield Row("invoke: the admin app's hooks add", duration(added), "", "", *bar)


def reads(folder: Path) -> Iterator[Row]:
    """How often a checkpointer is read more than by LangGraph alone."""
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command

    class Counting(InMemorySaver):
        reads = 0

        def get_tuple(self, config: Any) -> Any:
            self.reads += 1
            return super().get_tuple(config)

    saver = Counting()
    alone = asking().compile(checkpointer=saver)
    with live(folder, asking, checkpointer=saver) as app:
        for what, given, bar in (
            ("a fresh input", {"x": 0}, 0),
            ("a resume", Command(resume=1), 1),
        ):
            counted = []
            for thread, graph in (("alone", alone), ("live", app)):
                before = saver.reads
                graph.invoke(given, {"configurable": {"thread_id": thread}})
                counted.append(saver.reads - before)
            more = counted[1] - counted[0]
            yield Row(
                f"checkpointer reads added by {what}", str(more), "", "", f"≤ {bar}", more <= bar
            )


def this_machine(folder: Path, rounds: int) -> Row:
    import yamlgraph

    folder.mkdir()
    path = chain(folder, 2)
    load = {"load": lambda: yamlgraph.load_and_compile(path).compile()}
    return plain("YAMLGraph alone loads 2 nodes", interleaved(rounds, load)["load"])


def main() -> None:
    rounds = 200 if is_quick(__doc__) else 4000
    with workplace() as folder:
        rows = [
            *invoked(folder / "invoked", rounds),
            *observed(folder / "observed", rounds),
            *reads(folder / "asking"),
            this_machine(folder / "load", rounds // 40),
        ]
        show(f"A live handle on a trivial graph, {rounds:,} rounds", rows)


if __name__ == "__main__":
    main()
