# ruff: noqa: E501 - tables of pieces are easier to read on few lines
"""Makes random templates of both dialects and looks for what takes too much or does too much.

    python -m tests.security.fuzzer --seconds 600 --seed 7

Each template runs in a child process that can be killed. What is looked for is in `fault_of`.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import fractions
import inspect
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE, DEFAULT_TESTS
from markupsafe import Markup

from tests.security.guarded import (
    HOLD_S,
    MEBI,
    MEMORY,
    RENDER_S,
    Case,
    Child,
    Result,
    copy_of_4_mib_s,
)
from tests.security.objects import FACTORIES, PRINTING, words
from yamlgraph_prompts._sandbox.access import METHODS
from yamlgraph_prompts._sandbox.filters import EXCLUDED_FILTERS

NOISE = 2.0  # of a shared machine; what seems to hold the lock is run twice more
GRACE_S = 1.0  # between two looks at the clock
MAX_TEXT = 4 * MEBI
_MINIMISE_S = 20.0
# What an object of `objects` prints of itself, or what is plain data.
_PRINTED = re.compile("SECRET-(9d1f|bytes|bytearray|local|z|simple|sub)")

_NUMBERS = words(
    "0 1 -1 2 3 7 16 79 100 1000 65536 99999 100000 1000000 4194304 10**9 10**18 -10**9 "
    "2**31 2**61-1 2**63 -2**63 0.5 -0.5 1e308 1e-308 1.0 true none 2**16000 10**4000"
)
_ORDINARY = words("0 1 2 3 7 16 79 1000 65536 0.5 -1 true")
_LENGTHS = (0, 1, 2, 3, 10, 80, 1000, 4096, 20_000, 100_000, 1_000_000, 2_000_000, 4_194_304)
_PIECES = (
    "a", "ab", "a b ", " ", "\n", "\r", "\t", "\x1c", "\x85", "\u2003", "\u2028", "<", ">", "&", "&lt;",
    "<!--", "'", '\\"', "%", "%s", "%(a)s", "%9999d", "{}", "{0}", "{a}", "{:>99}", "{{", "é", "ß", "ﬃ",
    "ΐ", "İ", "日", "\U0001f9d1", "\x00", "0", "9", "f", "-", "_", "__class__", ".", "/", ":", "http://a.b ",
    "a@b.cd ", "(", ")", "[", "xn--", "#", ";", "1,", "e9", "inf", "nan", "0x",
)  # fmt: skip
_NAMES = (
    "name", "a", "n", "content", "type", "x", "value", "items", "0", "1", "_secret", "__class__",
    "__init__", "real", "year", "kind", "balance", "greet", "tags.0", "d.a", "password", "_token",
)  # fmt: skip
_PATHS = (
    "user.name",
    "d[a]",
    "rows",
    "many",
    "many_texts",
    "model.address.city",
    "pair.left",
    "point",
    "big",
    "wide",
    "deep",
    "hostile",
    "messages",
    "equal_texts",
    "colliding",
    "environ",
    "raw",
    "when",
    "price",
    "d",
    "s",
)
_FILTERS = sorted(set(DEFAULT_FILTERS) - set(EXCLUDED_FILTERS))
_WORDS = ("common", "ceil", "floor", "key", "value", "ascii", "utf-8", "idna", "punycode", "replace",
          "xmlcharrefreplace", "namereplace", "%Y-%m-%d", "%A" * 50, "%99999d", "auto", "T")  # fmt: skip
_OWNERS: dict[type, str] = {
    str: "text", list: "list", dict: "mapping", tuple: "tuple", set: "set", frozenset: "frozenset",
    int: "int", float: "float", datetime.datetime: "datetime", datetime.date: "date",
    datetime.time: "time", datetime.timedelta: "timedelta", decimal.Decimal: "decimal",
    fractions.Fraction: "fraction", Markup: "markup", bytes: "bytes", range: "range",
}  # fmt: skip
_METHODS = {
    kind: [name for name in dir(owner) if not name.startswith("_")]
    for owner, kind in _OWNERS.items()
}
# What a method takes, one letter for each argument: text, number, list, mapping, word, any value.
_TAKES = {
    "center": "nt", "ljust": "nt", "rjust": "nt", "zfill": "n", "expandtabs": "n", "find": "tnn",
    "rfind": "tnn", "index": "tnn", "rindex": "tnn", "count": "tnn", "split": "tn", "rsplit": "tn",
    "partition": "t", "rpartition": "t", "join": "l", "replace": "ttn", "strip": "t", "lstrip": "t",
    "rstrip": "t", "startswith": "t", "endswith": "t", "removeprefix": "t", "removesuffix": "t",
    "translate": "m", "encode": "ww", "format": "aaa", "format_map": "m", "splitlines": "n",
    "get": "aa", "strftime": "w", "isoformat": "w", "union": "ll", "intersection": "l",
    "difference": "l", "symmetric_difference": "l", "issubset": "l", "issuperset": "l",
    "isdisjoint": "l", "quantize": "n", "fromkeys": "la", "setdefault": "aa", "maketrans": "tt",
}  # fmt: skip
_OF_NUMBERS = frozenset(words("abs int float round filesizeformat"))
_OF_LISTS = frozenset(
    words(
        "first last list length count sort groupby unique sum min max reverse join random items dictsort "
        "tojson batch slice map select reject selectattr rejectattr string"
    )
)
_CORRECT = 0.85  # how often an argument is of a type that fits
_BINARY = ("+", "-", "*", "/", "//", "%", "**", "~")
_COMPARING = ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "\\'") + "'"


@dataclass(frozen=True)
class Template:
    """A generated text and the operations that stand in it."""

    text: str
    operations: frozenset[str]


class Grammar:
    """Random templates; the same seed gives the same ones."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._used: set[str] = set()
        self._locals: list[str] = []
        self._serial = 0

    def template(self) -> Template:
        """One template."""
        self._used = set()
        self._locals = []
        if self._random.random() < 0.15:
            text = "".join(self._field() for _ in range(self._random.choice((1, 1, 2, 5, 200))))
        else:
            text = "".join(self._statement(3) for _ in range(self._random.choice((1, 1, 2, 3))))
            if "{{" not in text and "{%" not in text:
                text += "{{ 1 }}"
        return Template(text, frozenset(self._used))

    # -- pieces

    def _pick(self, *choices: Callable[[], str]) -> str:
        return self._random.choice(choices)()

    def _use(self, kind: str, name: str) -> str:
        self._used.add(f"{kind} {name}")
        return name

    def _new(self) -> str:
        self._serial += 1
        return f"v{self._serial}"

    def _number(self) -> str:
        return self._random.choice(_NUMBERS if self._random.random() > _CORRECT else _ORDINARY)

    def _text(self) -> str:
        piece, other = self._random.choice(_PIECES), self._random.choice(_PIECES)
        shape = self._random.random()
        if shape < 0.35:
            return _quoted(piece)
        if shape < 0.45:
            return _quoted(self._random.choice((*_NAMES, *_WORDS)))
        length = self._random.choice(_LENGTHS) // len(piece)
        if shape < 0.75:
            return f"({_quoted(piece)} * {length})"
        rest = min(self._random.choice(_LENGTHS), 4_194_304 - length * len(piece)) // len(other)
        return f"({_quoted(piece)} * {length} ~ {_quoted(other)} * {rest})"

    def _list(self) -> str:
        shape = self._random.random()
        if shape < 0.3:
            return f"range({self._random.choice((0, 3, 1000, 99_999))})"
        if shape < 0.5:
            return f"([{self._value(0)}] * {self._random.choice((0, 1, 3, 1000, 100_000))})"
        if shape < 0.6:
            return self._random.choice(("many", "many_texts", "equal_texts", "colliding", "rows"))
        if shape < 0.7:
            return f"({self._value(0)}, {self._value(0)})"
        if shape < 0.8:
            return f"{{{self._text()}: {self._value(0)}, 'a': {self._value(0)}}}"
        return f"[{self._value(0)}, {self._value(0)}, {self._value(0)}]"

    def _name(self) -> str:
        if self._locals and self._random.random() < 0.5:
            return self._random.choice(self._locals)
        return self._random.choice(_POOL)

    def _value(self, depth: int) -> str:
        if depth <= 0:
            return self._pick(self._number, self._text, self._list, self._name)
        return self._expression(depth)

    def _one_of(self, kind: str, depth: int) -> str:
        """An expression of a kind, mostly; a letter as in `_TAKES`."""
        if self._random.random() > _CORRECT:
            return self._value(depth - 1)
        return {
            "t": self._text,
            "n": self._number,
            "l": self._list,
            "m": lambda: f"{{{self._text()}: {self._text()}, 97: {self._text()}}}",
            "w": lambda: f"'{self._random.choice(_WORDS)}'",
            "a": lambda: self._value(depth - 1),
        }[kind]()

    # -- expressions

    def _expression(self, depth: int) -> str:
        return self._pick(
            lambda: self._filtered(depth),
            lambda: self._filtered(depth),
            lambda: self._method(depth),
            lambda: self._method(depth),
            lambda: self._operation(depth),
            lambda: self._operation(depth),
            lambda: self._tested(depth),
            lambda: self._global(depth),
            lambda: self._item(depth),
            self._list,
            lambda: f"({self._value(0)} if {self._value(depth - 1)} else {self._value(0)})",
        )

    def _filtered(self, depth: int) -> str:
        name = self._use("filter", self._random.choice(_FILTERS))
        arguments = self._arguments(DEFAULT_FILTERS[name], depth)
        sort = "n" if name in _OF_NUMBERS else "l" if name in _OF_LISTS else "t"
        subject = self._one_of(sort, depth)
        if name in ("map", "select", "reject", "selectattr", "rejectattr", "batch", "slice"):
            if self._random.random() < 0.5:
                inner = self._random.choice(_FILTERS if name == "map" else sorted(DEFAULT_TESTS))
                attribute = f"'{self._random.choice(_NAMES)}', " if name.endswith("attr") else ""
                arguments = f"({attribute}'{inner}', {self._value(0)})"
            return f"({self._list()}|{name}{arguments}|list)"
        return f"({subject}|{name}{arguments})"

    def _arguments(self, function: Any, depth: int) -> str:
        parameters = [
            p for p in inspect.signature(function).parameters.values()
            if p.name not in ("environment", "context", "eval_ctx")
        ][1:]  # fmt: skip
        if not parameters or self._random.random() < 0.3:
            return ""
        chosen = parameters[: self._random.randint(0, len(parameters))]
        written = []
        for parameter in chosen:
            value = self._fitting(parameter.name, depth)
            keyword = parameter.kind is parameter.KEYWORD_ONLY or (
                written and "=" in written[-1] and parameter.kind is not parameter.VAR_POSITIONAL
            )
            if keyword or (
                parameter.default is not parameter.empty and self._random.random() < 0.3
            ):
                written.append(f"{parameter.name}={value}")
            else:
                written.append(value)
        # A positional argument may not follow one with a name.
        written.sort(key=lambda part: bool(re.match(r"[a-z_]+=[^=]", part)))
        return f"({', '.join(written)})"

    def _fitting(self, name: str, depth: int) -> str:
        if self._random.random() < 0.2:
            return self._value(depth - 1)
        if name in ("attribute", "by", "method"):
            return f"'{self._random.choice((*_NAMES, *_WORDS))}'"
        if re.search(
            "width|length|count|size|slices|indent|precision|leeway|base|n$|min|max", name
        ):
            return self._number()
        if re.search("sensitive|reverse|first|blank|kill|break|binary|html|nofollow|auto", name):
            return self._random.choice(("true", "false"))
        return self._pick(self._text, self._number)

    def _method(self, depth: int) -> str:
        kind = self._random.choice(("text", "text", "text", *_METHODS))
        known = METHODS.get(kind, _METHODS[kind]) if self._random.random() < _CORRECT else ()
        name = self._use(f"{kind} method", self._random.choice([*known] or _METHODS[kind]))
        owner = {
            "text": self._text,
            "list": self._list,
            "mapping": lambda: self._random.choice(("d", "dict.fromkeys(many)", "counter", "od")),
            "tuple": lambda: self._random.choice(("t", "(('a' * 100000,) * 9000)", "pair")),
            "set": lambda: self._random.choice(("s", "hostile_set")),
            "frozenset": lambda: "fs",
            "int": lambda: f"({self._number()})",
            "float": lambda: "ratio",
            "datetime": lambda: "when",
            "date": lambda: "day",
            "time": lambda: "when.time()",
            "timedelta": lambda: "(when - when)",
            "decimal": lambda: "price",
            "fraction": lambda: "part",
            "markup": lambda: f"({self._text()}|e)",
            "bytes": lambda: f"({self._text()}).encode()",
            "range": lambda: "range(99999)",
        }[kind]()
        takes = _TAKES.get(name, "")
        if self._random.random() > _CORRECT:
            takes = "".join(self._random.choices("tnla", k=self._random.randint(0, 3)))
        elif len(takes) > 1:
            takes = takes[: self._random.randint(1, len(takes))]
        arguments = ", ".join(self._one_of(kind, depth) for kind in takes)
        return f"{owner}.{name}({arguments})"

    def _operation(self, depth: int) -> str:
        if self._random.random() < 0.1:
            return f"({self._random.choice(('not', '-', '+'))} {self._value(depth - 1)})"
        sign = self._use("operator", self._random.choice((*_BINARY, *_COMPARING)))
        kinds = {"+": "tt nn ll", "*": "tn nt ln nn", "%": "ta tl tm nn", "~": "aa tt"}.get(
            sign, "aa tt ll" if sign in _COMPARING else "nn"
        )
        left, right = (self._one_of(kind, depth) for kind in self._random.choice(kinds.split()))
        return f"({left} {sign} {right})"

    def _tested(self, depth: int) -> str:
        name = self._use("test", self._random.choice(sorted(DEFAULT_TESTS)))
        if not name.isidentifier() or name == "in":
            return f"([{self._value(depth - 1)}]|select('{name}', {self._value(0)})|list)"
        return f"({self._value(depth - 1)} is {name}{self._arguments(DEFAULT_TESTS[name], depth)})"

    def _global(self, depth: int) -> str:
        name = self._use("global", self._random.choice(sorted(DEFAULT_NAMESPACE)))
        arguments = ", ".join(self._value(0) for _ in range(self._random.randint(0, 3)))
        if name in ("cycler", "joiner"):
            tail = self._random.choice((".next()", "()", ".reset()", ".current", ".items", ""))
            return f"{name}({arguments}){tail}"
        if name == "range":
            arguments = ", ".join(self._number() for _ in range(self._random.randint(1, 3)))
        return f"{name}({arguments})"

    def _item(self, depth: int) -> str:
        owner = self._pick(self._name, self._text, self._list)
        if re.match(r"[a-z]\w*$", owner) and self._random.random() < 0.6:
            attribute = self._random.choice(_NAMES)
            path = "." + attribute if attribute.isidentifier() else f"['{attribute}']"
            call = self._random.choice(("", "", f"({self._value(0)})"))
            return f"{owner}{path}{call}"
        if self._random.random() < 0.4:
            return f"{owner}[{self._number()}:{self._number()}]"
        return f"{owner}[{self._value(depth - 1)}]"

    # -- statements

    def _statement(self, depth: int) -> str:
        if depth <= 0 or self._random.random() < 0.35:
            return "{{ " + self._expression(2) + self._random.choice(("", "|string|length")) + " }}"
        name, make = self._random.choice(self._STATEMENTS)
        self._use("statement", name)
        return make(self, depth - 1)

    def _body(self, depth: int, *names: str) -> str:
        self._locals.extend(names)
        body = "".join(self._statement(depth) for _ in range(self._random.choice((1, 1, 2))))
        for name in names:
            self._locals.remove(name)
        return body

    def _for(self, depth: int) -> str:
        name = self._new()
        tail = self._random.choice(("", "", f" if {name}", " recursive"))
        ending = self._random.choice(
            ("", f"{{{{ loop({self._value(0)}) }}}}" if "rec" in tail else "")
        )
        extra = self._random.choice(
            ("", "", "{{ loop.index }}{{ loop.previtem }}{{ loop.changed(1) }}")
        )
        items = self._one_of("l", 2)
        body = self._body(depth, name)
        return f"{{% for {name} in {items}{tail} %}}{body}{extra}{ending}{{% endfor %}}"

    def _set(self, depth: int) -> str:
        name, value = self._new(), self._value(2)
        self._locals.append(name)
        return f"{{% set {name} = {value} %}}" + self._statement(depth)

    def _doubling(self, depth: int) -> str:
        name = self._new()
        step = self._random.choice(
            ("{0} ~ {0}", "{0} + {0}", "[{0}, {0}]", "({0}, {0})", "{0}|e", "{0}|tojson", "{0} * {0}",
             "[{0}, {0}]|join", "'%s%s' % ({0}, {0})", "'{{0}}{{0}}'.format({0})", "{{'a': {0}}}",
             "{0}|string|upper", "dict(a={0}, b={0})", "namespace(a={0})", "{0}|replace('a', {0})")
        ).format(name)  # fmt: skip
        times = self._random.choice((5, 20, 40))
        end = self._random.choice(("{0}", "{0}|length", "{0} == {0}", "{0}|tojson", "{0} ~ ''"))
        start = f"{{% set {name} = {self._value(0)} %}}"
        return start + f"{{% set {name} = {step} %}}" * times + "{{ " + end.format(name) + " }}"

    def _keeping(self, depth: int) -> str:
        rounds = self._random.choice((3, 1000, 99_999))
        grown = self._random.choice(("[ns.k, {0}]", "ns.k + [{0}]", "{0}", "ns.k ~ {0}"))
        return (
            f"{{% set ns = namespace(k=[]) %}}{{% for i in range({rounds}) %}}"
            f"{{% set ns.k = {grown.format(self._expression(1))} %}}{{% endfor %}}{{{{ ns.k|length }}}}"
        )

    def _block_set(self, depth: int) -> str:
        name = self._new()
        body = self._body(depth)
        self._locals.append(name)
        return f"{{% set {name} %}}{body}{{% endset %}}" + self._statement(depth)

    def _if(self, depth: int) -> str:
        return f"{{% if {self._value(1)} %}}{self._body(depth)}{{% else %}}x{{% endif %}}"

    def _filter(self, depth: int) -> str:
        name = self._use("filter", self._random.choice(_FILTERS))
        arguments = self._arguments(DEFAULT_FILTERS[name], 0)
        return f"{{% filter {name}{arguments} %}}{self._body(depth)}{{% endfilter %}}"

    def _macro(self, depth: int) -> str:
        name, argument = self._new(), self._new()
        inner = self._random.choice(("", "", f"{{{{ {name}({argument}) }}}}", "{{ caller() }}"))
        body = self._body(depth, argument)
        macro = f"{{% macro {name}({argument}) %}}{body}{inner}{{% endmacro %}}"
        if "caller" in inner:
            return macro + f"{{% call {name}({self._value(0)}) %}}{self._body(0)}{{% endcall %}}"
        times = self._random.choice((1, 1, 2, 40))
        return macro + f"{{{{ {name}({self._value(1)}) }}}}" * times

    def _with(self, depth: int) -> str:
        name, value = self._new(), self._value(1)
        return f"{{% with {name} = {value} %}}{self._body(depth, name)}{{% endwith %}}"

    def _block(self, depth: int) -> str:
        name = self._new()
        again = self._random.choice(("", f"{{{{ self.{name}() }}}}"))
        return f"{{% block {name} %}}{self._body(depth)}{{% endblock %}}{again}"

    def _loops(self, depth: int) -> str:
        count = self._random.choice((10, 1000, 99_999))
        body = self._body(depth)
        return f"{{% for i in range({count}) %}}{body}{{% endfor %}}"

    _STATEMENTS: tuple[tuple[str, Callable[[Grammar, int], str]], ...] = (
        ("for", _for),
        ("for", _for),
        ("for range", _loops),
        ("set", _set),
        ("doubling", _doubling),
        ("keeping", _keeping),
        ("set block", _block_set),
        ("if", _if),
        ("filter block", _filter),
        ("macro", _macro),
        ("with", _with),
        ("block", _block),
    )

    # -- the other dialect

    def _field(self) -> str:
        if self._random.random() < 0.1:
            return self._random.choice(("plain ", "{{{{", "}}}}", "\n", "é")).replace("{{{{", "a")
        self._use("statement", "field")
        if self._random.random() < 0.5:
            conversion = self._random.choice(("", "", "!r", "!s", "!a"))
            return "{" + self._random.choice(_PATHS) + conversion + "}"
        path = "".join(
            f".{name}" if self._random.random() < 0.5 else f"[{name}]"
            for name in self._random.choices(_NAMES, k=self._random.choice((0, 0, 1, 1, 2)))
        )
        conversion = self._random.choice(("", "", "!r", "!s", "!a"))
        width = self._random.choice((*_LENGTHS, 10**9, 10**18))
        spec = self._random.choice(
            ("", "", "", f":{width}", f":>{width}", f":.{width}", f":.{width}f", ":d", ":,", ":%Y%A",
             ":{n}", ":{huge_int}", ":{text}", f":{{n:{width}}}")
        )  # fmt: skip
        return "{" + self._random.choice(_POOL) + path + conversion + spec + "}"


