"""`init`: settings that fit a project, written beside what is there; and the hook on commits."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
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
PARENT = GRAPH.replace(
    "edges:", "  child: {type: subgraph, mode: invoke, graph: child/graph.yaml}\nedges:"
)
GREETING = "user: Hello {name}\n"


@pytest.fixture
def folder(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    stand_in(tmp_path)
    return tmp_path


def settings(folder: Path) -> dict[str, object]:
    return tomllib.loads((folder / "yamlgraph-prompts.toml").read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


ENVIRONMENTS = {"url": "environments/{environment}", "optional": True}


@pytest.mark.parametrize(
    ("project", "layers", "graphs"),
    [
        (
            {"graph.yaml": GRAPH, "prompts/greeting.yaml": GREETING},
            [ENVIRONMENTS, "prompts"],
            ["graph.yaml"],
        ),
        (
            {
                "graph.yaml": GRAPH,
                "prompts/base/greeting.yaml": GREETING,
                "prompts/development/greeting.yaml": GREETING,
            },
            ["prompts/{environment}", "prompts/base"],
            ["graph.yaml"],
        ),
        (
            {"graph.yaml": GRAPH, "prompts/base/greeting.yaml": GREETING},
            [{"url": "prompts/{environment}", "optional": True}, "prompts/base"],
            ["graph.yaml"],
        ),
        (
            {
                "flow/graph.yaml": "prompts_relative: true\nprompts_dir: prompts\n" + PARENT,
                "flow/child/graph.yaml": GRAPH,
                "flow/prompts/greeting.yaml": GREETING,
                "node_modules/x/graph.yaml": GRAPH,
                ".hidden/graph.yaml": GRAPH,
                "env/pyvenv.cfg": "",
                "env/lib/graph.yaml": GRAPH,
                "kind.yaml": "kind: Cluster\nnodes: []\n",
            },
            [ENVIRONMENTS, "flow/prompts"],
            ["flow/graph.yaml"],
        ),
        (
            {
                f"{name}/graph.yaml": "prompts_relative: true\nprompts_dir: prompts\n" + GRAPH
                for name in "ab"
            }
            | {f"{name}/prompts/greeting.yaml": GREETING for name in "ab"},
            None,
            ["a/graph.yaml", "b/graph.yaml"],
        ),
        (
            {"graph.yaml": "prompts_dir: 'p/{environment}'\n" + GRAPH}
            | {"p/development/greeting.yaml": GREETING},
            None,
            ["graph.yaml"],
        ),
        ({"prompts/greeting.yaml": GREETING}, [ENVIRONMENTS, "prompts"], []),
        (
            {"main.py": ""},
            [{"url": "prompts/{environment}", "optional": True}, "prompts/base"],
            [],
        ),
    ],
)
def test_the_settings_fit_the_project_and_its_check_passes(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    project: dict[str, str],
    layers: list[object] | None,
    graphs: list[str],
) -> None:
    before = files(write(folder, project))
    assert main(["init", "--dry-run"]) == 0
    planned = capsys.readouterr().out
    assert files(folder) == before
    assert main(["init"]) == 0
    said = capsys.readouterr().out
    assert planned.replace("would write", "✓ wrote") == said
    assert files(folder).items() >= before.items()
    assert (settings(folder).get("layers"), settings(folder)["graphs"]) == (layers, graphs)
    assert ("load_and_compile" in said) == bool(graphs)
    assert main(["check", "--no-build"]) == 0, capsys.readouterr()


@pytest.mark.parametrize(
    "there",
    [
        {"yamlgraph-prompts.toml": "graphs = []\n"},
        {"pyproject.toml": "[tool.yamlgraph-prompts]\n"},
        {"yamlgraph-prompts.toml": "broken"},
    ],
)
def test_it_never_overwrites(
    folder: Path, capsys: pytest.CaptureFixture[str], there: dict[str, str]
) -> None:
    before = files(write(folder, {**there, "graph.yaml": GRAPH}))
    assert main(["init"]) == 2
    assert next(iter(there)) in capsys.readouterr().err
    assert files(folder) == before


# -- the hook on commits ---------------------------------------------------------------------------

HOOK = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout


def committing(folder: Path, *arguments: str) -> tuple[int, str]:
    """The hook on what is staged, as pre-commit runs it: removed files are not named."""
    listed = git(folder, "diff", "--cached", "--name-only", "--diff-filter=ACMRTUXB")
    named = [name for name in listed.splitlines() if re.search(HOOK["files"], name)]
    if not named and not HOOK.get("always_run"):
        return 0, "skipped"
    command, *words = shlex.split(HOOK["entry"])
    script = Path(sys.executable).with_name(command)
    done = subprocess.run(
        [script, *words, *arguments, *named],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def repository(folder: Path) -> Path:
    write(folder, {"graph.yaml": GRAPH, "prompts/greeting.yaml": GREETING, "main.py": ""})
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "Begin")
    return folder


@pytest.fixture(params=["nothing", "arguments", "file"])
def arguments(repository: Path, request: pytest.FixtureRequest) -> list[str]:
    """How the hook knows of the graph."""
    if request.param == "file":
        write(repository, {"yamlgraph-prompts.toml": 'graphs = ["graph.yaml"]\n'})
    return ["graph.yaml"] if request.param == "arguments" else []


def test_the_hook_stops_a_commit_that_removes_a_prompt(
    repository: Path, arguments: list[str]
) -> None:
    git(repository, "rm", "-q", "prompts/greeting.yaml")
    code, said = committing(repository, *arguments)
    assert (code, "missing-prompt" in said) == (1, True), said


def test_the_hook_stops_a_commit_that_renames_a_prompt(
    repository: Path, arguments: list[str]
) -> None:
    git(repository, "mv", "prompts/greeting.yaml", "prompts/hello.yaml")
    code, said = committing(repository, *arguments)
    assert (code, "missing-prompt" in said) == (1, True), said


def test_the_hook_stops_a_commit_that_only_touches_a_graph(
    repository: Path, arguments: list[str]
) -> None:
    text = GRAPH.replace("prompt: greeting", "prompt: greting")
    write(
        repository, {"graph.yaml": text + "tools: {x: {type: python, module: ran, function: f}}\n"}
    )
    write(repository, {"ran.py": "open('ran', 'w')\n"})
    git(repository, "add", ".")
    code, said = committing(repository, *arguments)
    assert (code, "missing-prompt" in said) == (1, True), said
    assert not (repository / "ran").exists()


def test_the_hook_lets_other_commits_pass(repository: Path, arguments: list[str]) -> None:
    write(repository, {"main.py": "x = 1\n", "compose.yaml": "services: {}\n"})
    git(repository, "add", ".")
    code, said = committing(repository, *arguments)
    assert code == 0, said
    write(repository, {"prompts/greeting.yaml": "user: Good day {name}\n"})
    git(repository, "add", ".")
    assert committing(repository, *arguments)[0] == 0


def test_the_hook_works_where_there_is_no_git_to_ask(folder: Path) -> None:
    write(folder, {"graph.yaml": GRAPH})
    assert main(["check", "--no-build", "--changed"]) == 0
