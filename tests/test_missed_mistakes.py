"""Mistakes that the check once missed, or explained by something else than their cause."""

from __future__ import annotations

import json

import pytest

from tests import corpus_templates
from yamlgraph_prompts import LivePrompts, PromptRenderError, PromptsRejected
from yamlgraph_prompts._check import Checker
from yamlgraph_prompts._check.prompts import examine_prompt
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.templates.message_template import MessageTemplate, examine

NEW = frozenset(
    {"not-filled-in", "text-comment", "text-folded", "text-escape", "lost-braces"}
    | {"foreign-syntax", "joined-list", "yaml-value", "merge-conflict", "j2-value"}
)


def found(text: str) -> list[tuple[str, str, int | None, int | None]]:
    return [(f.severity, f.code, f.line, f.column) for f in examine_prompt(text.encode())]


def only(text: str) -> Finding:
    (finding,) = examine_prompt(text.encode())
    return finding


def published(files: dict[str, str]) -> tuple[Finding, ...]:
    try:
        with LivePrompts(files, environment="staging", watch=False) as prompts:
            return prompts.check()[1]
    except PromptsRejected as rejected:
        return rejected.outcome.findings


def where(finding: Finding) -> tuple[str, str, str | None, int | None, int | None]:
    return finding.severity, finding.code, finding.file, finding.line, finding.column


# -- simple fields in Jinja, and Jinja in simple messages --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi {name}.{% if vip %} VIP{% endif %}", [(1, 4)]),
        ("{{ a }}\n {user.city}, {items[0]}", [(2, 2), (2, 15)]),
        ("{{ a }} {price:.2f} {x!r}", [(1, 9), (1, 21)]),
        ("{{ a }} {name} {name}", [(1, 9)]),
        ("{% raw %}{name}{% endraw %}{{ a }}", []),
        ("{% raw %}{name}{% endraw %}{{ a }} {name}", [(1, 36)]),
        ("{# {name} #}{{ a }}", []),
        ("{{ '{name}'.format(name=a) }}", []),
        ('{{ {a: 1}.b }} {"score": 1} { x } {score: 1} {} {1}', []),
    ],
)
def test_a_simple_field_in_a_jinja_message_is_a_warning(
    text: str, expected: list[tuple[int, int]]
) -> None:
    warnings = [f for f in examine(text) if f.code == "not-filled-in"]
    assert [(f.line, f.column) for f in warnings] == expected
    assert all(f.severity == "warning" and "Write {{ " in (f.hint or "") for f in warnings)


def test_strict_makes_a_simple_field_in_jinja_an_error() -> None:
    release = Release.of([Prompt("p", b"user: 'Hi {name}.{% if vip %} VIP{% endif %}'")])
    (finding,) = Checker().check(release, strict=True)
    assert (finding.severity, finding.code) == ("error", "not-filled-in")
    assert finding.hint
    assert "{{ name }}" in finding.hint


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("Hi {name} {# note #}", 11, "comment only in Jinja"),
        ("Hi {na\u200bme}", 4, "U+200B (ZERO WIDTH SPACE)"),
        ("Hi {na\u00adme}", 4, "U+00AD (SOFT HYPHEN)"),
        ("Hi {{ na\u200bme }}", 9, "U+200B (ZERO WIDTH SPACE)"),
        ("Hi {{ name\u2060 }}", 11, "U+2060 (WORD JOINER)"),
        ('As {{"score": 1}}', 4, "no escape for one brace"),
        ("As {{'a': {{'b': 1}}}}", 4, "no escape for one brace"),
        ("As {{score: 1}}", 4, "no escape for one brace"),
        ("As {{ }} or {{}}", 4, "no escape for one brace"),
        ("a {{#if x}}b{{/if}}", 3, "Handlebars"),
        ("{{#each items}}{{this}}{{/each}}", 1, "Handlebars"),
        ("{{> partial}}", 1, "Handlebars"),
    ],
)
def test_what_is_not_jinja_is_named_where_it_stands(text: str, column: int, words: str) -> None:
    (finding,) = examine(text)
    assert (finding.severity, finding.line, finding.column) == ("error", 1, column)
    assert words in finding.message
    assert finding.hint


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('Say {{"done"}}', "lost-braces"),
        ("sha ${{ github.sha }}", "foreign-syntax"),
        ("key ${{ secrets.KEY }}", "foreign-syntax"),
        ("a {items[0]}", "joined-list"),
    ],
)
def test_what_fills_in_but_not_as_meant_is_a_warning(text: str, code: str) -> None:
    (finding,) = examine(text)
    assert (finding.severity, finding.code, finding.line) == ("warning", code, 1)
    assert finding.column
    assert finding.hint


