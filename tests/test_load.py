"""The drop-ins: where prompts come from when one import is changed, and what is said about it."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yamlgraph
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import MemorySaver
from langgraph.types import Command

from tests.conftest import run_in, wait_until
from tests.files import Heard, codes, says, write
from tests.model_server import ModelServer
from yamlgraph_prompts import (
    GraphChanged,
    GraphNotFound,
    Layer,
    LiveGraph,
    LivePrompts,
    Outcome,
    PromptNotFound,
    PromptRenderError,
    PromptsRejected,
    live_graph,
    load_and_compile,
    load_and_compile_async,
)
from yamlgraph_prompts._publishing import builds

GRAPH = """
name: hello
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting, variables: {name: "{state.name}"}}
  close: {type: llm, prompt: letters/bye, state_key: bye, variables: {name: "{state.name}"}}
edges:
  - {from: START, to: greet}
  - {from: greet, to: close}
  - {from: close, to: END}
"""


@pytest.fixture
def project(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    folder = write(
        tmp_path / "project",
        {
            "graph.yaml": GRAPH,
            "prompts/greeting.yaml": "user: own {name}",
            "prompts/letters/bye.yaml": "user: own bye {name}",
        },
    )
    stand_in(folder)
    return folder


def load(*args: Any, **options: Any) -> LiveGraph:
    return load_and_compile(*args, watch=False, **options).compile()


def findings(app: LiveGraph) -> list[tuple[str, str, str | None]]:
    found = app.prompts.publish().findings
    return [(finding.severity, finding.code, finding.prompt) for finding in found]


# Whose prompts


def test_without_layers_the_graphs_own_prompts_are_the_release(project: Path) -> None:
    app = load("graph.yaml")
    assert sorted(app.release) == ["greeting", "letters/bye"]
    assert app.release["greeting"].user == "own {name}"
    assert findings(app) == []


def test_a_list_of_roles_is_refused_by_the_run_in_yamlgraphs_words(
    project: Path, model_server: ModelServer
) -> None:
    (project / "prompts/greeting.yaml").write_text("messages:\n  - {role: user, content: Hi}\n")
    with pytest.raises(ValueError, match="role list") as alone:
        yamlgraph.load_and_compile("graph.yaml").compile().invoke({"name": "Ada"})
    with pytest.raises(PromptRenderError) as ours:
        load("graph.yaml").invoke({"name": "Ada"})
    assert str(ours.value) == str(alone.value)


def test_a_childs_own_prompts_have_names_of_their_own(
    graph_folder: Callable[..., Path],
) -> None:
    graph_folder("subgraphs")
    app = load("graph.yaml")
    assert {"prepare", "finish", "invoked/graph:same", "direct/graph:same"} <= set(app.release)
    assert "same" not in app.release


def test_with_layers_the_graphs_own_prompts_are_the_last_resort_with_a_warning(
    project: Path,
) -> None:
    write(project, {"over/greeting.yaml": "user: over {name}"})
    app = load("graph.yaml", "over")
    assert sorted(app.release) == ["greeting"]
    assert findings(app) == [("warning", "own-prompt", "letters/bye")]


def test_a_layers_prompt_serves_its_name_in_parent_and_child_alike(
    graph_folder: Callable[..., Path], model_server: Any
) -> None:
    folder = graph_folder("subgraphs")
    write(folder, {"over/same.yaml": "user: one for all"})
    load("graph.yaml", "over").invoke({"topic": "t"})
    texts = [request.text for request in model_server.requests]
    assert texts.count("one for all") == 4


def test_a_misspelt_overlay_is_loud_and_says_what_was_meant(project: Path) -> None:
    write(project, {"over/greting.yaml": "user: over {name}"})
    outcome = load("graph.yaml", "over").prompts.publish()
    (unused,) = [finding for finding in outcome.findings if finding.code == "unused-prompt"]
    assert unused.prompt == "greting"
    assert "'greeting'" in str(unused)


def test_a_prompt_that_is_nowhere_is_an_error_that_lists_every_place(project: Path) -> None:
    write(project, {"over/x.yaml": "user: x"})
    (project / "prompts/letters/bye.yaml").unlink()
    with pytest.raises(PromptsRejected) as caught:
        load("graph.yaml", ["over", Layer("more", optional=True)])
    (error,) = caught.value.outcome.errors
    assert (error.code, error.prompt) == ("missing-prompt", "letters/bye")
    for place in ("over/letters/bye.yaml", "more/letters/bye.yaml", "prompts/letters/bye.yaml"):
        assert place in str(error)


def test_a_mapping_is_a_layer_too(project: Path) -> None:
    app = load("graph.yaml", {"greeting": "user: in memory {name}"})
    assert app.release["greeting"].layer == "memory:"


def test_a_broken_prompt_that_no_graph_uses_is_a_warning(project: Path) -> None:
    write(
        project, {"over/draft.yaml": "user: '{{ unclosed'", "over/greeting.yaml": "user: x {name}"}
    )
    outcome = load("graph.yaml", "over").prompts.publish()
    assert outcome.status == "unchanged"
    assert {f.severity for f in outcome.findings if f.prompt == "draft"} == {"warning"}


def test_a_broken_template_that_no_graph_uses_is_a_warning(project: Path) -> None:
    write(project, {"over/draft.yaml.j2": "user: {{ nobody }}"})
    outcome = load("graph.yaml", "over").prompts.publish()
    assert outcome.status == "unchanged"
    assert {f.severity for f in outcome.findings} == {"warning"}
    write(project, {"over/greeting.yaml.j2": "user: {{ nobody }}"})
    outcome = load("graph.yaml", "over").prompts.publish()
    assert outcome.status == "rejected"


def test_a_file_that_cannot_be_read_rejects_where_its_prompt_is_used(project: Path) -> None:
    write(project, {"over/greeting.yaml": b"user: x".ljust((1 << 20) + 1)})
    with pytest.raises(PromptsRejected) as caught:
        load("graph.yaml", "over")
    assert codes(caught.value.outcome) == ["too-large"]


def test_a_missing_graph_says_so(project: Path) -> None:
    with pytest.raises(GraphNotFound, match=r"none\.yaml") as caught:
        load("none.yaml")
    assert isinstance(caught.value, FileNotFoundError)
    with LivePrompts({}, watch=False) as prompts, pytest.raises(GraphNotFound):
        load_and_compile("none.yaml", prompts=prompts)


@pytest.mark.parametrize(
    "text", ["", "[]", "just words", "nodes: [", "name: x\nnodes: {}\nedges: []"]
)
def test_a_graph_that_is_none_is_rejected_with_its_file(project: Path, text: str) -> None:
    write(project, {"graph.yaml": text})
    with pytest.raises(PromptsRejected) as caught:
        load("graph.yaml")
    assert {(f.code, f.file) for f in caught.value.outcome.errors} == {("graph", "graph.yaml")}


def test_prompts_together_with_layers_or_an_environment_is_a_type_error(project: Path) -> None:
    with LivePrompts({"greeting": "user: x"}) as prompts:
        for options in (
            {"prompts_dir": "prompts"},
            {"environment": "staging"},
            {"prompts_dir": []},
        ):
            with pytest.raises(TypeError, match="prompts="):
                load_and_compile("graph.yaml", prompts=prompts, **options)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="prompts="):
            live_graph(says("greeting"), "prompts", prompts=prompts)
    with pytest.raises(TypeError, match="layer"):
        live_graph(says("greeting"))


# Sharing


def test_equal_load_calls_share_one_live_prompts(project: Path, tmp_path: Path) -> None:
    one, two = load("graph.yaml", "prompts"), load("graph.yaml", ["prompts"])
    assert one.prompts is two.prompts
    assert load("graph.yaml", Path("prompts")).prompts is one.prompts
    for other in (
        load("graph.yaml", "prompts", environment="staging"),
        load("graph.yaml", [Layer("prompts", optional=True)]),
        load("graph.yaml", ["prompts", "prompts"]),
        load("graph.yaml"),
        load_and_compile("graph.yaml", "prompts").compile(),
    ):
        assert other.prompts is not one.prompts


def test_a_closed_live_prompts_is_not_shared(project: Path) -> None:
    one = load("graph.yaml", "prompts")
    one.prompts.close()
    two = load("graph.yaml", "prompts")
    assert two.prompts is not one.prompts
    assert two.prompts.publish().status == "unchanged"


def test_a_live_prompts_lives_as_long_as_a_graph_uses_it(project: Path) -> None:
    app = load("graph.yaml", "prompts")
    gc.collect()
    assert load("graph.yaml", "prompts").prompts is app.prompts


def test_two_graphs_may_share_a_live_prompts_with_layers(project: Path) -> None:
    write(project, {"other.yaml": GRAPH.replace("hello", "other")})
    heard = Heard()
    with LivePrompts("prompts", watch=False, hooks=[heard]) as prompts:
        apps = [load(name, prompts=prompts) for name in ("graph.yaml", "other.yaml")]
        write(project, {"prompts/greeting.yaml": "user: new {name}"})
        prompts.publish()
        assert len(heard.outcomes("published")) == 2
        assert {app.release.id for app in apps} == {prompts.release.id}


def test_two_graphs_that_bring_different_prompts_of_one_name_cannot_share(
    project: Path,
) -> None:
    other = GRAPH + "prompts_dir: texts\n"
    write(project, {"other.yaml": other, "texts/greeting.yaml": "user: other {name}"})
    with LivePrompts(watch=False) as prompts:
        one = load("graph.yaml", prompts=prompts)
        with pytest.raises(PromptsRejected, match="greeting"):
            load("other.yaml", prompts=prompts)
        assert one.release["greeting"].user == "own {name}"
        assert prompts.publish().status == "unchanged"


def test_a_graph_may_be_loaded_for_each_request(project: Path) -> None:
    kept = load("graph.yaml", "prompts")
    for _ in range(30):
        assert load("graph.yaml", "prompts").prompts is kept.prompts
    gc.collect()
    assert len(kept.prompts._attached()) <= 2
    assert len(kept.prompts._engine.live.builds) <= 2


# What reaches the model


def test_vars_partials_and_prompts_reach_the_model(project: Path, model_server: Any) -> None:
    write(
        project,
        {
            "over/greeting.yaml.j2": 'user: "{{ company }} {% include "sign.j2" %} {name}"',
            "over/sign.j2": "says hi to",
            "over/vars.yaml": "company: Acme",
        },
    )
    app = load("graph.yaml", "over")
    app.invoke({"name": "Ada"})
    assert model_server.requests[0].text == "Acme says hi to Ada"


def test_the_run_carries_its_release_and_its_graph_revision(
    project: Path, model_server: Any
) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    app = load_and_compile("graph.yaml", watch=False).compile(checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "t"}}
    app.invoke({"name": "Ada"}, config)
    metadata = app.get_state(config).metadata
    assert metadata["prompts_release"] == app.release.id
    assert len(metadata["prompts_graph"]) == 64


def revision(app: LiveGraph) -> str:
    (found,) = app.prompts._engine.live.candidate.state.graphs.values()
    return str(found)


def test_an_edit_of_the_graph_moves_the_revision_and_not_the_release(
    project: Path, model_server: Any
) -> None:
    app = load("graph.yaml", "prompts")
    release, before = app.release.id, revision(app)
    write(project, {"graph.yaml": GRAPH.replace("bye: {name: ", "bye: {name: ") + "# note\n"})
    assert app.prompts.publish().status == "published"
    assert app.release.id == release
    assert revision(app) != before
    write(
        project,
        {
            "graph.yaml": GRAPH.replace("to: END", "to: greet_again").replace(
                "edges:", "  greet_again: {type: llm, prompt: greeting, state_key: again}\nedges:"
            )
            + "  - {from: greet_again, to: END}\n"
        },
    )
    assert app.prompts.publish().status == "published"
    app.invoke({"name": "Ada"})
    assert len(model_server.requests) == 3


def test_an_edit_of_a_child_graph_publishes(
    graph_folder: Callable[..., Path], model_server: Any
) -> None:
    folder = graph_folder("subgraphs")
    app = load("graph.yaml")
    child = folder / "deeper/graph.yaml"
    child.write_text(child.read_text() + "# note\n")
    release = app.release.id
    assert app.prompts.publish().status == "published"
    assert app.release.id == release


def test_a_graph_that_is_broken_for_a_while_is_told_and_comes_back(project: Path) -> None:
    app = load("graph.yaml", "prompts")
    write(project, {"graph.yaml": "nodes: ["})
    outcome = app.prompts.publish()
    assert (outcome.status, set(codes(outcome))) == ("rejected", {"graph"})
    (project / "graph.yaml").unlink()
    outcome = app.prompts.publish()
    assert (outcome.status, set(codes(outcome))) == ("rejected", {"graph"})
    write(project, {"graph.yaml": GRAPH})
    assert app.prompts.publish().status == "unchanged"


def test_the_code_of_a_tool_is_a_part_of_the_graph(project: Path, model_server: Any) -> None:
    tools = "tools:\n  shout: {type: python, path: shout.py, function: shout}\nnodes:\n"
    node = "  loud: {type: python, tool: shout, state_key: loud}\n"
    graph = GRAPH.replace("nodes:\n", tools + node).replace(
        "START, to: greet", "START, to: loud}\n  - {from: loud, to: greet"
    )

    def shouts(word: str) -> None:
        write(project, {"shout.py": f"def shout(state): return {{'loud': {word}}}"})

    write(project, {"graph.yaml": graph})
    shouts("'one'")
    app = load("graph.yaml")
    release = app.release.id
    assert app.invoke({"name": "Ada"})["loud"] == "one"
    # Another length: Python tells bytecode that is stale by the size and the second of the change.
    shouts("'second'")
    assert app.prompts.publish().status == "published"
    assert app.invoke({"name": "Ada"})["loud"] == "second"
    assert app.release.id == release
    shouts("'one'")
    app.prompts.publish()
    assert app.invoke({"name": "Ada"})["loud"] == "one"
    write(project, {"shout.py": "def shout(state:", "prompts/greeting.yaml": "user: news"})
    assert app.prompts.publish().status == "rejected"
    shouts("'three'")
    assert project / "shout.py" in app.prompts._attached()[0].watched()
    assert app.prompts.publish().status == "published"
    assert (app.release["greeting"].user, app.invoke({"name": ""})["loud"]) == ("news", "three")


def test_what_is_said_of_a_kept_release_is_not_taken_for_what_the_layers_hold(
    project: Path,
) -> None:
    (project / "prompts").rename(project / "texts")
    app = load("graph.yaml", "texts")
    held = app.release.id
    app.prompts.activate(held)
    # In one commit, as they belong together; the held release has no such prompt.
    (project / "texts/greeting.yaml").rename(project / "texts/welcome.yaml")
    write(project, {"graph.yaml": GRAPH.replace("prompt: greeting", "prompt: welcome")})
    (told,) = app.prompts.publish().errors
    assert (told.code, told.prompt) == ("missing-prompt", "welcome")
    assert f"This is about release {held[:12]}; the layers may hold" in (told.hint or "")
    outcome = app.prompts.follow()
    assert (outcome.status, outcome.findings) == ("published", ())
    (again,) = app.prompts.rollback().errors
    assert f"This is about release {held[:12]};" in (again.hint or "")


def test_a_child_that_learns_to_interrupt_is_noticed(
    graph_folder: Callable[..., Path],
) -> None:
    folder = graph_folder("subgraphs")
    app = load("graph.yaml")
    (graph,) = app.prompts._attached()
    assert not any(one.relays for one in graph._reader._known.values())
    child = folder / "invoked/graph.yaml"
    text = child.read_text().replace(
        "nodes:\n", "nodes:\n  ask: {type: interrupt, message: Well, resume_key: answer}\n"
    )
    child.write_text(text.replace("to: same}", "to: ask}\n  - {from: ask, to: same}"))
    assert app.prompts.publish().status == "published"
    assert any(one.relays for one in graph._reader._known.values())


WAITING = """
name: waiting
prompts_relative: true
prompts_dir: prompts
state: {name: str, greeting: str, bye: str}
nodes:
  ask: {type: interrupt, message: Well?, resume_key: answer}
  child: {type: subgraph, graph: child/graph.yaml, input_mapping: {name: name},
          output_mapping: {greeting: greeting, bye: bye}}