_HEAVY = re.compile("big|long|many|equal|colliding|deep|wide|huge|blank")
# The names that are expensive to make and to compare stand there less often.
# Their own `str`, which printing may run, calls the hostile parts of them.
_PRINTS_HOSTILE_PARTS = frozenset({"keyed", "metaclassed", "meta_cls", "packed"})
_POOL = [
    name
    for name in FACTORIES
    for _ in range(1 if _HEAVY.search(name) else 4)
    if name not in _PRINTS_HOSTILE_PARTS
]


# -- what is looked for --------------------------------------------------------------------------


def fault_of(result: Result, hold_s: float) -> str | None:
    """What a template did that none may do; None where it kept within its limits."""
    if result.outcome in ("raised", "killed", "died"):
        return f"it {result.outcome}: {result.text[:200]}"
    if "MemoryError" in result.cause:
        return "memory: more than a GiB was asked for"
    if result.cpu_s > RENDER_S + GRACE_S:
        return f"time: {result.cpu_s:.1f} s"
    if result.hold_s > hold_s:
        return f"hold: {result.hold_s * 1000:.0f} ms"
    if result.excess > MEMORY:
        return f"memory: {result.excess / MEBI:.0f} MiB"
    if result.outcome == "text" and result.length > MAX_TEXT:
        return f"length: {result.length} characters"
    if result.changed or result.events or result.files:
        return f"effects: {result.changed} {result.events} {result.files}"
    for call in result.calls:
        name = call.partition(" x")[0]
        if name.rpartition(".")[2] not in PRINTING:
            return f"call: {name}"
    shown = result.text if result.outcome == "refused" else _PRINTED.sub("", result.text)
    if "SECRET" in shown:
        return f"secret: {shown[:200]}"
    return None


