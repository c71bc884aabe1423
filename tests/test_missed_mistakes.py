"""Mistakes that the check once missed, or explained by something else than their cause."""

from __future__ import annotations

import pytest

from tests import corpus_templates
from yamlgraph_prompts import LivePrompts, PromptRenderError
from yamlgraph_prompts._check import Checker
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.templates.message_template import MessageTemplate, examine

NEW = frozenset(
    {"not-filled-in", "text-comment", "text-folded", "text-escape", "lost-braces"}
    | {"foreign-syntax", "joined-list", "yaml-value", "merge-conflict", "j2-value"}
)


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


# -- ordinary prompts --


@pytest.mark.parametrize("text", [*corpus_templates.prompts(), *corpus_templates.formats()])
def test_templates_as_people_write_them_have_none_of_these(text: str) -> None:
    assert [f for f in examine(text) if f.code in NEW - {"joined-list"}] == []