edges:
  - {from: START, to: ask}
  - {from: ask, to: child}
  - {from: child, to: END}
"""


def worktree(root: Path, number: int, graph: str = WAITING, child: str = GRAPH) -> None:
    """As git-sync brings a commit: a folder of its own, one link to it, the last one removed."""
    commit = root / f"worktrees/{number}"
    write(
        commit,
        {
            "graph.yaml": f"{graph}# {number}",
            "child/graph.yaml": f"{child}prompts_relative: true\nprompts_dir: prompts\n",
            "child/prompts/greeting.yaml": f"user: greeting {number}",
            "child/prompts/letters/bye.yaml": "user: bye",
        },
    )
    (root / "new").symlink_to(f"worktrees/{number}")
    os.replace(root / "new", root / "current")
    shutil.rmtree(root / f"worktrees/{number - 1}", ignore_errors=True)


@pytest.fixture
def waiting(
    project: Path, model_server: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Any]:
    """Resumes a run that waits since commit 1, at commit 4, which has this graph."""
    monkeypatch.setattr(builds, "KEEP_BUILDS", 1)
    worktree(project, 1)
    app = load_and_compile("current/graph.yaml", watch=False).compile(checkpointer=MemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    assert "__interrupt__" in app.invoke({"name": "Ada"}, config)

    def resume(graph: str) -> Any:
        for number in (2, 3, 4):
            worktree(project, number, graph)
            assert app.prompts.publish().status == "published"
        return app.invoke(Command(resume="so"), config)

    return resume


def test_a_run_outlives_the_commit_that_it_began_on(
    waiting: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert waiting(WAITING)["greeting"] == "echo: greeting 1"
    (told,) = [r for r in caplog.records if "can no longer be built" in r.message]
    assert "child/graph.yaml" in told.message


@pytest.mark.parametrize("refused", [False, True])
def test_a_run_outlives_a_commit_that_is_not_live_or_never_will_be(
    refused: bool, project: Path, model_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "KEEP_BUILDS", 1)
    worktree(project, 1)
    app = load_and_compile("current/graph.yaml", watch=False).compile(checkpointer=MemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    app.invoke({"name": "Ada"}, config)
    worktree(project, 2)
    assert app.prompts.publish().status == "published"
    # What commit 2 was built from goes away before commit 3 is live.
    worktree(project, 3)
    if refused:
        write(project / "current", {"child/prompts/greeting.yaml": "user: '{{ name.__class__ }}'"})
        assert app.prompts.publish().status == "rejected"
    assert app.get_state(config).next == ("ask",)
    assert app.invoke(Command(resume="so"), config)["greeting"] == "echo: greeting 1"


def test_an_answer_whose_node_went_with_the_commit_is_not_lost(
    waiting: Callable[[str], Any],
) -> None:
    with pytest.raises(GraphChanged, match="ask"):
        waiting(WAITING.replace("ask", "inquire"))


def test_a_child_that_waits_outlives_the_commit_that_it_began_on(
    project: Path, model_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "KEEP_BUILDS", 1)
    asking = GRAPH.replace("{name: str}", "{name: str, bye: str}").replace(
        "{type: llm, prompt: letters/bye, state_key: bye,",
        "{type: interrupt, message: Well?, resume_key: bye,",
    )
    worktree(project, 1, child=asking)
    app = load_and_compile("current/graph.yaml", watch=False).compile(checkpointer=MemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}
    app.invoke({"name": "Ada"}, config)
    app.invoke(Command(resume="so"), config)
    for number in (2, 3, 4):
        worktree(project, number, child=asking)
        assert app.prompts.publish().status == "published"
    said = app.invoke(Command(resume="bye now"), config)
    assert (said["greeting"], said["bye"]) == ("echo: greeting 1", "bye now")
    assert len(model_server.requests) == 1


@pytest.mark.parametrize("layers", [(), ("prompts",)])
def test_a_run_does_not_read_past_its_release_what_only_todays_graph_asks_for(
    layers: tuple[str, ...], project: Path, model_server: Any
) -> None:
    asking = GRAPH.replace("nodes:", "nodes:\n  ask: {type: interrupt, message: Well?}").replace(
        "START, to: greet", "START, to: ask}\n  - {from: ask, to: greet"
    )
    write(project, {"graph.yaml": asking})
    saver = MemorySaver()
    config: Any = {"configurable": {"thread_id": "1"}}
    before = load_and_compile("graph.yaml", *layers, watch=False).compile(checkpointer=saver)
    before.invoke({"name": "Ada"}, config)
    before.prompts.close()  # a restart, with another graph
    write(project, {"graph.yaml": asking.replace("letters/bye", "letters/new")})
    write(project, {"prompts/letters/new.yaml": "user: new {name}"})
    today = load_and_compile("graph.yaml", *layers, watch=False).compile(checkpointer=saver)
    with pytest.raises(PromptNotFound, match="release has no prompt 'letters/new'"):
        today.invoke(Command(resume="so"), config)
    assert model_server.texts() == ["own Ada"]


def test_a_refused_prompt_that_is_not_in_the_last_good_release_is_not_read_at_all(
    project: Path, model_server: Any
) -> None:
    load("graph.yaml").prompts.close()
    write(project, {"graph.yaml": GRAPH.replace("letters/bye", "letters/new")})
    write(project, {"prompts/letters/new.yaml": "user: '{{ name.__class__ }}'"})
    with pytest.raises(PromptNotFound, match="release has no prompt 'letters/new'"):
        load("graph.yaml").invoke({"name": "Ada"})
    assert model_server.texts() == ["own Ada"]


# Asynchronously


async def test_the_async_drop_in_fills_yamlgraphs_cache(project: Path) -> None:
    from yamlgraph.graph_cache import GRAPH_CACHE

    app = await load_and_compile_async("graph.yaml", watch=False)
    assert GRAPH_CACHE["graph.yaml"] is app
    assert await load_and_compile_async("graph.yaml", watch=False) is app
    assert await load_and_compile_async("graph.yaml", "prompts", watch=False) is not app


async def test_requests_that_load_at_once_share_one_graph_and_its_checkpointer(
    graph_folder: Callable[..., Path],
) -> None:
    graph_folder("interrupt")
    config = RunnableConfig(configurable={"thread_id": "1"})

    async def request() -> LiveGraph:
        return await load_and_compile_async("graph.yaml", watch=False)

    first, *others = await asyncio.gather(*(request() for _ in range(8)))
    assert all(other is first for other in others)
    await first.ainvoke({}, config)
    # Whoever answers later loads it again, and must find the thread.
    await (await request()).ainvoke(Command(resume="Ada"), config)
    assert (await first.aget_state(config)).values["name"] == "Ada"


async def test_a_load_that_fails_does_not_stand_in_the_way_of_the_next(project: Path) -> None:
    (project / "graph.yaml").rename(project / "later.yaml")
    loads = (load_and_compile_async("graph.yaml", watch=False) for _ in range(3))
    failed = await asyncio.gather(*loads, return_exceptions=True)
    assert [type(each) for each in failed] == [GraphNotFound] * 3
    (project / "later.yaml").rename(project / "graph.yaml")
    assert isinstance(await load_and_compile_async("graph.yaml", watch=False), LiveGraph)


async def test_the_async_drop_in_may_keep_its_hands_off_every_cache(project: Path) -> None:
    from yamlgraph.graph_cache import GRAPH_CACHE

    one = await load_and_compile_async("graph.yaml", cache=None, watch=False)
    two = await load_and_compile_async("graph.yaml", cache=None, watch=False)
    assert one is not two
    assert dict(GRAPH_CACHE) == {}
    own: dict[str, Any] = {}
    three = await load_and_compile_async("graph.yaml", cache=own, watch=False)
    assert own == {"graph.yaml": three}


# Plain LangGraph


def test_a_plain_graph_is_built_anew_for_every_release(tmp_path: Path) -> None:
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    app = live_graph(says("a"), folder, watch=False).compile()
    assert isinstance(app, LiveGraph)
    assert app.invoke({}) == {"said": ["one"]}
    write(folder, {"a.yaml": "user: two"})
    assert app.prompts.publish().status == "published"
    assert app.invoke({}) == {"said": ["two"]}


def test_plain_graphs_share_too(tmp_path: Path) -> None:
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    one = live_graph(says("a"), folder, watch=False).compile()
    assert live_graph(says("a"), str(folder), watch=False).compile().prompts is one.prompts


def test_a_plain_graph_with_prompts_in_memory_needs_no_thread() -> None:
    before = threading.active_count()
    assert live_graph(says("a"), {"a": "user: one"}).compile().invoke({}) == {"said": ["one"]}
    assert threading.active_count() == before


# Threads


def ours() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("yamlgraph-prompts")]


def test_loading_and_compiling_starts_no_thread_and_the_first_run_does(
    project: Path, model_server: Any
) -> None:
    before = ours()
    app = load_and_compile("graph.yaml").compile()
    assert ours() == before
    app.invoke({"name": "Ada"})
    wait_until(lambda: len(ours()) > len(before))
    assert all(t.daemon for t in threading.enumerate() if t.name.startswith("yamlgraph-prompts"))
    app.prompts.close()
    wait_until(lambda: ours() == before)


def test_a_graph_that_nobody_uses_any_more_leaves_no_thread_and_no_descriptor(
    project: Path, model_server: Any
) -> None:
    before, descriptors = ours(), len(os.listdir("/proc/self/fd"))
    app = load_and_compile("graph.yaml", "prompts").compile()
    app.invoke({"name": "Ada"})
    wait_until(lambda: len(ours()) > len(before))
    del app
    gc.collect()
    wait_until(lambda: ours() == before)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 1)


@pytest.mark.slow
def test_a_process_that_follows_changes_ends_at_once(project: Path) -> None:
    out = run_in(
        project,
        "from yamlgraph_prompts import load_and_compile\n"
        "app = load_and_compile('graph.yaml', 'prompts').compile()\n"
        "app.release\n"
        "print('end')\n",
        timeout_s=60,
    )
    assert out == "end\n"


def test_an_outcome_is_public() -> None:
    assert Outcome("unchanged", None, (), 0.0).errors == ()


@pytest.mark.slow
def test_without_yamlgraph_a_load_says_the_command_that_installs_it(tmp_path: Path) -> None:
    write(tmp_path, {"graph.yaml": "nodes: {}\nedges: []\n"})
    script = (
        "import importlib.metadata as metadata, sys\n"
        "sys.modules['yamlgraph'] = None\n"
        "found = metadata.version\n"
        "def version(name):\n"
        "    if name == 'yamlgraph':\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return found(name)\n"
        "metadata.version = version\n"
        "from yamlgraph_prompts import MissingExtra, load_and_compile\n"
        "try:\n"
        "    load_and_compile('graph.yaml')\n"
        "except MissingExtra as problem:\n"
        "    print(problem)"
    )
    assert "pip install 'yamlgraph-prompts[yamlgraph]'" in run_in(tmp_path, script)