def minimised(text: str, is_faulty: Callable[[str], bool], seconds: float = _MINIMISE_S) -> str:
    """The shortest text found in time that is still faulty."""
    deadline = time.monotonic() + seconds
    tokens = re.findall(r"\{%.*?%\}|\{\{|\}\}|'[^']*'|\w+|.", text, re.DOTALL)
    size = len(tokens)
    while size := size // 2:
        start = 0
        while start < len(tokens):
            fewer = tokens[:start] + tokens[start + size :]
            if time.monotonic() > deadline:
                return "".join(tokens)
            if fewer and is_faulty("".join(fewer)):
                tokens = fewer
            else:
                start += size
    return "".join(tokens)


@dataclass
class Report:
    """What a run of the fuzzer saw."""

    seed: int
    seconds: float = 0.0
    templates: int = 0
    rendered: int = 0
    refused: int = 0
    starts: int = 0
    hold_limit_s: float = HOLD_S
    operations: list[str] = field(default_factory=list)
    rendered_operations: list[str] = field(default_factory=list)
    worst: dict[str, tuple[float, str]] = field(default_factory=dict)
    findings: list[tuple[str, str]] = field(default_factory=list)

    def note(self, what: str, value: float, text: str) -> None:
        """Keep the worst value and its template."""
        if value > self.worst.get(what, (0.0, ""))[0]:
            self.worst[what] = (value, text[:300])

    def __str__(self) -> str:
        lines = [
            f"fuzzer: seed {self.seed}, {self.seconds:.0f} s, {self.templates} templates ({self.rendered} rendered, {self.refused} refused), {len(self.operations)} operations ({len(self.rendered_operations)} of them rendered), {len(self.findings)} findings",
            *(
                f"  worst {what}: {value:.3f} {text!r}"
                for what, (value, text) in self.worst.items()
            ),
            *(f"  FINDING {fault}\n    {text!r}" for fault, text in self.findings),
        ]
        return "\n".join(lines)


