"""Run-time prompts: the same messages as YAMLGraph gives, guarded."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel
from yamlgraph import executor_base
from yamlgraph.executor_base import format_prompt, prepare_messages
from yamlgraph.utils.template import extract_variables, scan_simple_fields

from yamlgraph_prompts._sandbox import fields
from yamlgraph_prompts._yamlgraph_bridge.execute import install
from yamlgraph_prompts.errors import PromptRenderError, PromptsError
from yamlgraph_prompts.templates.template import (
    MessageTemplate,
    PromptTemplate,
    Text,
    examine,
    is_jinja,
)

quick = settings(suppress_health_check=list(HealthCheck))


class Person(BaseModel):
    name: str = "Ada"
    tags: list[str] = ["x", "y"]

    def shout(self) -> str:
        return self.name.upper()


VALUES: dict[str, Any] = {
    "name": "Ada",
    "items": ["a", "b", 3],
    "n": 7,
    "price": 3.14159,
    "none": None,
    "doc": {"title": "T", "_id": 5, "tags": ["p", "q"]},
    "docs": [{"title": "b", "n": 2}, {"title": "a", "n": 1}],
    "person": Person(),
    "messages": [HumanMessage("hi"), AIMessage("ho")],
    "empty": [],
    "flag": True,
}

# -- a generated family of safe Jinja templates ------------------------------------------------

names = st.sampled_from(["name", "items", "n", "doc", "docs", "x", "y", "person"])
expressions = st.recursive(
    st.one_of(
        names,
        st.sampled_from(
            [
                "1",
                "'t'",
                "[1, 'a', n]",
                "{'k': name}",
                "(1, 2)",
                "range(3)",
                "doc.title",
                "doc['title']",
                "doc._id",
                "person.name",
                "person.name.upper()",
                "state.topic",
                "none",
                "docs[0].title",
                "name[1:]",
                "items[::-1]",
                "cycler('a', 'b').next()",
                "messages",
                "name.upper()",
                "'%s!'|format(name)",
                "'{}-{n:>4}'.format(name, n=n)",
                "-n",
                "'a-b'.split('-')",
                "docs|map(attribute='title')|join('+')",
                "true",
                "lipsum.x",
                "docs|sort(attribute='n')|map(attribute='title')|list",
                "dict(a=1).items()|list",
            ]
        ),
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda a, b, op: f"({a} {op} {b})",
            inner,
            inner,
            st.sampled_from(["+", "*", "~", "==", "and", "or", "in", "-", "%"]),
        ),
        st.builds(
            lambda a, f: f"({a})|{f}",
            inner,
            st.sampled_from(
                [
                    "upper",
                    "length",
                    "list",
                    "first",
                    "last",
                    "join(', ')",
                    "default('d')",
                    "tojson",
                    "string",
                    "center(9)",
                    "indent(2)",
                    "replace('a', 'bb')",
                    "truncate(5)",
                    "title",
                    "wordcount",
                    "sort",
                    "unique|list",
                    "reverse|list",
                    "int",
                    "sum",
                    "batch(2)|list",
                    "slice(2)|list",
                    "trim",
                    "select|list",
                    "map('string')|list",
                    "abs",
                    "round",
                    "dictsort",
                    "groupby('n')",
                    "urlencode",
                    "wordwrap(5)",
                    "max",
                ]
            ),
        ),
        st.builds(
            lambda a, t: f"({a} is {t})",
            inner,
            st.sampled_from(
                ["defined", "string", "mapping", "none", "odd", "iterable", "sameas(1)", "lower"]
            ),
        ),
        st.builds(lambda a, b, c: f"({a} if {b} else {c})", inner, inner, inner),
    ),
    max_leaves=4,
)
bodies = st.recursive(
    st.one_of(
        st.builds(lambda e: f"{{{{ {e} }}}}", expressions),
        st.builds(lambda e: f"{{{{- {e} -}}}} ", expressions),
        st.sampled_from(
            ["text\n", "{# note #}", " {%- raw %}{{ x }} {y}{% endraw -%} \n", "{literal}", "é\r\n",
             "{{ loop.index }}", "{% set ns = namespace(c=0) %}{% set ns.c = ns.c + 1 %}{{ ns.c }}",
             "{{ m(1) }}", "{{ caller() }}", "{% print n, name %}"]
        ),
    ),
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda e, a, b: f"{{% if {e} %}}{a}{{% else %}}{b}{{% endif %}}",
                  expressions, inner, inner),
        st.builds(lambda e, a: f"{{% if n == 1 %}}{{% elif {e} %}}{a}{{% endif %}}",
                  expressions, inner),
        st.builds(
            lambda e, a: f"{{% for x in {e} %}}{{{{ loop.index }}}}/{{{{ loop.length }}}}"
            f"{{{{ loop.last }}}}{{{{ loop.changed(x) }}}}{a}{{% else %}}none{{% endfor %}}",
            expressions, inner),
        st.builds(lambda e, a: f"{{% for x in {e} if x %}}{{{{ x }}}}{a}{{% endfor %}}",
                  expressions, inner),
        st.builds(lambda e, a: f"{{% for x in {e} recursive %}}{{{{ loop.depth }}}}{a}"
                  "{% if x is sequence and x is not string %}{{ loop(x) }}{% endif %}{% endfor %}",
                  expressions, inner),
        st.builds(lambda v, e: f"{{% set {v} = {e} %}}", names, expressions),
        st.builds(lambda v, a: f"{{% set {v} %}}{a}{{% endset %}}", names, inner),
        st.builds(lambda v, w, e: f"{{% set {v}, {w} = {e}, 1 %}}", names, names, expressions),
        st.builds(lambda v, e, a: f"{{% with {v} = {e} %}}{a}{{% endwith %}}",
                  names, expressions, inner),
        st.builds(lambda a, e: f"{{% macro m(y, x={e}) %}}{a}{{{{ varargs }}}}{{% endmacro %}}"
                  "{{ m(1) }}{{ m(2, 3, 4) }}", inner, expressions),
        st.builds(lambda a: f"{{% macro m(y) %}}<{{{{ caller(y) }}}}>{{% endmacro %}}"
                  f"{{% call(x) m(3) %}}{a}{{% endcall %}}", inner),
        st.builds(lambda a: f"{{% filter upper %}}{a}{{% endfilter %}}", inner),
        st.builds(lambda a, i: f"{{% block b{i} %}}{a}{{% endblock %}}", inner,
                  st.integers(0, 10**6)),
    ),
    max_leaves=6,
)  # fmt: skip


def outcome(render: Any) -> tuple[str, Any]:
    try:
        return "text", render()
    except RecursionError:
        return "failed", None
    except Exception:  # noqa: BLE001 - both sides may fail in their own words
        return "failed", None


@quick
@given(bodies)
def test_a_safe_jinja_template_gives_yamlgraphs_text(text: str) -> None:
    if not is_jinja(text):
        return
    state = {"topic": "bees"}
    values = copy.deepcopy(VALUES)
    theirs = outcome(lambda: format_prompt(text, copy.deepcopy(VALUES), state))
    mine = outcome(lambda: MessageTemplate(text).render(values, state))
    if " at 0x" in str(theirs[1]):
        return
    assert mine == theirs
    assert values == VALUES


@quick
@given(bodies)
def test_the_variables_are_those_that_yamlgraph_extracts(text: str) -> None:
    theirs = outcome(lambda: extract_variables(text))
    template = MessageTemplate(text)
    if not is_jinja(text):  # a lone {# note #} is a field of str.format
        assert template.variables == theirs[1]
    elif theirs[0] == "text":
        assert not [f for f in template.findings if f.severity == "error"]
        assert template.variables == theirs[1]
    else:
        assert [f for f in template.findings if f.severity == "error"]


braces = st.lists(
    st.sampled_from(
        ["{", "}", "{{", "}}", "name", "{name}", "{items}", "{price:.2f}", "{n:>{n}}",
         "{doc[title]}",
         "{person.name}", "{person.name!r:>9}", ":", "!r", "\n", "{x}", "{0}", "{}", "[", ".", "{%",
         "{% raw %}", "{% endraw %}", " ", "{n:05d}", "{none!s}", "{messages[0].content}", "é"]
    ),
    max_size=9,
).map("".join)  # fmt: skip


@quick
@given(braces)
def test_the_fields_are_those_that_yamlgraph_scans(text: str) -> None:
    theirs, mine = scan_simple_fields(text), fields.scan(text)
    assert (theirs.roots, theirs.invalid_fields, theirs.brace_error) == (
        mine.roots,
        mine.invalid,
        mine.brace_error,
    )


@quick
@given(braces)
def test_a_str_format_text_gives_yamlgraphs_text(text: str) -> None:
    if is_jinja(text):
        return
    theirs = outcome(lambda: format_prompt(text, VALUES))
    mine = outcome(lambda: MessageTemplate(text).render(VALUES))
    if theirs[0] == "text" or "{" not in text:
        assert mine == theirs
    else:
        assert mine[0] == "failed"


# -- whole prompts -----------------------------------------------------------------------------

message_texts = st.sampled_from(
    ["", "Hi {name}", "Hi {{ name }}\n", "{% if n %}x{% endif %}{{ state.topic }}", "{missing}",
     "{{ missing }}", "{\"a\": 1}", "{", "{% if %}", "plain", "{{ '' }}", "{items}", "{n:.2f}",
     "Ok {person.name}", "{% set missing = 1 %}{{ missing }}"]
)  # fmt: skip
segments = st.lists(
    st.fixed_dictionaries(
        {}, optional={"content": message_texts, "cache": st.booleans(), "other": st.just(1)}
    ),
    max_size=3,
)
prompts = st.fixed_dictionaries(
    {},
    optional={
        "user": message_texts,
        "system": st.one_of(
            message_texts,
            st.none(),
            st.lists(st.one_of(message_texts, segments.map(lambda s: dict(*s[:1])))),
        ),
        "system_segments": segments,
        "provider": st.sampled_from(["anthropic", "openai"]),
        "model": st.just("m"),
    },
)


@quick
@given(prompts, st.sampled_from([None, "anthropic", "openai"]), st.booleans())
def test_a_prompts_messages_are_those_of_prepare_messages(
    content: dict[str, Any], provider: str | None, through_yamlgraph: bool
) -> None:
    if through_yamlgraph:  # which reads `user` before it looks at anything else
        content = {"user": "u", **content}

    def theirs() -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executor_base, "load_prompt", lambda *a, **k: content)
            return prepare_messages("p", VALUES, provider, state={"topic": "bees"})[0]

    def mine() -> Any:
        if not through_yamlgraph:
            own = {**content, "provider": provider or content.get("provider")}
            template = PromptTemplate(own, prompt="p")
            return template.messages(VALUES, state={"topic": "bees"})
        template = PromptTemplate(content, prompt="p")
        install()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(executor_base, "load_prompt", lambda *a, **k: template.loaded())
            return prepare_messages("p", VALUES, provider, state={"topic": "bees"})[0]

    try:
        expected = theirs()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        with pytest.raises(PromptRenderError) as caught:
            mine()
        said = str(error)
        if said.startswith(("Missing required", "Cannot specify", "Prompt 'p' has a message")):
            assert str(caught.value) == said
    except Exception:  # noqa: BLE001 - Jinja's own refusals
        with pytest.raises(PromptRenderError):
            mine()
    else:
        assert mine() == expected


def test_the_anthropic_provider_gets_blocks_and_a_cache_mark() -> None:
    content = {
        "system_segments": [{"content": "Rules", "cache": True}, {"content": "{name}"}],
        "user": "go",
    }
    template = PromptTemplate({**content, "provider": "anthropic"}, prompt="p")
    system = template.messages({"name": "Ada"})[0]
    assert system.content == [
        {"type": "text", "text": "Rules", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Ada"},
    ]
    plain = PromptTemplate(content, prompt="p")
    assert plain.messages({"name": "Ada"})[0].content == "Rules\nAda"


def test_a_missing_variable_is_told_in_yamlgraphs_words() -> None:
    template = PromptTemplate({"user": "{a} {b}"}, prompt="greet")
    with pytest.raises(ValueError, match=r"variable.s. for prompt 'greet': a, b") as caught:
        template.messages({})
    assert str(caught.value) == "Missing required variable(s) for prompt 'greet': a, b"


def test_parts_say_where_each_text_stands() -> None:
    template = PromptTemplate({"system": ["one", {"content": "two"}], "user": "three"}, prompt="p")
    assert [(path, part.text) for path, part in template.parts] == [
        (("system", 0), "one"),
        (("system", 1, "content"), "two"),
        (("user",), "three"),
    ]
    assert template.system_texts == ("one", "two")
    assert template.user_text == "three"


# -- errors hold no value ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{secret:d}",
        "{secret:.z}",
        "{n:{secret}}",
        "{doc[SECRET]}",
        "{secret.nothing}",
        "{{ secret + 1 }}",
        "{{ {}[secret] + 1 }}",
        "{{ {}|attr(secret) + 1 }}",
        "{{ nothing[secret] }}",
        "{{ [1]|map(secret)|list }}",
        "{{ secret() }}",
        "{{ '%d'|format(secret) }}",
        "{{ '{:d}'.format(secret) }}",
        "{{ {'a': secret}.b.c }}",
        "{{ 1|round(0, secret) }}",
        "{{ dict([secret]) }}",
        "{{ secret|groupby(secret) }}",
        "{{ person.fail() }}",
    ],
)
def test_an_error_never_holds_a_value(text: str) -> None:
    class Failing(Person):
        def fail(self) -> None:
            raise RuntimeError("it was SECRET-VALUE")

    values = {"secret": "SECRET-VALUE", "n": 1, "doc": {}, "person": Failing()}
    with pytest.raises(PromptRenderError) as caught:
        MessageTemplate(text, prompt="p").render(values)
    assert "SECRET-VALUE" not in str(caught.value)
    assert "SECRET-VALUE" not in repr(caught.value.__cause__) + repr(caught.value.__context__)
    assert caught.value.prompt == "p"


def test_an_error_names_its_line() -> None:
    with pytest.raises(PromptRenderError) as caught:
        MessageTemplate("one\ntwo\n{{ 1 + name }}").render({"name": "Ada"})
    assert caught.value.line == 3
    assert "unsupported operand" in str(caught.value).lower()


def test_a_wrong_format_spec_names_the_field_and_the_type() -> None:
    with pytest.raises(PromptRenderError, match=r"\{price:\.2f\}.*'str'") as caught:
        MessageTemplate("a\n{price:.2f}").render({"price": "cheap"})
    assert caught.value.line == 2


# -- examining ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Hi {{ name }", "What begins with {{ ends with }}"),
        ("Hi {{ name", "What begins with {{ ends with }}"),
        ("{% if x }a{% endif %}", "what begins with {% ends with %}"),
        ("{{ {name} }}", "{{ name }}"),
        ("{% if x %}a", "Write {% endif %} where it ends."),
        ("{% for x in y %}{% if x %}a{% endfor %}", "Write {% endif %} where it ends."),
        ("a{% endif %}", "no open {% if ... %}"),
        ("{% else %}", "between {% if ... %} and {% endif %}"),
        ("{% foo %}", "Tags are if, for"),
        ("{% if %}a{% endif %}", "missing before the closing braces"),
        ("{{ first name }}", "one name or expression"),
        ("{{ name | }}", "Name a filter"),
        ("{{ 'a }}", "quotation mark"),
    ],
)
def test_a_mistake_in_the_syntax_says_what_to_do(text: str, hint: str) -> None:
    (finding,) = examine(text)
    assert finding.code == "template-syntax"
    assert hint in (finding.hint or "")


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a\n{% if x %}", "template-syntax", 2),
        ("a\n{{ x | uper }}", "unknown-filter", 2),
        ("a\n\n{{ x is sting }}", "unknown-test", 3),
        ("{{ x }}\n{% include 'a' %}", "template-include", 2),
        ("{{ x }}{% import 'a' as b %}", "template-include", 1),
        ("{{ x }}{% from 'a' import b %}", "template-include", 1),
        ("{% extends 'a' %}", "template-include", 1),
        ("{{ x.__class__ }}", "unsafe-template", 1),
        ("\n{{ x['__class__'] }}", "unsafe-template", 2),
        ("{{ x|attr('__class__') }}", "unsafe-template", 1),
        ("{{ x|map(attribute='a.__class__') }}", "unsafe-template", 1),
        ("{{ x|map('attr', '_a') }}", "unsafe-template", 1),
        ("{{ '{0.__class__}'.format(x) }}", "unsafe-template", 1),
        ("{{ f(_loop_vars=1) }}", "unsafe-template", 1),
        ("{% block a %}{% endblock %}{% block a %}{% endblock %}", "template-syntax", 1),
        ("{% for loop in x %}{% endfor %}", "template-syntax", 1),
        ("{% for i in x %}{% set loop = 1 %}{% endfor %}", "template-syntax", 1),
        ("{% macro m(caller) %}{{ caller() }}{% endmacro %}", "template-syntax", 1),
        ("{% macro m(a, a) %}{% endmacro %}", "template-syntax", 1),
        ("{{ f(a=1, a=2) }}", "template-syntax", 1),
        ("{{ x|default(a=1, a=2) }}", "template-syntax", 1),
        ("{% set x | replace(a, 'b') %}{% endset %}", "template-syntax", 1),
        ("{{ " + "1" * 5000 + " }}", "template-syntax", None),
        ("x\n{a.__class__}", "unsafe-template", 2),
        ("{a[__class__]}", "unsafe-template", 1),
        ("{a._b}", "unsafe-template", 1),
        ("{a:{b._c}}", "unsafe-template", 1),
        ("{a:999999999}", "unsafe-template", 1),
        ('x\n{"a": 1}', "format-braces", 2),
        ("x\n{", "format-braces", 2),
        ("}", "format-braces", 1),
    ],
)
def test_examine_finds(text: str, code: str, line: int | None) -> None:
    found = examine(text)
    assert (code, line) in [(f.code, f.line) for f in found if f.severity == "error"]
    with pytest.raises(PromptRenderError):
        MessageTemplate(text).render({"x": [1], "a": 1, "b": 1, "f": dict})


def test_examine_says_did_you_mean() -> None:
    assert "'upper'" in (examine("{{ x | uper }}")[0].hint or "")


def test_examine_says_the_column_where_it_is_sure() -> None:
    assert examine("a\nxy {{ x | uper }}")[0].column == 11
    assert examine("a\nxy {{ uper | uper }}")[0].column is None


def test_an_unknown_filter_in_an_untaken_branch_is_a_warning_as_jinja_compiles_it() -> None:
    text = "{% if false %}{{ x | nothing }}{% endif %}ok"
    assert [f.severity for f in examine(text)] == ["warning"]
    assert MessageTemplate(text).render({}) == "ok" == format_prompt(text, {})


def test_a_private_key_of_a_mapping_is_data() -> None:
    values = {"doc": {"_id": 7}, "state": {"_route": "a"}}
    text = "{{ doc._id }} {{ doc['_id'] }} {{ state._route }}"
    assert MessageTemplate(text).render(values) == "7 7 a"
    assert MessageTemplate("{doc[_id]}").render(values) == "7"
    assert [f.severity for f in examine("{{ doc._id }}")] == ["warning"]


@pytest.mark.parametrize(
    "text",
    [
        "{{" + "(" * 1_000_000,
        "{{" + "(" * 500 + "1" + ")" * 500 + "}}",
        "{% if x %}" * 5_000 + "{% endif %}" * 5_000,
        "{% for x in y %}" * 19 + "{% endfor %}" * 19,
        "{{ x" + ".a" * 100_000 + " }}",
        "{{ x" + "|e" * 100_000 + " }}",
        "{{ " + "- " * 100_000 + "1 }}",
        "{{ " + "not " * 100_000 + "1 }}",
        "{{ " + "1 if 1 else " * 50_000 + "1 }}",
        "{{ " + "[" * 1_000 + "]" * 1_000 + " }}",
        "{{ 1" + " + 1" * 100_000 + " }}",
        "{% if x %}{% elif x %}" + "{% elif x %}" * 20_000 + "{% endif %}",
        "{{ x }}" * 100_000,
        "{{ [" + "1," * 400_000 + "] }}",
        "{{ f(" + "a," * 400_000 + ") }}",
        "{" * 100_000,
        "{x:" * 50_000,
        "{x:" * 50_000 + "}" * 50_000,
        "{% macro m() %}{{ x" + ".a" * 5_000 + " }}{% endmacro %}",
    ],
    ids=lambda text: f"{text[:12]}...",
)
def test_a_text_that_nests_endlessly_is_a_finding(text: str) -> None:
    assert [f for f in examine(text) if f.severity == "error"]


def test_what_examine_passes_also_compiles_however_deep() -> None:
    class Chain:
        def __init__(self) -> None:
            self.a = self

    chain = "x" + ".a" * 80
    for text in (
        "{{ " + " + ".join(["n"] * 80) + " }}",
        "{{ " + " ~ ".join(["n"] * 900) + " }}",
        "{{ " + chain + " is defined }}",
        "{% if x %}" * 45 + "{% endif %}" * 45,
        "{% for x in y %}" * 18 + "{% endfor %}" * 18,
        "{% if n %}" + "{% elif n %}" * 400 + "{% endif %}",
        "{{ " + "[" * 30 + "1" + "]" * 30 + " }}",
        "{% if " + " or ".join(["n == 1"] * 80) + " %}{% endif %}",
    ):
        assert examine(text) == ()
        outcome = MessageTemplate(text).render({"n": 1, "y": [], "x": Chain()})
        assert isinstance(outcome, str)


@settings(deadline=2_000, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.text(max_size=200), bodies, braces, st.text("{}%#[]()'\"|._-+*~ abif", max_size=90)
    )
)
def test_no_text_raises_anything_but_prompts_errors(text: str) -> None:
    template = MessageTemplate(text, prompt="p")
    assert isinstance(template.variables, frozenset)
    compiles = not [f for f in examine(text) if f.severity == "error"]
    try:
        template.render(VALUES, {"topic": "x"})
    except PromptsError as error:
        assert not (compiles and "SyntaxError" in str(error))  # noqa: PT017


# -- Text, threads, memory ---------------------------------------------------------------------


def filled(text: Text, **values: Any) -> str:
    """What the bridge makes of a text that YAMLGraph wants to fill in."""
    return text.template.render(values, None, text.budget)


def test_yamlgraph_gets_texts_that_only_the_sandbox_fills_in() -> None:
    content = {
        "system": ["a {name}", {"content": "b", "cache": True}],
        "user": "u {{ 1 + 1 }}",
        "schema": {"user": "not a message"},
        "model": "m",
    }
    loaded = PromptTemplate(content, prompt="p").loaded()
    messages = [loaded["user"], loaded["system"][0], loaded["system"][1]["content"]]
    assert all(type(message) is Text and "{" not in message for message in messages)
    assert type(str(messages[1])) is Text
    assert [filled(message, name="Ada") for message in messages] == ["u 2", "a Ada", "b"]
    assert (loaded["schema"], loaded["model"]) == (content["schema"], "m")
    assert content["system"][1] == {"content": "b", "cache": True}


@pytest.mark.parametrize(
    "remake",
    [
        copy.deepcopy,
        lambda text: pickle.loads(pickle.dumps(text)),
        lambda text: text + " ",
        lambda text: f"{text}.",
        lambda text: "".join((text, " ")),
        lambda text: text.strip()[:],
    ],
)
def test_a_text_made_of_a_message_holds_nothing_of_the_prompt(remake: Any) -> None:
    loaded = PromptTemplate({"user": "{{ cycler.__init__ }}"}, prompt="p").loaded()
    text = remake(loaded["user"])
    assert type(text) is str
    assert "cycler" not in text
    assert "{" not in text


@pytest.mark.parametrize(
    "item", [b"{{ 1 }}", 5, None, ["{{ 1 }}"], {"{{ 1 }}"}, ("a", "b"), 0, True]
)
@pytest.mark.parametrize("key", ["user", "system", "system_segments"])
def test_what_is_no_text_reaches_no_renderer(key: str, item: Any) -> None:
    content: dict[str, Any] = {"user": "u", "system": [item]} if key == "system" else {"user": "u"}
    if key == "user":
        content["user"] = {"a": 1} if item is None else item
    elif key == "system_segments":
        content[key] = [{"content": item}]
    template = PromptTemplate(content, prompt="p")
    with pytest.raises(PromptRenderError, match=r"must be a (text|mapping)"):
        template.loaded()
    with pytest.raises(PromptRenderError):
        template.messages({})


def test_all_messages_of_a_prompt_share_one_budget() -> None:
    content = {"system": ["{{ 'x' * 1000000 }}"] * 5, "user": "u"}
    with pytest.raises(PromptRenderError, match="longer than 4,194,304 characters"):
        PromptTemplate(content, prompt="p").messages({})
    loaded = PromptTemplate(content, prompt="p").loaded()
    with pytest.raises(PromptRenderError, match="longer than 4,194,304 characters"):
        [filled(text) for text in loaded["system"]]


def test_many_threads_compile_a_template_once(monkeypatch: pytest.MonkeyPatch) -> None:
    template = MessageTemplate("{% for i in items %}{{ i }}{% endfor %}")
    compiled: list[int] = []
    inner = MessageTemplate._template
    monkeypatch.setattr(
        MessageTemplate, "_template", lambda self: compiled.append(1) or inner(self)
    )
    start, results = threading.Barrier(8), []

    def render() -> None:
        start.wait()
        results.append(template.render({"items": [1, 2]}))

    threads = [threading.Thread(target=render) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (results, compiled) == (["12"] * 8, [1])


def test_a_render_inside_a_render_keeps_its_own_budget() -> None:
    class Inner:
        def __str__(self) -> str:
            return MessageTemplate("{% for i in range(9) %}{{ i }}{% endfor %}").render({})

    text = "{% for i in range(2) %}{{ inner }}{{ i }}{% endfor %}"
    assert MessageTemplate(text).render({"inner": Inner()}) == "01234567800123456781"


def test_the_recursion_limit_of_the_app_does_not_matter() -> None:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        assert examine("{{" + "(" * 50_000)[0].code == "template-syntax"
    finally:
        sys.setrecursionlimit(before)
