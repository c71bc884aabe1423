"""The command: what each part of it prints, and its exit codes."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.model_server import ModelServer
from yamlgraph_prompts._cli import main
from yamlgraph_prompts._cli.check import annotation
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.load import load_and_compile
from yamlgraph_prompts.registry.local import LocalRegistry

GRAPH = """\
name: letter
state:
  name: str
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting}
  sign: {type: llm, prompt: signature, state_key: letter}
edges:
  - {from: START, to: greet}
  - {from: greet, to: sign}
  - {from: sign, to: END}
"""
BROKEN = 'user: "Hi {{ name }"\n'
LAYERS = ("-l", "prompts/{environment}", "-l", "prompts/base", "-e", "staging")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, stand_in: Callable[[Path], None]) -> Path:
    """A graph and its layers; the test stands in their folder."""
    files = {
        "graph.yaml": GRAPH,
        "prompts/base/greeting.yaml": "user: Hello {name}\n",
        "prompts/base/signature.yaml": "user: '{greeting} Yours'\n",
        "prompts/staging/greeting.yaml": "user: Hello {name} of staging\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    stand_in(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("check", ...)` → (exit code, standard output, standard error)."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def run(*argv: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def edit(folder: Path, text: str) -> None:
    (folder / "prompts/staging/greeting.yaml").write_text(text)


def publish(folder: Path, text: str) -> str:
    """What a worker does when the greeting is edited; the release's id."""
    edit(folder, text)
    with LivePrompts(
        "prompts/{environment}", "prompts/base", environment="staging", watch=False
    ) as prompts:
        return prompts.release.id


def test_help_names_every_command_and_each_has_an_example(run: Run) -> None:
    commands = ["check", "show", "diff", "run", "releases", "activate", "rollback", "follow"]
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"\n    {command} " in out for command in commands)
    for command in [*commands, "demo"]:
        code, out, _ = run(command, "--help")
        assert code == 0
        assert f"example:\n  yamlgraph-prompts {command}" in out


def test_no_command_is_a_usage_error_that_shows_the_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 2
    assert "rollback" in out


def test_version_says_the_version(run: Run) -> None:
    from yamlgraph_prompts import __version__

    assert run("--version")[:2] == (0, f"yamlgraph-prompts {__version__}\n")


def test_help_is_quick_because_nothing_heavy_is_imported(folder: Path) -> None:
    script = (
        "import sys; from yamlgraph_prompts._cli import main; main(['check', '--help'])\n"
        "names = 'yaml jinja2 langgraph yamlgraph watchdog boto3 asyncio logging'.split()\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)"
    )
    done = process(script)
    assert done.stderr.strip() == "[]"


def test_good_prompts_and_graphs_pass_the_check(folder: Path, run: Run) -> None:
    code, out, err = run("check", "graph.yaml", *LAYERS)
    assert (code, err) == (0, "")
    assert out == "✓ 0 errors, 0 warnings in 2 prompts, 1 graph\n"


def test_layers_alone_can_be_checked(folder: Path, run: Run) -> None:
    assert run("check", *LAYERS)[0] == 0
    edit(folder, BROKEN)
    assert run("check", *LAYERS)[0] == 1


def test_a_broken_prompt_is_told_with_its_file_line_and_code(folder: Path, run: Run) -> None:
    edit(folder, BROKEN)
    code, out, _ = run("check", "graph.yaml", *LAYERS)
    assert code == 1
    head, finding, *_ = out.splitlines()
    assert head == "prompts/staging/greeting.yaml"
    assert finding.split()[0].startswith("1")
    assert "error" in finding
    assert finding.endswith("template-syntax")
    assert "✗ 1 error" in out


def test_findings_as_json_can_be_parsed(folder: Path, run: Run) -> None:
    edit(folder, BROKEN)
    for flags in (["--json"], ["--format", "json"]):
        code, out, _ = run("check", "graph.yaml", *LAYERS, *flags)
        told = json.loads(out)
        assert code == 1
        assert (told["ok"], told["errors"]) == (False, 1)
        assert told["findings"][0]["code"] == "template-syntax"
        assert told["findings"][0]["file"] == "prompts/staging/greeting.yaml"
        assert told["checked"][0]["environment"] == "staging"
        assert told["checked"][0]["graphs"] == ["graph.yaml"]


def test_findings_for_github_are_annotations_and_nothing_else(folder: Path, run: Run) -> None:
    edit(folder, BROKEN)
    code, out, err = run("check", "graph.yaml", *LAYERS, "--format", "github")
    assert code == 1
    assert out.startswith("::error file=prompts/staging/greeting.yaml,line=1,")
    assert all(line.startswith("::") for line in out.splitlines())
    assert "1 error" in err
    absolute = ["-l", folder / "prompts/{environment}", *LAYERS[2:]]
    _, out, _ = run("check", *absolute, "--format", "github")
    assert out.startswith("::error file=prompts/staging/greeting.yaml,line=1,")


