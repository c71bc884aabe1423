"""Names of files and environments as they come from other systems."""

from __future__ import annotations

import json
import logging
import unicodedata
from pathlib import Path

import pytest

from yamlgraph_prompts import Layer, LayerNotFound, LivePrompts, load_and_compile
from yamlgraph_prompts._cli import main
from yamlgraph_prompts.errors import InvalidEnvironment
from yamlgraph_prompts.findings import Finding

NFC, NFD = (unicodedata.normalize(form, "begrüßung") for form in ("NFC", "NFD"))


def graph(path: str, prompt: str, extra: str = "") -> str:
    text = f"""name: greeter
{extra}
state:
  name: str
nodes:
  greet:
    type: llm
    prompt: {prompt}
    state_key: greeting
edges:
  - {{from: START, to: greet}}
  - {{from: greet, to: END}}
"""
    write(path, text)
    return path


def write(path: str, text: str = "user: Hi {name}\n") -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ENVIRONMENT", "YAMLGRAPH_PROMPTS_ENVIRONMENT", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    return tmp_path


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[Finding]]:
    code = main(["check", *arguments, "--no-build", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    return code, [Finding(**finding) for finding in found]


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "p.sync-conflict-20240101-120000-ABCDEF.yaml",
        "p (conflicted copy).yaml",
        "p (Ada's conflicted copy 2024-01-01).yaml",
        "p_conflict-20240101-120000.yaml",
        "p (SFConflict ada 2024-01-01).yaml.j2",
        "p_LOCAL_1234.yaml",
    ],
)
def test_a_conflict_copy_is_not_read_and_named(name: str) -> None:
    write("prompts/p.yaml")
    write(f"prompts/{name}", "user: {broken\n")
    with LivePrompts("prompts", watch=False) as prompts:
        release, (finding,) = prompts.check()
    assert [*release.prompts] == ["p"]
    assert (finding.severity, finding.code) == ("warning", "conflict-copy")
    assert finding.file == f"prompts/{name}"


@pytest.mark.parametrize("name", ["conflict.yaml", "local_2.yaml", "conflict-resolution.yaml"])
def test_an_ordinary_name_is_no_conflict_copy(name: str) -> None:
    write(f"prompts/{name}")
    with LivePrompts("prompts", watch=False) as prompts:
        assert prompts.check()[1] == ()


def test_broken_files_that_no_graph_uses_refuse_nothing() -> None:
    write("prompts/p.yaml")
    write("prompts/index.yaml", "- a\n- b\n")
    write("prompts/old.yaml", "user: [\n")
    write("prompts/draft.yaml.j2", "user: {{ unknown }}\n")
    load_and_compile(graph("g.yaml", "p"), "prompts", watch=False).compile()


