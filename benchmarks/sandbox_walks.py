"""Templates that walk over large values, beside the same ones in Jinja's own sandbox."""

from __future__ import annotations

from functools import partial
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from langchain_core.messages import HumanMessage
from pydantic import create_model

from benchmarks.measure import Row, compared, interleaved, is_quick, plain, show
from yamlgraph_prompts.templates.template import MessageTemplate

AT_MOST = 2.0
TEXTS = [f"item {number}" for number in range(10_000)]
ENTRIES = [{"title": text, "n": 1} for text in TEXTS]
MESSAGES = [HumanMessage(f"message {number}") for number in range(200)]
PROFILE = create_model("Profile", **{f"f{n}": (str, f"v{n}") for n in range(50)})()  # type: ignore[call-overload]
WALKS: dict[str, tuple[str, dict[str, Any]]] = {
    "10,000 texts": ("{% for x in items %}{{ x }}\n{% endfor %}", {"items": TEXTS}),
    "10,000 texts, numbered": (
        "{% for x in items %}{{ loop.index }}. {{ x }}{{ ', ' if not loop.last }}{% endfor %}",
        {"items": TEXTS},
    ),
    "10,000 entries": (
        "{% for x in items %}- {{ x.title }} ({{ x.n }})\n{% endfor %}",
        {"items": ENTRIES},
    ),
    "a state of 200 messages": (
        "{% for m in state.messages %}{{ m.type }}: {{ m.content }}\n{% endfor %}",
        {"state": {"messages": MESSAGES}},
    ),
    "a model of 50 fields": ("".join(f"{{{{ m.f{n} }}}}\n" for n in range(50)), {"m": PROFILE}),
}


def main() -> None:
    rounds = 3 if is_quick(__doc__) else 60
    jinja = ImmutableSandboxedEnvironment()
    rows: list[Row] = []
    for what, (text, values) in WALKS.items():
        theirs, ours = jinja.from_string(text), MessageTemplate(text)
        assert theirs.render(values) == ours.render(values), "the texts differ"
        times = interleaved(
            rounds,
            {"jinja": partial(theirs.render, values), "ours": partial(ours.render, values)},
            warm_up=2,
        )
        rows.append(plain(f"{what}: Jinja's sandbox", times["jinja"]))
        rows.append(compared(f"{what}: ours", times["ours"], times["jinja"], AT_MOST))
    show("Walking over large values", rows)


if __name__ == "__main__":
    main()
