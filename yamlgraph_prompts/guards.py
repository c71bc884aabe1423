"""Jinja's filters, tests and Python's own methods, each bounded before it runs.

What they give for harmless arguments is what Jinja gives; nothing here decides what may be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from string import Formatter
from types import BuiltinMethodType
from typing import Any

from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_TESTS
from jinja2.runtime import Context
from jinja2.utils import _PassArg, generate_lorem_ipsum, pass_context

from yamlgraph_prompts.budget import CONTAINERS, PLAIN, Budget, Refused, check_bits, current

_EACH = 4  # iterations that a filter's work on one item takes as long as
_MAX_INDENT = 100
_MAX_DIGITS = 1_000  # of precision
_SLOW = 1_000_000_000  # steps of an algorithm that is quadratic
_LONG_WORD = 10_000
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_BLANKS = " \t\n\r\v\f"
_NUMBERS = re.compile(r"\d+")
_PRINTF = re.compile(r"%(?:\([^)]*\))?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+)?)?")

# Filters that walk all of their input before they give anything.
_CONSUMING = frozenset(
    {
        "batch",
        "dictsort",
        "groupby",
        "items",
        "map",
        "max",
        "min",
        "reject",
        "rejectattr",
        "reverse",
        "select",
        "selectattr",
        "slice",
        "sort",
        "unique",
        "xmlattr",
        "urlencode",
    }
)
# Filters that make a text of whatever they are given.
_TEXTUAL = frozenset(
    {
        "capitalize",
        "center",
        "e",
        "escape",
        "forceescape",
        "lower",
        "pprint",
        "replace",
        "string",
        "striptags",
        "title",
        "tojson",
        "trim",
        "upper",
        "urlencode",
        "urlize",
        "wordcount",
        "xmlattr",
    }
)


# -- before something runs ---------------------------------------------------------------------


def check_width(budget: Budget, width: Any) -> None:
    """A field of this width, a repetition of this many."""
    if isinstance(width, int):
        budget.room(abs(width))
        budget.produce(abs(width))


def check_spec(budget: Budget, spec: str) -> None:
    """A format spec, such as ``>10.3f``: no number in it may be a size that is refused."""
    for number in _NUMBERS.findall(spec):
        if len(number) > 9:
            raise budget.too_long()
        check_width(budget, int(number))


def check_printf(budget: Budget, text: Any, values: Any) -> None:
    """``text % values``, where the text says the widths, or the values do (``%*d``)."""
    budget.measure(values)
    stars = False
    if isinstance(text, (bytes, bytearray)):
        text = text.decode("latin-1")
    for width, precision in _PRINTF.findall(text):
        for size in (width, precision):
            if size == "*":
                stars = True
            elif size:
                check_spec(budget, size)
    if stars:
        for value in values if isinstance(values, tuple) else (values,):
            check_width(budget, value)


def check_replace(budget: Budget, text: Any, old: Any = "", new: Any = "", count: Any = -1) -> None:
    times = text.count(old) if old else len(text) + 1
    if isinstance(count, int) and count >= 0:
        times = min(times, count)
    budget.room(len(text) + times * max(0, len(new) - len(old)))


def _lines(text: str) -> int:
    return 1 + sum(text.count(end) for end in _LINE_ENDS)


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _repeat(budget: Budget, value: Any, times: int) -> None:
    if isinstance(value, (str, bytes, bytearray)):
        budget.room(len(value) * max(0, times))
    elif isinstance(value, (list, tuple)):
        budget.spend(len(value) * max(0, times))


def binop(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large, before it is made."""
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**" and right > 0:
            if left.bit_length() * min(right, 2**32) > 1_000_000:
                raise Refused("It makes a number that is too large.")
        elif operator == "*":
            check_bits(left, right)
    elif operator == "*":
        if isinstance(right, int):
            _repeat(budget, left, right)
        elif isinstance(left, int):
            _repeat(budget, right, left)
    elif operator == "%":
        if isinstance(left, (str, bytes, bytearray)):
            check_printf(budget, left, right)
    elif operator == "+":
        if isinstance(left, (str, bytes)) and isinstance(right, (str, bytes)):
            budget.room(len(left) + len(right))
        elif isinstance(left, (list, tuple)):
            budget.spend((len(left) + len(right)) >> 4 if isinstance(right, Sized) else 1)


def made(budget: Budget, value: Any) -> Any:
    """Count what was made."""
    if isinstance(value, str):
        budget.text(value)
    elif isinstance(value, (bytes, bytearray)):
        budget.produce(len(value))
    elif isinstance(value, CONTAINERS) and isinstance(value, Sized):
        budget.spend(len(value) >> 4)
    return value


# -- methods of Python's own types ------------------------------------------------------------


def _pieces(budget: Budget, text: Any, separator: Any = None, *_: Any, **named: Any) -> None:
    separator = named.get("sep", separator)
    if separator:
        budget.spend(text.count(separator))
    elif len(text) > 1_000:
        blanks = _BLANKS if isinstance(text, str) else _BLANKS.encode()
        budget.spend(sum(text.count(blanks[i : i + 1]) for i in range(len(blanks))))


