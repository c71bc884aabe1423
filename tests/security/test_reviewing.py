"""Looking at a change runs none of its code: by the command, the hook, or CI's annotations."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jinja2
import pytest
import yaml

from tests.conftest import ROOT
from tests.s3_servers import Shop
from yamlgraph_prompts._cli import main
from yamlgraph_prompts.live_prompts import LivePrompts

MARKS = "MARKS"  # stands for the folder in which whatever runs leaves a file

EDGES = "edges:\n  - {from: START, to: go}\n  - {from: go, to: END}\n"
NODE = "nodes:\n  go: {type: python, tool: look, state_key: x}\n"
HEAD = "name: planted\nprompts_relative: true\nprompts_dir: nowhere\nstate: {name: str}\n"
CHILD = HEAD + "tools:\n  look: {type: python, path: tool.py, function: look}\n" + NODE + EDGES


def python(way: str) -> str:
    return f"import os\nopen(r'{MARKS}/{way}', 'w').close()\nlook = lambda state: {{}}\n"


def tool(declaration: str) -> str:
    return f"{HEAD}tools:\n  look: {declaration}\n{NODE}{EDGES}"


def node(declaration: str, *, tools: str = "") -> str:
    return f"{HEAD}{tools}nodes:\n  go: {declaration}\n{EDGES}"


@dataclass(frozen=True)
class Planted:
    """A graph in a change, and what its building would run.

    Args:
        file: The graph.
        files: Every other file. ``{way}`` in names and texts stands for the way's own name.
        links: Names that are links, and where they lead.
    """

    file: str
    text: str
    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


BESIDE = {"prompts/{way}/tool.py": "PYTHON"}
BY_PATH = "{type: python, path: tool.py, function: look}"
FLOW = json.dumps(yaml.safe_load(CHILD))

GRAPHS: dict[str, Planted] = {
    "tool-by-path": Planted("prompts/{way}/graph.yaml", CHILD, BESIDE),
    "tool-by-module": Planted(
        "prompts/{way}/graph.yaml",
        tool("{type: python, module: planted_module, function: look}"),
        {"planted_module.py": "PYTHON"},
    ),
    "tool-by-dotted-module": Planted(
        "prompts/{way}/graph.yaml",
        tool("{type: python, module: planted_package.inner, function: look}"),
        {"planted_package/__init__.py": "PYTHON", "planted_package/inner.py": "look = print\n"},
    ),
    "tool-by-manifest": Planted(
        "prompts/{way}/graph.yaml",
        tool("{manifest: look.tool.yaml}"),
        {
            **BESIDE,
            "prompts/{way}/look.tool.yaml": "name: look\ndescription: Looks.\n"
            "runtime: {type: python, path: tool.py, function: look}\n",
        },
    ),
    "graph-by-manifest": Planted(
        "prompts/{way}/graph.yaml",
        tool("{manifest: look.tool.yaml}"),
        {
            **BESIDE,
            "prompts/{way}/look.tool.yaml": "name: look\ndescription: Looks.\n"
            "runtime: {type: graph, path: child.yaml}\n",
            "prompts/{way}/child.yaml": CHILD,
        },
    ),
    "output-model": Planted(
        "prompts/{way}/graph.yaml",
        # A tool by module puts the working directory on the path of everything after it.
        node(
            "{type: llm, prompt: greeting, output_model: planted_model.Out, state_key: x}",
            tools="tools:\n  look: {type: python, module: json, function: dumps}\n",
        ),
        {"planted_model.py": "PYTHON", "prompts/{way}/nowhere/greeting.yaml": "user: Hi\n"},
    ),
    "in-a-map": Planted(
        "prompts/{way}/graph.yaml",
        node(
            '{type: map, over: "{state.name}", as: one, collect: all, '
            "node: {type: python, tool: look, state_key: x}}",
            tools=f"tools:\n  look: {BY_PATH}\n",
        ),
        BESIDE,
    ),
    "child": Planted(
        "prompts/{way}/graph.yaml",
        node("{type: subgraph, graph: child.yaml, state_key: x}"),
        {**BESIDE, "prompts/{way}/child.yaml": CHILD},
    ),
    "graph-as-a-tool": Planted(
        "prompts/{way}/graph.yaml",
        tool("{type: graph, path: child.yaml}"),
        {**BESIDE, "prompts/{way}/child.yaml": CHILD},
    ),
    "child-of-a-map": Planted(
        "prompts/{way}/graph.yaml",
        node(
            '{type: map, over: "{state.name}", as: one, collect: all, '
            "node: {type: subgraph, graph: child.yaml, state_key: x}}"
        ),
        {**BESIDE, "prompts/{way}/child.yaml": CHILD},
    ),
    "as-json": Planted("prompts/{way}/graph.yaml", FLOW, BESIDE),
    "yml": Planted("prompts/{way}/graph.yml", CHILD, BESIDE),
    "named-vars": Planted("prompts/{way}/vars.yaml", CHILD, BESIDE),
    "quoted-keys": Planted(
        "prompts/{way}/graph.yaml",
        CHILD.replace("nodes:", '"nodes":').replace("edges:", "'edges' :"),
        BESIDE,
    ),
    "in-place-of-a-prompt": Planted(
        "prompts/base/welcome.yaml", CHILD, {"prompts/base/tool.py": "PYTHON"}
    ),
    "deeper-prompts-folder": Planted(
        "apps/one/prompts/{way}/graph.yaml", CHILD, {"apps/one/prompts/{way}/tool.py": "PYTHON"}
    ),
    "link-out-of-the-folder": Planted(
        "flows/{way}/graph.yaml",
        CHILD,
        {"flows/{way}/tool.py": "PYTHON"},
        {"prompts/{way}.yaml": "../flows/{way}/graph.yaml"},
    ),
    "link-into-the-folder": Planted(
        "prompts/{way}/graph.yaml", CHILD, BESIDE, {"flow.yaml": "prompts/{way}/graph.yaml"}
    ),
}

ESCAPE = "{{ cycler.__init__.__globals__.os.system('touch MARKS/WAY') }}"
TAG = "!!python/object/apply:os.system ['touch MARKS/WAY']"
# Text that runs where it is read by the wrong function: (file, text).
TEXTS: dict[str, tuple[str, str]] = {
    "tag-in-a-prompt": ("prompts/base/tag.yaml", f"user: {TAG}\n"),
    "tag-in-vars": ("prompts/tagged/vars.yaml", f"name: {TAG}\n"),
    "tag-in-a-graph": ("prompts/base/tagged.yaml", f"{CHILD}config: {TAG}\n"),
    "jinja-in-a-prompt": ("prompts/base/jinja.yaml", f'user: "{ESCAPE}"\n'),
    "jinja-in-a-template": ("prompts/drawn/page.yaml.j2", f'user: "{ESCAPE}"\n'),
}
# Modules that Python or we would import if the working directory came first.
MODULES = (
    *("yaml", "jinja2", "markupsafe", "yamlgraph", "langgraph", "langchain_core", "pydantic"),
    *("dotenv", "boto3", "botocore", "watchdog", "_yaml", "orjson"),
    *("typing", "json", "argparse", "logging", "dataclasses", "re", "enum", "__future__"),
    *("subprocess", "textwrap", "gettext", "locale", "difflib", "hashlib", "random"),
    *("sitecustomize", "usercustomize", "conftest", "setup", "prompts"),
)

GRAPH = """\
name: letter
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""
BUCKET = "s3://prompts/app"


