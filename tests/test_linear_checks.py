"""Looking at untrusted text takes time in proportion to its size, whatever it says."""

from __future__ import annotations

import ast
import gc
import importlib
import json
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from re import _constants as kinds  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from time import thread_time
from typing import Any, NamedTuple

import pytest

import yamlgraph_prompts
from yamlgraph_prompts._check import Checker
from yamlgraph_prompts._check.facts import KnownFacts, file_facts
from yamlgraph_prompts._check.prompts import examine_prompt, read_prompt
from yamlgraph_prompts._check.rendered import in_templates
from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, PromptUse
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._sandbox import examination, fields
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts._text.spelling import nearest
from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.findings import (
    MAX_FINDINGS,
    Finding,
    FurtherFindings,
    bounded,
    shown,
)
from yamlgraph_prompts.templates import allow
from yamlgraph_prompts.templates.message_template import MessageTemplate

# -- every regular expression of the package --------------------------------------------------

_WHOLE = ("search", "match", "fullmatch")
_REPEATED = ("finditer", "findall", "split", "sub", "subn")
# Patterns that are made at run time: where → one that stands for them.
_MADE_AT_RUN_TIME = {
    (
        "sources.layers",
        "environments_pattern",
    ): r"app\-(?P<environment>[A-Za-z0-9][A-Za-z0-9._-]*)\.d",
}


class Used(NamedTuple):
    where: str
    pattern: re.Pattern[Any]
    methods: frozenset[str]