def _joined(budget: Budget, separator: Any, parts: Any = (), *_: Any) -> None:
    if isinstance(parts, Sized) and isinstance(parts, CONTAINERS):
        length = sum(len(part) for part in parts if isinstance(part, Sized))
        budget.room(length + len(separator) * len(parts))


def _translated(budget: Budget, text: Any, table: Any = (), *_: Any) -> None:
    if isinstance(table, dict):
        widest = max((len(v) for v in table.values() if isinstance(v, str)), default=1)
        budget.room(len(text) * widest)


def _widened(budget: Budget, text: Any, width: Any = 0, *_: Any) -> None:
    check_width(budget, width)


def _expanded(budget: Budget, text: Any, tabsize: Any = 8, *_: Any, **named: Any) -> None:
    tabsize = named.get("tabsize", tabsize)
    tabs = text.count("\t" if isinstance(text, str) else b"\t")
    if tabs and isinstance(tabsize, int):
        budget.room(tabs * max(0, tabsize))


def _replaced(budget: Budget, text: Any, *given: Any, **named: Any) -> None:
    check_replace(budget, text, *given, **named)


def _bytes_of(budget: Budget, number: int, length: Any = 1, *_: Any, **named: Any) -> None:
    check_width(budget, named.get("length", length))


def _lines_of(budget: Budget, text: Any, *_: Any, **named: Any) -> None:
    if len(text) > 1_000 and isinstance(text, str):
        budget.spend(_lines(text))


_TEXT_METHODS: dict[str, Callable[..., None]] = {
    "center": _widened,
    "expandtabs": _expanded,
    "join": _joined,
    "ljust": _widened,
    "replace": _replaced,
    "rjust": _widened,
    "rsplit": _pieces,
    "split": _pieces,
    "splitlines": _lines_of,
    "translate": _translated,
    "zfill": _widened,
}


def method(budget: Budget, bound: BuiltinMethodType, args: tuple[Any, ...], named: Any) -> None:
    """Refuse a call of a built-in type's method whose result would be too large."""
    owner, name = bound.__self__, bound.__name__
    if isinstance(owner, (str, bytes, bytearray)):
        check = _TEXT_METHODS.get(name)
        if check is not None:
            check(budget, owner, *args, **named)
    elif isinstance(owner, int) and name == "to_bytes":
        _bytes_of(budget, owner, *args, **named)
    elif name == "fromkeys" and args and isinstance(args[0], Sized):
        budget.spend(len(args[0]))


# -- filters -----------------------------------------------------------------------------------


def _before_center(budget: Budget, value: Any, width: Any = 80) -> None:
    check_width(budget, width)


def _before_indent(
    budget: Budget, s: Any, width: Any = 4, first: Any = False, blank: Any = False
) -> None:
    if not isinstance(s, str):  # Jinja would add a line to a list that the app owns
        raise Refused("The filter 'indent' needs a text.")
    each = len(width) if isinstance(width, str) else width
    if isinstance(each, int):
        budget.room(len(s) + _lines(s) * max(0, each))


def _before_replace(budget: Budget, s: Any, old: Any, new: Any, count: Any = None) -> None:
    check_replace(budget, str(s), str(old), str(new), -1 if count is None else count)


def _before_format(budget: Budget, value: Any, *args: Any, **named: Any) -> None:
    check_printf(budget, str(value), named or args)


