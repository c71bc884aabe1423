"""What the guards cost: rendering and examining, beside plain Jinja, interleaved in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

from jinja2 import Environment
from jinja2.sandbox import ImmutableSandboxedEnvironment
from langchain_core.messages import HumanMessage, SystemMessage

from yamlgraph_prompts._sandbox.inspection import Inspection
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts.templates.template import MessageTemplate, PromptTemplate

SYSTEM = "You are {{ role }}. Be {{ tone|default('kind') }}.\n"
USER = "Hi {{ name }}\n{% for i in items %}- {{ i.title }}: {{ loop.index }}\n{% endfor %}"
PARAGRAPH = (
    "Question {{ q }} about {{ topic|upper }}:\n{% for d in docs %}{% if d.score > 0.5 %}"
    "- {{ d.title }} ({{ d.url }}) says: {{ d.text|truncate(40) }}\n{% endif %}{% endfor %}"
    "Some static prose which explains what to do with this, in a few words.\n"
)
VALUES: dict[str, Any] = {
    "role": "a clerk",
    "name": "Ada",
    "tone": "calm",
    "items": [{"title": title} for title in "abc"],
    "q": "Why",
    "topic": "bees",
    "docs": [{"score": 0.7, "title": "T", "url": "u", "text": "x y " * 20}] * 2,
}


def measure(rivals: dict[str, Callable[[], object]], number: int, rounds: int = 15) -> None:
    """Print each rival's median microseconds a call, and its ratio to the first."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, call in rivals.items():
            start = perf_counter()
            for _ in range(number):
                call()
            times[name].append((perf_counter() - start) / number * 1e6)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:42} {median:9.1f} us  x{median / first:.2f}")


def main() -> None:
    """Run every comparison."""
    small = PromptTemplate({"system": SYSTEM, "user": USER}, prompt="small")
    rivals: dict[str, Callable[[], object]] = {
        "PromptTemplate.messages": lambda: small.messages(VALUES)
    }
    by_hand = [MessageTemplate(SYSTEM), MessageTemplate(USER)]
    rivals["guarded templates, messages by hand"] = lambda: [
        SystemMessage(by_hand[0].render(VALUES)),
        HumanMessage(by_hand[1].render(VALUES)),
    ]
    for kind in (Environment, ImmutableSandboxedEnvironment):
        system, user = (kind().from_string(text) for text in (SYSTEM, USER))
        rivals[f"jinja2 {kind.__name__}"] = lambda system=system, user=user: [  # type: ignore[misc]
            SystemMessage(system.render(state={}, **VALUES)),
            HumanMessage(user.render(state={}, **VALUES)),
        ]
    print("a small prompt (system and user)")
    measure(rivals, 1_000)

    big = PARAGRAPH * 33
    large = MessageTemplate(big)
    rivals = {"MessageTemplate.render": lambda: large.render(VALUES)}
    for kind in (Environment, ImmutableSandboxedEnvironment):
        plain = kind().from_string(big)
        rivals[f"jinja2 {kind.__name__}"] = lambda plain=plain: plain.render(**VALUES)  # type: ignore[misc]
    print(f"one text of {len(big):,} characters")
    measure(rivals, 50)

    text, guarded, plain_environment = PARAGRAPH * 8, GuardedEnvironment(), Environment()
    print(f"examining a text of {len(text):,} characters")
    measure(
        {
            "Environment.parse": lambda: plain_environment.parse(text),
            "Inspection": lambda: Inspection(text, guarded),
        },
        20,
    )


if __name__ == "__main__":
    main()
