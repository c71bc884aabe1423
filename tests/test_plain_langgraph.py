"""Graphs of plain LangGraph behind `live_graph`: agents, what they ask for, one release a run."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from yamlgraph_prompts import (
    Layer,
    LivePrompts,
    Prompt,
    PromptNotFound,
    PromptRenderError,
    PromptsRejected,
    Release,
    ReleaseNotFound,
    live_graph,
    load_and_compile,
)
from yamlgraph_prompts._live import roots
from yamlgraph_prompts._model.evidence import Evidence


class State(TypedDict, total=False):
    name: str
    text: str
    texts: Annotated[list[str], lambda before, more: [*before, *more]]


def thread(number: str, **more: Any) -> Any:
    return {"configurable": {"thread_id": number, **more}}


@pytest.fixture
def texts() -> dict[str, str]:
    return {"greeting": "user: Hi {name}"}


@pytest.fixture
def prompts(texts: dict[str, str]) -> Iterator[LivePrompts]:
    with LivePrompts(texts, environment="test") as prompts:
        yield prompts


def greeter(release: Any) -> StateGraph[Any, Any, Any, Any]:
    def greet(state: State) -> State:
        return {"text": str(release["greeting"].messages(name=state["name"])[-1].content)}

    return StateGraph(State).add_node("greet", greet).add_edge(START, "greet")


def asker(release: Any) -> StateGraph[Any, Any, Any, Any]:
    def ask(state: State) -> State:
        interrupt("?")
        return {"text": str(release["greeting"].messages(name=state["name"])[-1].content)}

    return StateGraph(State).add_node("ask", ask).add_edge(START, "ask")


# -- agents and other compiled graphs --------------------------------------------------------------


def agent(release: Any, **arguments: Any) -> Any:
    """As `create_agent` makes one: compiled, with a name and a recursion limit of its own."""

    def model(state: MessagesState) -> Any:
        system = SystemMessage(release["greeting"].messages(name="all")[-1].content)
        answer = GenericFakeChatModel(messages=iter([AIMessage(str(system.content))]))
        return {"messages": [answer.invoke([system, *state["messages"]])]}

    graph = StateGraph(MessagesState).add_node("model", model).add_edge(START, "model")
    return graph.compile(name="helper", **arguments).with_config({"recursion_limit": 99})


def test_a_compiled_agent_is_live(prompts: LivePrompts, texts: dict[str, str]) -> None:
    app = live_graph(agent, prompts=prompts).compile()
    assert app.invoke({"messages": []})["messages"][-1].content == "Hi all"
    texts["greeting"] = "user: Dear {name}"
    assert prompts.publish().status == "published"
    assert app.invoke({"messages": []})["messages"][-1].content == "Dear all"
    assert app.name == "helper"
    assert app.config["recursion_limit"] == 99


@pytest.mark.filterwarnings("ignore:create_react_agent")
def test_the_prebuilt_agent_is_live(prompts: LivePrompts, texts: dict[str, str]) -> None:
    from langgraph.prebuilt import create_react_agent

    seen: list[Any] = []

    class Model(GenericFakeChatModel):
        def _generate(self, messages: Any, *args: Any, **named: Any) -> Any:
            seen.append(messages[0].content)
            return super()._generate(messages, *args, **named)

    def build(release: Any) -> Any:
        system = release["greeting"].messages(name="all")[-1].content
        return create_react_agent(
            Model(messages=iter([AIMessage("yes")] * 9)), [], prompt=str(system)
        )

    app = live_graph(build, prompts=prompts).compile()
    app.invoke({"messages": [("user", "hi")]})
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    app.invoke({"messages": [("user", "hi")]})
    assert seen == ["Hi all", "Dear all"]


def test_what_an_agent_was_compiled_with_is_kept_unless_compile_says_another(
    prompts: LivePrompts,
) -> None:
    saver, other = InMemorySaver(), InMemorySaver()

    def build(release: Any) -> Any:
        return agent(release, checkpointer=saver, interrupt_before=["model"])

    app = live_graph(build, prompts=prompts).compile()
    app.invoke({"messages": []}, thread("1"))
    assert app.get_state(thread("1")).next == ("model",)
    assert saver.get_tuple(thread("1")) is not None
    app = live_graph(build, prompts=prompts).compile(checkpointer=other, name="mine")
    app.invoke({"messages": []}, thread("1"))
    assert other.get_tuple(thread("1")) is not None
    assert app.name == "mine"


def test_an_entrypoint_is_refused_with_the_way_to_use_it(prompts: LivePrompts) -> None:
    @entrypoint()
    def flow(value: int) -> int:
        return value

    with pytest.raises(
        PromptsRejected, match="@entrypoint can be called in a node of a StateGraph"
    ):
        live_graph(lambda release: flow, prompts=prompts).compile()


@pytest.mark.parametrize(
    "arguments", [{"checkpointer": "rubbish"}, {"interrupt_before": ["nowhere"]}, {"other": 1}]
)
def test_what_compile_is_given_fails_as_in_langgraph(prompts: LivePrompts, arguments: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as theirs:
        greeter(prompts.release).compile(**arguments)
    with pytest.raises(theirs.type) as ours:
        live_graph(greeter, prompts=prompts).compile(**arguments)
    assert (type(ours.value), str(ours.value)) == (theirs.type, str(theirs.value))


def test_a_drawing_of_a_graph_around_it_is_langgraphs_own(prompts: LivePrompts) -> None:
    drawn = [
        StateGraph(State).add_node("x", inner).add_edge(START, "x").compile().get_graph().to_json()
        for inner in (
            live_graph(greeter, prompts=prompts).compile(),
            greeter(prompts.release).compile(),
        )
    ]
    assert drawn[0] == drawn[1]


# -- copies ----------------------------------------------------------------------------------------


def test_a_deep_copy_of_a_handle_is_the_handle(prompts: LivePrompts) -> None:
    app = live_graph(greeter, prompts=prompts).compile()

    @dataclasses.dataclass
    class Settings:
        app: Any

    assert copy.deepcopy({"app": [app]})["app"][0] is app
    assert dataclasses.asdict(Settings(app))["app"] is app


def test_pickling_a_handle_says_what_to_do_instead(prompts: LivePrompts) -> None:
    app = live_graph(greeter, prompts=prompts).compile()
    with pytest.raises(TypeError, match=r"cannot be pickled.*live_graph\(\.\.\.\)"):
        pickle.dumps(app)


# -- a chosen release ------------------------------------------------------------------------------


def test_a_retry_on_the_live_release_gets_the_mended_prompt(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    app = live_graph(greeter, prompts=prompts).compile(checkpointer=InMemorySaver())
    texts["greeting"] = "user: Hi {{ name.missing.part }}"
    prompts.publish()
    with pytest.raises(PromptRenderError):
        app.invoke({"name": "Ada"}, thread("1"))
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    with pytest.raises(PromptRenderError):
        app.invoke(None, thread("1"))
    assert app.on("live").invoke(None, thread("1"))["text"] == "Dear Ada"


async def test_a_resume_and_a_fork_run_on_the_release_that_was_chosen(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    app = live_graph(asker, prompts=prompts).compile(checkpointer=InMemorySaver())
    first = prompts.release.id
    app.invoke({"name": "Ada"}, thread("1"))
    app.invoke({"name": "Bob"}, thread("2"))
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    second = prompts.release.id
    assert app.on("live").invoke(Command(resume="yes"), thread("1"))["text"] == "Dear Ada"
    waiting = next(s for s in app.get_state_history(thread("1")) if s.next)
    assert waiting.metadata["prompts_release"] == first
    # A replay runs on what it ran on, unless the code says another.
    fork = waiting.config
    assert app.invoke(Command(resume="yes"), fork)["text"] == "Hi Ada"
    assert (await app.on(second).ainvoke(Command(resume="yes"), fork))["text"] == "Dear Ada"
    assert app.on(second[:12]).invoke(Command(resume="yes"), fork)["text"] == "Dear Ada"
    assert app.invoke(Command(resume="yes"), thread("2"))["text"] == "Hi Bob"
    old = app.on(first)
    assert old.release.id == first
    assert app.on(first).on("live").release.id == second
    old.invoke({"name": "Eve"}, thread("3"))
    state = old.get_state(thread("3"))
    assert state.metadata["prompts_release"] == first
    # It stays what it began with for a call that chooses nothing.
    assert app.invoke(Command(resume="yes"), thread("3"))["text"] == "Hi Eve"


def test_a_chosen_release_stays_in_copies_batches_and_streams(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    app = live_graph(greeter, prompts=prompts).compile()
    old = app.on(prompts.release.id)
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    inputs = [{"name": "Ada"}, {"name": "Bob"}]
    assert [one["text"] for one in old.batch(inputs)] == ["Hi Ada", "Hi Bob"]
    assert old.with_config(tags=["x"]).invoke(inputs[0])["text"] == "Hi Ada"
    assert [*old.stream(inputs[0])] == [{"greet": {"text": "Hi Ada"}}]
    assert app.invoke(inputs[0])["text"] == "Dear Ada"


def test_a_release_that_is_nowhere_is_an_error_at_the_call(prompts: LivePrompts) -> None:
    app = live_graph(greeter, prompts=prompts).compile()
    with pytest.raises(ReleaseNotFound, match="0000"):
        app.on("0000")


def test_no_client_chooses_a_release_through_a_handle_that_is_on_one(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    app = live_graph(greeter, prompts=prompts, allow_release_override=True).compile()
    first = prompts.release.id
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    wish: Any = {"configurable": {"prompts_release": first}}
    assert app.invoke({"name": "Ada"}, wish)["text"] == "Hi Ada"
    assert app.on("live").invoke({"name": "Ada"}, wish)["text"] == "Dear Ada"


# -- one root run, one release ---------------------------------------------------------------------


class Pair(TypedDict, total=False):
    name: str
    a: str
    b: str


def greeting_as(key: str) -> Any:
    def build(release: Any) -> StateGraph[Any, Any, Any, Any]:
        def greet(state: Pair) -> Any:
            return {key: str(release["greeting"].messages(name=state["name"])[-1].content)}

        return StateGraph(Pair).add_node("greet", greet).add_edge(START, "greet")

    return build


def around(prompts: LivePrompts, between: Any, *, called: bool = False, **arguments: Any) -> Any:
    """A plain graph: a live graph, something else, another live graph."""
    apps = {key: live_graph(greeting_as(key), prompts=prompts).compile() for key in "ab"}
    graph = StateGraph(Pair)
    for key, app in apps.items():
        graph.add_node(key, (lambda state, app=app: app.invoke(state)) if called else app)
    graph.add_node("between", between)
    graph.add_edge(START, "a").add_edge("a", "between").add_edge("between", "b")
    return graph.compile(**arguments)


@pytest.mark.parametrize("called", [False, True])
@pytest.mark.parametrize("saver", [None, InMemorySaver()])
def test_a_plain_root_run_uses_one_release(
    prompts: LivePrompts, texts: dict[str, str], called: bool, saver: Any
) -> None:
    def between(state: Pair) -> Pair:
        texts["greeting"] = "user: Dear {name}"
        prompts.publish()
        return {}

    root = around(prompts, between, called=called, checkpointer=saver)
    config = thread(f"plain {called}")
    assert root.invoke({"name": "Ada"}, config) == {"name": "Ada", "a": "Hi Ada", "b": "Hi Ada"}
    assert root.invoke({"name": "Bob"}, config)["a"] == "Dear Bob"


async def test_an_async_root_run_and_a_batch_use_one_release_each(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    async def between(state: Pair) -> Pair:
        texts["greeting"] = f"user: Dear {state['name']} {{name}}"
        await asyncio.to_thread(prompts.publish)
        return {}

    root = around(prompts, between)
    assert await root.ainvoke({"name": "Ada"}) == {"name": "Ada", "a": "Hi Ada", "b": "Hi Ada"}
    found = await root.abatch([{"name": "1"}, {"name": "2"}])
    assert all(one["a"] == one["b"] for one in found)


def test_live_graphs_of_another_owner_inside_a_live_root_agree_too(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    def between(state: Pair) -> Pair:
        texts["greeting"] = "user: Dear {name}"
        prompts.publish()
        return {}

    inner = around(prompts, between)
    with LivePrompts({"other": "user: x"}, environment="test") as others:
        root = live_graph(lambda release: inner.builder, prompts=others).compile()
        assert root.invoke({"name": "Ada"}) == {"name": "Ada", "a": "Hi Ada", "b": "Hi Ada"}


def asking(state: Pair) -> Pair:
    interrupt("?")
    return {}


def test_a_root_run_that_resumes_keeps_its_release(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    root = around(prompts, asking, checkpointer=InMemorySaver())
    root.invoke({"name": "Ada"}, thread("1"))
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    assert root.invoke(Command(resume=1), thread("1"))["b"] == "Hi Ada"
    # A new input is a new run.
    root.invoke({"name": "Bob"}, thread("1"))
    assert root.invoke(Command(resume=1), thread("1")) == {
        "name": "Bob",
        "a": "Dear Bob",
        "b": "Dear Bob",
    }


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_root_run_that_resumes_after_a_restart_keeps_its_release(
    tmp_path: Path, is_async: bool
) -> None:
    (tmp_path / "prompts").mkdir()
    greeting = tmp_path / "prompts" / "greeting.yaml"
    greeting.write_text("user: Hi {name}")
    saver = CountingSaver()

    def started() -> LivePrompts:
        return LivePrompts(tmp_path / "prompts", store=tmp_path / "store", watch=False)

    with started() as prompts:
        around(prompts, asking, checkpointer=saver).invoke({"name": "Ada"}, thread("1"))
    greeting.write_text("user: Dear {name}")
    roots._runs.clear()
    roots._threads.clear()
    with started() as prompts:
        root = around(prompts, asking, checkpointer=saver)
        listed = saver.lists
        if is_async:
            found = await root.ainvoke(Command(resume=1), thread("1"))
        else:
            found = root.invoke(Command(resume=1), thread("1"))
        assert found["b"] == "Hi Ada"
        assert saver.lists - listed == 1
        assert root.invoke({"name": "Bob"}, thread("2"))["a"] == "Dear Bob"
        assert saver.lists - listed == 2


class CountingSaver(InMemorySaver):
    lists = 0

    def list(self, *args: Any, **named: Any) -> Any:
        self.lists += 1
        return super().list(*args, **named)


def test_a_fork_of_a_root_run_uses_the_release_of_that_run(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    root = around(prompts, asking, checkpointer=InMemorySaver())
    root.invoke({"name": "Ada"}, thread("1"))
    waiting = root.get_state(thread("1")).config
    root.invoke(Command(resume=1), thread("1"))
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    root.invoke({"name": "Bob"}, thread("1"))
    assert root.invoke(Command(resume=1), thread("1"))["b"] == "Dear Bob"
    assert root.invoke(Command(resume=1), waiting)["b"] == "Hi Ada"


def test_what_was_chosen_goes_before_the_run_around_it(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    old = prompts.release.id
    texts["greeting"] = "user: Dear {name}"
    prompts.publish()
    app = live_graph(greeting_as("a"), prompts=prompts).compile()
    other = live_graph(greeting_as("b"), prompts=prompts).compile().on(old)
    root = StateGraph(Pair).add_node("a", app).add_node("b", other)
    root.add_edge(START, "a").add_edge("a", "b")
    assert root.compile().invoke({"name": "Ada"}) == {"name": "Ada", "a": "Dear Ada", "b": "Hi Ada"}


def test_no_root_run_keeps_its_prompts_alive_or_grows_without_bound(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "KEPT", 3)
    roots._runs.clear()
    root = around(prompts, lambda state: {}, checkpointer=InMemorySaver())
    for number in range(9):
        root.invoke({"name": "Ada"}, thread(str(number)))
    assert len(roots._runs) <= 3
    assert all(len(threads) <= 3 for threads in roots._threads.values())


# -- output models ---------------------------------------------------------------------------------

SCHEMA = """\
user: Sort {text}
schema:
  name: Triage
  fields:
    urgent: {type: bool, description: whether it is}
