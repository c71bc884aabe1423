"""A wrong argument is one clear error at the call, not an AttributeError inside or a 500 later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, assert_type

import pytest

import yamlgraph_prompts
from tests.files import says, write
from tests.graphs.catalog import FOLDER
from yamlgraph_prompts import LivePrompts, Outcome, Prompt, Release, live_graph, load_and_compile
from yamlgraph_prompts._cli import main
from yamlgraph_prompts.admin import admin_app


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts", {"greeting.yaml": "user: one"})


@pytest.fixture
def prompts(folder: Path) -> Iterator[LivePrompts]:
    with LivePrompts(folder, environment="x", watch=False) as opened:
        yield opened


@pytest.mark.parametrize("wrong", ["prompts", Path("prompts"), ["prompts"], {"a": "user: x"}, 3])
def test_prompts_must_be_live_prompts(wrong: Any) -> None:
    graph = next(FOLDER.rglob("*.yaml"))
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=f"prompts= takes a LivePrompts, not a {kind}.*layer"):
        load_and_compile(graph, prompts=wrong)
    with pytest.raises(TypeError, match=f"prompts= takes a LivePrompts, not a {kind}.*layer"):
        live_graph(says("a"), prompts=wrong)


def test_live_graph_takes_a_function(folder: Path) -> None:
    with pytest.raises(TypeError, match=r"takes a function first, not 'graph.yaml'"):
        live_graph("graph.yaml", folder)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0, None, ("a",), b"greeting"])
def test_a_prompt_is_named_by_a_text(wrong: Any, prompts: LivePrompts) -> None:
    for holder in (prompts, prompts.release):
        with pytest.raises(TypeError, match="is named by a text, such as 'greeting', not by"):
            holder[wrong]
        assert wrong not in holder


def test_it_can_be_asked_whether_a_prompt_is_there(prompts: LivePrompts) -> None:
    assert "greeting" in prompts
    assert "farewell" not in prompts


@pytest.mark.parametrize("wrong", [0, None])
def test_a_release_is_named_by_a_text(wrong: Any, prompts: LivePrompts) -> None:
    calls: list[Callable[[Any], object]] = [prompts.activate, prompts.find]
    for call in calls:
        with pytest.raises(TypeError, match="The id of a release is a text, not"):
            call(wrong)


@pytest.mark.parametrize("name", ["checks", "hooks"])
def test_checks_and_hooks_are_sequences_of_functions(name: str, folder: Path) -> None:
    options: dict[str, Any] = {name: ["x"]}
    with pytest.raises(TypeError, match="sequences of functions, not of 'x'"):
        LivePrompts(folder, **options)


@pytest.mark.parametrize("wrong", [["secret-token"], {"secret-token"}, b"secret-token", 3])
def test_tokens_are_a_mapping_or_a_file(wrong: Any, prompts: LivePrompts) -> None:
    with pytest.raises(TypeError, match=r"a mapping, as in .*, or a file") as caught:
        admin_app(prompts, wrong)
    assert "secret" not in str(caught.value)


def test_a_file_of_tokens_must_be_there_at_first(prompts: LivePrompts, tmp_path: Path) -> None:
    for missing in (tmp_path / "missing", tmp_path):
        with pytest.raises(ValueError, match=f"file of tokens '{missing}' does not exist"):
            admin_app(prompts, missing)
    with pytest.raises(ValueError, match="does not exist") as caught:
        admin_app(prompts, "secret-token")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("tokens", [None, {}])
def test_without_any_token_it_is_said_at_once(
    tokens: Any, prompts: LivePrompts, caplog: pytest.LogCaptureFixture
) -> None:
    admin_app(prompts, tokens)
    assert "no valid token, so the admin API refuses every request" in caplog.text


def test_the_admin_app_takes_live_prompts(folder: Path) -> None:
    with pytest.raises(TypeError, match="takes a LivePrompts first, not a str"):
        admin_app(str(folder), {"token": "viewer"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("load_and_compil", "load_and_compile"), ("LivePrompt", "LivePrompts"), ("Leyer", "Layer")],
)
def test_a_misspelt_name_is_recognised(wrong: str, right: str) -> None:
    with pytest.raises(AttributeError, match=rf"Did you mean {right}\?"):
        getattr(yamlgraph_prompts, wrong)
    assert not hasattr(yamlgraph_prompts, "nothing_like_it")


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["chek"], "check"),
        (["rolback", "graph.yaml"], "rollback"),
        (["check", "--strct"], "--strict"),
        (["releases", "--jsn"], "--json"),
    ],
)
def test_a_misspelt_command_or_option_is_recognised(
    words: list[str], right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert f"did you mean {right}?" in capsys.readouterr().err
    assert main(["nothing-like-it"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_a_live_graphs_prompts_and_release_have_types(prompts: LivePrompts) -> None:
    # mypy reads this.
    app = live_graph(says("greeting"), prompts=prompts).compile()
    assert_type(app.release, Release)
    assert_type(app.prompts.publish(), Outcome)
    assert_type(app.prompts["greeting"], Prompt)
    assert app.prompts is prompts
    assert app.prompts.release == app.release
