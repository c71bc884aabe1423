"""What it costs to make one model call's messages from a prompt, with fresh variables each time.

YAMLGraph's own `prepare_messages` is called three ways: as its nodes call it, as its nodes call it
on our release's folder, and not at all: the same guarded templates rendered by hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml
from langchain_core.messages import HumanMessage
from pydantic import create_model

from benchmarks.graphs import Model
from benchmarks.measure import (
    Row,
    Times,
    compared,
    duration,
    interleaved,
    is_quick,
    plain,
    show,
    workplace,
)

FASTER, BY_HAND = 40.0, 2.0
HISTORY = [HumanMessage(f"question {number}") for number in range(200)]
PROFILE = create_model("Profile", **{f"field_{n}": (str, f"Ada {n}") for n in range(50)})()  # type: ignore[call-overload]

_RULE = """\
{% if audience == "expert" %}Rule @: use the terms of the trade for {{ topic }}, cite {{ source }}.
{% else %}Rule @: explain {{ topic }} in plain words; {{ source }} may be named in passing.
{% endif %}Keep each answer short, name what is not known, and never repeat the question @ back.
When two sources differ, say which one is newer, and give both. Do not guess at dates, names,
places or amounts: leave them out, or ask for them in one short sentence at the end. Write in the
language of the question, and keep quotations in their own.
{% for item in items %}- {{ item.name }}: {{ item.text }}
{% endfor %}
"""


def prompts() -> dict[str, dict[str, str]]:
    """small: two lines of Jinja; large: 8 KB of it; objects: of the app's; format: no Jinja."""
    large = "".join(_RULE.replace("@", str(number)) for number in range(13))
    return {
        "small": {
            "system": "You help {{ name }}.{% if tone %} Be {{ tone }}.{% endif %}\n",
            "user": "Tell {{ name }} of {% for t in topics %}{{ t }}, {% endfor %}and no more.\n",
        },
        "large": {"system": large, "user": "Tell me of {{ topic }}, for {{ audience }}s.\n"},
        "objects": {
            "system": "You help {{ profile.field_7 }}.{% if tone %} Be {{ tone }}.{% endif %}\n",
            "user": "Go on from: {{ history[-1].content }} ({{ history[-1].type }})\n",
        },
        "format": {"system": "You help {name}. Be {tone}.\n", "user": "Tell {name} of {topics}.\n"},
    }


def variables(number: int) -> dict[str, dict[str, Any]]:
    few = {"name": f"Ada {number}", "tone": "kind", "topics": [f"rivers {number}", "seas"]}
    many = {
        "topic": f"rivers {number}",
        "audience": "expert" if number % 2 else "child",
        "source": f"atlas {number}",
        "items": [{"name": f"n{at}", "text": f"{number}"} for at in range(8)],
    }
    objects = {"tone": "kind", "history": HISTORY, "profile": PROFILE}
    return {"small": few, "large": many, "objects": objects, "format": few}


def calls_of(load: Callable[[Path], Any], path: Path) -> dict[str, dict[str, Any]]:
    """Prompt → the arguments with which the graph's own node calls `prepare_messages`."""
    import yamlgraph.executor as executor

    seen: dict[str, dict[str, Any]] = {}
    original = executor.prepare_messages

    def record(**kwargs: Any) -> Any:
        seen[kwargs["prompt_name"]] = kwargs
        return original(**kwargs)

    executor.prepare_messages = record
    app = load(path).compile()
    given = {name: value for some in variables(0).values() for name, value in some.items()}
    app.invoke(given)
    executor.prepare_messages = original
    # A release's folder answers for as long as the graph that was built on it lives.
    return {name: {**kwargs, "app": app} for name, kwargs in seen.items()}


def write_graph(folder: Path) -> Path:
    (folder / "prompts").mkdir()
    nodes = {}
    for name, content in prompts().items():
        (folder / "prompts" / f"{name}.yaml").write_text(yaml.safe_dump(content, width=10_000))
        passed = {key: f"{{state.{key}}}" for key in variables(0)[name]}
        nodes[name] = {
            "type": "llm",
            "prompt": name,
            "variables": passed,
            "state_key": f"{name}_out",
        }
    stops = ["START", *nodes, "END"]
    graph = {
        "name": "messages",
        "prompts_relative": True,
        "prompts_dir": "prompts",
        "state": {key: "any" for some in variables(0).values() for key in some},
        "nodes": nodes,
        "edges": [{"from": a, "to": b} for a, b in itertools.pairwise(stops)],
    }
    path = folder / "graph.yaml"
    path.write_text(yaml.safe_dump(graph, sort_keys=False))
    return path


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder:
        import yamlgraph
        from langchain_core.messages import SystemMessage

        import yamlgraph_prompts
        from yamlgraph_prompts.templates.template import MessageTemplate

        Model()
        path = write_graph(folder)
        alone = calls_of(yamlgraph.load_and_compile, path)
        ours = calls_of(lambda file: yamlgraph_prompts.load_and_compile(file, "prompts"), path)
        rows: list[Row] = []
        for name, texts in prompts().items():
            system = MessageTemplate(texts["system"], prompt=name)
            user = MessageTemplate(texts["user"], prompt=name)

            def by_hand(given: Any, system: Any = system, user: Any = user) -> Any:
                texts = system.render(given), user.render(given)
                return [SystemMessage(content=texts[0]), HumanMessage(content=texts[1])]

            ways = {"alone": through(alone[name]), "ours": through(ours[name]), "hand": by_hand}
            made = [call(variables(7)[name]) for call in ways.values()]
            assert made[0] == made[1] == made[2], "the messages differ"
            calls = {way: timed(call, name) for way, call in ways.items()}
            # In pairs: what runs after a call of milliseconds finds cold caches.
            first = {way: calls[way] for way in ("alone", "ours")}
            second = {way: calls[way] for way in ("ours", "hand")}
            rounds = 5 if quick else 600
            rows += compare(
                f"{name} ({sum(map(len, texts.values())) / 1024:.1f} KB)",
                interleaved(rounds, first, warm_up=20),
                interleaved(5 * rounds, second, warm_up=100),
                has_bar=name != "format",
            )
        show("Making one call's messages", rows)


def through(call: dict[str, Any]) -> Callable[[Any], Any]:
    """YAMLGraph's own function, called as the node called it, but with other variables."""
    from yamlgraph.executor_base import prepare_messages

    kwargs = {key: value for key, value in call.items() if key not in ("app", "variables")}
    return lambda given: prepare_messages(variables=given, **kwargs)[0]


def timed(call: Callable[[Any], Any], name: str) -> Callable[[], float]:
    """Only the call is timed, not the making of its fresh variables."""
    numbers = itertools.count()

    def measured() -> float:
        given = variables(next(numbers))[name]
        started = perf_counter()
        call(given)
        return perf_counter() - started

    return measured


def compare(
    label: str, first: dict[str, Times], second: dict[str, Times], *, has_bar: bool
) -> list[Row]:
    faster = first["alone"].median / first["ours"].median
    return [
        plain(f"{label}: YAMLGraph alone", first["alone"]),
        Row(
            f"{label}: on a release, in turn with that",
            duration(first["ours"].median),
            duration(first["ours"].p95),
            f"{faster:.0f}× faster",
            f"≥ {FASTER:g}×" if has_bar else "",
            faster >= FASTER if has_bar else None,
        ),
        plain(f"{label}: by hand", second["hand"]),
        compared(
            f"{label}: on a release, in turn with that",
            second["ours"],
            second["hand"],
            BY_HAND if has_bar else None,
        ),
    ]


if __name__ == "__main__":
    main()