def _before_wordwrap(budget: Budget, s: Any, width: Any = 79, *args: Any, **named: Any) -> None:
    if isinstance(s, str):
        joint = named.get("wrapstring", args[1] if len(args) > 1 else None) or "\n"
        narrow = max(1, width) if isinstance(width, int) else 1
        budget.room(len(s) + len(joint) * (len(s) // narrow + _lines(s)))
        if _longest_word(s) ** 2 // narrow > _SLOW // 100:
            raise budget.too_long()
        budget.spend(len(s) >> 6)


def _before_urlize(budget: Budget, value: Any, *args: Any, **named: Any) -> None:
    text = str(value)
    for extra in (*args, *named.values()):
        if isinstance(extra, str):
            budget.room(len(extra) * len(text.split()))
    if _longest_word(text) > _LONG_WORD:
        raise budget.too_long()


def _before_striptags(budget: Budget, value: Any) -> None:
    text = str(value)
    if text.count("<") * len(text) > _SLOW:
        raise budget.too_long()


def _before_slice(budget: Budget, value: Any, slices: Any, fill_with: Any = None) -> None:
    if isinstance(slices, int):
        budget.spend(max(0, slices))


def _before_round(budget: Budget, value: Any, precision: Any = 0, method: Any = "common") -> None:
    if isinstance(precision, int) and abs(precision) > _MAX_DIGITS:
        raise Refused("It rounds to too many digits.")


def _before_int(budget: Budget, value: Any, default: Any = 0, base: Any = 10) -> None:
    if isinstance(value, str) and len(value) > _LONG_WORD:
        raise Refused("It makes a number of a text that is too long.")


def _before_tojson(budget: Budget, value: Any, indent: Any = None) -> None:
    if isinstance(indent, str):
        indent = len(indent)
    if indent is not None and (not isinstance(indent, int) or indent > _MAX_INDENT):
        raise Refused(f"The filter 'tojson' indents by at most {_MAX_INDENT}.")


_BEFORE: dict[str, Callable[..., None]] = {
    "batch": _before_slice,
    "center": _before_center,
    "format": _before_format,
    "indent": _before_indent,
    "int": _before_int,
    "replace": _before_replace,
    "round": _before_round,
    "slice": _before_slice,
    "striptags": _before_striptags,
    "tojson": _before_tojson,
    "urlize": _before_urlize,
    "wordwrap": _before_wordwrap,
}


def _call(function: Any, context: Context, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    wants = _PassArg.from_obj(function)
    if wants is _PassArg.context:
        return function(context, *args, **named)
    if wants is _PassArg.eval_context:
        return function(context.eval_ctx, *args, **named)
    if wants is _PassArg.environment:
        return function(context.environment, *args, **named)
    return function(*args, **named)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    before = _BEFORE.get(name)
    consuming, textual = name in _CONSUMING, name in _TEXTUAL

    # @pass_context: Jinja cannot run it while it compiles
    @pass_context
    def guarded(context: Context, *args: Any, **named: Any) -> Any:
        budget = current()
        budget.tick()
        value = args[0] if args else None
        if type(value) not in PLAIN:
            if textual:
                budget.measure(value)
            if consuming and isinstance(value, Sized):
                budget.spend(_EACH * len(value))
        for given in args[1:]:
            if type(given) not in PLAIN:
                budget.measure(given)
        if before is not None and args:
            before(budget, *args, **named)
        return made(budget, _call(function, context, args, named))

    return guarded


@pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> Any:
    budget = current()
    if attribute is not None:
        value = DEFAULT_FILTERS["map"](context, value, attribute=attribute)
    parts = list(value) if not isinstance(value, str) else value
    budget.spend(1 + (len(parts) >> 4))
    if not isinstance(parts, str):
        for part in parts:
            budget.measure(part)
    separator = str(d)
    lengths = sum(len(part) for part in parts if isinstance(part, str))
    budget.room(lengths + len(separator) * len(parts))
    return made(budget, DEFAULT_FILTERS["join"](context.eval_ctx, parts, d))


@pass_context
def _list(context: Context, value: Any) -> list[Any]:
    budget = current()
    if isinstance(value, Sized):
        budget.spend(len(value))
        return list(value)  # type: ignore[call-overload,no-any-return]
    items = []
    for item in value:
        budget.tick()
        items.append(item)
    return items


@pass_context
def _sum(context: Context, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None:
        iterable = DEFAULT_FILTERS["map"](context, iterable, attribute=attribute)
    budget = current()
    if isinstance(start, (str, bytes, bytearray)):
        return sum(iterable, start)  # type: ignore[arg-type] # Python's own refusal
    total = start
    for item in iterable:
        budget.tick()
        binop(budget, "+", total, item)
        total = total + item
    return total


FILTERS: dict[str, Callable[..., Any]] = {
    **{name: _guarded(name, function) for name, function in DEFAULT_FILTERS.items()},
    "join": _join,
    "list": _list,
    "sum": _sum,
}


# -- tests -------------------------------------------------------------------------------------


def _numeric(function: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    def guarded(context: Context, value: Any, *args: Any) -> Any:
        if isinstance(value, (str, bytes, bytearray)):  # `%` would format it
            raise TypeError("not all arguments converted during string formatting")
        return function(value, *args)

    return guarded


def _textual(function: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    def guarded(context: Context, value: Any) -> Any:
        current().measure(value)
        return function(value)

    return guarded


TESTS: dict[str, Callable[..., Any]] = {
    **DEFAULT_TESTS,
    **{name: _numeric(DEFAULT_TESTS[name]) for name in ("divisibleby", "even", "odd")},
    **{name: _textual(DEFAULT_TESTS[name]) for name in ("lower", "upper")},
}


def lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:  # noqa: A002
    """Jinja's `lipsum`, of a bounded length."""
    budget = current()
    budget.room(n * max * 14)
    budget.spend(n * max)
    return str(made(budget, generate_lorem_ipsum(n, html, min, max)))


class BoundedFormatter(Formatter):
    """`str.format` whose fields, widths and precisions are bounded; says nothing of names."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        budget = current()
        if format_spec:
            check_spec(budget, format_spec)
        else:
            budget.measure(value)
        return made(budget, super().format_field(value, format_spec))

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion is not None:
            current().measure(value)
        return super().convert_field(value, conversion)