@dataclass(frozen=True)
class Change:
    """A repository with everything planted in it."""

    folder: Path
    marks: Path
    changed: tuple[str, ...]
    """What pre-commit would name: the files below `prompts` folders."""

    def left(self) -> set[str]:
        found = {mark.name for mark in self.marks.iterdir()}
        for mark in found:
            (self.marks / mark).unlink()
        return found

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHON"))}
        nobody = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
        return {**kept, **nobody, "YAMLGRAPH_PROMPTS_STORE": str(self.marks.parent / "store")}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def plant(folder: Path) -> Change:
    """Everything at once: what one way does must not hide another."""
    repository, marks = folder / "repository", folder / "marks"
    marks.mkdir(parents=True)
    files = {"graph.yaml": GRAPH, "prompts/base/greeting.yaml": "user: Hi {name}\n"}
    links: dict[str, str] = {}
    for way, planted in GRAPHS.items():
        for name, text in {planted.file: planted.text, **planted.files}.items():
            files[name.replace("{way}", way)] = python(way) if text == "PYTHON" else text
        for name, target in planted.links.items():
            links[name.replace("{way}", way)] = target.replace("{way}", way)
    for way, (name, text) in TEXTS.items():
        files[name] = text.replace("WAY", way)
    for name in MODULES:
        files[f"{name}.py"] = files[f"prompts/{name}.py"] = python(f"module-{name}")
    files["prompts/__init__.py"] = python("module-package")
    # A kind of layer that an installed package would bring.
    files["planted_source.py"] = python("entry-point")
    files["planted-1.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: planted\nVersion: 1\n"
    files["planted-1.dist-info/entry_points.txt"] = (
        "[yamlgraph_prompts.sources]\nplanted = planted_source:look\n"
        "[pytest11]\nplanted = planted_source\n"
    )
    files[".env"] = (
        f"AWS_CONFIG_FILE={repository}/aws.ini\nAWS_PROFILE=planted\n"
        f"PYTHONPATH={repository}\nPYTHONSTARTUP={repository}/yaml.py\nENVIRONMENT=staging\n"
        "AWS_ENDPOINT_URL=http://127.0.0.1:9\nAWS_REGION=us-east-1\n"
    )
    files["aws.ini"] = f"[profile planted]\ncredential_process = touch {MARKS}/env-file\n"
    for name, text in files.items():
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(MARKS, str(marks)))
    for name, target in links.items():
        (repository / name).symlink_to(target)
    names = (*files, *links)
    changed = sorted(n for n in names if "prompts/" in n and n.endswith((".yaml", ".yml", ".j2")))
    return Change(repository, marks, tuple(changed))


