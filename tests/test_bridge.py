"""The bridge builds graphs on a release's folder and touches nothing else of YAMLGraph."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any

import pytest
import yamlgraph
from yamlgraph.compile import graph_loader

from tests.conftest import ROOT, run_in
from tests.files import write
from tests.graphs.catalog import CATALOG, Entry
from yamlgraph_prompts import LivePrompts, PromptsRejected, UnsupportedYamlgraph, load_and_compile
from yamlgraph_prompts._files.regular_file import read_regular
from yamlgraph_prompts._yamlgraph_bridge import YamlGraph, adopt, known, peek
from yamlgraph_prompts._yamlgraph_bridge.facts import GraphReader

Folder = Callable[..., Path]


def reader(path: Path, *, bundled: bool = True) -> GraphReader:
    return GraphReader(path, "staging", bundled)


def nothing(name: str) -> bool:
    return False


# What a graph asks for


def test_the_root_comes_first_then_every_child(graph_folder: Folder) -> None:
    graph_folder("subgraphs")
    facts = reader(Path("graph.yaml")).read(nothing)
    assert [file.key for file in facts.files] == [
        "",
        "invoked/graph",
        "direct/graph",
        "deeper/graph",
    ]
    assert facts.findings == ()
    assert [use.prompt for use in facts.files[0].uses] == ["prepare", "finish"]


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_every_prompt_of_every_graph_is_found_where_yamlgraph_finds_it(
    entry: Entry, graph_folder: Folder
) -> None:
    path = graph_folder(entry.name) / entry.graph
    facts = reader(path).read(nothing)
    assert facts.findings == ()
    for file in facts.files:
        for use in file.uses:
            assert use.prompt in file.own, (file.file, use)


def test_what_the_layers_have_is_not_read_from_the_graphs_own_folder(
    graph_folder: Folder,
) -> None:
    graph_folder("chain")
    facts = reader(Path("graph.yaml"), bundled=False).read({"greet"}.__contains__)
    assert set(facts.files[0].own) == {"letters/close"}


def test_a_file_that_did_not_change_is_not_loaded_again(
    graph_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = graph_folder("subgraphs")
    reads = reader(folder / "graph.yaml")
    before = reads.read(nothing)
    again = reads.read(nothing)
    assert all(again.plan[path] is before.plan[path] for path in before.plan)
    child = folder / "direct/graph.yaml"
    child.write_text(child.read_text() + "# note\n")
    after = reads.read(nothing)
    assert after.plan[child] is not before.plan[child]
    assert after.plan[folder / "deeper/graph.yaml"] is before.plan[folder / "deeper/graph.yaml"]


@pytest.mark.parametrize("change", ["data/house.yaml", "data/pages/new.yaml"])
def test_a_data_file_that_changes_moves_the_graph(graph_folder: Folder, change: str) -> None:
    folder = graph_folder("loop")
    reads = reader(folder / "graph.yaml")
    before = reads.read(nothing).files[0].sha256
    write(folder, {change: "new: value"})
    assert reads.read(nothing).files[0].sha256 != before
    assert any((folder / change).is_relative_to(path) for path in reads.watched())


def test_a_file_that_changes_while_it_is_loaded_is_loaded_again(
    graph_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = graph_folder("chain")
    path = folder / "graph.yaml"
    reads = reader(path)
    real = graph_loader._resolve_state_class

    def slow(config: Any) -> Any:
        path.write_text(path.read_text().replace("prompt: greet", "prompt: letters/close"))
        return real(config)

    monkeypatch.setattr(graph_loader, "_resolve_state_class", slow)
    assert {use.prompt for use in reads.read(nothing).files[0].uses} == {"greet", "letters/close"}
    monkeypatch.setattr(graph_loader, "_resolve_state_class", real)
    assert {use.prompt for use in reads.read(nothing).files[0].uses} == {"letters/close"}


@pytest.mark.parametrize("swaps", [1, 1000])
@pytest.mark.parametrize("way", ["link", "configmap"])
def test_own_prompts_that_are_swapped_while_they_are_read_are_read_again_together(
    graph_folder: Folder, monkeypatch: pytest.MonkeyPatch, way: str, swaps: int
) -> None:
    folder = graph_folder("chain")
    prompts = folder / "prompts"
    editions = [folder / ("..old" if way == "configmap" else "old"), folder / "new"]
    tops = [path.name for path in prompts.iterdir()]
    names = [path.relative_to(prompts).as_posix() for path in prompts.rglob("*.yaml")]
    for edition in editions:
        write(edition, dict.fromkeys(names, f"user: {edition.name}"))
    rmtree(prompts)
    if way == "link":
        link = prompts
    else:
        prompts.mkdir()
        link = prompts / "..data"
        for top in tops:
            (prompts / top).symlink_to(f"..data/{top}")
    link.symlink_to(editions[0])
    reads = count(1)

    def swapping(path: Path, **options: Any) -> bytes:
        data = read_regular(path, **options)
        if path.is_relative_to(prompts) and next(reads) <= swaps:
            beside = folder / "beside"
            beside.symlink_to(editions[1])
            os.replace(beside, link)
            editions.reverse()
        return data

    monkeypatch.setattr("yamlgraph_prompts._yamlgraph_bridge.facts.read_regular", swapping)
    facts = reader(Path("graph.yaml").absolute()).read(nothing)
    said = [own.data for own in facts.files[0].own.values()]
    if swaps == 1:
        assert (said, facts.findings) == ([b"user: new"] * 2, ())
    else:
        assert "faster than they can be read" in facts.findings[0].message


EDGES = "edges: [{{from: START, to: {0}}}, {{from: {0}, to: END}}]\n"


def test_a_graph_and_its_own_prompts_are_read_from_one_edition(
    tmp_path: Path, stand_in: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = "name: g\nprompts_dir: current/prompts\nnodes: {n: {type: llm, prompt: a}}\n"
    graph += EDGES.format("n")
    for edition in ("old", "new"):
        files = {"graph.yaml": f"# {edition}\n{graph}", "prompts/a.yaml": f"user: {edition}"}
        write(tmp_path / edition, files)
    (tmp_path / "current").symlink_to("old")
    stand_in(tmp_path)

    def swapping(path: Path, **options: Any) -> bytes:
        data = read_regular(path, **options)
        if data.startswith(b"# old"):
            (tmp_path / "beside").symlink_to("new")
            os.replace(tmp_path / "beside", tmp_path / "current")
        return data

    monkeypatch.setattr("yamlgraph_prompts._yamlgraph_bridge.facts.read_regular", swapping)
    facts = reader(tmp_path / "current/graph.yaml").read(nothing)
    (graph_yaml,) = facts.plan.values()
    assert (graph_yaml.data[:5], facts.files[0].own["a"].data) == (b"# new", b"user: new")


def test_graphs_without_layers_under_one_link_are_read_as_they_were_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for edition in ("old", "new"):
        for name in ("one", "two"):
            graph = f"prompts_relative: true\nnodes: {{n: {{type: llm, prompt: p_{name}}}}}\n"
            write(
                tmp_path / edition,
                {
                    f"{name}.yaml": f"name: {name}\n{graph}" + EDGES.format("n"),
                    f"p_{name}.yaml": f"user: {edition}",
                },
            )
    link = tmp_path / "current"
    link.symlink_to("old")

    read = GraphReader.read

    def swapping(reads: GraphReader, has: Callable[[str], bool]) -> Any:
        facts = read(reads, has)
        if link.readlink() == Path("old"):
            link.unlink()
            link.symlink_to("new")
        return facts

    with LivePrompts(watch=False) as prompts:
        loaded = [
            load_and_compile(link / f"{name}.yaml", prompts=prompts) for name in ("one", "two")
        ]
        monkeypatch.setattr(GraphReader, "read", swapping)
        assert prompts.publish().status == "published"
        assert {prompt.user for prompt in prompts.release.prompts.values()} == {"new"}
        assert loaded


@pytest.mark.parametrize("node", ["subgraph", "tool"])
def test_a_child_behind_a_swapped_link_is_the_new_one_though_its_own_file_is_the_same(
    tmp_path: Path, node: str
) -> None:
    leaf = "name: c\nprompts_relative: true\nnodes: {n: {type: llm, prompt: a}}\n"
    leaf += EDGES.format("n")
    parent = {
        "subgraph": "nodes: {n: {type: subgraph, graph: shared/child.yaml}}\n",
        "tool": "tools: {t: {type: graph, path: shared/child.yaml, description: d}}\n"
        "nodes: {n: {type: passthrough, output: {x: y}}}\n",
    }
    for edition in ("old", "new"):
        write(tmp_path / edition, {"child.yaml": leaf, "a.yaml": f"user: {edition}"})
    write(tmp_path, {"graph.yaml": f"name: g\n{parent[node]}" + EDGES.format("n")})
    link = tmp_path / "shared"
    link.symlink_to("old")
    reads = reader(tmp_path / "graph.yaml")
    assert reads.read(nothing).files[1].own["a"].data == b"user: old"
    assert any(path.is_relative_to(link) for path in reads.watched())
    link.unlink()
    link.symlink_to("new")
    facts = reads.read(nothing)
    assert (facts.findings, facts.files[1].own["a"].data) == ((), b"user: new")


def test_a_broken_child_is_a_finding_in_its_file_and_stays_watched(graph_folder: Folder) -> None:
    folder = graph_folder("subgraphs")
    reads = reader(folder / "graph.yaml")
    reads.read(nothing)
    write(folder, {"direct/graph.yaml": "nodes: ["})
    facts = reads.read(nothing)
    assert {(f.severity, f.code, f.file) for f in facts.findings} == {
        ("error", "graph", "direct/graph.yaml")
    }
    assert folder / "direct/graph.yaml" in reads.watched()
    assert folder / "deeper/graph.yaml" in reads.watched()


def test_a_graph_that_includes_itself_ends(graph_folder: Folder) -> None:
    folder = graph_folder("subgraphs")
    graph = folder / "direct/graph.yaml"
    graph.write_text(
        graph.read_text().replace(
            "same:\n    prompt", "up: {type: subgraph, graph: ../graph.yaml}\n  same:\n    prompt"
        )
    )
    assert len(reader(folder / "graph.yaml").read(nothing).files) == 4


def test_peeking_says_where_a_graphs_prompts_are_and_never_fails(tmp_path: Path) -> None:
    texts = {
        "prompts_dir: texts\nprompts_relative: true": ("texts", True),
        "defaults: {prompts_dir: texts, prompts_relative: true}": ("texts", True),
        "prompts_dir: [1]": (None, False),
        "- a list": (None, False),
        "nodes: [": (None, False),
    }
    for text, expected in texts.items():
        said = peek(write(tmp_path, {"g.yaml": text}) / "g.yaml")
        assert (said.prompts_dir, said.prompts_relative) == expected
    assert peek(tmp_path / "none.yaml").prompts_dir is None


# Building on a folder


def test_every_config_of_a_build_reads_one_folder_of_the_release(
    graph_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph_folder("subgraphs")
    built: list[Any] = []
    adopt.install()
    real = graph_loader.compile_graph

    def seen(config: Any) -> Any:
        built.append(config)
        return real(config)

    monkeypatch.setattr(graph_loader, "compile_graph", seen)
    load_and_compile("graph.yaml", watch=False)
    roots = [config for config in built if config.name == "subgraphs"]
    assert len(roots) == 1
    assert all(Path(config.prompts_dir).is_absolute() for config in built)
    assert not any(config.prompts_relative for config in built)
    assert (Path(roots[0].prompts_dir) / "prepare.yaml").read_text().startswith("user:")


def test_a_plain_load_beside_ours_is_untouched(graph_folder: Folder, model_server: Any) -> None:
    folder = graph_folder("chain")
    load_and_compile("graph.yaml", watch=False).compile()
    config = graph_loader.load_graph_config(folder / "graph.yaml")
    assert config.prompts_dir == "prompts"
    assert config.prompts_relative
    app = yamlgraph.load_and_compile(folder / "graph.yaml").compile()
    write(folder, {"prompts/greet.yaml": "user: 'live {name}'"})
    app.invoke({"name": "Ada", "mood": "m"})
    assert model_server.requests[0].text == "live Ada"


def test_a_plain_load_in_another_thread_during_our_build_is_untouched(
    graph_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = graph_folder("chain")
    adopt.install()
    real, seen = graph_loader.compile_graph, []

    def beside(config: Any) -> Any:
        def load() -> None:
            seen.append(graph_loader.load_graph_config(folder / "graph.yaml").prompts_dir)

        thread = threading.Thread(target=load)
        thread.start()
        thread.join()
        return real(config)

    monkeypatch.setattr(graph_loader, "compile_graph", beside)
    load_and_compile("graph.yaml", watch=False)
    assert seen == ["prompts"]


def test_a_file_that_was_not_foreseen_is_refused(graph_folder: Folder) -> None:
    folder = graph_folder("subgraphs")
    adoption = adopt.Adoption({}, {}, (), {}, {}, frozenset())
    with pytest.raises(UnsupportedYamlgraph, match=r"graph\.yaml"):
        adopt.build(folder / "graph.yaml", adoption)


def test_a_config_that_did_not_come_from_the_loader_is_refused(graph_folder: Folder) -> None:
    folder = graph_folder("chain")
    config = graph_loader.load_graph_config(folder / "graph.yaml")
    adoption = adopt.Adoption({folder / "graph.yaml": config}, {}, (), {}, {}, frozenset())
    adopt.install()
    token = adopt._under_way.set(adoption)
    try:
        with pytest.raises(UnsupportedYamlgraph, match="past the release"):
            graph_loader.compile_graph(
                graph_loader.GraphConfig(config.raw_config, config.source_path)
            )
    finally:
        adopt._under_way.reset(token)


def test_nothing_of_yamlgraph_is_wrapped_twice(graph_folder: Folder) -> None:
    graph_folder("chain")
    load_and_compile("graph.yaml", watch=False)
    before = graph_loader.load_graph_config
    load_and_compile("graph.yaml", "prompts", watch=False)
    adopt.install()
    assert graph_loader.load_graph_config is before


def test_an_old_release_can_be_built_while_new_ones_are_published(graph_folder: Folder) -> None:
    folder = graph_folder("chain")
    app = load_and_compile("graph.yaml", watch=False).compile()
    prompts, first = app.prompts, app.release.id
    handle = next(iter(prompts._builds._handles.values()))
    problems: list[BaseException] = []
    stop = threading.Event()

    def build() -> None:
        try:
            while not stop.is_set():
                prompts._builds._recent.clear()
                built = handle.at(first, None)
                assert built.release == first
        except BaseException as problem:  # noqa: BLE001
            problems.append(problem)

    thread = threading.Thread(target=build)
    thread.start()
    for number in range(25):
        write(folder, {"prompts/letters/close.yaml": f"user: 'close {number} {{name}}'"})
        assert prompts.publish().status == "published"
    stop.set()
    thread.join()
    assert problems == []


def test_the_folders_of_builds_that_nobody_needs_are_removed(graph_folder: Folder) -> None:
    folder = graph_folder("chain")
    app = load_and_compile("graph.yaml", watch=False).compile()
    (graph,) = app.prompts._attached()
    for number in range(40):
        write(folder, {"prompts/letters/close.yaml": f"user: 'close {number} {{name}}'"})
        app.prompts.publish()
    gc.collect()
    app.prompts.publish()
    write(folder, {"prompts/letters/close.yaml": "user: 'end {name}'"})
    app.prompts.publish()
    (nest,) = app.prompts._store._checkouts.directories
    assert len(graph.views()) <= 10
    assert len(list(nest.path.iterdir())) <= 12


# Versions


@pytest.fixture
def unchecked() -> Any:
    known.supported.cache_clear()
    yield
    known.supported.cache_clear()


def test_the_installed_yamlgraph_is_one_that_we_know(unchecked: None) -> None:
    assert known.supported().startswith("0.6.")


@pytest.mark.parametrize(("module", "name"), sorted(known._EXPECTED))
def test_a_function_with_another_signature_is_refused_with_the_versions_that_work(
    module: str, name: str, unchecked: None, monkeypatch: pytest.MonkeyPatch, graph_folder: Folder
) -> None:
    from importlib import import_module

    monkeypatch.setattr(import_module(module), name, lambda other, *more: None)
    graph_folder("chain")
    with pytest.raises(UnsupportedYamlgraph) as caught:
        YamlGraph(Path("graph.yaml"), environment="x", bundled=True)
    assert f"{module}.{name}" in str(caught.value)
    assert known.SUPPORTED in str(caught.value)
    assert f"pip install --upgrade '{known.REQUIREMENT}'" in str(caught.value)


def test_the_requirement_that_is_named_is_the_packages_own() -> None:
    assert f'yamlgraph = ["{known.REQUIREMENT}"]' in (ROOT / "pyproject.toml").read_text()


def test_a_function_that_is_gone_is_refused(
    unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("yamlgraph.executor_base.validate_variables")
    with pytest.raises(UnsupportedYamlgraph, match="validate_variables"):
        known.supported()


# What a graph's own tools may write

WRITING = """
name: writer
prompts_relative: true
prompts_dir: prompts
state: {path: str, data: str}
tools:
  save: {type: write_data_file, state_key: saved}
