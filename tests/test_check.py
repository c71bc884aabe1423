"""What is wrong with a release and the graphs that use it: every code, at its line and column."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from importlib.resources import files
from time import process_time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from yamlgraph_prompts._check import Checker, check
from yamlgraph_prompts._check import checker as check_module
from yamlgraph_prompts._check.prompts import examine_prompt
from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, OwnPrompt, PromptUse
from yamlgraph_prompts._model.release import LayerVersion, Prompt, Release
from yamlgraph_prompts.findings import Finding


def release(prompts, *, layer="memory:", layers=()):
    return Release.of(
        [
            p
            if isinstance(p := text, Prompt)
            else Prompt(name, text.encode(), layer, f"{name}.yaml")
            for name, text in prompts.items()
        ],
        environment="staging",
        layers=[LayerVersion(url, "1") for url in layers],
    )


def use(prompt, *, node="greet", kind="llm", passes=None, line=None, validates=True):
    given = None if passes is None else frozenset(passes)
    return PromptUse(node, kind, prompt, given, line, validates)


def graph(*uses, bundled=False, state_keys=None, own=None, tried=(), findings=(), key=""):
    keys = None if state_keys is None else frozenset(state_keys)
    brought = {
        name: OwnPrompt(text.encode(), f"own/{name}.yaml") for name, text in (own or {}).items()
    }
    file = GraphFile(key, "graph.yaml", "0" * 64, uses, keys, brought, tried)
    return GraphFacts("graph.yaml", (file,), findings, bundled)


def bundle(text, *uses, **facts):
    """A graph that brings its own prompt `p`, and the release that this makes."""
    prompt = Prompt("p", text.encode(), "graph:graph.yaml", "prompts/p.yaml")
    return Release.of([prompt]), [graph(*(uses or (use("p"),)), bundled=True, **facts)]


def fresh(*args, **kwargs):
    return Checker().check(*args, **kwargs)


def facts_of(finding: Finding):
    return finding.severity, finding.code, finding.line, finding.column


def alone(text):
    """What the file says by itself."""
    return [facts_of(f) for f in examine_prompt(text.encode())]


def codes(findings):
    return [(f.severity, f.code) for f in findings]


# One file by itself


def test_a_good_prompt_has_no_findings():
    text = """
system: |
  You are {tone}.
user: "Hi {name}"
provider: openai
model: gpt-4o
temperature: 0.2
metadata: {owner: us}
schema:
  name: Out
  fields:
    title: {type: str, description: The title}
    tags: {type: "list[str]", optional: true}
    scores: {type: "dict[str, float]"}
    n: {type: int, constraints: {ge: 0}, default: 1}