def test_annotations_name_files_as_the_repository_does(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(folder, BROKEN)
    for root, named in (
        (folder, "prompts/staging"),
        (folder.parent, f"{folder.name}/prompts/staging"),
    ):
        # A step may run in a folder of the repository.
        monkeypatch.setenv("GITHUB_WORKSPACE", str(root))
        for layer in ("prompts/staging", "./prompts/staging", f"{folder}/prompts/staging"):
            out = run("check", "-l", layer, "--format", "github")[1]
            assert out.startswith(f"::error file={named}/greeting.yaml,line=1,")
            found = json.loads(run("check", "-l", layer, "--json")[1])["findings"][0]
            assert found["file"] == f"{named}/greeting.yaml"
    monkeypatch.delenv("GITHUB_WORKSPACE")
    (folder / ".git").mkdir()
    monkeypatch.chdir(folder / "prompts")
    found = json.loads(run("check", "-l", "staging", "--json")[1])["findings"][0]
    assert found["file"] == "prompts/staging/greeting.yaml"


def test_github_annotations_escape_what_would_end_them() -> None:
    finding = Finding(
        "warning", "a:b", "50%\r\nbad, a: b", file="x,y:z%.yaml", line=3, column=7, hint="Mend\nit."
    )
    assert annotation(finding) == (
        "::warning file=x%2Cy%3Az%25.yaml,line=3,col=7,title=a%3Ab::"
        "50%25%0D%0Abad, a: b%0AMend%0Ait."
    )


def test_strict_makes_a_duplicate_key_an_error(folder: Path, run: Run) -> None:
    edit(folder, "user: a\nuser: Hello {name}\n")
    code, out, _ = run("check", "graph.yaml", *LAYERS)
    assert code == 0
    assert "duplicate-key" in out
    assert run("check", "graph.yaml", *LAYERS, "--strict")[0] == 1


def test_a_graph_alone_is_checked_with_its_own_prompts(folder: Path, run: Run) -> None:
    own = folder / "prompts"
    (own / "greeting.yaml").write_text("user: Hello {name}\n")
    (own / "signature.yaml").write_text("user: '{greeting}'\n")
    assert run("check", "graph.yaml")[:2] == (0, "✓ 0 errors, 0 warnings in 2 prompts, 1 graph\n")
    (own / "greeting.yaml").write_text("user: '{{ name.__class__.__mro__ }}'\n")
    assert run("check", "graph.yaml")[0] == 1


def test_a_graph_that_names_its_environments_needs_no_layer(folder: Path, run: Run) -> None:
    graph = folder / "graph.yaml"
    graph.write_text("prompts_dir: prompts/{environment}\n" + GRAPH)
    (folder / "prompts/staging/signature.yaml").write_text("user: '{greeting}'\n")
    code, out, _ = run("check", "graph.yaml", "-e", "staging", "--json")
    assert code == 0
    assert json.loads(out)["checked"][0]["layers"] == ["prompts/staging"]


def test_a_graph_that_cannot_be_built_fails_the_check(folder: Path, run: Run) -> None:
    graph = folder / "graph.yaml"
    tool = "tools:\n  look: {type: python, module: nowhere_at_all, function: look}\n"
    graph.write_text(GRAPH + tool)
    code, out, _ = run("check", "graph.yaml", *LAYERS)
    assert code == 1
    assert "nowhere_at_all" in out
    assert "compile" in out


def test_graphs_with_prompts_of_their_own_are_checked_each_by_itself(
    folder: Path, run: Run
) -> None:
    for name in ("one", "two"):
        (folder / name / "prompts").mkdir(parents=True)
        (folder / name / "prompts/greeting.yaml").write_text(f"user: '{name} {{name}}'\n")
        (folder / name / "prompts/signature.yaml").write_text("user: Bye\n")
        text = f"prompts_relative: true\nprompts_dir: prompts\n{GRAPH}"
        (folder / name / "graph.yaml").write_text(text)
    code, out, _ = run("check", "one/graph.yaml", "two/graph.yaml", "--json")
    assert code == 0
    first, second = json.loads(out)["checked"]
    assert (first["graphs"], second["graphs"]) == (["one/graph.yaml"], ["two/graph.yaml"])
    assert first["release"] != second["release"]


def test_changed_prompt_files_alone_are_checked_by_themselves(folder: Path, run: Run) -> None:
    files = [folder / "prompts/staging/greeting.yaml", "prompts/base/greeting.yaml"]
    assert run("check", *files)[0] == 0
    edit(folder, BROKEN)
    code, out, _ = run("check", *files)
    assert code == 1
    assert out.splitlines()[0] == str(files[0])
    os.chdir(folder / "prompts")
    code, out, _ = run("check", "../prompts/staging/greeting.yaml")
    assert code == 1
    assert out.splitlines()[0] == "../prompts/staging/greeting.yaml"


def test_a_changed_prompt_file_beside_layers_changes_nothing(folder: Path, run: Run) -> None:
    edit(folder, BROKEN)
    whole = run("check", "graph.yaml", *LAYERS)
    assert run("check", *LAYERS, "graph.yaml", "prompts/base/greeting.yaml") == whole


def test_a_folder_is_checked_as_a_layer(folder: Path, run: Run) -> None:
    assert run("check", "prompts/base")[0] == 0
    edit(folder, BROKEN)
    assert run("check", "prompts/base", "prompts/staging")[0] == 1


def test_a_template_among_changed_files_is_checked_with_what_stands_beside_it(
    folder: Path, run: Run
) -> None:
    base = folder / "prompts/base"
    (base / "vars.yaml").write_text("company: Acme\n")
    (base / "hello.yaml.j2").write_text("user: Hello from {{ company }}\n")
    assert run("check", "prompts/base/hello.yaml.j2")[0] == 0
    (base / "hello.yaml.j2").write_text("user: Hello from {{ compny }}\n")
    code, out, _ = run("check", "prompts/base/hello.yaml.j2")
    assert code == 1
    assert "j2-undefined" in out
    (base / "hello.yaml.j2").unlink()
    (base / "vars.yaml").write_text("- no mapping\n")
    assert run("check", "prompts/base/vars.yaml")[0] == 1


def test_the_check_touches_no_store_and_publishes_nothing(folder: Path, run: Run) -> None:
    store = Path(os.environ["YAMLGRAPH_PROMPTS_STORE"])
    run("check", "graph.yaml", *LAYERS)
    run("show", "greeting", "graph.yaml", *LAYERS)
    assert list(store.iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["check"], "check needs a graph or a layer"),
        (["check", "missing.yaml"], "cannot be read"),
        (["check", "notes.txt"], "neither a graph"),
        (["check", "-l", "nowhere"], "does not exist"),
        (["check", "-l", "s4://bucket"], "Known:"),
        (["check", "-l", "prompts/{environment}", "-e", "stagin"], "Did you mean 'staging'?"),
        (["check", "-l", "prompts/base", "-e", "../etc"], "cannot be the name"),
        (["check", "--bogus"], "unrecognized arguments: --bogus"),
        (["show", "greting", *LAYERS], "Did you mean 'greeting'?"),
        (["show", "greeting", "missing.yaml"], "Graph config not found"),
        (["show", "greeting.yaml", *LAYERS], "Name a prompt without .yaml"),
        (["show", "prompts/base/greeting.yaml", *LAYERS], "is not a graph"),
        (["show", "--release", "abc", *LAYERS], "No release is live"),
        (["show", "--release", "live", *LAYERS], "No release is live"),
        (["show", "--rendered", *LAYERS], "--rendered needs the name of a prompt"),
        (["show", "greeting", "--rendered", "--var", "x", *LAYERS], "is not a variable"),
        (["show", "greeting", "--rendered", "--var", "x:={", *LAYERS], "is not JSON"),
        (["show", "greeting", "--rendered", *LAYERS], "Add --var name=TEXT."),
        (["demo", "extra"], "unrecognized arguments: extra"),
        (["diff", "live", *LAYERS], "diff needs two releases"),
        (["activate", *LAYERS], "takes one release id"),
        (["activate", "abc", *LAYERS], "No release is live"),
        (["rollback", "abc", *LAYERS], "yamlgraph-prompts activate abc"),
        (["-l", "prompts/base", "check"], "the command comes first"),
        (["rollback", *LAYERS], "No release is live"),
        (["follow", *LAYERS], "No release is live"),
        (["run", "missing.yaml", "-l", "prompts/base"], "Graph config not found"),
        (["serve", "prompts/base", "graph.yaml"], "serve -l prompts/base graph.yaml"),
        (["run", "graph.yaml", "--bogus"], "unrecognized arguments: --bogus"),
        (["run", "graph.yaml", "-e", "staging"], "Use --environment staging."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_words_with_exit_code_2(
    folder: Path, run: Run, argv: list[str], said: str
) -> None:
    (folder / "notes.txt").write_text("")
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_debug_shows_where_an_error_comes_from(folder: Path) -> None:
    from yamlgraph_prompts.errors import LayerNotFound

    with pytest.raises(LayerNotFound):
        main(["check", "--debug", "-l", "nowhere"])


def test_ctrl_c_is_130(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("yamlgraph_prompts._cli.check.run", interrupted)
    assert run("check", "graph.yaml") == (130, "", "")


def test_a_missing_environment_is_said_when_a_layer_needs_one(folder: Path, run: Run) -> None:
    (folder / "prompts/staging").rename(folder / "prompts/development")
    code, _, err = run("check", "-l", "prompts/{environment}", "-l", "prompts/base")
    assert code == 0
    assert "'development'" in err
    assert run("check", "-l", "prompts/base")[2] == ""


def test_an_optional_layer_need_not_exist(folder: Path, run: Run) -> None:
    code, out, _ = run("show", "--optional-layer", "/nowhere", "-l", "prompts/base", "--json")
    assert code == 0
    assert [prompt["layer"] for prompt in json.loads(out)["prompts"]] == ["prompts/base"] * 2


def test_show_lists_every_prompt_with_its_layer(folder: Path, run: Run) -> None:
    code, out, _ = run("show", *LAYERS)
    assert code == 0
    _, greeting, signature = out.splitlines()
    assert greeting.split() == ["greeting", "prompts/staging", "hides", "prompts/base"]
    assert signature.split() == ["signature", "prompts/base"]


def test_show_says_everything_of_one_prompt(folder: Path, run: Run) -> None:
    code, out, _ = run("show", "greeting", "graph.yaml", *LAYERS)
    assert code == 0
    for part in ("prompts/staging/greeting.yaml", "hides", "variables", "graph.yaml: greet (llm)"):
        assert part in out
    assert out.endswith("\n  user: Hello {name} of staging\n\n")
    told = json.loads(run("show", *LAYERS, "graph.yaml", "greeting", "--json")[1])["prompts"]
    assert told[0]["hides"] == ["prompts/base"]
    assert told[0]["variables"] == ["name"]
    assert len(told[0]["sha256"]) == 64


def test_show_finds_what_a_graph_takes_from_its_own_folder(folder: Path, run: Run) -> None:
    (folder / "prompts/base/signature.yaml").rename(folder / "prompts/signature.yaml")
    code, out, _ = run("show", "signature", "graph.yaml", *LAYERS, "--json")
    assert code == 0
    assert json.loads(out)["prompts"][0]["layer"] == "graph:graph.yaml"


@pytest.mark.parametrize("words", [["greeting"], []], ids=["by name", "in the list"])
def test_show_says_why_a_prompt_is_not_there(folder: Path, run: Run, words: list[str]) -> None:
    (folder / "prompts/staging/greeting.yaml").unlink()
    (folder / "prompts/staging/greeting.yaml").symlink_to("gone.yaml")
    err = run("show", *words, *LAYERS)[2]
    assert "prompts/staging/greeting.yaml" in err
    assert "unreadable" in err


def test_show_says_when_the_check_finds_errors(folder: Path, run: Run) -> None:
    edit(folder, BROKEN)
    code, out, err = run("show", *LAYERS)
    assert code == 0
    assert "greeting" in out
    assert "There is 1 error: run yamlgraph-prompts check." in err


def test_a_check_of_nothing_says_so(folder: Path, run: Run) -> None:
    (folder / "empty").mkdir()
    assert run("check", "empty")[2] == "There are no prompts in empty: nothing was checked.\n"
    assert run("check", "prompts/base")[2] == ""


def test_show_rendered_gives_the_messages_that_a_model_gets(folder: Path, run: Run) -> None:
    edit(folder, "system: Be kind.\nuser: '{% for n in names %}Hi {{ n }}! {% endfor %}'\n")
    argv = ["show", "greeting", *LAYERS, "--rendered", "--var", 'names:=["Ada", "Bob"]']
    code, out, _ = run(*argv)
    assert code == 0
    assert out == "[system]\nBe kind.\n\n[user]\nHi Ada! Hi Bob! \n\n"
    assert [message["role"] for message in json.loads(run(*argv, "--json")[1])] == [
        "system",
        "user",
    ]


def test_a_prompt_cannot_move_the_cursor_of_whoever_looks_at_it(folder: Path, run: Run) -> None:
    edit(folder, "user: Hello {name} \x1b[2J\x9b2J\n")
    for argv in (["show", "greeting"], ["check"], ["show", "greeting", "--json"]):
        _, out, _ = run(*argv, *LAYERS)
        assert "\x1b" not in out
        assert "\x9b" not in out


def test_show_and_diff_know_kept_releases(folder: Path, run: Run) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    edit(folder, "user: Hello {name}, third\n")
    assert "first" in run("show", "greeting", "--release", first[:8], *LAYERS)[1]
    assert "second" in run("show", "greeting", "--release", "live", *LAYERS)[1]
    code, out, _ = run("diff", first[:8], "live", *LAYERS)
    assert code == 1
    assert f"--- greeting.yaml ({first[:12]})" in out
    assert "-user: Hello {name}, first\n+user: Hello {name}, second\n" in out
    assert "+user: Hello {name}, third" in run("diff", "live", "layers", *LAYERS)[1]
    assert run("diff", second, "live", *LAYERS)[:2] == (0, "")
    code, out, _ = run("diff", first, second, *LAYERS, "--json")
    assert code == 1
    assert json.loads(out)["changed"] == ["greeting"]


def test_releases_lists_what_workers_published(folder: Path, run: Run) -> None:
    code, out, err = run("releases", *LAYERS)
    assert (code, out) == (2, "")
    assert "No release is live" in err
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    code, out, _ = run("releases", *LAYERS)
    assert code == 0
    _, newest, oldest = out.splitlines()
    assert newest.split()[0] == second[:12]
    assert newest.split()[-1] == "live"
    assert oldest.split()[0] == first[:12]
    told = json.loads(run("releases", *LAYERS, "--json")[1])
    assert [release["id"] for release in told["releases"]] == [second, first]
    assert [release["live"] for release in told["releases"]] == [True, False]


def test_releases_publishes_nothing(folder: Path, run: Run) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    edit(folder, "user: Hello {name}, second\n")
    for _ in range(2):
        told = json.loads(run("releases", *LAYERS, "--json")[1])
        assert [release["id"] for release in told["releases"]] == [first]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["releases"], 2),
        (["releases", "--json"], 2),
        (["show", "--release", "live"], 2),
        (["show", "--release", "ab12"], 2),
        (["diff", "live", "layers"], 2),
        (["activate", "ab12"], 2),
        (["rollback"], 2),
        (["follow"], 2),
        (["check"], 0),
    ],
)
def test_a_store_that_is_misspelt_is_not_made(
    words: list[str], code: int, folder: Path, run: Run
) -> None:
    publish(folder, "user: Hello {name}, first\n")
    said = run(*words, *LAYERS, "--store", "misspelt")
    assert said[0] == code
    assert not (folder / "misspelt").exists()
    if "check" not in words:
        assert str(folder / "misspelt") in f"{said[1]}{said[2]}"