@pytest.mark.parametrize(
    "text",
    [
        "It is ${{ price }}.",
        "{{ '{' }}{{ name }}{{ '}' }}",
        "{{ ' ' }}{{ ', '.join(a) }}",
        "{{ 'x' | upper }}",
        "{point.x} {user[city]} {a.b[0]}",
    ],
)
def test_ordinary_forms_are_no_finding(text: str) -> None:
    assert examine(text) == ()


@pytest.mark.parametrize(
    ("text", "variables", "hint"),
    [
        ("{user.city}", {"user": {"city": "Paris"}}, "Write {user[city]} for a key"),
        ("{a.b.c}", {"a": {"b": {"c": 1}}}, "Write {a[b][c]} for a key"),
        ("{items.x}", {"items": ["red"]}, "in Jinja, write {{ items.x }}"),
    ],
)
def test_a_part_of_a_dictionary_or_list_fails_with_what_to_write(
    text: str, variables: dict[str, object], hint: str
) -> None:
    with pytest.raises(PromptRenderError) as caught:
        LivePrompts({"p": {"user": text}})["p"].messages(**variables)
    assert hint in str(caught.value)


def test_the_hint_for_a_dictionary_works() -> None:
    prompt = LivePrompts({"p": "user: '{a[b][c]}'"})["p"]
    assert prompt.messages(a={"b": {"c": "deep"}})[0].content == "deep"


def test_a_message_and_its_hint_are_two_sentences() -> None:
    with pytest.raises(PromptRenderError) as caught:
        MessageTemplate("{{ a | uper }}").render({"a": 1})
    assert "no filter named 'uper'. Did you mean 'upper'?" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "severity", "column"),
    [
        ("{% set xs = [] %}{% for i in y %}{% set _ = xs.append(i) %}{% endfor %}", "error", 48),
        ("{% set d = {} %}{{ d.update({'a': 1}) }}", "error", 22),
        ("{{ items.append(1) }}", "warning", 10),
        ("{% set xs = [] %}{% if a %}{{ xs.pop() }}{% endif %}", "warning", 34),
    ],
)
def test_a_call_that_changes_a_list_is_found_with_the_way_out(
    text: str, severity: str, column: int
) -> None:
    (finding,) = (f for f in examine(text) if f.code == "not-callable")
    assert (finding.severity, finding.line, finding.column) == (severity, 1, column)
    assert "namespace" in (finding.hint or "")
    assert "xs + [x]" in (finding.hint or "")


def test_the_way_out_works() -> None:
    text = (
        "{% set ns = namespace(xs=[]) %}{% for i in y %}{% set ns.xs = ns.xs + [i] %}{% endfor %}"
        "{{ ns.xs | join('-') }}"
    )
    assert examine(text) == ()
    assert LivePrompts({"p": {"user": text}})["p"].messages(y=[1, 2])[0].content == "1-2"


# -- what YAML makes of a text --


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user: Reply in #general, {name}", ("text-comment", 1, 16)),
        ("user: a\nsystem: b # c", ("text-comment", 2, 11)),
        ("user: a\nsystem:\n  - see #1\n  - content: x #2", ("text-comment", 3, 9)),
        ("user: Do this,\n  - one\n  - two {name}\n", ("text-folded", 2, 3)),
        ("user: >\n  Do this,\n  1. one\n  2. two\n", ("text-folded", 3, 3)),
        ("user: 'Do this,\n  * one'\n", ("text-folded", 2, 3)),
        ("user: 'a\\nb {name}'", ("text-escape", 1, 9)),
        ("user: a\\tb", ("text-escape", 1, 8)),
        ("user: 'x\n\n  a\\u00e9'", ("text-escape", 3, 4)),
    ],
)
def test_what_yaml_makes_of_a_text_is_a_warning(text: str, expected: tuple[str, int, int]) -> None:
    finding = examine_prompt(text.encode())[0]
    assert (finding.code, finding.line, finding.column) == expected
    assert finding.severity == "warning"
    assert finding.hint


