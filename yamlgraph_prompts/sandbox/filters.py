"""Jinja's filters and tests, each bounded before it runs.

What they give for harmless arguments is what Jinja's own give.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any

from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_TESTS  # type: ignore[attr-defined]
from jinja2.runtime import Context
from jinja2.utils import _PassArg, generate_lorem_ipsum, pass_context

from yamlgraph_prompts.sandbox.budget import PLAIN, Budget, Refused, current
from yamlgraph_prompts.sandbox.guards import (
    binop,
    check_printf,
    check_replace,
    check_tags,
    check_width,
    lines,
    made,
)

_EACH = 4  # iterations that a filter's work on one item takes as long as
_MAX_INDENT = 100
_MAX_DIGITS = 1_000  # of precision
_SLOW = 10_000_000  # steps of an algorithm that is quadratic
_LONG_WORD = 10_000

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


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _before_center(budget: Budget, value: Any, width: Any = 80) -> None:
    check_width(budget, width)


def _before_indent(
    budget: Budget, s: Any, width: Any = 4, first: Any = False, blank: Any = False
) -> None:
    if not isinstance(s, str):  # Jinja would add a line to a list that the app owns
        raise Refused("The filter 'indent' needs a text.")
    each = len(width) if isinstance(width, str) else width
    if isinstance(each, int):
        budget.room(len(s) + lines(s) * max(0, each))


def _before_replace(budget: Budget, s: Any, old: Any, new: Any, count: Any = None) -> None:
    check_replace(budget, str(s), str(old), str(new), -1 if count is None else count)


def _before_format(budget: Budget, value: Any, *args: Any, **named: Any) -> None:
    check_printf(budget, str(value), named or args)


def _before_wordwrap(budget: Budget, s: Any, width: Any = 79, *args: Any, **named: Any) -> None:
    if isinstance(s, str):
        joint = named.get("wrapstring", args[1] if len(args) > 1 else None) or "\n"
        narrow = max(1, width) if isinstance(width, int) else 1
        budget.room(len(s) + len(joint) * (len(s) // narrow + lines(s)))
        if _longest_word(s) ** 2 // narrow > _SLOW:
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
    check_tags(budget, str(value))


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
        return sum(iterable, start)  # Python's own refusal
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


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    @pass_context
    def guarded(context: Context, value: Any, other: Any) -> Any:
        current().tick()
        return function(value, other)

    return guarded


_COMPARING = "== eq equalto != ne > gt greaterthan ge >= < lt lessthan <= le in".split()  # noqa: SIM905
_TESTS: dict[str, Any] = {**DEFAULT_TESTS}
TESTS: dict[str, Callable[..., Any]] = {
    **_TESTS,
    **{name: _counted(_TESTS[name]) for name in _COMPARING},
    **{name: _numeric(_TESTS[name]) for name in ("divisibleby", "even", "odd")},
    **{name: _textual(_TESTS[name]) for name in ("lower", "upper")},
}


def lipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:  # noqa: A002
    """Jinja's `lipsum`, of a bounded length."""
    budget = current()
    budget.room(n * max * 14)
    budget.spend(n * max)
    return str(made(budget, generate_lorem_ipsum(n, html, min, max)))