@pytest.mark.parametrize("layers", [(), ("prompts/base",)])
def test_an_app_behind_a_link_is_found_as_it_is_loaded(
    layers: tuple[str, ...], folder: Path, run: Run
) -> None:
    graph = f"prompts_relative: true\nprompts_dir: prompts/base\n{GRAPH}"
    (folder / "graph.yaml").write_text(graph)
    (folder / "elsewhere").mkdir()
    for path in ("graph.yaml", "prompts"):
        (folder / path).rename(folder / "elsewhere" / path)
    (folder / "current").symlink_to("elsewhere")
    app = load_and_compile("current/graph.yaml", layers or None, watch=False).compile()
    words = [word for layer in layers for word in ("-l", layer)]
    told = json.loads(run("releases", "current/graph.yaml", *words, "--json")[1])
    assert [release["id"] for release in told["releases"]] == [app.release.id]
    assert told["store"] == str(app.prompts.store_folder)


def test_a_rollback_reaches_a_running_worker_and_follow_ends_it(folder: Path, run: Run) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    with LivePrompts(
        "prompts/{environment}", "prompts/base", environment="staging", watch=False
    ) as worker:
        code, out, _ = run("rollback", "graph.yaml", *LAYERS)
        assert code == 2  # no process follows changes by itself
        assert f"{first[:12]} is live and held for staging" in out
        assert f"  {second[:12]} → {first[:12]}\n  changed  greeting\n" in out
        assert os.environ["YAMLGRAPH_PROMPTS_STORE"] in out
        worker.publish("file change")
        assert (worker.release.id, worker.held) == (first, True)
        assert run("releases", *LAYERS)[1].splitlines()[1].endswith("live, held")

        code, out, _ = run("follow", *LAYERS, "graph.yaml")
        assert code == 0
        assert f"{second[:12]} is live" in out
        worker.publish("file change")
        assert (worker.release.id, worker.held) == (second, False)