@pytest.mark.parametrize(
    "text",
    [
        "user: 'Reply in #general' # a comment",
        "user: |\n  Do this,\n  - one\n  a\\nb #x\n",
        "user: >\n  Do this,\n\n  - one\n\n  - two\n",
        "user: >\n  Do this,\n    - one\n    - two\nsystem: a\n",
        'user: "a\\nb"\nsystem: \'{{ xs | join("\\n") }}\'',
        "user: C#\ntemperature: 0.2 # low",
        "user: a\nsystem:\n  - >\n    b\n  - c\n",
    ],
)
def test_ordinary_texts_are_no_finding(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("enum", "columns"),
    [
        ("type: string, enum: [yes, no]", [30, 35]),
        ("type: string, enum: [1.0, ON, 'a']", [30, 35]),
        ("type: string, enum: [2024-01-01, ~]", [30, 42]),
        ("enum: [no, a]", [16]),
        ("type: array, items: {type: string, enum: [off]}", [51]),
        ("type: integer, enum: [1, 2]", []),
        ("type: string, enum: ['yes', a]", []),
    ],
)
def test_an_item_of_an_enum_that_is_no_text_is_a_warning(enum: str, columns: list[int]) -> None:
    text = "user: a\noutput_schema:\n  type: object\n  properties:\n    a: {" + enum + "}\n"
    expected = [("warning", "schema", 5, column) for column in columns]
    assert found(text) == expected


VARS = """country: NO
version: 1.10
zip: 01234
opens: 12:30
on: a
nested: {codes: [DE, no], phone: +49123}
at: 2024-01-01T10:00:00Z
channel: in #general
"""


def test_a_value_that_is_printed_in_another_way_is_a_warning_and_the_others_are_known() -> None:
    warnings = published({"vars.yaml": VARS, "p.yaml.j2": "user: It is {{ zip }}."})
    places = [(1, 10), (2, 10), (3, 6), (4, 8), (5, 1), (6, 22), (6, 34), (7, 5)]
    expected = {("warning", "yaml-value", "vars.yaml", *at) for at in places}
    assert set(map(where, warnings)) == expected | {("warning", "text-comment", "vars.yaml", 8, 13)}
    assert any("'NO'" in f.message and "'False'" in f.message for f in warnings)
    assert any("'on'" in f.message for f in warnings)


def test_ordinary_vars_are_no_finding() -> None:
    text = "a: true\nb: null\nc: ~\nd: 5\ne: 1.5\nf: 2024-01-01\ng: 'no'\nh: x # y\ni: [1, z]\nj:\n"
    assert published({"vars.yaml": text, "p.yaml.j2": "user: It is {{ d }}."}) == ()


# -- characters that cannot be seen --


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("user: |\n  a\n\u00a0\u00a0b {name}\n", (3, 1)),
        ("system:\n\u00a0\u00a0- a\nuser: a\n", (2, 1)),
        ("user:\u00a0a\n", (1, 6)),
        ("user: |\n  a\n \u3000b\n", (3, 2)),
    ],
)
def test_a_space_that_is_none_in_yaml_is_named(text: str, place: tuple[int, int]) -> None:
    finding = only(text)
    assert (finding.code, finding.line, finding.column) == ("yaml-syntax", *place)
    assert finding.message.startswith("U+")
    assert finding.hint


@pytest.mark.parametrize("key", ["us\u200ber", "\u00a0user", "user\u2060"])
def test_an_invisible_character_in_a_key_is_named(key: str) -> None:
    finding = examine_prompt(f"system: a\n{key}: b".encode())[-1]
    assert (finding.code, finding.line) == ("shape", 2)
    assert "U+" in finding.message


def test_an_emoji_as_json_escapes_it_is_named() -> None:
    finding = only('{"system": "a",\n "user": "Hi \\ud83d\\ude00"}')
    assert (finding.code, finding.line, finding.column) == ("yaml-syntax", 2, 14)
    assert "\\ud83d" in finding.message
    assert "the character itself" in (finding.hint or "")


def test_a_model_that_is_a_mapping_is_not_to_be_put_in_quotes() -> None:
    finding = only("user: a\nmodel: {name: gpt}")
    assert finding.hint == "Write its name behind the colon, as in `model: name`."


# -- merge conflicts -------------------------------------------------------------------------------

CONFLICT = "<<<<<<< HEAD\nuser: a\n=======\nuser: b\n>>>>>>> branch\n"