@pytest.mark.parametrize(("asked", "stored"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_a_name_is_found_however_its_letters_are_composed(
    asked: str, stored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(f"prompts/{stored}.yaml")
    assert checked(capsys, graph("g.yaml", asked), "-l", "prompts") == (0, [])
    load_and_compile("g.yaml", "prompts", watch=False).compile()


def test_both_forms_of_a_name_beside_each_other_are_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(f"prompts/{NFC}.yaml")
    write(f"prompts/{NFD}.yaml")
    code, (finding,) = checked(capsys, "-l", "prompts")
    assert (code, finding.severity, finding.code) == (1, "error", "twin-files")
    assert "NFC" in (finding.hint or "")
    assert "u\\u0308" in finding.message
    assert "\\xfc" in finding.message


def test_a_layer_with_a_separator_reads_keys_of_a_config_map() -> None:
    write("cm/router__classify.yaml", "user: Hi {name}, {x}\n")
    write("cm/parts__end.j2", "Bye")
    write("cm/a__b.yaml.j2", "user: {% include 'parts/end.j2' %}\n")
    with LivePrompts(Layer("cm", separator="__"), watch=False) as prompts:
        assert sorted(prompts.release.prompts) == ["a/b", "router/classify"]
        assert prompts["router/classify"].file == "cm/router__classify.yaml"
        assert prompts["a/b"].user == "Bye"


def test_a_missing_prompt_says_how_a_layer_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    write("cm/router__classify.yaml")
    _, found = checked(capsys, graph("g.yaml", "router/classify"), "-l", "cm")
    (missing,) = (f for f in found if f.code == "missing-prompt")
    assert "Layer(url, separator='__')" in (missing.hint or "")


def test_a_name_that_begins_with_the_layers_folder_says_what_it_would_be(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("examples/npc/prompts/perceive.yaml")
    graph("g.yaml", "examples/npc/perceive")
    _, found = checked(capsys, "g.yaml", "-l", "examples/npc/prompts")
    (own,) = (f for f in found if f.code == "own-prompt")
    assert "examples/npc/perceive.yaml" in (own.hint or "")
    assert "'perceive'" in (own.hint or "")
    write("layer/perceive.yaml")
    graph("h.yaml", "elsewhere/npc/perceive")
    _, found = checked(capsys, "h.yaml", "-l", "layer")
    (missing,) = (f for f in found if f.code == "missing-prompt")
    assert "elsewhere/npc/perceive.yaml" in (missing.hint or "")


# -- environments and places ---------------------------------------------------------------------


def test_an_environment_that_no_layer_uses_need_not_be_a_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write("prompts/p.yaml")
    write("prompts/development/p.yaml")
    monkeypatch.setenv("ENVIRONMENT", "Local Dev")
    with LivePrompts("prompts", watch=False) as prompts:
        assert prompts.environment == "development"
    load_and_compile(graph("g.yaml", "p"), "prompts", watch=False)
    assert any("'Local Dev'" in record.getMessage() for record in caplog.records)
    with pytest.raises(InvalidEnvironment):
        LivePrompts("prompts/{environment}", watch=False)
    with pytest.raises(InvalidEnvironment):
        LivePrompts("prompts", environment="Local Dev", watch=False)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    write("home/prompts/p.yaml")
    with LivePrompts("~/prompts", watch=False) as prompts:
        assert prompts["p"].user == "Hi {name}"


def test_a_graph_may_name_several_layers(capsys: pytest.CaptureFixture[str]) -> None:
    write("prompts/a/q.yaml")
    write("prompts/a/p.yaml", "user: first {name}\n")
    write("prompts/b/p.yaml")
    graph("g.yaml", "p", "prompts_dir: [prompts/a, prompts/b]")
    code, found = checked(capsys, "g.yaml")
    assert (code, [f.code for f in found]) == (0, ["unused-prompt"])
    load_and_compile("g.yaml", watch=False).compile()
    defaults = "{prompts_dir: ['x/{environment}', y], prompts_relative: true}"
    graph("sub/g.yaml", "p", f"defaults: {defaults}")
    write("sub/x/development/p.yaml")
    write("sub/y/p.yaml")
    assert checked(capsys, "sub/g.yaml") == (0, [])


def test_paths_beside_a_graph_are_shown_from_the_working_directory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    graph("sub/g.yaml", "p", "prompts_relative: true\nprompts_dir: 'prompts/{environment}'")
    write("sub/prompts/development/p.yaml", "user: Hi {nmae}\n")
    write("sub/prompts/development/q.yml")
    _, found = checked(capsys, "sub/g.yaml")
    folder = "sub/prompts/development"
    assert {f.file for f in found} == {f"{folder}/p.yaml", f"{folder}/q.yml"}
    main(["check", "sub/g.yaml", "--no-build", "--format", "github"])
    assert f"::error file={folder}/p.yaml,line=1" in capsys.readouterr().out


def test_a_place_without_environments_is_named_by_its_absolute_path(folder: Path) -> None:
    with pytest.raises(LayerNotFound, match=f"None is in {folder}/nowhere yet"):
        _ = LivePrompts("nowhere/{environment}", environment="staging", watch=False).release


def test_two_graphs_over_one_folder_do_not_warn_of_each_others_prompts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("p", "q", "nobody"):
        write(f"prompts/{name}.yaml")
    caplog.set_level(logging.WARNING)

    def unused() -> list[str]:
        return [r.getMessage() for r in caplog.records if "unused-prompt" in r.getMessage()]

    with LivePrompts("prompts", watch=False) as prompts:
        load_and_compile(graph("g.yaml", "p"), prompts=prompts).compile()
        load_and_compile(graph("h.yaml", "q"), prompts=prompts).compile()
        assert unused() == []
        prompts._report.run_started(prompts.release.id)
        (warning,) = unused()
        assert "prompts/nobody.yaml" in warning


def test_a_check_of_a_folder_says_which_graphs_it_did_not_build(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("app/p.yaml")
    graph("app/deep/graph.yaml", "p")
    assert main(["check", "app"]) == 0
    printed = capsys.readouterr()
    assert "Not built: app/deep/graph.yaml" in printed.err
    assert "--graphs" in printed.err