@pytest.mark.parametrize("graph", [["graph.yaml"], []], ids=["with the graph", "without it"])
def test_a_rollback_goes_back_from_what_is_live_and_not_from_an_unpublished_edit(
    folder: Path, run: Run, graph: list[str]
) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    (folder / "prompts/staging/greeting.yaml").write_text("user: Hello {name}, not yet\n")
    code, out, _ = run("rollback", *graph, *LAYERS)
    assert code == 2
    assert f"{first[:12]} is live and held" in out
    assert "not yet" not in run("diff", first, "live", *LAYERS)[1]


def test_activate_takes_the_beginning_of_an_id(folder: Path, run: Run) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    code, out, _ = run("activate", first[:8], *LAYERS, "--json")
    told = json.loads(out)
    assert code == 2
    assert (told["release"], told["status"], told["held"]) == (first, "published", True)
    assert (told["before"], told["changed"]) == (second, ["greeting"])


def test_a_release_that_does_not_fit_the_graph_is_not_activated(folder: Path, run: Run) -> None:
    (folder / "prompts/base/signature.yaml").rename(folder / "signature.kept")
    first = publish(folder, "user: Hello {name}, first\n")
    (folder / "signature.kept").rename(folder / "prompts/base/signature.yaml")
    second = publish(folder, "user: Hello {name}, second\n")
    code, out, _ = run("activate", first[:8], "graph.yaml", *LAYERS)
    assert code == 1
    assert "missing-prompt" in out
    assert f"Rejected: {second[:12]} stays live" in out
    assert json.loads(run("releases", *LAYERS, "--json")[1])["releases"][0]["id"] == second