def _modules() -> Iterator[tuple[Any, ast.Module]]:
    for info in pkgutil.walk_packages(yamlgraph_prompts.__path__, "yamlgraph_prompts."):
        if not info.name.endswith("__main__"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of former import paths
                module = importlib.import_module(info.name)
            with open(module.__file__ or "", encoding="utf-8") as file:
                yield module, ast.parse(file.read())


def _patterns_in(value: Any) -> Iterator[re.Pattern[Any]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, tuple | list | frozenset):
        for item in value:
            yield from _patterns_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _patterns_in(item)


def _methods_of(name: str, tree: ast.Module) -> frozenset[str]:
    """The methods that are called of a pattern; where that is unclear, all in its module."""
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    own = [a for a in attributes if isinstance(a.value, ast.Name) and a.value.id == name]
    return frozenset({a.attr for a in own or attributes} & {*_WHOLE, *_REPEATED})


@cache
def regular_expressions() -> tuple[Used, ...]:
    """Every pattern that the package compiles, with the methods that it is used by."""
    return tuple(_regular_expressions())


def _regular_expressions() -> Iterator[Used]:
    for module, tree in _modules():
        short = module.__name__.removeprefix("yamlgraph_prompts.")
        assigned = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for name in sorted(assigned & vars(module).keys()):
            for number, pattern in enumerate(_patterns_in(vars(module)[name])):
                methods = _methods_of(name, tree) or frozenset({"fullmatch", "finditer"})
                yield Used(f"{short}.{name}.{number}", pattern, methods)
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            for call in ast.walk(function):
                if _is_call_of_re(call):
                    method = call.func.attr  # type: ignore[union-attr]
                    text = _literal(call.args[0], module)  # type: ignore[union-attr]
                    if text is None:
                        text = _MADE_AT_RUN_TIME[short, function.name]
                    methods = frozenset({"fullmatch" if method == "compile" else method})
                    yield Used(f"{short}.{function.name}", re.compile(text), methods)


def _is_call_of_re(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in {"compile", *_WHOLE, *_REPEATED}
    )


def _literal(node: ast.expr, module: Any) -> str | bytes | None:
    if isinstance(node, ast.Constant):
        return node.value  # type: ignore[return-value]
    if isinstance(node, ast.Name):
        value = vars(module).get(node.id)
        return value if isinstance(value, str | bytes) else None
    return None


def _sample(parsed: Any) -> str:
    """A text that a part of a pattern matches; each repetition once."""
    return "".join(_sample_of(kind, value) for kind, value in parsed)


def _sample_of(kind: Any, value: Any) -> str:
    if kind is kinds.LITERAL:
        return chr(value)
    if kind is kinds.NOT_LITERAL:
        return "a" if value != ord("a") else "b"
    if kind is kinds.ANY:
        return "a"
    if kind is kinds.IN:
        return _member(value)
    if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
        least, _most, body = value
        return _sample(body) * max(least, 1)
    if kind is kinds.SUBPATTERN:
        return _sample(value[-1])
    if kind is kinds.ATOMIC_GROUP:
        return _sample(value)
    if kind is kinds.BRANCH:
        return _sample(value[1][0])
    return ""


_CLASSES = {
    kinds.CATEGORY_DIGIT: "1",
    kinds.CATEGORY_SPACE: " ",
    kinds.CATEGORY_WORD: "a",
    kinds.CATEGORY_NOT_DIGIT: "a",
    kinds.CATEGORY_NOT_SPACE: "a",
    kinds.CATEGORY_NOT_WORD: "-",
}


def _member(members: Any) -> str:
    negated = members[0][0] is kinds.NEGATE
    found = [
        chr(value if kind is kinds.LITERAL else value[0])
        if kind is not kinds.CATEGORY
        else _CLASSES[value]
        for kind, value in members[negated:]
    ]
    if not negated:
        return found[0]
    return next(char for char in "a1 -\n=" if char not in found)


def _parts(parsed: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """(what stands before it, a sample of it) of every part of a pattern, inner ones too."""
    for kind, value in parsed:
        yield before, _sample_of(kind, value)
        if kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
            yield from _parts(value[2], before)
        elif kind is kinds.SUBPATTERN:
            yield from _parts(value[-1], before)
        elif kind is kinds.ATOMIC_GROUP:
            yield from _parts(value, before)
        elif kind is kinds.BRANCH:
            for branch in value[1]:
                yield from _parts(branch, before)
        elif kind is kinds.IN and value[0][0] is not kinds.NEGATE:
            for member in value:
                yield before, _member([member])
        before += _sample_of(kind, value)


def _excluded(parsed: Any) -> Iterator[str]:
    """The characters at which a negated class ends."""
    for kind, value in parsed:
        if kind is kinds.IN and value[0][0] is kinds.NEGATE:
            yield from (chr(v) for k, v in value[1:] if k is kinds.LITERAL)
        elif kind is kinds.NOT_LITERAL:
            yield chr(value)
        elif kind in (kinds.MAX_REPEAT, kinds.MIN_REPEAT, kinds.POSSESSIVE_REPEAT):
            yield from _excluded(value[2])
        elif kind is kinds.SUBPATTERN:
            yield from _excluded(value[-1])
        elif kind is kinds.BRANCH:
            for branch in value[1]:
                yield from _excluded(branch)


def adversarial_inputs(pattern: re.Pattern[Any]) -> list[Callable[[int], Any]]:
    """Texts of any length that make a pattern try again and again, by its own parts."""
    source = pattern.pattern
    parsed = parser.parse(source, pattern.flags & ~re.DEBUG)
    whole = _sample(parsed)
    parts = list(dict.fromkeys(_parts(parsed)))[:60]
    pumps = dict.fromkeys(("", part) for _before, part in parts)
    pumps |= dict.fromkeys(parts)
    pumps |= dict.fromkeys(("", before + part) for before, part in parts)
    pumps |= dict.fromkeys((before, part + other) for before, part in parts for other in (" ", "a"))
    excluded = [char for char in dict.fromkeys(_excluded(parsed)) if char not in "\n\0"]
    pumps |= dict.fromkeys([("", whole), ("", whole[:-1]), (whole[:-1], whole[-1:])])

    def repeated(before: str, pump: str, end: str) -> Callable[[int], Any]:
        def text(length: int) -> Any:
            made = before + pump * (length // len(pump)) + end
            return made.encode("latin-1", "replace") if isinstance(source, bytes) else made

        return text

    return [
        repeated(before, pump, end)
        for before, pump in pumps
        if pump
        for end in ("", "\0", "\n!", *excluded[:4])
    ]


def _seconds(action: Callable[[], object], times: int = 1) -> float:
    """The least CPU time of several runs; garbage collection looks at the heap of all tests."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(times):
            began = thread_time()
            action()
            best = min(best, thread_time() - began)
    finally:
        gc.enable()
    return best


def is_linear(pattern: re.Pattern[Any], method: str, text: Callable[[int], Any]) -> bool:
    """Whether the time of a match grows clearly slower than the square of the text's length."""

    def run(length: int, times: int = 1) -> float:
        given = text(length)
        if method in _REPEATED:
            return _seconds(lambda: sum(1 for _ in pattern.finditer(given)), times)
        return _seconds(lambda: getattr(pattern, method)(given), times)

    # Step by step, so that an exponential or cubic one ends soon.
    for length in (16, 20, 24, 100, 300, 1_000, 8_000):
        allowed = 0.002 + length * 2e-6  # a linear one takes a tenth of that
        if run(length) > allowed and run(length, 3) > allowed:
            return length == 8_000 and run(8_000, 3) < 8 * run(2_000, 3)
    return True


@pytest.mark.parametrize("source", [r"(a+)+$", r"\s*x\s*!", r"(\w+\s?)*$", r"\d+x", r"a*[ab]*c"])
def test_the_measurement_finds_what_is_not_linear(source: str) -> None:
    pattern = re.compile(source)
    texts = adversarial_inputs(pattern)
    assert not all(is_linear(pattern, "search", text) for text in texts)


def test_every_regular_expression_is_found() -> None:
    found = regular_expressions()
    assert len(found) > 50
    assert {"_yaml_file.words._BEFORE_VALUE.0", "sources.layers._IN_BRACES.0"} <= {
        u.where for u in found
    }


def test_every_regular_expression_takes_time_in_proportion_to_the_text() -> None:
    slow = {
        f"{used.where}.{method}: {used.pattern.pattern!r} on {text(40)!r}"
        for used in regular_expressions()
        for method in sorted(used.methods)
        for text in adversarial_inputs(used.pattern)
        if not is_linear(used.pattern, method, text)
    }
    assert not slow, "\n".join(sorted(slow))


# -- prompt files ------------------------------------------------------------------------------

TEXT = "user: |\n  "
SYSTEM = "user: a\nsystem:\n"
FIELDS = "user: a\nschema:\n  name: Out\n  fields:\n"
PROPERTIES = "user: a\noutput_schema:\n  type: object\n  properties:\n"

# name → head, what is repeated (# is its number), tail
HOSTILE: dict[str, tuple[str, str, str]] = {
    "private fields": (TEXT, "{a.__#}", ""),
    "private fields in lines": (TEXT, "{a.__#}\n  ", ""),
    "private fields behind escapes": ('user: "', "{a.__#}\\n", '"'),
    "wide fields": (TEXT, "{a#:99999999}", ""),
    "opened braces": (TEXT, "{", ""),
    "closed braces": (TEXT, "}", ""),
    "a wrong brace at the end": (TEXT, "{a}", "}"),
    "json": (TEXT, '{"k#": 1} ', ""),
    "wrong conversions": (TEXT, "{a!}", ""),
    "open brackets": (TEXT, "{a[", ""),
    "specs in specs": (TEXT, "{a:", ""),
    "specs that are wrong inside": (TEXT, "{a:{b:{c:{!}}{!}}{!}}{!}", ""),
    "a field of many parts": (TEXT + "{a", ".a", "}"),
    "a spec of many numbers": (TEXT + "{a:", "1 ", "}"),
    "unknown filters": (TEXT, "{{ a|upper# }}", ""),
    "one unknown filter": (TEXT, "{{ a|uper }}", ""),
    "unknown tests": (TEXT, "{{ a is evn# }}", ""),
    "a long unknown filter": (TEXT + "{{ a|", "f", " }}"),
    "private attributes": (TEXT, "{{ a.__x# }}", ""),
    "private items": (TEXT, "{{ a['__x#'] }}", ""),
    "raw openings": (TEXT, "{% raw %}", ""),
    "raw blocks": (TEXT, "{% raw %}{% endraw %}", ""),
    "raw with blanks": (TEXT + "{{ a }}", "{%                    raw", ""),
    "ifs": (TEXT, "{% if a# %}{{ b# }}{% endif %}", ""),
    "ifs that assign": (TEXT, "{% if a %}{% set b# = 1 %}{% endif %}", ""),
    "assignments, then ifs": (TEXT, "{% set v# = 1 %}{% if a %}{% endif %}", ""),
    "elifs": (TEXT + "{% if a %}", "{% elif a# %}", "{% endif %}"),
    "nested ifs": (TEXT, "{% if a %}", ""),
    "loops": (TEXT, "{% for a# in b# %}{{ c# }}{% endfor %}", ""),
    "macros": (TEXT, "{% macro m#(a) %}{{ a }}{% endmacro %}", ""),
    "parameters": (TEXT + "{% macro m(", "a#,", "z) %}{% endmacro %}"),
    "keyword arguments": (TEXT + "{{ m(", "a#=1,", ") }}"),
    "a name of many accents": (TEXT + "{{ m(b=1, a", "\u0301\u0323", "=1) }}"),
    "blocks": (TEXT, "{% block b# %}{% endblock %}", ""),
    "includes": (TEXT, "{% include 'a#' %}", ""),
    "one long sum": (TEXT + "{{ a", "+a", " }}"),
    "one long chain": (TEXT + "{{ a", "|upper", " }}"),
    "one long list": (TEXT + "{{ [", "1,", "] }}"),
    "one long dict": (TEXT + "{{ {", "a#:1,", "} }}"),
    "open parentheses": (TEXT + "{{ ", "(", " }}"),
    "a huge number": (TEXT + "{{ ", "1", " }}"),
    "a huge hexadecimal size": (TEXT + "{{ a.center(0x", "f", ") }}"),
    "open strings": (TEXT + "{{ ", "\"'", " }}"),
    "private fields in a constant": (TEXT + "{{ '", "{a.__b#}", "'.format(a=1) }}"),
    "private parts of a path": (TEXT + "{{ a|map(attribute='", "__a#.", "') }}"),
    "method calls": (TEXT, "{{ a.to_csv#() }}", ""),
    "large products": (TEXT, "{{ 'a' * 99999999# }}", ""),
    "both dialects": (TEXT, "{a#} {{ b#}}", ""),
    "unknown keys": ("user: a\n", "system_segment#: 1\n", ""),
    "a long key": ("user: a\n? ", "u", "\n: 1\n"),
    "one key again and again": ("", "user: a\n", ""),
    "keys given twice": ("user: a\nx:\n", "- {a: 1, a: 2}\n", ""),
    "fields without a type": (FIELDS, "    f#: {}\n", ""),
    "fields of unknown types": (FIELDS, "    f#: {type: zz}\n", ""),
    "fields of one long type": (
        f"x: &x {'a' * 30_000}\n{FIELDS}",
        "    f#: {type: *x}\n",
        "",
    ),
    "fields with patterns": (
        FIELDS,
        "    f#: {type: str, constraints: {pattern: '\\w{500}'}}\n",
        "",
    ),
    "properties of unknown types": (PROPERTIES, "    f#: {type: zz}\n", ""),
    "objects in objects": (PROPERTIES + "    a: ", "{type: object, properties: {a: ", ""),
    "required fields": ("user: a\noutput_schema:\n  type: object\n  required: [", "x#,", "]"),
    "a system of many items": (SYSTEM, "- a\n", ""),
    "a system of numbers": (SYSTEM, "- 1\n", ""),
    "a system of templates": (SYSTEM, "- '{{a|b#}}'\n", ""),
    "a system of sets": (SYSTEM, "- !!set {a}\n", ""),
    "segments": ("user: a\nsystem_segments:\n", "- {contnt: a}\n", ""),
    "aliases of a text": ("x: &x '" + "{{a|b}}" * 4_000 + f"'\n{SYSTEM}", "- *x\n", ""),
    "items on one line": ("user: a\nsystem: [", "'{',", "]"),
    "deep brackets": ("user: ", "[", ""),
    "deep mappings": ("user: ", "{a: ", ""),
    "dashes": ("", "- ", ""),
    "tabs in texts": ("user: [", "'\t',", "]"),
    "a huge number in YAML": ("user: ", "1", ""),
    "numbers that collide": ("user: a\nx:\n", "  ? 2305843009213693951#\n", ""),
    "merges": ("user: a\nx: &x {a: 1}\ny:\n", "- <<: *x\n", ""),
    "a line with an error": ("user: a: ", "- ", ""),
    "blank lines": (TEXT + "a\n", "\n", "\n  {"),
    "folded lines": ("user: >\n  ", "a\n\n  ", "{"),
    "an unprintable end": (TEXT, "a\n  ", "\a"),
}
# One of each kind: fields, Jinja's lexer, keys, a schema, places in the text, YAML's nesting.
LONG = (
    *("private fields", "raw openings", "unknown keys", "fields without a type"),
    *("folded lines", "deep brackets"),
)
LONG_AND_SLOW = (
    *("a wrong brace at the end", "unknown filters", "loops", "ifs", "one long sum"),
    *("both dialects", "a system of many items", "items on one line"),
)


def hostile(name: str, size: int) -> bytes:
    head, unit, tail = HOSTILE[name]
    if "#" not in unit:
        return (head + unit * ((size - len(head)) // len(unit)) + tail).encode()
    length = len(unit) + 3
    units = (unit.replace("#", str(number)) for number in range((size - len(head)) // length))
    return (head + "".join(units) + tail).encode()


def _checked(data: bytes) -> tuple[Finding, ...]:
    """Everything that a check does with a file: alone, and for a graph that passes nothing."""
    read_prompt.cache_clear()
    examination._short_examination.cache_clear()
    examination._long_examination.cache_clear()
    release = Release.of([Prompt("p", data, "memory:", "p.yaml")])
    use = PromptUse("greet", "llm", "p", frozenset({"name"}))
    file = GraphFile("", "graph.yaml", "0" * 64, (use,), frozenset(), {}, ())
    alone = Checker().check(release)
    used = Checker().check(release, [GraphFacts("graph.yaml", (file,), (), False)])
    return max(alone, used, key=len)


@pytest.mark.parametrize("kib", [32, pytest.param(128, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_of_twice_the_size_takes_no_more_than_about_twice_as_long(
    name: str, kib: int
) -> None:
    short, long = hostile(name, kib << 9), hostile(name, kib << 10)
    found: list[tuple[Finding, ...]] = []
    took_s = _seconds(lambda: found.append(_checked(long)))
    # What is quadratic takes many seconds, and four times as long: one look each shows most.
    if took_s > kib / 384 and took_s > 2.5 * _seconds(lambda: _checked(short)):
        short_s = _seconds(lambda: _checked(short), 3)
        assert min(took_s, _seconds(lambda: _checked(long), 2)) < 3 * short_s
    assert len(found[0]) <= MAX_FINDINGS + 2


@pytest.mark.parametrize(
    "name",
    [*LONG, *(pytest.param(name, marks=pytest.mark.nightly) for name in LONG_AND_SLOW)],
)
def test_a_file_of_a_mebibyte_is_checked_in_a_few_seconds(name: str) -> None:
    data = hostile(name, (1 << 20) - 100)
    assert _seconds(lambda: _checked(data)) < 8


# -- findings ----------------------------------------------------------------------------------


def test_a_file_lists_a_thousand_findings_and_counts_the_others() -> None:
    found = examine_prompt(hostile("private fields", 64 << 10))
    *listed, note = found
    assert len(listed) == MAX_FINDINGS
    assert isinstance(note, FurtherFindings)
    assert (note.severity, note.code) == ("error", "unsafe-template")
    assert note.message == f"{note.number:,} more findings of this kind are not listed"
    fields_ = hostile("private fields", 64 << 10).count(b"{")
    assert len(listed) + note.number == fields_


def test_an_error_behind_a_thousand_warnings_still_refuses_the_release() -> None:
    data = b"user: '{x.__class__}'\n" + b"".join(b"sytem%d: a\n" % n for n in range(5))
    many = (Finding("warning", "shape", str(n), file="a") for n in range(5_000))
    found = bounded((*many, Finding("error", "unsafe-template", "no", file="a")))
    assert [f.severity for f in found if f.code == "unsafe-template"] == ["error"]
    assert [f.number for f in found if isinstance(f, FurtherFindings)] == [4_000, 1]
    assert any(f.severity == "error" for f in examine_prompt(data))


def test_counts_of_several_messages_add_up() -> None:
    like = Finding("error", "x", "a")
    notes = [FurtherFindings.of(1_200, like), FurtherFindings.of(34, like)]
    (note,) = bounded(notes)
    assert note.message == "1,234 more findings of this kind are not listed"


def test_every_private_field_is_found_where_it_stands() -> None:
    found = examine_prompt(b"user: |\n  x {a.__b}\n  {c} {a.__b:{d.__e}}")
    assert [(f.line, f.column) for f in found] == [(2, 5), (3, 7), (3, 14)]


def test_located_fields_are_where_their_braces_are() -> None:
    text = "{{a}} {b!r:{c}} {d[x].e:>3}}}"
    assert [offset for offset, _field in fields.located_fields(text)] == [6, 11, 16]


def test_missing_variables_of_a_long_text_are_counted_too() -> None:
    found = _checked(hostile("both dialects", 64 << 10))
    missing = [f for f in found if f.code == "missing-variable"]
    # Those of another kind come first.
    assert len(found) <= MAX_FINDINGS + 10
    assert isinstance(missing[-1], FurtherFindings)
    listed, more = len(missing) - 1, int(missing[-1].message.split()[0].replace(",", ""))
    assert listed + more > MAX_FINDINGS


def test_findings_in_a_rendered_file_are_moved_in_time_in_proportion() -> None:
    def moved(lines: int) -> None:
        text = "".join(f"k{n}: a\n" for n in range(lines))
        prompt = Prompt("p", f"\n{text}".encode(), "memory:", "p.yaml.j2")
        found = [
            Finding("warning", "shape", "x", prompt="p", file="p.yaml.j2", line=n + 2)
            for n in range(min(lines, 1_000))
        ]
        list(in_templates(found, Release.of([prompt]), {"p": f"{{% set a=1 %}}\n{text}"}))

    assert _seconds(lambda: moved(20_000), 3) < 2


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        "[a]",
        "[['{{ x }}']]",
        "5",
        "1.5",
        "true",
        "~",
        "2020-01-01",
        "!!binary e3t4fX0=",
        "!!set {a}",
        "!!omap [a: 1]",
        "!!pairs [a: 1]",
        "{content: [a]}",
        "{content: 5}",
        "{content: !!binary YQ==}",
        "{text: a}",
        "{content: a, cache: 1}",
        "{content: a, cache: 'yes'}",
    ],
)
@pytest.mark.parametrize("key", ["system", "system_segments"])
def test_an_item_that_is_no_text_is_an_error_at_its_line(key: str, item: str) -> None:
    text = f"user: a\n{key}:\n  - content: ok\n  - {item}\n"
    (found,) = examine_prompt(text.encode())
    assert (found.severity, found.code, found.line) == ("error", "shape", 4)


@pytest.mark.parametrize("value", ["5", "0", "false", "[a]", "!!binary YQ==", "!!set {a}", "{}"])
def test_a_message_that_is_no_text_is_an_error_at_its_line(value: str) -> None:
    (found,) = examine_prompt(f"system: a\nuser: {value}\n".encode())
    assert (found.severity, found.code, found.line) == ("error", "shape", 2)


def test_a_graph_of_its_own_prompts_is_refused_for_an_item_that_is_no_text() -> None:
    data = b"user: a\nsystem: [['{{ x }}']]\n"
    use = PromptUse("greet", "llm", "p", frozenset())
    release = Release.of([Prompt("p", data, "graph:graph.yaml", "p.yaml")])
    file = GraphFile("", "graph.yaml", "0" * 64, (use,), frozenset(), {}, ())
    found = Checker().check(release, [GraphFacts("graph.yaml", (file,), (), True)])
    assert [(f.severity, f.code) for f in found] == [("error", "shape")]


@pytest.mark.parametrize(
    "text",
    [
        FIELDS + "".join(f"    f{n}: {{type: str}}\n" for n in range(1_001)),
        PROPERTIES + "    a: " + "{type: object, properties: {a: " * 12 + "1" + "}}" * 12,
        FIELDS + "    f: {type: str, constraints: {pattern: '" + "a" * 201 + "'}}",
        FIELDS
        + "".join(f"    f{n}: {{type: str, constraints: {{pattern: a}}}}\n" for n in range(21)),
    ],
)
def test_a_schema_that_takes_long_to_build_is_refused_and_not_built(text: str) -> None:
    release = Release.of([Prompt("p", text.encode())])
    use = PromptUse("greet", "llm", "p", frozenset())
    file = GraphFile("", "graph.yaml", "0" * 64, (use,), frozenset(), {}, ())

    def build(prompt: Prompt) -> str | None:
        raise AssertionError("it is built")

    graph = GraphFacts("graph.yaml", (file,), (), False)
    (found,) = Checker().check(release, [graph], schema_problem=build)
    assert (found.severity, found.code) == ("error", "too-large")


def test_a_long_name_is_refused_before_python_normalizes_it() -> None:
    (found,) = examine_prompt(hostile("a name of many accents", 4_000))
    assert (found.code, found.message) == ("template-syntax", "a name has more than 200 characters")


# -- calls -------------------------------------------------------------------------------------


def _calls(text: str) -> list[tuple[str, str, int | None]]:
    found = examination.examination(text, GuardedEnvironment()).findings
    return [(f.severity, f.message, f.column) for f in found if f.code == "not-callable"]


@pytest.mark.parametrize(
    ("text", "what", "column"),
    [
        ("{{ df.to_csv('x') }}", "the method 'to_csv'", 7),
        ("{{ df['to_csv']('x') }}", "the method 'to_csv'", 8),
        ("{{ a.b.c.prompt() }}", "the method 'prompt'", 10),
        ("{% if a %}{{ fetch('x') }}{% endif %}", "the variable 'fetch'", 14),
    ],
)
def test_a_call_that_prompts_cannot_make_is_a_warning(text: str, what: str, column: int) -> None:
    expected = [("warning", f"prompts cannot call {what}", column)]
    assert _calls(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{{ name.upper() }}",
        "{% macro m(a) %}{{ caller() }}{{ a }}{% endmacro %}{{ m(1) }}",
        "{% for a in b recursive %}{{ loop.cycle(1, 2) }}{{ loop(a) }}{% endfor %}",
        "{% block t %}{{ super() }}{% endblock %}{{ self.t() }}",
        "{% set m = joiner(', ') %}{{ m() }}",
        "{{ range(3) }}",
    ],
)
def test_a_call_that_prompts_can_make_is_no_finding(text: str) -> None:
    assert _calls(text) == []


def test_a_call_of_a_method_that_the_app_opened_is_no_finding() -> None:
    class Invoice:
        def total_in_words(self) -> str:
            return "two"

    text = "{{ invoice.total_in_words() }}"
    assert [message for _, message, _ in _calls(text)] == [
        "prompts cannot call the method 'total_in_words'"
    ]
    allow(Invoice, methods=["total_in_words"])
    examination._short_examination.cache_clear()
    assert _calls(text) == []


# -- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("uper", ["lower", "upper"], "upper"),
        ("nmae", ["name"], "name"),
        ("greting", ["greeting"], "greeting"),
        ("System", ["system"], "system"),
        ("system_segment", ["system", "system_segments"], "system_segments"),
        ("name", ["name"], None),
        ("colour", ["name"], None),
        ("u" * 100, ["u" * 101], None),
    ],
)
def test_a_misspelt_name_is_guessed(name: str, known: list[str], near: str | None) -> None:
    assert nearest(name, known) == near


def test_what_a_message_shows_of_a_value_is_short() -> None:
    values = ["a" * 10**6, ["a"] * 10**5, {"a": 1}, None, True, 1 << 10_000, b"a", 1.5]
    assert all(len(shown(value)) < 65 for value in values)


def test_aliases_of_a_long_text_are_counted_by_its_length() -> None:
    aliases = "- *x\n" * 200
    (found,) = examine_prompt(f"user: a\nx: &x {'a' * 50_000}\nsystem:\n{aliases}".encode())
    assert found.code == "alias-bomb"
    assert examine_prompt(f"user: a\nx: &x {'a' * 5_000}\nsystem:\n{aliases}".encode()) == ()


@pytest.mark.parametrize(
    "text",
    ["{{ [1] | map(api_key) | list }}", "{% macro m() %}{% endmacro %}{{ m(**{api_key: 1}) }}"],
)
def test_an_error_quotes_no_value(text: str) -> None:
    template = MessageTemplate(text)
    with pytest.raises(PromptRenderError) as caught:
        template.render({"api_key": "s3cretvalue"})
    assert "s3cretvalue" not in str(caught.value)


def test_a_graph_of_many_nodes_without_prompts_is_told_in_time() -> None:
    uses = tuple(PromptUse(f"n{n}", "llm", f"missing{n}", None) for n in range(20_000))
    release = Release.of(Prompt(f"prompt{n}", b"user: a") for n in range(2_000))
    file = GraphFile("", "graph.yaml", "0" * 64, uses, frozenset(), {}, ())
    graph = GraphFacts("graph.yaml", (file,), (), False)
    found: list[Finding] = []
    assert _seconds(lambda: found.extend(Checker().check(release, [graph]))) < 5
    assert sum(f.code == "missing-prompt" for f in found) == MAX_FINDINGS + 1


# -- facts that a worker computes ----------------------------------------------------------------


@pytest.mark.parametrize("bundled", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "user: |\n" + "".join(f"  {{v{n}}}\n" for n in range(3_000)),
        "system: 'Hi {nmae}'\nuser: |\n  a\n  {{ b }}\n  {{ c }} {{ nmae.total() }}",
        TEXT + "".join(f"{{{{ a.__x{n} }}}} {{{{ a|upper{n} }}}}\n  " for n in range(1_500)),
        "user: a\nsystem:\n  - b\n  - 5",
        "user: a\nsystem:\n  - b\n  - content: c",
        "5",
    ],
    ids=[
        *("many variables", "two messages", "many findings", "a foreign item"),
        *("segments", "no mapping"),
    ],
)
def test_a_check_of_facts_from_a_worker_finds_what_a_check_of_the_file_finds(
    text: str, bundled: bool
) -> None:
    prompt = Prompt("p", text.encode())
    release = Release.of([prompt])
    uses = tuple(
        PromptUse(node, kind, "p", frozenset({"name"}), validates=True)
        for node, kind in (("greet", "llm"), ("act", "agent"))
    )
    file = GraphFile("", "graph.yaml", "0" * 64, uses, frozenset(), {}, ())
    graph = GraphFacts("graph.yaml", (file,), (), bundled)
    known = Checker()
    known.learn({prompt.sha256: KnownFacts(json.loads(json.dumps(file_facts(prompt.data))))})
    found = known.check(release, [graph])
    assert found == Checker().check(release, [graph])
    assert len(found) <= MAX_FINDINGS + 10


def test_missing_variables_of_many_nodes_are_listed_and_located_within_one_bound() -> None:
    text = TEXT + "".join(f"{{{{ v{n} }}}} " for n in range(5_000))
    uses = tuple(PromptUse(f"n{n}", "llm", "p", frozenset()) for n in range(50))
    file = GraphFile("", "graph.yaml", "0" * 64, uses, frozenset(), {}, ())
    release = Release.of([Prompt("p", text.encode())])
    graph = GraphFacts("graph.yaml", (file,), (), False)
    every: list[Finding] = []
    assert _seconds(lambda: every.extend(Checker().check(release, [graph]))) < 3
    found = [f for f in every if f.code == "missing-variable"]
    further = [finding for finding in found if isinstance(finding, FurtherFindings)]
    assert len(found) - len(further) == MAX_FINDINGS
    assert all(finding.line == 2 for finding in found if finding not in further)
    assert sum(finding.number for finding in further) == 50 * 5_000 - MAX_FINDINGS


def test_what_a_message_shows_of_a_provider_is_short() -> None:
    before = Release.of([Prompt("p", b"user: a")])
    after = Release.of([Prompt("p", b"user: a\nprovider: " + b"a" * 500_000)])
    (found,) = (f for f in Checker().check(after, previous=before) if f.code == "provider-changed")
    assert found.message.startswith("the provider changes from the default to aaa")
    assert len(found.message) < 200
