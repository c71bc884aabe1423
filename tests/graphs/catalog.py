"""The catalog of test graphs: small real YAMLGraph graphs, one folder each. Data only, no running.

Each prompt text that a run must send holds a tag such as ``[greet user first edition]``: tests look
for the tags in what the model got, and make a new edition by replacing ``first`` with another word.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.model_server import Answer

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Resume:
    """A step that answers an interrupt."""

    value: Any


@dataclass(frozen=True)
class Entry:
    """One graph and what to run it with.

    Args:
        name: The folder under `FOLDER`, which is the working directory of a run.
        graph: The graph file in that folder.
        runs: Each run is a sequence of steps on one thread: inputs and `Resume`s.
        answers: What the model server must be scripted with.
        fields: Values for the objects that JSON schemas ask for.
        kinds: The node types and places of prompts that it covers.
        unordered: Branches run at the same time, so requests come in no fixed order.
        says: Texts that the model must have got.
        errors: How many errors the last state tells of.
        unsent: Tags that YAMLGraph never sends.
        names: Prompt names are free of ``..`` and absolute paths, so that a layer may have them.
    """

    name: str
    runs: tuple[tuple[Any, ...], ...]
    says: tuple[str, ...]
    kinds: frozenset[str]
    graph: str = "graph.yaml"
    answers: tuple[Answer, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    unordered: bool = False
    errors: int = 0
    unsent: tuple[str, ...] = ()
    names: bool = True

    @property
    def folder(self) -> Path:
        return FOLDER / self.name


def _kinds(text: str) -> frozenset[str]:
    return frozenset(text.split())


CATALOG: tuple[Entry, ...] = (
    Entry(
        "chain",
        kinds=_kinds("llm simple prompts_relative+prompts_dir"),
        runs=(
            ({"name": "Ada", "mood": "calm"},),
            ({"name": "{Bob}", "mood": "{{ 7 * 7 }}"},),
        ),
        says=(
            "[greet system first edition] You are calm.\nA brace: } & ",
            "'too' - ünïcødé ✓.\n",
            "You are {{ 7 * 7 }}.",
            "Hello {Bob}!",
            "[close user first edition] You said echo: [greet",
            " Hello Ada! to Ada;   now close.\n",
        ),
    ),
    Entry(
        "dialects",
        kinds=_kinds("llm jinja simple mixed raw prompts_dir"),
        runs=(
            (
                {
                    "items": [{"name": "pear", "price": 1.5}, {"name": "fig"}],
                    "title": "fruit",
                    "words": ["one", "two"],
                    "audience": "Ada",
                },
            ),
            ({"items": [], "title": "none", "words": [], "audience": ""},),
        ),
        says=(
            "2 things about FRUIT.\nFor Ada.",
            '1. pear at 1.50\n2. fig\n\nfruit! {"a": 1}',
            "Simple here: fruit and one, two.      'Ada'",
            "nothing",
            '{"chapters": [], "{{ not }}": "{rendered}"}',
        ),
    ),
    Entry(
        "segments",
        kinds=_kinds("llm system_segments system_list prompts_relative"),
        runs=(({"topic": "rain", "style": "dry"},),),
        says=(
            "You know rain.\n[segmented two first edition] Simple dry.",
            "A bare string with rain.\n[listed two first edition] dry",
        ),
    ),
    Entry(
        "defaults",
        kinds=_kinds("llm default_folder"),
        runs=(({"input": "hi"},),),
        says=("[hello user first edition] hi", "[deep user first edition] echo: [hello"),
    ),
    Entry(
        "fallback",
        graph="graphs/graph.yaml",
        kinds=_kinds("llm default_folder external_fallback"),
        runs=(({"input": "hi"},),),
        says=("[hello user first edition] hi", "[common user first edition] echo: [hello"),
    ),
    Entry(
        "dotdot",
        graph="flows/graph.yaml",
        kinds=_kinds("llm defaults_prompts_dir dotdot"),
        runs=(({"input": "hi"},),),
        says=("[own user first edition] hi", "[tone user first edition] echo: [own user"),
        names=False,
    ),
    Entry(
        "oddities",
        kinds=_kinds("llm simple jinja yaml"),
        runs=(
            (
                {
                    "person": {"name": "Ada", "age": None},
                    "numbers": [1, 2, 3],
                    "nothing": None,
                    "word_count": 12,
                    "markup": "<b>{Tom} & {{ Jerry }}</b>",
                },
            ),
        ),
        says=(
            "☺ 😀 tab\tend",
            "Ada 'Ada' {'name': 'Ada', 'age': None} None }",
            "1, 2, 3       12 +12.00  <b>{Tom} & |",
            "4 6 1-2-3 [0, 1, 2]\nname=Ada;age=?;\nAdA",
            '{{ stays }} {"k": [1, null, true]} 002.2 3 a1 A…',
        ),
    ),
    Entry(
        "router",
        kinds=_kinds("router schema llm"),
        runs=(({"question": "Why so much?"},), ({"question": "Is it broken?"},)),
        answers=(
            Answer("Why so much?", fields={"intent": "billing"}),
            Answer("Is it broken?", fields={"intent": "something else"}),
        ),
        says=(
            "[billing user first edition] Why so much? as billing",
            "[technical user first edition] Is it broken? as something else",
        ),
    ),
    Entry(
        "router_race",
        kinds=_kinds("router_with_candidates"),
        runs=(({"question": "How?"},), ({"question": "Now!"},)),
        answers=(
            Answer("How?", text='{"tone": "kind"}', model="quick", together=2),
            Answer("Now!", text='{"tone": "loud"}', model="quick", together=2),
            Answer("How?", model="slow", delay_s=3, together=2),
            Answer("Now!", model="slow", delay_s=3, together=2),
        ),
        unordered=True,
        says=('Answer with {"tone": ...}.', "[kind user first edition] How?"),
    ),
    Entry(
        "agent",
        kinds=_kinds("agent tool_shell tool_python tool_graph output_schema default_prompt_name"),
        runs=(({"input": "three small words"},),),
        # A later agent finds messages in the state and leaves its own system prompt out.
        unsent=("[judge system first edition]",),
        answers=(
            Answer("[helper", tools=("count_words", "say", "research")),
            Answer("[judge user", tools=("say",)),
        ),
        says=(
            "Use tools for three small words.",
            "[look user first edition] subject",
            "[judge user first edition] echo: [helper user first edition] three small words",
        ),
    ),
    Entry(
        "conversation",
        kinds=_kinds("agent turns"),
        runs=(({"input": "one"}, {"input": "two"}),),
        says=("[talk user first edition] one", "[talk user first edition] two"),
    ),
    Entry(
        "map",
        kinds=_kinds("map map_agent map_python timeout schema"),
        runs=(({"things": ["oak", "elm", "ash"], "style": "short"},),),
        unordered=True,
        says=(
            "[describe user first edition] oak",
            "[inspect user first edition] elm of 3",
            "[ask user first edition] ash",
            "colourcolourcolour",
        ),
    ),
    Entry(
        "race",
        kinds=_kinds("race schema"),
        runs=(({"question": "Who?"},),),
        answers=(
            Answer("[first user", text="quick it is", model="quick", together=2),
            Answer("[first user", text="slow it is", model="slow", delay_s=3, together=2),
            Answer("[second user", model="quick", together=2),
            Answer("[second user", model="slow", delay_s=3, together=2),
        ),
        unordered=True,
        says=("[first user first edition] Who?", "[second user first edition] quick it is"),
    ),
    Entry(
        "interrupt",
        kinds=_kinds("interrupt_message interrupt_prompt llm checkpointer_memory"),
        runs=(({"input": "go"}, Resume("Ada"), Resume("yes"), Resume("peace"), Resume("rain")),),
        says=("Ask Ada for a wish.", "[answer user first edition] Ada peace rain"),
    ),
    Entry(
        "subgraphs",
        kinds=_kinds("subgraph_invoke subgraph_direct grandchild timeout"),
        runs=(({"topic": "tea"},),),
        unsent=("[root same user first edition]",),
        says=(
            "[invoked same user first edition] echo: [prepare user first edition] tea",
            "[deeper same user first edition] echo: [invoked same",
            "[direct same user first edition] echo: [prepare user",
            "[finish user first edition] echo: [deeper same",
        ),
    ),
    Entry(
        "relay",
        kinds=_kinds("subgraph_relay interrupt_prompt checkpointer_memory"),
        runs=(({"topic": "tea"}, Resume("fine")),),
        says=("[ask user first edition] echo: [draft", "[after user first edition] echo: [reply"),
    ),
    Entry(
        "map_subgraph",
        kinds=_kinds("map_subgraph"),
        runs=(({"things": ["a", "b", "c"]},),),
        unordered=True,
        says=("[one user first edition] b", "[two user first edition] echo: [one"),
    ),
    Entry(
        "graph_tool",
        kinds=_kinds("tool_graph tool_call python tool passthrough schema"),
        runs=(({"topic": "tea", "step": 1},),),
        says=("[look user first edition] tea", "[tell user first edition] fact QUIET"),
    ),
    Entry(
        "copilot",
        kinds=_kinds("copilot_api output_schema"),
        runs=(({"code": "x = 1"},),),
        says=("Rules: ", "[review user first edition]\nx = 1\n", "[score user first edition] echo"),
    ),
    Entry(
        "schemas",
        kinds=_kinds("llm schema output_schema parse_json output_model retry"),
        runs=(({"dish": "soup"},),),
        answers=(
            Answer("[parsed", text='```json\n{"x": "parsed"}\n```'),
            Answer("[retried", fields={"word": "much too long"}, times=1),
        ),
        says=("[native user first edition] soup", "CORRECTION: your previous response"),
    ),
    Entry(
        "guards",
        kinds=_kinds("llm guards verification verify"),
        runs=(({"topic": "moon"},),),
        errors=1,  # the node that a guard skips
        answers=(
            Answer("[guarded", text="bad", times=1),
            Answer("[verified", text="nothing of the kind", times=1),
        ),
        says=("[guarded user first edition] moon",),
    ),
    Entry(
        "providers",
        kinds=_kinds("llm agent provider model max_tokens"),
        runs=(({"topic": "tea", "chosen": "state-model"},), ({"topic": "tea", "chosen": ""},)),
        says=("[in_prompt user first edition] tea",),
    ),
    Entry(
        "timeouts",
        kinds=_kinds("llm agent timeout parallel prompts_dir"),
        runs=(({"topic": "tea"},),),
        unordered=True,
        says=("[join user first edition] echo: [left user first edition] tea echo: [right",),
    ),
    Entry(
        "loop",
        kinds=_kinds("llm loop_limits data_files schema"),
        runs=(({"topic": "tea"},),),
        says=("[write user first edition] tea again: echo: [write", "[finish user first edition]"),
    ),
    Entry(
        "expanded",
        kinds=_kinds("pipeline interactive_tool interrupt_message python"),
        runs=(({"input": "go"}, Resume("more"), Resume("stop")),),
        says=("[write user first edition] echo: [intro user first edition] rivers",),
    ),
)

BY_NAME = {entry.name: entry for entry in CATALOG}