def test_follow_with_broken_layers_ends_the_hold_and_says_what_is_wrong(
    folder: Path, run: Run
) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    run("rollback", *LAYERS)
    edit(folder, BROKEN)
    code, out, _ = run("follow", *LAYERS)
    assert code == 1
    assert "template-syntax" in out
    assert f"Rejected: {first[:12]} stays live" in out
    assert "followed again" in out


@pytest.mark.parametrize("command", [["rollback"], ["follow"], ["activate", "abc"]])
def test_an_order_that_nobody_would_hear_is_refused(
    folder: Path, run: Run, command: list[str]
) -> None:
    publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    (folder / "other").mkdir()
    os.chdir(folder / "other")
    other = ("-l", "../prompts/base", "-e", "staging")
    code, out, err = run(*command, *other)
    assert (code, out) == (2, "")
    store = os.environ["YAMLGRAPH_PROMPTS_STORE"]
    assert f"No release is live for ../prompts/base (staging) in {store}" in err
    assert "same graph, layers, environment and store as the app" in err
    assert json.loads(run("releases", *other, "--json")[1])["releases"] == []
    os.chdir(folder)


@pytest.mark.parametrize("command", [["rollback"], ["follow"], ["activate", "abc"]])
def test_an_order_is_refused_where_the_store_cannot_be_written(
    folder: Path, run: Run, command: list[str]
) -> None:
    (folder / "file").write_text("")
    code, out, err = run(*command, *LAYERS, "--store", "file")
    assert (code, out) == (2, "")
    assert "No process would notice this command. The store cannot be written" in err


def test_an_order_says_how_many_processes_have_taken_it(folder: Path, run: Run) -> None:
    publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    assert "On this machine: no process follows changes;" in run("rollback", *LAYERS)[1]
    with LivePrompts("prompts/{environment}", "prompts/base", environment="staging") as app:
        assert app["greeting"].user == "Hello {name}, first"
        told = json.loads(run("follow", *LAYERS, "--json")[1])
        assert (told["taken"], told["workers"]) == (1, 1)
        code, out, _ = run("rollback", *LAYERS)
        assert code == 0
        assert "1 of 1 running processes serve it now" in out