def fuzz(seed: int, seconds: float, most: int = 20) -> Report:
    """Run templates for a time, or until `most` different faults are found."""
    report = Report(seed, hold_limit_s=max(HOLD_S, 10 * copy_of_4_mib_s()) * NOISE)
    started = time.monotonic()
    operations: set[str] = set()
    rendered: set[str] = set()
    kinds: set[str] = set()
    with Child() as child:
        child.run(Case("start", "{{ 1 }}"))
        for template in _templates(seed):
            if time.monotonic() - started > seconds or len(report.findings) >= most:
                break
            result = child.measure(Case("", template.text), noise=NOISE)
            report.templates += 1
            report.rendered += result.outcome == "text"
            report.refused += result.outcome == "refused"
            operations |= template.operations
            rendered |= template.operations if result.outcome == "text" else set()
            report.note("time (s)", result.cpu_s, template.text)
            report.note("hold (s)", result.hold_s, template.text)
            report.note("memory (MiB)", result.excess / MEBI, template.text)
            fault = fault_of(result, report.hold_limit_s)
            if fault is None:
                continue
            kind = fault if fault.startswith("call") else fault.partition(":")[0]
            shortest = minimised(template.text, _same_fault(child, kind, report.hold_limit_s))
            if (found := f"{kind} {_shape(shortest)}") not in kinds:
                kinds.add(found)
                report.findings.append((fault, shortest))
        report.starts = child.starts
    report.operations, report.rendered_operations = sorted(operations), sorted(rendered)
    report.seconds = time.monotonic() - started
    return report


def _templates(seed: int) -> Iterator[Template]:
    grammar = Grammar(Random(seed))
    while True:
        yield grammar.template()


def _same_fault(child: Child, kind: str, hold_s: float) -> Callable[[str], bool]:
    def is_faulty(text: str) -> bool:
        fault = fault_of(child.measure(Case("", text), noise=NOISE), hold_s)
        return fault is not None and fault.startswith(kind)

    return is_faulty


def _shape(text: str) -> str:
    """Templates that differ in their numbers and texts only are one finding."""
    return re.sub(r"'[^']*'|\d+", "_", text)


def main() -> None:
    """The command: prints the report, and writes it as JSON where asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=20, help="end after so many findings")
    parser.add_argument("--report", type=Path, help="write the report as JSON")
    options = parser.parse_args()
    report = fuzz(options.seed, options.seconds, options.most)
    if options.report:
        options.report.write_text(json.dumps(asdict(report)))
    print(report)
    sys.exit(bool(report.findings))


if __name__ == "__main__":
    main()