"""
    assert alone(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user: Note: x", ("error", "yaml-syntax", 1, 11)),
        ("- a", ("error", "not-a-mapping", 1, 1)),
        ("user: a\nuser: b", ("warning", "duplicate-key", 2, 1)),
        ("a: [" + "[" * 100, ("error", "yaml-syntax", 2, 1)),
        ("a: " + "[" * 100 + "]" * 100, ("error", "too-deep", 1, 103)),
        ("user: x\na: &a [*a]", ("error", "alias-bomb", 2, 4)),
        ("system: x", ("warning", "missing-user", None, None)),
        ("user:", ("error", "shape", 1, 6)),
        ("user: 5", ("error", "shape", 1, 7)),
        ("user: {name}", ("error", "shape", 1, 7)),
        ("user: [a, b]", ("error", "shape", 1, 7)),
        ("user: x\nsystem: yes", ("error", "shape", 2, 9)),
        ("user: x\nsystem: {tone}", ("error", "shape", 2, 9)),
        ("user: x\nsystem:\n  - a\n  - 5", ("error", "shape", 4, 5)),
        ("user: x\nsystem:\n  - a\n  - {name}", ("error", "shape", 4, 5)),
        ("user: x\nsystem:\n  - content: 5", ("error", "shape", 3, 14)),
        ("user: x\nsystem_segments: a", ("error", "shape", 2, 18)),
        ("user: x\nsystem_segments:\n  - a", ("error", "shape", 3, 5)),
        ("user: x\nsystem_segments:\n  - content: a\n    cache: 1", ("error", "shape", 4, 12)),
        ("user: x\nprovider: 5", ("error", "shape", 2, 11)),
        ("user: x\nmodel: [a]", ("error", "shape", 2, 8)),
        ("user: x\ntemperature: warm", ("error", "shape", 2, 14)),
        ("user: x\nsytem: y", ("warning", "shape", 2, 1)),
        ("user: x\nSystem: y", ("warning", "shape", 2, 1)),
        ("messages:\n  - role: user", ("error", "messages-list", 1, 1)),
        ("system: x\nuser: y\nsystem_segments: []", ("error", "system-conflict", 3, 1)),
        ("user: |\n  a\n  {% if %}", ("error", "template-syntax", 3, None)),
        ("user: |\n  a\n  {{ x | uper }}", ("error", "unknown-filter", 3, None)),
        ("user: |\n  a\n  {{ 1 is evn }}", ("error", "unknown-test", 3, None)),
        ("user: |\n  a\n  {{ x.__class__ }}", ("error", "unsafe-template", 3, None)),
        ("user: |\n  a\n  {x.__class__}", ("error", "unsafe-template", 3, None)),
        ("user: |\n  a\n  {% include 'x' %}", ("error", "template-include", 3, None)),
        ("user: |\n  a\n  {x", ("error", "format-braces", 3, 3)),
        ("user: |\n  {a}\n  c } {d}", ("error", "format-braces", 3, 5)),
        ("user: |\n  a\n  { x y }", ("error", "format-braces", 3, None)),
        ("user: x\nschema: a", ("error", "schema", 2, 1)),
    ],
)
def test_each_trouble_of_a_file_is_found_at_its_place(text, expected):
    found = alone(text)
    assert len(found) == 1
    # Whether a column is known depends on the kind of template; the line always is.
    assert found[0][:3] == expected[:3]
    assert expected[3] in (None, found[0][3])


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("Hi {name", "the { here is never closed", "Write } after"),
        ("Hi {", "the { here is never closed", "Write } after"),
        ("Hi {name}}.", "the } here closes nothing", "Delete it"),
        ("Hi {}", "{} names no variable", "Write its name"),
        ("Hi { name }", "there is a space inside the braces of { name }", "Write {name}."),
        ("Hi {first name}", "{first name} is no variable", "letters, digits and _"),
        ('As {"a": 1}, {name}', '{"a"} is no variable', "{% raw %} before"),
    ],
)
def test_wrong_braces_are_told_in_an_authors_words(text, message, hint):
    (found,) = examine_prompt(json.dumps({"user": text}).encode())
    assert (found.code, found.message) == ("format-braces", message)
    assert hint in found.hint


def test_a_file_that_is_not_utf8_is_an_error():
    assert [facts_of(f) for f in examine_prompt(b"user: \xff")] == [("error", "not-utf8", 1, 7)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("user: '{{ x | uper }}'", 1),
        ("system: ok\nuser: >\n  one\n  two\n\n  {{ x |\n  uper }}", 7),
        ('user: "a\\n\\\n  {{ x | uper }}"', 2),
        ("user: a\n\n  {{ x | uper }}", 3),
        ("user: 'a\n\n\n  {{ x | uper }}'", 4),
        ("user: |2\n   a\n\n  {{ x | uper }}", 4),
        ("user: x\nsystem:\n  - a\n  - content: |\n      b\n      {{ x | uper }}", 6),
        ("user: x\nsystem_segments:\n  - content: >-\n      {{ x | uper }}", 4),
        ("base: &t |\n  {{ x | uper }}\nuser: *t", 2),
    ],
)
def test_template_findings_are_moved_to_their_line_in_the_file(text, line):
    assert [f[1:3] for f in alone(text)] == [("unknown-filter", line)]


def test_hints_name_the_braces_that_yaml_took():
    (finding,) = examine_prompt(b"user: {name}")
    assert "begins a YAML mapping" in finding.hint
    assert "quotes" in finding.hint


def test_a_misspelt_key_is_guessed_and_a_foreign_one_is_left_alone():
    (finding,) = examine_prompt(b"user: x\nsystm: y\nowner: us\nversion: 3\ndescription: d")
    assert finding.hint == "Did you mean 'system'?"


def test_an_empty_system_is_no_conflict():
    assert alone("user: x\nsystem: ''\nsystem_segments: []") == []
    assert alone("user: x\nsystem:\n") == []


SCHEMA = "user: x\nschema:\n  name: Out\n  fields:\n    a: {type: str}\n"
OUTPUT = "user: x\noutput_schema:\n  type: object\n  properties:\n    a: {type: string}\n"


@pytest.mark.parametrize(
    ("text", "severity", "line", "column"),
    [
        ("user: x\nschema: 5", "error", 2, 1),
        ("user: x\nschema:\n  fields: {}", "error", 2, 1),
        ("user: x\nschema:\n  name: Out", "error", 2, 1),
        ("user: x\nschema:\n  name: [a]\n  fields: {}", "error", 3, 3),
        ("user: x\nschema:\n  name: Out\n  fields: [a]", "error", 4, 3),
        (SCHEMA + "    b: str", "error", 6, 5),
        (SCHEMA + "    b: {}", "error", 6, 5),
        (SCHEMA + "    b: {type: string}", "error", 6, 9),
        (SCHEMA + "    b: {type: list}", "error", 6, 9),
        (SCHEMA + "    b: {type: 'list[list[str]]'}", "error", 6, 9),
        (SCHEMA + "    b:\n      type: [str]", "error", 7, 7),
        (SCHEMA + "    b: {type: int, constraints: 5}", "error", 6, 20),
        (SCHEMA + "    _b: {type: int}", "warning", 6, 5),
        (SCHEMA + "    5: {type: int}", "error", 6, 5),
        (SCHEMA + "output_schema: {type: object}", "warning", 6, 1),
        ("user: x\noutput_schema: {type: string}", "error", 2, 1),
        ("user: x\noutput_schema:\n", "error", 2, 1),
        ("user: x\noutput_schema: {type: object, properties: []}", "error", 2, 31),
        (OUTPUT + "  required: a", "warning", 6, 3),
        (OUTPUT + "  required: 5", "error", 6, 3),
        (OUTPUT + "  required: [[a]]", "error", 6, 14),
        (OUTPUT + "  required: [b]", "warning", 6, 14),
        (OUTPUT + "    b: string", "error", 6, 5),
        (OUTPUT + "    b: {type: text}", "warning", 6, 9),
        (OUTPUT + "    b: {type: [string, 'null']}", "error", 6, 9),
        (OUTPUT + "    b: {type: array, items: string}", "error", 6, 22),
        (OUTPUT + "    b: {type: array, items: {type: 5}}", "warning", 6, 30),
        (OUTPUT + "    b: {type: object, properties: {c: 5}}", "error", 6, 36),
    ],
)
def test_an_inline_schema_that_does_not_build_is_found_at_its_place(text, severity, line, column):
    assert alone(text) == [(severity, "schema", line, column)]


@pytest.mark.parametrize("text", [SCHEMA, OUTPUT])
def test_a_schema_that_builds_is_no_finding(text):
    assert alone(text) == []


def test_what_the_structural_check_calls_an_error_yamlgraph_cannot_build():
    loader = pytest.importorskip("yamlgraph.schema_loader")
    case = test_an_inline_schema_that_does_not_build_is_found_at_its_place.pytestmark[0]
    for text, severity, *_ in case.args[1]:
        content = yaml.safe_load(text)

        def build(content=content):
            if "schema" in content:
                return loader.build_pydantic_model(content["schema"])
            return loader.build_pydantic_model_from_json_schema(content["output_schema"])

        if severity == "warning":
            build()
        else:
            with pytest.raises(Exception):  # noqa: B017, PT011 - it raises whatever comes
                build()


# Severities


def test_with_no_graph_attached_every_broken_prompt_is_an_error():
    found = fresh(release({"a": "user: {x", "b": "user: ok"}))
    assert [(f.severity, f.code, f.prompt, f.file) for f in found] == [
        ("error", "yaml-syntax", "a", "a.yaml")
    ]


def test_a_broken_file_that_no_attached_graph_uses_is_a_warning():
    made = release({"a": "user: ok", "b": "user: '{x'"})
    assert codes(fresh(made, [graph(use("a"))])) == [
        ("warning", "unused-prompt"),
        ("warning", "format-braces"),
    ]


def test_a_broken_file_that_a_graph_uses_is_an_error():
    made = release({"b": "user: '{x'"})
    assert codes(fresh(made, [graph(use("b"))])) == [("error", "format-braces")]


@pytest.mark.parametrize(
    ("text", "kind", "severity", "code"),
    [
        ("user: {{ x }} y", "llm", "error", "yaml-syntax"),
        ("user: {{ x }} y", "interrupt", "warning", "yaml-syntax"),
        ("user: {{ x }} y", "map/llm", "error", "yaml-syntax"),
        ("", "llm", "error", "not-a-mapping"),
        ("just text", "llm", "warning", "not-a-mapping"),
        ("user: x\nschema: 5", "router", "error", "schema"),
        ("user: x\nschema: 5", "interrupt", "warning", "schema"),
        ("user: '{{ x.__class__ }}'", "interrupt", "error", "unsafe-template"),
        ("user: x\na: &a [*a]", "interrupt", "error", "alias-bomb"),
        ("user: '{x'", "llm", "warning", "format-braces"),
        ("user: '{% if %}'", "llm", "warning", "template-syntax"),
        ("system: x", "llm", "warning", "missing-user"),
        ("user: 5", "llm", "warning", "shape"),
        ("messages: []", "llm", "warning", "messages-list"),
        ("user: x\nuser: y", "llm", "warning", "duplicate-key"),
    ],
)
def test_in_the_drop_in_only_what_is_unsafe_or_does_not_load_is_an_error(
    text, kind, severity, code
):
    made, graphs = bundle(text, use("p", kind=kind))
    assert codes(fresh(made, graphs)) == [(severity, code)]


def test_a_missing_user_is_an_error_where_a_node_needs_it():
    made = release({"p": "system: x"})
    (finding,) = fresh(made, [graph(use("p", kind="race"))])
    assert facts_of(finding) == ("error", "missing-user", None, None)


def test_agents_and_copilots_need_no_user():
    made = release({"p": "system: x"})
    agent = graph(use("p", kind="agent", validates=False), state_keys={"input"})
    copilot = graph(use("p", kind="copilot", passes=(), validates=False))
    assert fresh(made, [agent, copilot]) == ()
    api = graph(use("p", kind="copilot", passes=()))
    assert codes(fresh(made, [api])) == [("error", "missing-user")]


def test_an_agent_without_user_needs_an_input_in_its_state():
    agent = graph(use("p", kind="agent", validates=False), state_keys={"question"})
    (finding,) = fresh(release({"p": "system: x"}), [agent])
    assert facts_of(finding) == ("error", "missing-variable", 1, 1)
    assert "'input'" in finding.message


def test_forms_of_system_that_an_agent_cannot_use_are_told():
    agent = [graph(use("p", kind="agent", validates=False))]
    as_list = fresh(release({"p": "user: x\nsystem:\n  - a"}), agent)
    assert [facts_of(f) for f in as_list] == [("error", "shape", 2, 1)]
    segments = fresh(release({"p": "user: x\nsystem_segments:\n  - content: a"}), agent)
    assert [facts_of(f) for f in segments] == [("warning", "shape", 2, 1)]


def test_strict_makes_errors_of_carelessness():
    made = release({"p": "user: x\nuser: y", "q": "user: x"})
    found = fresh(made, [graph(use("p"))], strict=True)
    assert codes(found) == [("error", "duplicate-key"), ("error", "unused-prompt")]


# Schemas that YAMLGraph builds


def test_a_schema_that_only_yamlgraph_can_refuse_is_found_at_its_key():
    made = release({"p": "user: x\nschema:\n  name: Out\n  fields: {}\n"})
    (finding,) = fresh(made, [graph(use("p"))], schema_problem=lambda prompt: "no luck")
    assert facts_of(finding) == ("error", "schema", 2, 1)
    assert "no luck" in finding.message


def test_a_schema_that_yamlgraph_builds_is_no_error():
    made = release({"p": "user: x\nschema: 5\n"})
    found = fresh(made, [graph(use("p"))], schema_problem=lambda prompt: None)
    assert codes(found) == [("warning", "schema")]


def test_a_schema_is_built_once_for_the_same_bytes():
    built = []
    checker = Checker()
    made = release({"p": SCHEMA, "q": "user: no such block"})
    for _ in range(3):
        checker.check(made, [graph(use("p"), use("q"))], schema_problem=built.append)
    assert [prompt.name for prompt in built] == ["p"]


# Names


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../b", "/etc/a", "a//b", "a/", ".", "a/.", "a\\b", "a\nb", "", "\x7f", "x" * 300],
)
def test_a_name_that_could_leave_its_folder_is_an_error(name):
    found = fresh(release({name: "user: x"}))
    assert [(f.severity, f.code, f.prompt) for f in found] == [("error", "escaping-name", name)]


def test_a_name_that_needs_a_folder_where_another_prompts_file_is_is_an_error():
    found = fresh(release({"a": "user: x", "a.yaml/b": "user: x", "b.yaml/c.yaml/d": "user: x"}))
    assert [(f.severity, f.code, f.prompt) for f in found] == [
        ("error", "escaping-name", "a.yaml/b")
    ]
    found = fresh(release({"b.yaml/c": "user: x", "b.yaml/c.yaml/d": "user: x"}))
    assert [finding.prompt for finding in found] == ["b.yaml/c.yaml/d"]


@pytest.mark.parametrize("name", ["a", "a/b", "a.b/c-d_e", "..a", "a/b..c", "né", "a b"])
def test_ordinary_names_are_left_alone(name):
    assert fresh(release({name: "user: x"})) == ()


def test_a_graphs_own_names_are_as_yamlgraph_has_them():
    prompt = Prompt("../shared/p", b"user: x", "graph:graph.yaml", "shared/p.yaml")
    assert fresh(Release.of([prompt]), [graph(use("../shared/p"), bundled=True)]) == ()


def test_names_that_differ_only_in_case_are_told():
    found = fresh(release({"Greeting": "user: x", "greeting": "user: x"}))
    assert [(f.severity, f.code, f.prompt) for f in found] == [
        ("warning", "case-collision", "greeting")
    ]


# What graphs ask for


def test_a_missing_prompt_lists_every_place_and_guesses():
    made = release({"greeting": "user: x"}, layers=["prompts/staging", "s3://b/base/"])
    facts = graph(use("greting", line=7), use("greeting"), tried=("own/{name}.yaml",))
    (finding,) = fresh(made, [facts])
    assert facts_of(finding) == ("error", "missing-prompt", 7, None)
    assert finding.hint == "Did you mean 'greeting'?"
    assert (finding.file, finding.graph, finding.prompt) == ("graph.yaml", "graph.yaml", "greting")
    places = "prompts/staging/greting.yaml, s3://b/base/greting.yaml, own/greting.yaml"
    assert places in finding.message


def test_a_missing_prompt_is_a_warning_in_the_drop_in():
    made, graphs = bundle("user: x", use("p"), use("gone"), tried=("prompts/{name}.yaml",))
    (finding,) = fresh(made, graphs)
    assert facts_of(finding) == ("warning", "missing-prompt", None, None)
    assert "prompts/gone.yaml" in finding.message


def test_a_prompt_from_the_graphs_own_folder_is_told_and_examined():
    made = release({"a": "user: x"})
    facts = graph(use("a"), use("b"), own={"b": "user: '{x'"})
    found = fresh(made, [facts])
    assert sorted(codes(found)) == [("error", "format-braces"), ("warning", "own-prompt")]
    assert {f.file for f in found} == {"own/b.yaml"}


def test_a_prompt_that_no_graph_names_is_told():
    made = release({"a": "user: x", "b": "user: x"})
    (finding,) = fresh(made, [graph(use("a"))])
    assert facts_of(finding) == ("warning", "unused-prompt", None, None)
    assert finding.prompt == "b"
    assert "no graph uses this prompt" in finding.message
    assert finding.hint is None


def test_a_misspelt_overlay_is_guessed_from_what_lies_below():
    base = Prompt("greeting", b"user: base", "base", "base/greeting.yaml")
    over = Prompt("greetings", b"user: over", "over", "over/greetings.yaml")
    made = Release.of([base, over], layers=[LayerVersion("over", "1"), LayerVersion("base", "1")])
    (finding,) = fresh(made, [graph(use("greeting"))])
    assert (finding.code, finding.prompt) == ("unused-prompt", "greetings")
    assert finding.hint == "Did you mean 'greeting'?"


def test_a_misspelt_overlay_of_a_graphs_own_prompt_is_guessed():
    made = release({"greetings": "user: x"}, layer="over", layers=["over"])
    found = fresh(made, [graph(use("greeting"), own={"greeting": "user: x"})])
    hints = {f.code: f.hint for f in found}
    assert hints["unused-prompt"] == "Did you mean 'greeting'?"


def test_nothing_is_unused_while_a_graph_cannot_be_read():
    broken = Finding("error", "graph", "no such file")
    found = fresh(release({"a": "user: x"}), [graph(findings=(broken,))])
    assert [(f.code, f.graph) for f in found] == [("graph", "graph.yaml")]


def test_very_many_unused_prompts_are_counted():
    made = release({f"p{i:04}": "user: x" for i in range(1000)})
    found = fresh(made, [graph(use("p0000"))])
    assert len(found) == 101
    assert "899 further prompts" in found[0].message


# Variables


def test_a_variable_that_the_node_does_not_pass_is_found_in_the_prompt():
    made = release({"p": "system: x\nuser: |\n  Hi\n  dear {nmae}\n"})
    (finding,) = fresh(made, [graph(use("p", passes={"name"}))])
    assert facts_of(finding) == ("error", "missing-variable", 4, 9)
    assert finding.hint == "Did you mean 'name'?"
    assert (finding.prompt, finding.graph) == ("p", "graph.yaml")


def test_a_jinja_variable_is_found_at_its_first_use():
    made = release({"p": "user: 'name {{ x.name }} {% if name %}y{% endif %}'"})
    (finding,) = fresh(made, [graph(use("p", passes={"x"}))])
    assert facts_of(finding) == ("error", "missing-variable", 1, 32)


def test_a_node_that_passes_nothing_gives_its_state():
    made = release({"p": "user: '{name} {age}'"})
    (finding,) = fresh(made, [graph(use("p"), state_keys={"name"})])
    assert "'age'" in finding.message
    assert "state" in finding.hint
    assert fresh(made, [graph(use("p"), state_keys={"name", "age"})]) == ()


def test_an_unknown_state_is_not_guessed_at():
    assert fresh(release({"p": "user: '{name}'"}), [graph(use("p"))]) == ()


def test_a_node_that_does_not_validate_fails_only_on_the_format_dialect():
    agent = [graph(use("p", kind="agent", validates=False), state_keys={"input"})]
    plain = fresh(release({"p": "user: '{name}'"}), agent)
    assert codes(plain) == [("error", "missing-variable")]
    jinja = fresh(release({"p": "user: '{{ name }}'"}), agent)
    assert codes(jinja) == [("warning", "missing-variable")]
    assert codes(fresh(release({"p": "user: '{{ name }}'"}), agent, strict=True)) == [
        ("error", "missing-variable")
    ]


def test_a_missing_variable_is_a_warning_in_the_drop_in():
    made, graphs = bundle("user: '{name}'", use("p", passes=()))
    assert codes(fresh(made, graphs)) == [("warning", "missing-variable")]


def test_segments_that_an_agent_does_not_send_need_no_variables():
    text = "user: x\nsystem_segments:\n  - content: '{name}'"
    agent = graph(use("p", kind="agent", validates=False), state_keys=())
    assert codes(fresh(release({"p": text}), [agent])) == [("warning", "shape")]
    assert codes(fresh(release({"p": text}), [graph(use("p", passes=()))])) == [
        ("error", "missing-variable")
    ]


# The release before


def test_a_change_of_provider_or_model_is_told():
    before = release({"p": "user: x\nprovider: openai\n", "q": "user: x\nmodel: a"})
    after = release({"p": "user: x\nprovider: acme\nmodel: m\n", "q": "user: x\n"})
    found = fresh(after, previous=before)
    assert [(f.prompt, *facts_of(f)) for f in found] == [
        ("p", "warning", "provider-changed", 2, 11),
        ("p", "warning", "model-changed", 3, 8),
        ("q", "warning", "model-changed", None, None),
    ]
    assert "from openai to acme" in found[0].message
    assert "from a to the default" in found[2].message


def test_a_change_of_text_alone_is_not_told():
    before = release({"p": "user: x\nprovider: openai\n"})
    assert fresh(release({"p": "user: y\nprovider: openai\n"}), previous=before) == ()


# Order, merging, memory


def test_findings_come_by_prompt_and_then_by_line():
    made = release({"b": "user: x\na: 1\na: 2\na: 3", "a": "user: {x"})
    extra = [Finding("error", "twin-files", "two of them", prompt="a")]
    found = check(made, extra=extra)
    assert [(f.prompt, f.code, f.line) for f in found] == [
        ("a", "twin-files", None),
        ("a", "yaml-syntax", 1),
        ("b", "duplicate-key", 3),
        ("b", "duplicate-key", 4),
    ]
    assert found == check(made, extra=extra)


def test_a_finding_is_told_once_however_many_graphs_share_the_prompt():
    made = release({"p": "user: '{x'"})
    assert len(fresh(made, [graph(use("p")), graph(use("p", node="other"))])) == 1


@pytest.fixture
def examined(monkeypatch):
    seen = []

    def spy(data):
        seen.append(data)
        return examine_prompt(data)

    monkeypatch.setattr(check_module, "examine_prompt", spy)
    return seen


def test_only_a_changed_file_is_examined_again(examined):
    texts = {f"p{i}": f"user: number {i}" for i in range(50)}
    checker = Checker()
    checker.check(release(texts))
    assert len(examined) == 50
    checker.check(release({**texts, "p7": "user: '{x'"}))
    assert examined[50:] == [b"user: '{x'"]
    checker.check(release(texts))
    assert examined[51:] == [b"user: number 7"]


def test_what_was_clean_before_a_restart_is_not_examined_again(examined):
    made = release({"a": "user: x", "b": "user: y\nuser: z"})
    first = Checker()
    first.check(made)
    clean = first.clean(made)
    assert clean == (hashlib.sha256(b"user: x").hexdigest(),)
    again = Checker()
    again.prime(clean)
    del examined[:]
    assert codes(again.check(made)) == [("warning", "duplicate-key")]
    assert examined == [b"user: y\nuser: z"]
    assert again.clean(made) == clean


def test_results_of_old_releases_are_forgotten(examined):
    checker = Checker()
    for number in range(5):
        checker.check(release({"p": f"user: {number} x"}))
    assert len(checker._findings.now) + len(checker._findings.before) == 2


def test_ten_thousand_known_prompts_are_checked_in_no_time():
    made = release({f"folder{i % 50}/p{i}": f"user: number {i}" for i in range(10_000)})
    checker = Checker()
    checker.prime(prompt.sha256 for prompt in made.prompts.values())
    began = process_time()
    assert checker.check(made) == ()
    assert process_time() - began < 1


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything(data):
    made = Release.of([Prompt("p", data)])
    for graphs in ([], [graph(use("p", passes=()))], [graph(use("p"), bundled=True)]):
        for finding in fresh(made, graphs, previous=made):
            assert finding.code
            assert str(finding)


KEYS = st.sampled_from(["user", "system", "system_segments", "schema", "output_schema", "messages"])
KEYS |= st.sampled_from(["provider", "model", "temperature", "name", "fields", "type", "required"])
KEYS |= st.sampled_from(["properties", "items", "content", "cache", "usr"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["x", "{a}", "{{ b }}", "{", "str"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_no_shape_raises_anything(content):
    data = yaml.safe_dump(content).encode()
    for finding in fresh(Release.of([Prompt("p", data)]), [graph(use("p", passes=()))]):
        assert finding.line is None or 1 <= finding.line <= data.count(b"\n") + 1


# The JSON schema for editors


def json_schema():
    return json.loads((files("yamlgraph_prompts") / "schemas" / "prompt.schema.json").read_text())


def fits(value, schema, root):
    """Whether a value fits a schema, for the keywords that the file uses."""
    if isinstance(schema, bool):
        return schema
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}

    def is_type(name):
        if name == "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        return isinstance(value, types[name])

    known = {"type", "properties", "required", "items", "anyOf", "not", "$ref", "const", "enum"}
    known |= {"pattern", "minLength", "minItems", "additionalProperties", "propertyNames"}
    known |= {"$schema", "$id", "$defs", "title", "description", "default", "examples"}
    assert set(schema) <= known
    checks = [
        "$ref" not in schema or fits(value, root["$defs"][schema["$ref"].split("/")[-1]], root),
        "anyOf" not in schema or any(fits(value, s, root) for s in schema["anyOf"]),
        "not" not in schema or not fits(value, schema["not"], root),
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
    ]
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        checks.append(any(is_type(kind) for kind in kinds))
    if isinstance(value, dict):
        known_keys = schema.get("properties", {})
        checks += [key in value for key in schema.get("required", [])]
        checks += [fits(value[k], s, root) for k, s in known_keys.items() if k in value]
        checks += [fits(k, schema.get("propertyNames", True), root) for k in value]
        other = schema.get("additionalProperties", True)
        checks += [fits(v, other, root) for k, v in value.items() if k not in known_keys]
    if isinstance(value, list):
        checks.append(len(value) >= schema.get("minItems", 0))
        checks += [fits(item, schema.get("items", True), root) for item in value]
    if isinstance(value, str):
        checks.append(len(value) >= schema.get("minLength", 0))
        checks.append(re.search(schema.get("pattern", ""), value) is not None)
    return all(checks)


GOOD = [
    "user: x",
    "system: x\nuser: y\nprovider: openai\nmodel: m\ntemperature: 0.1\nmetadata: {a: 1}\nother: 1",
    "system: [a, {content: b, cache: true}]\nuser: y",
    "system_segments: [{content: a}, {content: b, cache: false}]\nuser: y",
    "system: ''\nsystem_segments: []\nuser: y",
    "messages: x\nuser: y",
    "system: only an agent's",
    SCHEMA,
    OUTPUT,
]
BAD = [
    "user: 5",
    "user: {name}",
    "user: x\nsystem: {name}",
    "user: x\nsystem: [5]",
    "user: x\nsystem_segments: a",
    "user: x\nsystem_segments: [a]",
    "user: x\nsystem_segments: [{cache: true}]",
    "user: x\nsystem: a\nsystem_segments: []",
    "messages: []",
    "user: x\nprovider: 5",
    "user: x\ntemperature: warm",
    "user: x\nschema: {name: Out}",
    SCHEMA + "    b: {type: string}",
    SCHEMA + "    _b: {type: str}",
    "user: x\noutput_schema: {type: string}",
    OUTPUT + "    b: {type: text}",
    "[]",
]


@pytest.mark.parametrize("text", GOOD)
def test_the_json_schema_accepts_good_prompts(text):
    assert examine_prompt(text.encode()) == () or "missing-user" in str(
        examine_prompt(text.encode())
    )
    assert fits(yaml.safe_load(text), json_schema(), json_schema())


@pytest.mark.parametrize("text", BAD)
def test_the_json_schema_refuses_what_the_check_refuses(text):
    assert examine_prompt(text.encode())
    assert not fits(yaml.safe_load(text), json_schema(), json_schema())


@pytest.mark.skipif(importlib.util.find_spec("jsonschema") is None, reason="not installed")
def test_a_real_validator_agrees():
    import jsonschema

    validator = jsonschema.Draft202012Validator(json_schema())
    validator.check_schema(json_schema())
    for text in [*GOOD, *BAD]:
        assert validator.is_valid(yaml.safe_load(text)) == (text in GOOD)


def test_the_json_schema_knows_the_keys_that_the_check_knows():
    from yamlgraph_prompts._check import prompts as prompt_check

    assert set(json_schema()["properties"]) == set(prompt_check._KEYS)