@pytest.fixture(scope="module")
def change(tmp_path_factory: pytest.TempPathFactory) -> Change:
    return plant(tmp_path_factory.mktemp("change"))


COMMAND = (str(Path(sys.executable).with_name("yamlgraph-prompts")),)
HOOK = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[0]["entry"]
MODULE = (sys.executable, "-m", "yamlgraph_prompts")
FILES = "FILES"

# Name → (command, exit codes). Each is a process of its own, started in the repository.
PROCESSES: dict[str, tuple[tuple[str, ...], set[int]]] = {
    "hook": ((FILES,), {1}),
    "hook with a bucket": (("graph.yaml", "-l", BUCKET), {2}),
    "python -m": ((*MODULE, "check", "graph.yaml", FILES), {1}),
    "python -P -m": ((sys.executable, "-P", *MODULE[1:], "show", "-l", "prompts"), {0}),
    "unknown kind of layer": ((*MODULE, "check", "-l", "planted://x"), {2}),
}
NIGHTLY_PROCESSES: dict[str, tuple[tuple[str, ...], set[int]]] = {
    "check of a folder": ((*COMMAND, "check", "prompts"), {1}),
    "hook with a graph": (("graph.yaml", "-l", "prompts/base", FILES), {0, 1}),
    "show with a bucket": ((*COMMAND, "show", "greeting", "graph.yaml", "-l", BUCKET), {2}),
}