"""
JSON_SCHEMA = """\
user: Sort {text}
output_schema:
  type: object
  properties: {score: {type: number}}
  required: [score]
"""


def test_a_prompts_schema_is_a_pydantic_class(tmp_path: Path) -> None:
    files = {"triage": SCHEMA, "deep/rate_it": JSON_SCHEMA, "plain": "user: Hi"}
    with LivePrompts(files, environment="test") as prompts:
        triage = prompts["triage"].output_model
        assert triage is not None
        assert triage is prompts["triage"].output_model
        assert triage(urgent=True).urgent is True
        rated = prompts["deep/rate_it"].output_model
        assert rated is not None
        assert (rated.__name__, rated(score=0.5).score) == ("RateItOutput", 0.5)
        assert prompts["plain"].output_model is None


def test_a_schema_that_cannot_be_built_is_refused_with_plain_langgraph_too() -> None:
    files = {"triage": SCHEMA}
    with LivePrompts(files, environment="test") as prompts:
        good = prompts.release
        live_graph(lambda release: greeter(release), prompts=prompts).compile()
        files["triage"] = SCHEMA.replace("bool", "truth")
        outcome = prompts.publish()
        assert (outcome.status, outcome.errors[0].code) == ("rejected", "schema")
        assert prompts.release is good
    broken = Prompt("triage", files["triage"].encode())
    with pytest.raises(PromptRenderError, match="triage"):
        _ = broken.output_model


# -- optional variables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'Hi {{ name }}{{ tone | default("!") }}',
        "Hi {{ name }}{{ tone | d('!') }}",
        "Hi {{ name }}{% if tone is defined %}{{ tone }}{% else %}!{% endif %}",
        "Hi {{ name }}{{ '!' if tone is undefined else tone }}",
        "Hi {{ name }}{% if tone is not defined or not tone %}!{% endif %}",
    ],
)
def test_what_a_message_can_do_without_is_optional(text: str) -> None:
    prompt = Prompt("greeting", f"user: {json.dumps(text)}".encode())
    assert prompt.optional == {"tone"}
    assert prompt.variables == {"name", "tone"}
    assert prompt.messages(name="Ada")[-1].content == "Hi Ada!"
    with pytest.raises(PromptRenderError, match="name"):
        prompt.messages(tone="?")


def test_what_another_message_needs_is_not_optional() -> None:
    prompt = Prompt("p", b"system: 'Be {tone}.'\nuser: '{{ tone | default(1) }}'\n")
    assert prompt.optional == frozenset()
    with pytest.raises(PromptRenderError, match="tone"):
        prompt.messages()


def test_with_yamlgraph_they_are_needed_and_a_hint_says_so(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "p.yaml").write_text("user: \"{{ a }} {{ tone | default('x') }}\"\n")
    (tmp_path / "graph.yaml").write_text(
        "name: g\nversion: '1.0'\nprompts_dir: prompts\nprompts_relative: true\n"
        "state: {out: str, a: str}\n"
        "nodes:\n  n: {type: llm, prompt: p, variables: {a: '{state.a}'}, state_key: out}\n"
        "edges: [{from: START, to: n}, {from: n, to: END}]\n"
    )
    with pytest.raises(PromptsRejected, match="YAMLGraph needs each variable") as refused:
        load_and_compile(tmp_path / "graph.yaml", tmp_path / "prompts", watch=False)
    assert "missing-variable" in str(refused.value)


# -- what the code asks for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"greeting": "user: Hi {name} {surname}"}, "missing-variable"),
        ({"greting": "user: Hi {name}"}, "missing-prompt"),
    ],
)
def test_news_that_the_declared_calls_cannot_use_is_refused(
    prompts: LivePrompts, texts: dict[str, str], change: dict[str, str], code: str
) -> None:
    live_graph(greeter, prompts=prompts, uses={"greeting": ["name"]}).compile()
    texts.clear()
    texts.update(change)
    outcome = prompts.publish()
    assert (outcome.status, [f.code for f in outcome.errors]) == ("rejected", [code])
    assert "greeter" in outcome.errors[0].message


def test_a_declared_prompt_that_is_not_there_stops_the_load(prompts: LivePrompts) -> None:
    with pytest.raises(PromptsRejected, match=r"other.*does not exist"):
        live_graph(greeter, prompts=prompts, uses={"other": []})


@pytest.mark.parametrize("uses", [{"greeting": "name"}, {1: ["name"]}])
def test_uses_of_another_form_is_a_type_error(prompts: LivePrompts, uses: Any) -> None:
    with pytest.raises(TypeError, match=r"uses=\{"):
        live_graph(greeter, prompts=prompts, uses=uses)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"greeting": "user: Hi {name} {surname}"}, "missing-variable"),
        ({"greting": "user: Hi {name}"}, "missing-prompt"),
    ],
)
def test_what_runs_were_seen_to_ask_for_is_evidence_for_news_only(
    prompts: LivePrompts, texts: dict[str, str], change: dict[str, str], code: str
) -> None:
    app = live_graph(greeter, prompts=prompts).compile()
    first = prompts.release.id
    texts.clear()
    texts.update(change)
    assert prompts.publish().status == "published"  # nothing has run yet
    second = prompts.release.id
    prompts.activate(first)
    prompts.follow()
    texts.clear()
    texts["greeting"] = "user: Hi {name}"
    prompts.publish()
    assert app.invoke({"name": "Ada"})["text"] == "Hi Ada"
    assert dict(prompts.health.asked) == {"greeting": ("name",)}
    texts.clear()
    texts.update(change)
    outcome = prompts.publish()
    assert (outcome.status, [f.code for f in outcome.errors]) == ("rejected", [code])
    assert "Runs of this process" in str(outcome.errors[0].hint)
    # An operator's order is not refused by it, so that replicas with other traffic do not split.
    outcome = prompts.activate(second)
    assert outcome.status == "published"
    assert code in [f.code for f in outcome.warnings]


def test_what_a_refused_build_asked_for_is_no_evidence(
    prompts: LivePrompts, texts: dict[str, str]
) -> None:
    def build(release: Release) -> StateGraph[Any, Any, Any, Any]:
        if "extra" in release and release["extra"].messages(tone="kind"):
            raise RuntimeError("it does not fit")
        return greeter(release)

    app = live_graph(build, prompts=prompts).compile()
    texts["extra"] = "user: Be {tone}"
    assert prompts.publish().status == "rejected"
    assert dict(prompts.health.asked) == {}
    del texts["extra"]
    texts["greeting"] = "user: Ho {name}"
    assert prompts.publish().status == "published"
    assert app.invoke({"name": "Ada"})["text"] == "Ho Ada"


def test_a_call_that_failed_is_no_evidence(prompts: LivePrompts, texts: dict[str, str]) -> None:
    app = live_graph(greeter, prompts=prompts).compile()
    texts["greeting"] = "user: Hi {name} {surname}"
    prompts.publish()
    with pytest.raises(PromptRenderError):
        app.invoke({"name": "Ada"})
    texts["greeting"] = "user: Hi {name} {other}"
    assert prompts.publish().status == "published"


def test_variables_that_only_some_calls_pass_are_passed() -> None:
    evidence = Evidence()
    release = evidence.observed(Release.of([Prompt("p", b"user: Hi")]))
    release["p"].messages(a=1)
    release["p"].messages(b=1)
    (use,) = evidence.uses("g")
    assert use.passes == {"a", "b"}


def test_an_observed_release_is_the_release() -> None:
    prompt = Prompt("p", b"user: Hi {name}", file="p.yaml")
    release = Release.of([prompt])
    seen = Evidence().observed(release)
    assert seen.id == release.id
    assert seen["p"] == prompt
    assert hash(seen["p"]) == hash(prompt)
    assert seen["p"].template is prompt.template
    assert (seen["p"].name, seen["p"].file, seen["p"].variables) == ("p", "p.yaml", {"name"})
    with pytest.raises(PromptNotFound):
        seen["q"]


# -- a layer that was emptied ----------------------------------------------------------------------


def test_a_folder_that_lost_its_prompts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("user: Hi")
    with LivePrompts(tmp_path, store=tmp_path / ".store", watch=False) as prompts:
        (tmp_path / "p.yaml").rename(tmp_path / ".p.yaml")
        outcome = prompts.publish()
        assert (outcome.status, outcome.errors[0].code) == ("rejected", "emptied-layer")
        assert "p" in prompts.release
        (tmp_path / "q.yaml").write_text("user: Hi")
        assert prompts.publish().status == "published"


def test_an_overlay_that_lost_its_prompts_is_refused(tmp_path: Path) -> None:
    for folder in ("over", "base"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.yaml").write_text(f"user: {folder}")
    layers = (tmp_path / "over", tmp_path / "base")
    with LivePrompts(*layers, store=tmp_path / "store", watch=False) as prompts:
        (tmp_path / "over" / "p.yaml").unlink()
        (tmp_path / "over" / "vars.yaml").write_text("a: 1")
        outcome = prompts.publish()
        assert (outcome.status, outcome.errors[0].code) == ("rejected", "emptied-layer")
        assert str(tmp_path / "over") in outcome.errors[0].message


@pytest.mark.parametrize("allowed", [{"allow_empty": True}, {"optional": True}])
def test_a_layer_may_be_empty_where_it_is_allowed(tmp_path: Path, allowed: Any) -> None:
    (tmp_path / "p.yaml").write_text("user: Hi")
    layer = Layer(tmp_path, **allowed)
    with LivePrompts(layer, store=tmp_path / ".store", watch=False) as prompts:
        (tmp_path / "p.yaml").unlink()
        assert prompts.publish().status == "published"
        assert len(prompts.release) == 0