nodes:
  ask: {type: llm, prompt: ask, state_key: asked}
  save: {type: python, tool: save, state_key: saved}
edges:
  - {from: START, to: ask}
  - {from: ask, to: save}
  - {from: save, to: END}
"""


def calling(kind: str) -> str:
    if kind == "python":
        return WRITING
    node = (
        "{type: tool_call, tool: save, state_key: saved, args: "
        '{path: "{state.path}", data: "{state.data}"}}'
    )
    return WRITING.replace("{type: python, tool: save, state_key: saved}", node)


@pytest.fixture
def writer(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    folder = write(
        tmp_path / "writer",
        {
            "graph.yaml": WRITING,
            "prompts/ask.yaml": "user: ask",
            "over/1/ask.yaml": "user: over",
            "over/2/ask.yaml": "user: over",
        },
    )
    (folder / "current").symlink_to("over/1")
    stand_in(folder)
    return folder


def said(app: Any, path: str) -> str:
    """What the node that writes `path` says of it."""
    try:
        return str(app.invoke({"path": path, "data": {"user": "hacked"}})["saved"])
    except ValueError as problem:
        return str(problem)


@pytest.mark.parametrize("kind", ["python", "tool_call"])
@pytest.mark.parametrize("path", ["over/1/ask.yaml", "current/x.yaml"])
def test_a_tool_cannot_write_into_a_layer(
    writer: Path, path: str, kind: str, model_server: Any
) -> None:
    write(writer, {"graph.yaml": calling(kind)})
    app = load_and_compile("graph.yaml", "current", watch=False).compile()
    assert "self-modification" in said(app, path)
    assert "hacked" not in "".join(p.read_text() for p in writer.rglob("*.yaml") if p.is_file())


@pytest.mark.parametrize("path", ["prompts/ask.yaml", "graph.yaml"])
def test_what_yamlgraph_guards_is_guarded_though_the_prompts_come_from_elsewhere(
    writer: Path, path: str, model_server: Any
) -> None:
    write(writer, {"graph.yaml": calling("tool_call")})
    alone = said(yamlgraph.load_and_compile("graph.yaml").compile(), path)
    assert "self-modification" in alone
    assert said(load_and_compile("graph.yaml", watch=False).compile(), path) == alone


def test_a_tool_cannot_write_into_a_layer_whose_link_was_swapped(
    writer: Path, model_server: Any
) -> None:
    app = load_and_compile("graph.yaml", "current", watch=False).compile()
    (writer / "new").symlink_to("over/2")
    (writer / "new").replace(writer / "current")
    assert "self-modification" in said(app, "over/2/ask.yaml")


def test_a_tool_may_write_elsewhere(writer: Path, model_server: Any) -> None:
    app = load_and_compile("graph.yaml", "current", watch=False).compile()
    assert "self-modification" not in said(app, "data/out.yaml")
    assert (writer / "data/out.yaml").read_text() == "user: hacked\n"


# Names that would lead out of a view


def test_a_prompt_name_with_dots_is_as_in_yamlgraph_for_own_and_refused_in_a_layer(
    graph_folder: Folder,
) -> None:
    folder = graph_folder("dotdot")
    graph = next(folder.rglob("graph.yaml"))
    app = load_and_compile(graph, watch=False).compile()
    assert any(".." in name for name in app.release)
    with pytest.raises(PromptsRejected) as caught:
        load_and_compile(graph, {"../outside": "user: x"}, watch=False)
    assert "escaping-name" in {f.code for f in caught.value.outcome.errors}


def test_importing_the_package_does_not_import_yamlgraph(tmp_path: Path) -> None:
    out = run_in(
        tmp_path,
        "import sys\n"
        "from yamlgraph_prompts import LivePrompts, load_and_compile\n"
        "with LivePrompts({'a': 'user: x'}) as prompts: prompts['a'].messages()\n"
        "print('yamlgraph' in sys.modules)\n",
    )
    assert out == "False\n"


def test_a_schema_is_built_as_yamlgraph_builds_it_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from yamlgraph_prompts._model.release import Prompt
    from yamlgraph_prompts._yamlgraph_bridge import execute

    prompt = Prompt(
        "deep/my_score", b"user: x\noutput_schema: {type: object, properties: {n: {type: integer}}}"
    )
    model = execute.output_model(prompt)
    assert model.__name__ == "MyScoreOutput"
    assert execute.output_model(prompt) is model
    assert execute.output_model(Prompt("a", b"user: x")) is None
    assert SimpleNamespace(model=model).model(n=1).n == 1


def test_a_tool_that_loads_prompts_itself_and_an_absolute_prompt_are_warned_about(
    tmp_path: Path,
) -> None:
    (tmp_path / "tool.py").write_text(
        "from yamlgraph import execute_prompt\ndef ask(state):\n    return execute_prompt('x')\n"
    )
    (tmp_path / "there.yaml").write_text("user: Hi\n")
    (tmp_path / "graph.yaml").write_text(
        "name: g\nstate: {name: str}\n"
        "tools: {ask: {type: python, path: tool.py, function: ask}}\n"
        "nodes:\n"
        f"  a: {{type: llm, prompt: {tmp_path}/there, state_key: x}}\n"
        "  b: {type: python, tool: ask, state_key: y}\n"
        "edges:\n  - {from: START, to: a}\n  - {from: a, to: b}\n  - {from: b, to: END}\n"
    )
    app = load_and_compile(tmp_path / "graph.yaml", watch=False).compile()
    warned = [f for f in app.prompts.check()[1] if f.code == "reads-past-release"]
    assert [f.severity for f in warned] == ["warning", "warning"]
    said = " ".join(sorted(finding.message for finding in warned))
    assert "'ask' calls execute_prompt" in said
    assert "'a' names its prompt by an absolute path" in said