def test_an_order_that_no_process_can_serve_is_taken_back(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yamlgraph_prompts._cli.holds.TAKEN_WITHIN_S", 0.1)
    monkeypatch.setattr("yamlgraph_prompts._cli.holds.GIVEN_UP_AFTER_S", 1.0)
    (folder / "prompts/base/signature.yaml").rename(folder / "signature.kept")
    first = publish(folder, "user: Hello {name}, first\n")
    (folder / "signature.kept").rename(folder / "prompts/base/signature.yaml")
    second = publish(folder, "user: Hello {name}, second\n")
    with (
        load_and_compile(
            "graph.yaml", ("prompts/{environment}", "prompts/base"), environment="staging"
        )
        .compile()
        .prompts as app
    ):
        assert app.release.id == second
        # Without the graph the command does not see that a prompt is missing.
        code, out, _ = run("activate", first[:8], *LAYERS)
        assert code == 1
        assert f"No process on this machine could serve {first[:12]}" in out
        assert f"Rejected: {second[:12]} stays live" in out
        told = json.loads(run("releases", *LAYERS, "--json")[1])["releases"]
        assert [(one["id"], one["held"]) for one in told if one["live"]] == [(second, False)]
        edit(folder, "user: Hello {name}, third\n")
        app.publish()
        assert (app["greeting"].user, app.held) == ("Hello {name}, third", False)


def history(run: Run) -> list[Entry]:
    folder = Path(json.loads(run("releases", *LAYERS, "--json")[1])["store"])
    return list(LocalRegistry(folder).history("staging"))


@pytest.mark.parametrize("graph", [["graph.yaml"], []], ids=["with the graph", "without it"])
def test_a_rollback_without_history_changes_nothing_and_an_activation_still_works(
    folder: Path, run: Run, graph: list[str]
) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    store = Path(json.loads(run("releases", *LAYERS, "--json")[1])["store"])
    (store / "log-staging.jsonl").unlink()
    edit(folder, "user: Hello {name}, not yet\n")
    code, out, err = run("rollback", *graph, *LAYERS)
    assert (code, out) == (2, "")
    assert "The history of this store is lost." in err
    assert history(run) == []
    assert run("activate", first[:8], *graph, *LAYERS)[0] == 2
    assert [(entry.release, entry.held) for entry in history(run)] == [(first, True)]


def test_an_order_publishes_nothing_where_what_is_live_cannot_be_loaded(
    folder: Path, run: Run
) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    store = Path(json.loads(run("releases", *LAYERS, "--json")[1])["store"])
    (store / f"packs/{second}.pack").write_bytes(b"damaged")
    edit(folder, "user: Hello {name}, not yet\n")
    assert run("rollback", *LAYERS)[0] == 2
    assert next((one.release, one.held) for one in history(run)) == (first, True)


def test_a_hold_that_no_process_can_serve_never_replaces_one_that_is_served(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yamlgraph_prompts._cli.holds.TAKEN_WITHIN_S", 0.1)
    monkeypatch.setattr("yamlgraph_prompts._cli.holds.GIVEN_UP_AFTER_S", 1.0)
    (folder / "prompts/base/signature.yaml").rename(folder / "signature.kept")
    unfit = publish(folder, "user: Hello {name}, first\n")
    (folder / "signature.kept").rename(folder / "prompts/base/signature.yaml")
    good = publish(folder, "user: Hello {name}, second\n")
    edit(folder, "user: Hello {name}, third\n")
    layers = ("prompts/{environment}", "prompts/base")
    with load_and_compile("graph.yaml", layers, environment="staging").compile().prompts as app:
        assert app.release.id not in (unfit, good)
        assert run("activate", good[:8], *LAYERS)[0] == 0
        held = history(run)[0]
        assert run("activate", unfit[:8], *LAYERS)[0] == 1
        # One who gives up waiting leaves nothing behind either.
        monkeypatch.setattr("yamlgraph_prompts._cli.holds.HostReplicas.reached", interrupted())
        assert run("activate", unfit[:8], *LAYERS)[0] == 130
        now = history(run)[0]
        assert (now.release, now.held, now.at_s) == (good, True, held.at_s)
        app.publish()
        assert (app.release.id, app.held) == (good, True)


def interrupted() -> Callable[..., tuple[int, int]]:
    def reached(*_: Any) -> tuple[int, int]:
        raise KeyboardInterrupt

    return reached


def test_a_graph_that_broke_under_a_running_app_makes_a_rollback_fail_and_change_nothing(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yamlgraph_prompts._cli.holds.TAKEN_WITHIN_S", 0.1)
    monkeypatch.setattr("yamlgraph_prompts._cli.holds.GIVEN_UP_AFTER_S", 1.0)
    publish(folder, "user: Hello {name}, first\n")
    edit(folder, "user: Hello {name}, second\n")
    layers = ("prompts/{environment}", "prompts/base")
    with load_and_compile("graph.yaml", layers, environment="staging").compile().prompts as app:
        second = app.release.id
        (folder / "graph.yaml").write_text("nodes:\n\tgreet: {}\n")
        for words in ([], ["graph.yaml"]):
            code, out, _ = run("rollback", *words, *LAYERS)
            assert code == 1
            assert f"{second[:12]} stays live" in out
        assert (history(run)[0].release, history(run)[0].held) == (second, False)


def test_a_second_rollback_is_announced_with_what_it_undoes(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    bad = publish(folder, "user: Hello {name}, bad\n")
    assert "!" not in run("rollback", *LAYERS, "--who", "Ada")[2]
    words = (*LAYERS, "--who", "Grace")
    told = f"Ada rolled back from {bad[:12]} 0 minutes ago: this makes it live again."
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        patch.setattr("builtins.input", lambda _: "n")
        code, out, err = run("rollback", *words)
        assert (code, out) == (2, "")
        assert told in err
        assert "Nothing was changed." in err
    assert history(run)[0].release == first
    code, out, err = run("rollback", *words)
    assert told in err
    assert f"  {first[:12]} → {bad[:12]}\n  changed  greeting\n" in out
    with LivePrompts(
        "prompts/{environment}", "prompts/base", environment="staging", watch=False
    ) as app:
        findings = app.rollback(who="Ada").findings
        assert [finding.code for finding in findings] == ["rollback-undone"]
        assert f"Grace rolled back from {first[:12]}" in findings[0].message


def test_the_history_of_a_store_says_who_and_what_for(folder: Path, run: Run) -> None:
    publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    run("rollback", *LAYERS, "-m", "too rude", "--who", "Ada")
    table = run("releases", *LAYERS)[1]
    assert "who" in table
    assert "Ada" in table
    assert "too rude" in table
    assert f"process {os.getpid()} on " in table
    told = json.loads(run("releases", *LAYERS, "--json")[1])["releases"]
    assert (told[0]["who"], told[0]["message"]) == ("Ada", "too rude")
    assert all(entry.who and entry.why for entry in history(run))


def test_orders_are_in_the_audit_log_with_who_and_what_for(folder: Path, run: Run) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    run("rollback", *LAYERS, "-m", "too rude", "--who", "Ada")
    edit(folder, BROKEN)
    run("follow", *LAYERS, "--who", "Grace")
    store = Path(json.loads(run("releases", *LAYERS, "--json")[1])["store"])
    lines = (store / "audit.jsonl").read_text().split("\n")
    rolled, followed = [json.loads(line) for line in lines if line]
    assert abs(rolled.pop("at_s") - time.time()) < 60
    assert rolled == {
        "who": "Ada",
        "role": "operator",
        "address": "command line",
        "action": "rollback",
        "status": "published",
        "before": second,
        "after": first,
        "message": "too rude",
    }
    assert (followed["who"], followed["status"]) == ("Grace", "rejected")


def test_an_order_with_a_graph_that_is_broken_changes_nothing_and_says_so(
    folder: Path, run: Run
) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    (folder / "graph.yaml").write_text("nodes:\n\tgreet: {}\n")
    code, out, _ = run("rollback", "graph.yaml", *LAYERS)
    assert code == 1
    assert "a tab is used" in out
    assert f"Rejected: {second[:12]} stays live, and nothing was changed." in out
    told = json.loads(run("follow", "graph.yaml", *LAYERS, "--json")[1])
    assert (told["status"], told["release"], told["held"]) == ("rejected", second, False)
    assert f"{first[:12]} is live and held" in run("rollback", *LAYERS)[1]


def test_a_hold_says_the_whole_command_that_ends_it(folder: Path, run: Run) -> None:
    publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    out = run("rollback", "graph.yaml", *LAYERS)[1]
    assert (
        "until you run: yamlgraph-prompts follow graph.yaml -l 'prompts/{environment}' "
        "-l prompts/base -e staging\n"
    ) in out


def test_prompts_that_were_never_good_are_refused_with_their_findings(
    folder: Path, run: Run
) -> None:
    edit(folder, BROKEN)
    code, _, err = run("run", "graph.yaml", *LAYERS[:4], "--environment", "staging")
    assert code == 2
    assert "template-syntax" in err
    assert "no earlier good release" in err


def test_another_store_can_be_named(folder: Path, run: Run) -> None:
    with LivePrompts(
        "prompts/{environment}", "prompts/base", environment="staging", store="elsewhere"
    ) as app:
        app.release  # noqa: B018 - keeps it
    assert len(json.loads(run("releases", *LAYERS, "--store", "elsewhere", "--json")[1])) == 2
    assert run("releases", *LAYERS)[1] == ""


def test_run_is_yamlgraphs_own_command_on_our_release(
    folder: Path, run: Run, model_server: ModelServer
) -> None:
    argv = ["run", "graph.yaml", "--var", "name=Ada", "--environment", "staging", *LAYERS[:4]]
    code, out, err = run(*argv, "--full")
    assert code == 0
    assert model_server.texts()[0] == "Hello Ada of staging"
    assert "greeting: echo: Hello Ada of staging" in out
    release = json.loads(run("releases", *LAYERS, "--json")[1])["releases"][0]["id"]
    assert f"release {release[:12]} · environment staging" in err
    code, out, _ = run(*argv, "--json")
    assert code == 0
    assert json.loads(out)["greeting"] == "echo: Hello Ada of staging"


def test_run_on_a_held_release_runs_that(folder: Path, run: Run, model_server: ModelServer) -> None:
    publish(folder, "user: Hello {name}, first\n")
    publish(folder, "user: Hello {name}, second\n")
    run("rollback", *LAYERS)
    argv = ["run", "graph.yaml", "-v", "name=Ada", "--environment", "staging", *LAYERS[:4]]
    code, _, err = run(*argv)
    assert code == 0
    assert model_server.texts()[0] == "Hello Ada, first"
    assert ", held" in err


@pytest.mark.parametrize("flag", ["--stream", "--async"])
def test_run_streams_and_runs_asynchronously(
    folder: Path, run: Run, model_server: ModelServer, flag: str
) -> None:
    argv = ["run", "graph.yaml", "-v", "name=Ada", "--environment", "staging", *LAYERS[:4]]
    code, out, err = run(*argv, flag)
    assert code == 0, err
    assert model_server.texts()[0] == "Hello Ada of staging"
    assert "echo: Hello Ada of staging" in out


def test_run_passes_a_models_name_on(folder: Path, run: Run, model_server: ModelServer) -> None:
    import inspect

    from yamlgraph.compile.graph_loader import load_graph_config

    if "model_override" not in inspect.signature(load_graph_config).parameters:
        pytest.skip("this yamlgraph has no --model")
    argv = ["run", "graph.yaml", "-v", "name=Ada", "--environment", "staging", *LAYERS[:4]]
    assert run(*argv, "--model", "other")[0] == 0
    assert {request.model for request in model_server.requests} == {"other"}


def test_run_gives_yamlgraphs_exit_code(folder: Path, run: Run, model_server: ModelServer) -> None:
    argv = ["run", "graph.yaml", "--environment", "staging", *LAYERS[:4]]
    assert run(*argv, "--stream", "--json")[0] == 1


def test_run_leaves_yamlgraph_as_it_was(folder: Path, run: Run, model_server: ModelServer) -> None:
    from yamlgraph.compile import graph_loader

    argv = ["run", "graph.yaml", "-v", "name=Ada", "--environment", "staging", *LAYERS[:4]]
    run(*argv)
    before = (graph_loader.load_graph_config, graph_loader.compile_graph)
    run(*argv)
    assert (graph_loader.load_graph_config, graph_loader.compile_graph) == before


@pytest.mark.parametrize(
    ("settings", "coloured"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
    ids=str,
)
def test_there_is_colour_only_on_a_terminal_or_when_forced(
    folder: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    coloured: bool,
) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in run("check", *LAYERS)[1]) is coloured


def process(script: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **arguments,
    )


COMMAND = "import sys; from yamlgraph_prompts._cli import main; sys.exit(main({argv!r}))"


def test_as_a_process_it_exits_as_it_says(folder: Path) -> None:
    assert process(COMMAND.format(argv=["check", *LAYERS])).returncode == 0
    edit(folder, BROKEN)
    assert process(COMMAND.format(argv=["check", *LAYERS])).returncode == 1
    done = process(COMMAND.format(argv=["check", "-l", "nowhere"]))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_disk_is_said_and_is_no_finding(folder: Path) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "yamlgraph_prompts", "check", "prompts/base"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            check=False,
        )
    finally:
        os.close(full)
    assert done.returncode == 2
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_a_sign_that_the_terminal_does_not_know_is_no_failure(folder: Path) -> None:
    (folder / "prompts/base/greeting.yaml").write_text("user: Привет {name}\n", "utf-8")
    for words in (["check", "-l", "prompts/base"], ["show", "greeting", "-l", "prompts/base"]):
        done = subprocess.run(
            [sys.executable, "-m", "yamlgraph_prompts", *words],
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1"},
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u041f\\u0440" in done.stdout


CLOSED = (">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-")
CODES = {"prompts/base": 0, "broken": 1, "nowhere": 2}
# Each kind once in each run, the other pairs in the night.
EACH_RUN = set(zip(CLOSED, [*CODES, "prompts/base"], strict=True))


@pytest.mark.parametrize(
    ("closed", "layer"),
    [
        pytest.param(*pair, marks=[] if pair in EACH_RUN else [pytest.mark.nightly])
        for pair in itertools.product(CLOSED, CODES)
    ],
)
def test_where_nobody_listens_it_exits_as_ever(closed: str, layer: str, folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken/greeting.yaml").write_text(BROKEN)
    script = f'"{sys.executable}" -m yamlgraph_prompts check -l {layer} {closed}'
    done = subprocess.run(
        ["sh", "-c", script],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        check=False,
    )
    assert done.returncode == CODES[layer]
    assert "Traceback" not in done.stderr


def test_no_earlier_release_says_where_it_looked(folder: Path, run: Run) -> None:
    publish(folder, "user: Hello {name}, first\n")
    code, _, err = run("rollback", *LAYERS)
    assert code == 2
    assert "no earlier release" in err
    assert "Searched: prompts/staging, prompts/base (staging) in /" in err


def test_a_reader_that_has_seen_enough_ends_it_quietly(folder: Path) -> None:
    for number in range(3000):
        (folder / f"prompts/base/prompt_{number}.yaml").write_text("user: Hi\n")
    started = time.monotonic()
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(argv=["show", *LAYERS])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline().startswith("release")
        command.stdout.close()
        assert command.stderr.read() == ""
    assert command.returncode == 141
    assert time.monotonic() - started < 60


def test_export_writes_a_kept_release_as_ordinary_prompt_files(folder: Path, run: Run) -> None:
    first = publish(folder, "user: Hello {name}, first\n")
    second = publish(folder, "user: Hello {name}, second\n")
    edit(folder, "user: Hello {name}, third\n")
    assert run("export", *LAYERS, "out")[0] == 0
    assert Path("out/greeting.yaml").read_text() == "user: Hello {name}, second\n"
    assert run("export", *LAYERS, "--release", first[:9], "old")[0] == 0
    assert Path("old/greeting.yaml").read_text() == "user: Hello {name}, first\n"
    assert run("check", "old")[0] == 0
    # The layers may be gone: then the folder of stores is enough, or the store itself.
    root = os.environ["YAMLGRAPH_PROMPTS_STORE"]
    told = json.loads(run("export", "--store", root, "-e", "staging", "a", "--json")[1])
    assert (told["release"], told["target"]) == (second, "a")
    store = json.loads(run("releases", *LAYERS, "--json")[1])["store"]
    assert run("export", "--store", store, "-e", "staging", "b")[0] == 0
    assert sorted(p.name for p in Path("a").iterdir()) == sorted(
        p.name for p in Path("b").iterdir()
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("export", "out"), "Which releases?"),
        (("export", *LAYERS), "takes one folder"),
        (("export", *LAYERS, "a", "b"), "takes one folder"),
        (("export", *LAYERS, "prompts"), "is there already"),
        (("export", *LAYERS, "out", "--release", "ab12"), "No stored release"),
        (("export", "--store", "nowhere", "out"), "has no stores"),
    ],
)
def test_an_export_that_cannot_be_done_makes_no_folder(
    folder: Path, run: Run, words: tuple[str, ...], why: str
) -> None:
    publish(folder, "user: Hello {name}, first\n")
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert why in err
    assert not Path("out").exists()
    assert not Path("nowhere").exists()
