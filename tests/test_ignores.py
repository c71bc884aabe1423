"""Comments that silence a warning where it stands: which ones count, for which lines, and where."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.admin_client import TOKENS, Client
from tests.files import write
from yamlgraph_prompts import Finding, LivePrompts
from yamlgraph_prompts._check import check
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._yaml_file.ignores import ignores_in
from yamlgraph_prompts.admin import admin_app

ODD = "user: |\n  Hi {{ name }}\n  and {other}\n"  # not-filled-in, in line 3
GRAPH = """\
name: letter
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, variables: {name: "{state.name}"}, state_key: letter}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""


def found(text: str, **more: object) -> list[tuple[str, str, int | None]]:
    release = Release.of([Prompt("a", text.encode())], environment="test")
    return [(one.severity, one.code, one.line) for one in check(release, **more)]  # type: ignore[arg-type]


def test_there_is_a_warning_to_silence() -> None:
    assert found(ODD) == [("warning", "not-filled-in", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "# prompts: ignore[not-filled-in] it is meant so\n" + ODD,
        "# prompts: ignore[not-filled-in]\n# another comment\n" + ODD,
        ODD.replace("|", "|  # prompts: ignore[not-filled-in] it is meant so"),
        ODD.replace("|", "|-  #prompts:ignore[text-folded,  not-filled-in, unused-ignore]"),
        "system: s\n# prompts: ignore[not-filled-in]\n" + ODD,
        "user: 'Hi {{ name }} and {other}' # prompts: ignore[not-filled-in]\n",
        'user: "Hi {{ name }}\n  and {other}" # prompts: ignore[not-filled-in]\n',
        "user: Hi {{ name }} and {other} # prompts: ignore[not-filled-in]\n",
        "user: Hi {{ name }}\n  and {other} # prompts: ignore[not-filled-in]\n",
        "\ufeff# ü\n# prompts: ignore[not-filled-in] ü\r\n" + ODD.replace("\n", "\r\n"),
        "---\n# prompts: ignore[not-filled-in]\n" + ODD,
        "system:\n  - a\n  # prompts: ignore[not-filled-in]\n  - 'Hi {{ a }} {b}'\nuser: b\n",
    ],
)
def test_a_comment_silences_at_its_line_or_above_it(text: str) -> None:
    assert found(text) == []
    assert found(text, strict=True) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("# prompts: ignore[not-filled-in]\n\n" + ODD, 1),
        ("# prompts: ignore[not-filled-in]\nsystem: s\n" + ODD, 1),
        (ODD + "# prompts: ignore[not-filled-in]\n", 4),
        ("# prompts: ignore[not-filed-in]\n" + ODD, 1),
        ("# prompts: ignore[]\n" + ODD, 1),
    ],
)
def test_one_that_silences_nothing_is_a_warning(text: str, line: int) -> None:
    codes = {(code, at) for _, code, at in found(text)}
    assert ("unused-ignore", line) in codes
    assert any(code == "not-filled-in" for code, _ in codes)
    assert all(severity == "warning" for severity, *_ in found(text))


def test_a_misspelt_code_is_told_the_nearest() -> None:
    release = Release.of([Prompt("a", b"# prompts: ignore[not-filed-in]\n" + ODD.encode())])
    (one,) = (one for one in check(release) if one.code == "unused-ignore")
    assert one.hint == "Did you mean 'not-filled-in'?"


@pytest.mark.parametrize(
    "text",
    [
        "user: |\n  # prompts: ignore[not-filled-in]\n  Hi {{ name }} and {other}\n",
        "user: >\n  Hi {{ name }} and {other}\n  # prompts: ignore[not-filled-in]\n",
        "user: 'Hi {{ name }} and {other} # prompts: ignore[not-filled-in]'\n",
        'user: "Hi {{ name }}\n  # prompts: ignore[not-filled-in]\n  and {other}"\n',
        "user: Hi {{ name }} and {other}# prompts/ignore[not-filled-in]\n",
        "user: |2\n   # prompts: ignore[not-filled-in]\n  Hi {{ name }} and {other}\n",
        "system: |+\n  a\n\n  # prompts: ignore[not-filled-in]\n\nuser: 'Hi {{ a }} {b}'\n",
    ],
)
def test_a_text_that_looks_like_one_is_none(text: str) -> None:
    assert [code for _, code, _ in found(text)] == ["not-filled-in"]
    assert ignores_in(text.encode()) == ()


