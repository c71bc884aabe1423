"""What a project says once for the command: where it is found, what it fills in, what wins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.files import write
from yamlgraph_prompts._cli import main

GRAPH = """\
name: letter
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, variables: {name: "{state.name}"}, state_key: letter}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""
FILES = {
    "app/graph.yaml": GRAPH,
    "app/prompts/base/greeting.yaml": "user: Hello {name}\n",
    "app/prompts/staging/greeting.yaml": "user: Hello {name} of staging\n",
}
PROJECT = """\
layers = ["prompts/{environment}", {url = "prompts/local", optional = true}, "prompts/base"]
graphs = ["graph.yaml"]
environment = "staging"
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    """A repository with an app in a folder of its own, in which the test stands."""
    (tmp_path / "repo/.git").mkdir(parents=True)
    app = write(tmp_path / "repo", FILES) / "app"
    stand_in(app)
    return app


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*argv: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def checked(run: Run, *argv: str) -> dict[str, object]:
    code, out, err = run("check", "--json", *argv)
    assert code in (0, 1), err
    (one,) = json.loads(out)["checked"]
    return {key: one[key] for key in ("environment", "layers", "graphs", "prompts")}


@pytest.mark.parametrize("where", [".", ".."])
@pytest.mark.parametrize("shared", [False, True])
def test_layers_graphs_and_environment_come_from_the_file(
    folder: Path, run: Run, where: str, shared: bool
) -> None:
    text = PROJECT if where == "." else PROJECT.replace('"prompts', '"app/prompts')
    text = text if where == "." else text.replace('"graph', '"app/graph')
    name = "pyproject.toml" if shared else "yamlgraph-prompts.toml"
    head = "[project]\nname = 'x'\n[tool.yamlgraph-prompts]\n" if shared else ""
    write(folder / where, {name: head + text})
    assert checked(run) == {
        "environment": "staging",
        "layers": ["prompts/staging", "prompts/local", "prompts/base"],
        "graphs": ["graph.yaml"],
        "prompts": 1,
    }
    code, out, _ = run("show", "greeting", "--rendered", "--var", "name=Ada")
    assert (code, "Hello Ada of staging" in out) == (0, True)


def test_the_own_file_wins_over_pyproject_and_the_nearer_one_over_the_farther(
    folder: Path, run: Run
) -> None:
    write(folder.parent, {"yamlgraph-prompts.toml": 'layers = ["app/prompts/staging"]\n'})
    write(folder, {"pyproject.toml": '[tool.yamlgraph-prompts]\nlayers = ["prompts/base"]\n'})
    assert checked(run)["layers"] == ["prompts/base"]
    write(folder, {"yamlgraph-prompts.toml": 'layers = ["prompts/staging"]\n'})
    assert checked(run)["layers"] == ["prompts/staging"]
    (folder / "yamlgraph-prompts.toml").unlink()
    write(folder, {"pyproject.toml": "[tool.other]\n"})
    assert checked(run)["layers"] == ["prompts/staging"]


@pytest.mark.parametrize("repository", [True, False])
def test_no_file_beyond_the_repository_counts(folder: Path, run: Run, repository: bool) -> None:
    write(folder.parents[1], {"yamlgraph-prompts.toml": PROJECT})
    if not repository:
        (folder.parent / ".git").rmdir()
        write(folder.parent, {"yamlgraph-prompts.toml": PROJECT})
    code, _, err = run("check")
    assert (code, "needs a graph or a layer" in err) == (2, True)


def test_what_is_named_on_the_command_line_wins(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"yamlgraph-prompts.toml": PROJECT, "other.yaml": GRAPH})
    assert checked(run, "-e", "base")["environment"] == "base"
    assert checked(run, "other.yaml")["graphs"] == ["other.yaml"]
    assert checked(run, "-l", "prompts/base")["layers"] == ["prompts/base"]
    assert checked(run, "-l", "prompts/base")["graphs"] == []
    assert checked(run, "prompts/base")["layers"] == ["prompts/base"]
    # A named prompt is one of the project's.
    assert checked(run, "prompts/base/greeting.yaml")["graphs"] == ["graph.yaml"]
    monkeypatch.setenv("ENVIRONMENT", "base")
    assert checked(run)["environment"] == "base"


def test_the_store_is_the_files_unless_it_is_named(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"yamlgraph-prompts.toml": PROJECT + 'store = "kept"\n'})
    monkeypatch.delenv("YAMLGRAPH_PROMPTS_STORE", raising=False)
    for argv, place in [((), folder / "kept"), (("--store", "other"), folder / "other")]:
        code, _, err = run("releases", *argv)
        assert (code, f"{place}/" in err) == (2, True), err
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_STORE", str(folder / "third"))
    assert f"{folder / 'third'}/" in run("releases")[2]


def test_a_graph_with_its_prompts_beside_it_takes_layers_relative_to_the_file(
    folder: Path, run: Run
) -> None:
    beside = "prompts_relative: true\n" + GRAPH
    write(folder, {"flows/one/graph.yaml": beside})
    project = PROJECT.replace("graph.yaml", "flows/one/graph.yaml")
    write(folder, {"yamlgraph-prompts.toml": project})
    assert checked(run)["layers"] == ["prompts/staging", "prompts/local", "prompts/base"]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('\nlayer = ["a"]\n', 2, "Did you mean 'layers'?"),
        ('\n\nlayers = "a"\n', 3, "must be a list"),
        ("layers = [1]\n", 1, "must be a table"),
        ('layers = [\n  {url = "a", optinal = true}]\n', 2, "Did you mean 'optional'?"),
        ("layers = [\n  {optional = true}]\n", 1, "no 'url'"),
        ('graphs = ["a",\n 1]\n', 1, "must be a text"),
        ("environment = true\n", 1, "must be a text"),
        ('ignore = [{prompt = "a"}]\n', 1, "no 'code'"),
        ('ignore = [\n {code = "a", reson = "b"}]\n', 2, "Did you mean 'reason'?"),
        ("layers = [\n", 2, "cannot be read"),
        ("x = '\xff'\n", None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_mistake_in_the_file_is_told_with_its_place(
    folder: Path, run: Run, text: str, line: int | None, said: str, shared: bool
) -> None:
    name = "pyproject.toml" if shared else "yamlgraph-prompts.toml"
    # Another tool's key of the same name is not meant.
    head = "[tool.other]\nlayers = 1\nlayer = 2\n\n[tool.yamlgraph-prompts]\n" if shared else ""
    (folder / name).write_bytes((head + text).encode("latin-1"))
    code, _, err = run("check")
    assert code == 2
    assert said in err
    line = line and line + head.count("\n")
    assert (
        line is None
        or f"{name}:{line}:" in err
        or f"line {line}" in err
        or ("end of document" in err)
    ), err


def test_only_the_command_reads_it(folder: Path, run: Run) -> None:
    from yamlgraph_prompts import load_and_compile

    write(
        folder, {"yamlgraph-prompts.toml": PROJECT, "prompts/greeting.yaml": "user: Own {name}\n"}
    )
    graph = load_and_compile("graph.yaml", watch=False).compile()
    assert graph.release["greeting"].user == "Own {name}"
    write(folder, {"yamlgraph-prompts.toml": "nonsense ="})
    assert run("--version")[0] == 0
    assert run("store", "list")[0] == 0


def test_a_warning_is_ignored_by_code_and_prompt_also_where_strict(folder: Path, run: Run) -> None:
    write(folder, {"prompts/base/old.yaml": "user: Hi\n", "prompts/base/older.yaml": "user: Hi\n"})
    write(folder, {"yamlgraph-prompts.toml": PROJECT})
    assert run("check", "--strict")[0] == 1
    one = '\nignore = [\n  {code = "unused-prompt", prompt = "old", reason = "soon"},\n]\n'
    write(folder, {"yamlgraph-prompts.toml": PROJECT + one})
    code, out, _ = run("check", "--strict")
    assert (code, "older.yaml" in out, "old.yaml" in out) == (1, True, False)
    every = '\nignore = [\n  {code = "unused-prompt"},\n  {code = "unusd-prompt"},\n]\n'
    write(folder, {"yamlgraph-prompts.toml": PROJECT + every})
    code, out, _ = run("check", "--strict", "--json")
    (left,) = json.loads(out)["findings"]
    assert (code, left["code"], left["file"]) == (0, "unused-ignore", "app/yamlgraph-prompts.toml")
    assert left["line"] == PROJECT.count("\n") + 4


def test_an_error_is_never_ignored(folder: Path, run: Run) -> None:
    for path in ("base", "staging"):
        write(folder, {f"prompts/{path}/greeting.yaml": "user: |\n  {% if %}\n"})
    ignored = '\nignore = [{code = "template-syntax"}, {code = "missing-prompt"}]\n'
    write(folder, {"yamlgraph-prompts.toml": PROJECT + ignored})
    assert run("check")[0] == 1
    write(folder, {"yamlgraph-prompts.toml": 'graphs = ["graph.yaml"]' + ignored})
    code, out, _ = run("check")
    assert (code, "missing-prompt" in out) == (1, True)
