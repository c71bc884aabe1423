"""A graph file with a mistake in it: the finding says where it is, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import wait_until
from yamlgraph_prompts import PromptsRejected, load_and_compile
from yamlgraph_prompts._cli import main
from yamlgraph_prompts.findings import Finding

GOOD = """\
name: g
state: {name: str}
nodes:
  a:
    type: llm
    prompt: greet
    state_key: out
edges:
  - {from: START, to: a}
  - {from: a, to: END}
"""


def refused(folder: Path, text: str) -> list[Finding]:
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts/greet.yaml").write_text("user: 'Hi {name}'\n")
    (folder / "graph.yaml").write_text(text)
    with pytest.raises(PromptsRejected) as caught:
        load_and_compile("graph.yaml", watch=False)
    return list(caught.value.outcome.errors)


@pytest.mark.parametrize(
    ("good", "bad", "line", "words"),
    [
        ("type: llm", "type: lllm", 5, "Unknown node type: 'lllm'"),
        ("    prompt: greet\n", "", 4, "nodes.a: Node type 'llm' requires 'prompt' field"),
        ("prompt: greet", "prompt: 5", 6, "nodes.a.prompt: Input should be a valid string"),
        ("{from: a, to: END}", "{frm: a, to: END}", 10, "edges.1.from: Field required"),
        ("type: llm", "type: python\n    tool: nope", 6, "Python tool 'nope' not found"),
        ("state: {name: str}", "state: 5", 2, "`state:` must be a mapping of keys to types"),
    ],
)
def test_it_names_the_line_and_what_is_wrong_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: str, bad: str, line: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert good in GOOD
    found = refused(tmp_path, GOOD.replace(good, bad))
    assert any(words in finding.message for finding in found), found
    finding = next(finding for finding in found if words in finding.message)
    assert (finding.file, finding.line) == ("graph.yaml", line)


@pytest.mark.parametrize(
    ("good", "bad", "line", "hint"),
    [
        ("prompt: greet", "promt: greet", 6, "Did you mean 'prompt'?"),
        ("type: llm", "type: lm", 5, "Did you mean 'llm'?"),
        ("{from: START, to: a}", "{from: START, to: aa}", 9, None),
        ("type: llm\n", "type: subgraph\n    graph: gone.yaml\n", 6, "Create the file"),
    ],
)
def test_it_says_what_was_meant_or_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    good: str,
    bad: str,
    line: int,
    hint: str | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = refused(tmp_path, GOOD.replace(good, bad))
    assert [(finding.file, finding.line) for finding in found] == [("graph.yaml", line)]
    assert (hint or "") in (found[0].hint or "")


def test_nodes_that_are_no_nodes_are_all_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = refused(tmp_path, "name: g\nnodes:\n  a: llm\n  b:\nedges: []\n")
    assert [(finding.line, finding.message) for finding in found] == [
        (3, "nodes.a: a node must be a mapping, but is a text"),
        (4, "nodes.b: a node must be a mapping, but is nothing"),
    ]


def test_a_mistake_in_a_child_is_told_in_the_childs_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "child.yaml").write_text(GOOD.replace("type: llm", "type: llm\n    timeout: soon"))
    parent = GOOD.replace("type: llm", "type: subgraph\n    mode: direct\n    graph: child.yaml")
    (found,) = refused(tmp_path, parent)
    assert (found.file, found.line) == ("child.yaml", 6)
    assert "timeout" in found.message


def test_a_working_directory_that_is_gone_is_named_and_costs_no_file_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/greet.yaml").write_text("user: 'Hi {name}'\n")
    (tmp_path / "graph.yaml").write_text(f"prompts_relative: true\nprompts_dir: prompts\n{GOOD}")
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    app = load_and_compile(tmp_path / "graph.yaml").compile()
    (tmp_path / "old").rmdir()
    app.prompts.follow_changes()
    layers, _ = app.prompts._following._watches or ()
    wait_until(lambda: layers.mode != "off")
    assert layers.mode == "events"
    app.prompts._following.close()
    (tmp_path / "graph.yaml").write_text(GOOD.replace("state_key: out", "state_key: said"))
    (error,) = app.prompts.publish().errors
    assert "working directory of this process no longer exists" in error.message
    assert "Restart it" in (error.hint or "")


def test_a_pull_request_that_asks_for_a_missing_prompt_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/greet.yaml").write_text("user: 'Hi {name}'\n")
    (tmp_path / "graph.yaml").write_text(GOOD.replace("prompt: greet", "prompt: greeet"))
    assert main(["check", "graph.yaml", "--format", "json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["code"], finding["file"], finding["line"]) == (
        "missing-prompt",
        "graph.yaml",
        6,
    )


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("prompt: greet", "prompt: [greet"),
        GOOD.replace("nodes:", "nods:"),
        "",
        "- a\n",
    ],
)
@pytest.mark.parametrize("more", [(), ("-l", "prompts"), ("good.yaml", "-l", "prompts")])
def test_a_file_that_was_named_never_goes_unchecked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, more: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/greet.yaml").write_text("user: 'Hi {name}'\n")
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "graph.yaml").write_text(text)
    assert main(["check", "graph.yaml", *more]) == 1


def test_every_graph_that_does_not_build_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/greet.yaml").write_text("user: 'Hi {name}'\n")
    (tmp_path / "one.yaml").write_text(GOOD.replace("type: llm", "type: lm"))
    (tmp_path / "two.yaml").write_text(GOOD.replace("prompt: greet", "promt: greet"))
    assert main(["check", "one.yaml", "two.yaml", "-l", "prompts", "--format", "json"]) == 1
    found = {f["file"] for f in json.loads(capsys.readouterr().out)["findings"]}
    assert {"one.yaml", "two.yaml"} <= found