def test_an_error_is_never_silenced_nor_a_change_of_where_the_data_goes() -> None:
    broken = "# prompts: ignore[template-syntax]\nuser: |\n  {% if %}\n"
    assert [code for _, code, _ in found(broken)] == ["template-syntax"]
    text = "# prompts: ignore[model-changed]\nmodel: {}\nuser: Hi\n"
    old, new = (Release.of([Prompt("a", text.format(model).encode())]) for model in ("x", "y"))
    assert "model-changed" in [one.code for one in check(new, previous=old)]


def test_what_only_a_graph_tells_is_not_missed_without_one(
    tmp_path: Path, stand_in: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from yamlgraph_prompts._cli import main

    greeting = "# prompts: ignore[unused-prompt, missing-variable] shared\nuser: Hi {name}\n"
    old = "# prompts: ignore[unused-prompt] for next week\nuser: Hi\n"
    write(tmp_path, {"graph.yaml": GRAPH, "p/greeting.yaml": greeting, "p/old.yaml": old})
    stand_in(tmp_path)

    def warned(*argv: str) -> list[tuple[str, str]]:
        capsys.readouterr()
        assert main(["check", "--json", "--strict", *argv]) == 0
        return [
            (one["prompt"], one["message"])
            for one in json.loads(capsys.readouterr().out)["findings"]
        ]

    assert warned("p") == []
    text = "{} is ignored, and there is no such warning"
    assert warned("graph.yaml", "-l", "p") == [
        ("greeting", text.format("'missing-variable'")),
        ("greeting", text.format("'unused-prompt'")),
    ]


def test_it_counts_in_publications_on_the_page_and_for_ones_own_checks(tmp_path: Path) -> None:
    def loud(release: Release, graphs: object) -> list[Finding]:
        return [
            Finding("warning", "loud", "!", prompt=p.name, file=p.file, line=2)
            for p in release.prompts.values()
        ]

    silent = "# prompts: ignore[not-filled-in, loud]\n" + ODD.replace("\n  and", " and")
    layer = write(tmp_path, {"p/a.yaml": silent}) / "p"
    with LivePrompts(
        layer, environment="test", store=tmp_path / "kept", watch=False, checks=[loud]
    ) as prompts:
        client = Client(admin_app(prompts, TOKENS))
        for text, codes in [
            (silent, []),
            (silent.replace("not-f", "un-f"), ["unused-ignore", "not-filled-in"]),
        ]:
            drafted = client.post("/check", json={"prompts": {"a": text}}).json
            assert [one["code"] for one in drafted["findings"]] == codes
            write(layer, {"a.yaml": text})
            assert [one.code for one in prompts.publish().findings] == codes
            looked = client.post(
                "/preview/a", json={"text": text, "variables": {"name": "A", "other": "B"}}
            ).json
            assert [one["code"] for one in looked["findings"]] == codes[1:]


def test_a_template_silences_what_it_renders_to(tmp_path: Path) -> None:
    text = "# prompts: ignore[not-filled-in]\nuser: '{{ \"{{ a }}\" }} and {b}, {{ company }}'\n"
    layer = write(tmp_path, {"p/a.yaml.j2": text, "p/vars.yaml": "company: Acme\n"}) / "p"
    with LivePrompts(layer, environment="test", store=tmp_path / "kept", watch=False) as prompts:
        assert prompts.publish().findings == ()
        write(layer, {"a.yaml.j2": text.replace("not-filled-in", "loud")})
        (unused, odd) = prompts.publish().findings
        assert (unused.line, odd.line) == (1, 2)