# In this process, for speed: graphs and texts know no difference.
CALLS: dict[str, tuple[tuple[str, ...], set[int]]] = {
    "check of layers": (("check", "-l", "prompts/base", "-l", "prompts"), {1}),
    "check of everything": (("check", "."), {1}),
    "strict": (("check", "prompts", "--strict"), {1}),
    "JSON": (("check", "prompts", "--json"), {1}),
    "annotations of a folder": (("check", "prompts", "--format", "github"), {1}),
    "changed files": (("check", FILES), {1}),
    "a graph and changed files": (("check", "graph.yaml", "-l", "prompts/base", FILES), {0, 1}),
    "a link to a graph": (("check", "flow.yaml"), {0, 1}),
    "no build": (("check", "--no-build", "graph.yaml", "flow.yaml", FILES), {1}),
    "list": (("show", "-l", "prompts"), {0}),
    "messages": (
        ("show", "greeting", "-l", "prompts/base", "--rendered", "--var", "name=Ada"),
        {0},
    ),
    "diff": (("diff", "layers", "layers", "-l", "prompts"), {0}),
    "diff with a graph": (("diff", "layers", "layers", "graph.yaml", "-l", "prompts/base"), {0}),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(PROCESSES, id="each run"),
        pytest.param(NIGHTLY_PROCESSES, id="nightly", marks=pytest.mark.nightly),
    ],
)
def after_processes(request: pytest.FixtureRequest, change: Change) -> dict[str, set[str]]:
    """Command → the ways that ran."""
    left: dict[str, set[str]] = {}
    for name, (command, codes) in request.param.items():
        words = [*command] if command[0] != COMMAND[0] else list(command)
        if name.startswith("hook"):
            entry = shlex.split(HOOK)
            words = [str(Path(sys.executable).with_name(entry[0])), *entry[1:], *words]
        at = words.index(FILES) if FILES in words else len(words)
        done = change.run(*words[:at], *(change.changed if at < len(words) else ()))
        assert done.returncode in codes, (name, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, (name, done.stderr)
        left[name] = change.left()
    return left


WAYS = [*GRAPHS, *TEXTS, *(f"module-{name}" for name in (*MODULES, "package"))]
WAYS += ["entry-point", "env-file"]


@pytest.mark.parametrize("way", WAYS)
def test_a_review_runs_no_code_of_the_change(
    way: str, after_processes: dict[str, set[str]]
) -> None:
    assert after_processes.keys() in (PROCESSES.keys(), NIGHTLY_PROCESSES.keys())
    assert [name for name, left in after_processes.items() if way in left] == []


@pytest.mark.parametrize("call", CALLS)
def test_no_command_that_looks_runs_code_of_the_change(
    call: str,
    change: Change,
    stand_in: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in(change.folder)
    command, codes = CALLS[call]
    words = [w for word in command for w in (change.changed if word == FILES else (word,))]
    assert main(words) in codes, capsys.readouterr()
    assert change.left() == set()


def test_nothing_is_left_out_in_silence(
    change: Change, stand_in: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(change.folder)
    main(["check", "--json", "graph.yaml", *change.changed])
    not_built = json.loads(capsys.readouterr().out)["not_built"]
    graphs = {p.file.replace("{way}", w) for w, p in GRAPHS.items() if not p.links}
    assert graphs <= set(not_built)
    assert "graph.yaml" not in not_built


# What is planted works: every way runs where the door is open.


@pytest.mark.parametrize("way", GRAPHS)
def test_each_planted_graph_runs_code_where_it_is_built(
    way: str,
    tmp_path: Path,
    stand_in: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change = plant(tmp_path)
    stand_in(change.folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    planted = GRAPHS[way]
    main(["check", "--graphs", planted.file.replace("{way}", way)])
    for name in set(sys.modules) - before:
        if name.startswith("planted"):
            del sys.modules[name]
    assert way in change.left()


@pytest.mark.parametrize("way", TEXTS)
def test_each_planted_text_runs_code_where_it_is_read_carelessly(way: str, change: Change) -> None:
    text = (change.folder / TEXTS[way][0]).read_text()
    if "jinja" in way:
        jinja2.Template(text).render()
    else:
        yaml.unsafe_load(text)
    assert change.left() == {way}


def test_the_planted_env_file_runs_code_where_all_of_it_is_loaded(change: Change) -> None:
    change.run(*COMMAND, "check", "graph.yaml", "-l", BUCKET)
    assert "env-file" in change.left()


def test_the_planted_modules_run_where_the_working_directory_comes_first(change: Change) -> None:
    script = "import json, yaml, prompts, planted_source, typing"
    change.run(sys.executable, "-S", "-c", script)
    assert {"module-json", "entry-point"} <= change.left()


# What is built, all the same


GOOD = CHILD.replace("prompts_dir: nowhere\n", "")


@pytest.fixture
def trusted(tmp_path: Path, stand_in: Callable[[Path], None]) -> Change:
    """A repository whose own graph has a tool; the graph is none of the change."""
    marks = tmp_path / "marks"
    marks.mkdir()
    files = {"graph.yaml": GOOD, "tool.py": python("built"), "prompts/a.yaml": "user: Hi\n"}
    for name, text in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace(MARKS, str(marks)))
    stand_in(tmp_path / "repository")
    return Change(tmp_path / "repository", marks, ())


@pytest.mark.parametrize(
    "words",
    [
        ["graph.yaml"],
        ["./graph.yaml"],
        ["graph.yaml", "-l", "prompts"],
        ["graph.yaml", "prompts"],
        ["graph.yaml", "prompts/a.yaml"],
        [".", "--graphs"],
        ["graph.yaml", "-l", ".", "--graphs"],
    ],
    ids=" ".join,
)
def test_a_graph_that_is_named_as_one_is_built(
    words: list[str], trusted: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", *words])
    assert trusted.left() == {"built"}
    assert "Not built" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["graph.yaml", "--no-build"],
        ["graph.yaml", "-l", "prompts", "--no-build"],
        ["."],
        ["graph.yaml", "."],
        ["graph.yaml", "-l", "."],
    ],
    ids=" ".join,
)
def test_a_graph_that_is_not_built_is_named(
    words: list[str], trusted: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check", *words])
    assert trusted.left() == set()
    assert "Not built: graph.yaml." in capsys.readouterr().err


def test_a_push_of_a_folder_builds_no_graph_in_it(
    trusted: Change, moto: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint)
    bucket = f"s3://{moto.bucket}/reviewed"
    assert main(["push", ".", bucket, "-e", "staging", "-m", "All", "--who", "Ada"]) == 0
    assert trusted.left() == set()


def test_an_app_builds_no_graph_that_lies_in_its_prompts(
    change: Change, stand_in: Callable[[Path], None]
) -> None:
    stand_in(change.folder)
    with LivePrompts("prompts/child", "prompts/tool-by-path", watch=False) as prompts:
        release, _ = prompts.check(strict=True)
    assert not any("graph" in name for name in release)
    assert change.left() == set()


def test_a_name_with_a_newline_forges_no_line(
    trusted: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("prompts/x\n::error::forged.yaml").write_text(GOOD)
    main(["check", "prompts"])
    main(["check", "prompts", "--format", "github"])
    out, err = capsys.readouterr()
    assert not [line for line in (out + err).splitlines() if line.startswith("::error::forged")]
    assert "escaping-name" in out + err


def test_the_hook_cannot_be_made_to_build(trusted: Change) -> None:
    entry = shlex.split(HOOK)
    assert main([*entry[1:], "--graphs", "graph.yaml"]) == 2
    assert trusted.left() == set()


def test_the_environment_of_a_graph_still_comes_from_its_env_file(trusted: Change) -> None:
    trusted.folder.joinpath(".env").write_text("ENVIRONMENT=staging\n")
    trusted.folder.joinpath("prompts/staging").mkdir()
    trusted.folder.joinpath("prompts/staging/a.yaml").write_text("user: Staging\n")
    layer = ("-l", "prompts/{environment}")
    done = trusted.run(*COMMAND, "show", "a", "graph.yaml", *layer)
    assert "user: Staging" in done.stdout
    done = trusted.run(*COMMAND, "check", "--no-build", "graph.yaml", *layer, "--json")
    assert json.loads(done.stdout)["checked"][0]["environment"] == "staging"
    assert trusted.left() == set()