@pytest.mark.parametrize(
    ("files", "file", "line"),
    [
        ({"p": CONFLICT}, "p.yaml", 1),
        ({"p": "system: c\n" + CONFLICT.replace("\n", "\r\n")}, "p.yaml", 2),
        ({"p": "user: |\n  a\n||||||| base\n  b\n>>>>>>> x\n"}, "p.yaml", 3),
        ({"p.yaml.j2": "system: c\n" + CONFLICT}, "p.yaml.j2", 2),
        ({"a/x.j2": CONFLICT, "p.yaml.j2": "user: {% include 'a/x.j2' %}"}, "a/x.j2", 1),
        ({"vars.yaml": CONFLICT, "p": "user: a"}, "vars.yaml", 1),
    ],
)
def test_a_merge_conflict_is_named(files: dict[str, str], file: str, line: int) -> None:
    (finding,) = published(files)
    assert where(finding) == ("error", "merge-conflict", file, line, 1)


def test_markers_within_a_text_are_no_conflict() -> None:
    assert found("user: |\n  <<<<<<< HEAD\n  a\n  =======\n  >>>>>>> b\n") == []


# -- values of vars.yaml in the YAML of a template --


@pytest.mark.parametrize(
    ("template", "value", "place", "words"),
    [
        ("user: |\n  {{ t }}\nsystem: b\n", "one\ntwo\n", (2, 3), "breaks the YAML"),
        ("user: |\n  {% for l in t %}{{ l }}{% endfor %}", ["a\nb"], (2, 3), "breaks the YAML"),
        ("user: {{ t }}\n", "Note: be kind", (1, 7), "breaks the YAML"),
        ("system: |\n  {{ t }}\n", "one\nuser: evil\n", (2, 3), "makes the key 'user'"),
        ("user: a\n{{ t | trim }}\n", "provider: evil\n", (2, 1), "makes the key 'provider'"),
        ("user: a\nsystem:\n  - {{ t }}\n", "Note: x", (3, 5), "makes the key 'Note'"),
        ('user: "{{ t }}"', 'a"\nmodel: evil\nx: "b', (1, 8), "makes the key 'model'"),
        ("user: {{ t }}", "{provider: evil}", (1, 7), "makes the key 'provider'"),
    ],
)
def test_a_value_neither_breaks_the_yaml_nor_makes_a_key(
    template: str, value: object, place: tuple[int, int], words: str
) -> None:
    files = {"vars.yaml": json.dumps({"t": value}), "p.yaml.j2": template}
    (finding,) = published(files)
    assert where(finding) == ("error", "j2-value", "p.yaml.j2", *place)
    assert words in finding.message
    assert "'t'" in finding.message
    assert "indent" in (finding.hint or "")


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("user: |\n  {{ t | indent(2) }}\n", "one\nuser: two\n"),
        ("user: {{ t | tojson }}\n", "Note: x\ny"),
        ("user: a\nmetadata: {{ t | tojson }}\n", {"a": "b: c"}),
        ("user: See {{ t }}.\n", "https://acme.test"),
        ("user: a\nmetadata:\n  {{ t }}: b\n", "k"),
        ("user: '{{ t.split(':')[0] }}'\n", "a:b"),
    ],
)
def test_ordinary_values_are_no_finding(template: str, value: object) -> None:
    assert published({"vars.yaml": json.dumps({"t": value}), "p.yaml.j2": template}) == ()


def test_a_value_in_a_part_is_found_in_the_part() -> None:
    files = {
        "vars.yaml": "t: |\n  one\n  user: evil\n",
        "part.j2": "x\n  {{ t }}",
        "p.yaml.j2": "system: |\n  {% include 'part.j2' %}\n",
    }
    (finding,) = (f for f in published(files) if f.severity == "error")
    assert where(finding) == ("error", "j2-value", "part.j2", 2, 3)


# -- ordinary prompts --


@pytest.mark.parametrize("text", [*corpus_templates.prompts(), *corpus_templates.formats()])
def test_templates_as_people_write_them_have_none_of_these(text: str) -> None:
    assert [f for f in examine(text) if f.code in NEW - {"joined-list"}] == []


def test_a_rejected_release_names_the_conflict() -> None:
    with pytest.raises(PromptsRejected, match="merge conflict"):
        _ = LivePrompts({"p": CONFLICT}).release
