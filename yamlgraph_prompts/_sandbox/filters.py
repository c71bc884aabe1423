"""Every filter that a template may use, each charged before it runs.

For what they admit they give what Jinja's own give, as plain text: a prompt is no HTML.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sized
from sys import getsizeof
from typing import Any, Final

from jinja2.defaults import DEFAULT_FILTERS  # type: ignore[attr-defined]
from jinja2.filters import ignore_case, make_attrgetter, make_multi_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.utils import _PassArg, pass_context, pass_eval_context
from markupsafe import Markup, escape

from yamlgraph_prompts._sandbox.budget import Budget, Refused, current
from yamlgraph_prompts._sandbox.methods import call, lines
from yamlgraph_prompts._sandbox.operations import (
    BLANKS,
    CONTAINERS,
    LINE_ENDS,
    MAX_DIGITS,
    calculate,
    check_number,
    count_of,
    describe,
    hashed,
    listed,
    ordered,
    printf,
    show,
    soft,
)
from yamlgraph_prompts._sandbox.printing import View, measure
from yamlgraph_prompts._sandbox.views import MappingView, SequenceView, SetView, own, unfolded

_MAX_TAGS = 50_000_000  # opening brackets × characters
_MAX_INDENT = 100
_MAX_PARTS = 50
_LONGEST_WORD = 1_000
_SPECIAL = "&<>'\""
_BEFORE_TITLE = "-({[<"
_WORD = re.compile(r"\w+")
_BREAKS = dict.fromkeys(range(9, 14), " ")

Before = Callable[..., Any]


# -- what the first argument becomes, once the work is charged ----------------------------------


def _same(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    budget.tick()
    return value


def _text(budget: Budget, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, not {describe(value)!r}")
    budget.scan(value, 2, 32)
    return value


def _container(budget: Budget, value: Any, *args: Any, attribute: Any = None, **_: Any) -> Any:
    """A container of the template's own; what walks it is charged for each element."""
    for path in (*args[:1], attribute):
        _check_path(path)
    value = own(value)
    if isinstance(value, Sized) and not isinstance(value, str):
        budget.elements(len(value))
    return value


def _check_path(path: Any) -> None:
    """Refuse a path, such as ``"user.city,name"``, that takes long to follow for each item."""
    if isinstance(path, str) and path.count(".") + path.count(",") > _MAX_PARTS:
        raise Refused(f"The path of an attribute has more than {_MAX_PARTS} parts.")


def _end(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    budget.tick()
    return own(value) if isinstance(value, (MappingView, SetView)) else value


def _first(budget: Budget, value: Any) -> Any:
    """Its first item alone: to walk over a list of the app's looks at all its items."""
    if isinstance(value, SequenceView) and len(value):
        return (value[0],)
    return _end(budget, value)


def _indented(budget: Budget, value: Any, width: Any = 4, *_: Any, **__: Any) -> str:
    text = _text(budget, value)
    each = len(width) if isinstance(width, str) else width
    if isinstance(each, int):
        lines(budget, text)
        budget.room(len(text) + (1 + count_of(text, LINE_ENDS)) * max(0, each))
    return text


def _wrapped(
    budget: Budget,
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> str:
    text = _text(budget, value)
    joint = len(wrapstring) if isinstance(wrapstring, str) else 1
    narrow = max(1, width) if isinstance(width, int) else 1
    ends = count_of(text, LINE_ENDS)
    budget.room(len(text) + joint * (len(text) // narrow + 1 + ends))
    budget.spend((len(text) << 1) + (ends << 3))
    # The expression that looks for words takes the square of a word's length.
    lengths = list(map(len, text.translate(_BREAKS).split(" ")))
    if max(lengths) > _LONGEST_WORD:
        raise Refused(f"It has a word of more than {_LONGEST_WORD} characters.")
    budget.spend(sum(length**2 for length in lengths) >> 4)
    return text


def _titled(budget: Budget, value: Any) -> str:
    text = soft(value)
    budget.scan(text, 128)
    budget.pieces(text, 2 * (1 + count_of(text, BLANKS + _BEFORE_TITLE)))
    return text


def _parted(budget: Budget, value: Any, count: Any, fill_with: Any = None) -> Any:
    if isinstance(count, int):
        budget.elements(max(0, count))
        budget.keep(100 * max(0, count))
    return _container(budget, value)


def _rounded(budget: Budget, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    if isinstance(precision, int) and abs(precision) > MAX_DIGITS:
        raise Refused("It rounds to too many digits.")
    return check_number(value)


def _number(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    if isinstance(value, str) and len(value) > MAX_DIGITS * 4:
        raise Refused("It makes a number of a text that is too long.")
    return check_number(value)


def _as_json(budget: Budget, value: Any, indent: Any = None) -> Any:
    if isinstance(indent, str):
        indent = len(indent)
    if indent is not None and (not isinstance(indent, int) or indent > _MAX_INDENT):
        raise Refused(f"The filter 'tojson' indents by at most {_MAX_INDENT}.")
    length = measure(value)
    budget.spend(length >> 1)
    budget.room(length * (1 + max(0, indent or 0)))
    return unfolded(value, _no_json)


def _no_json(view: View) -> Any:
    raise TypeError(f"Object of type {describe(view)} is not JSON serializable")


def _encoded(budget: Budget, value: Any) -> Any:
    length = measure(value) if isinstance(value, CONTAINERS) else len(soft(value))
    budget.spend(1 + (length >> 1))
    budget.room(12 * length)
    return own(value)


# -- filters that put things in order ----------------------------------------------------------


def _ordering(name: str) -> Callable[..., Any]:
    """A filter that compares items by a key, after charging what the comparisons take."""
    function = DEFAULT_FILTERS[name]
    signature = inspect.signature(function)
    make = make_multi_attrgetter if name == "sort" else make_attrgetter
    charge = hashed if name == "unique" else ordered

    @pass_context
    def run(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        budget, items = current(), listed(value)
        given = signature.bind(context.environment, items, *args, **named).arguments
        attribute = given.get("attribute")
        _check_path(attribute)
        fold = None if given.get("case_sensitive") else ignore_case
        keys = list(map(make(context.environment, attribute, postprocess=fold), items))
        budget.keep(300 + sum(map(getsizeof, keys)) + 150 * len(keys))
        charge(budget, keys, len(keys))
        return _counted(function(context.environment, items, *args, **named))

    return run


def _dictsort(
    value: Any, case_sensitive: Any = False, by: Any = "key", reverse: Any = False
) -> Any:
    budget, mapping = current(), own(value)
    keys = list(mapping if by == "key" else mapping.values())
    budget.keep(sum(map(getsizeof, keys)))
    ordered(budget, keys, len(keys))
    return DEFAULT_FILTERS["dictsort"](mapping, case_sensitive, by, reverse)


# -- filters of ours ---------------------------------------------------------------------------


@pass_context
def _attr(context: Context, obj: Any, name: Any) -> Any:
    return context.environment.attribute(obj, name)  # type: ignore[attr-defined]


def _escaped(value: Any) -> str:
    budget, text = current(), show(value)
    budget.scan(text, 7)
    budget.room(len(text) + 4 * sum(map(text.count, _SPECIAL)))
    return str(escape(text))


def _format(value: Any, *args: Any, **named: Any) -> str:
    if args and named:
        raise TypeError("can't handle positional and keyword arguments at the same time")
    return printf(value, named or args)


def _items(context: Context, value: Any, attribute: Any) -> Any:
    """The items, or what each has as this attribute."""
    if attribute is not None:
        value = FILTERS["map"](context, value, attribute=attribute)
    return listed(value)


@pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> Any:
    return call(show(d), "join", list(map(show, _items(context, value, attribute))))


def _length(value: Any) -> int:
    if isinstance(value, View) and not isinstance(value, CONTAINERS):
        raise TypeError(f"object of type {describe(value)!r} has no len()")
    return len(value)


def _replace(s: Any, old: Any, new: Any, count: Any = None) -> str:
    return call(show(s), "replace", show(old), show(new), -1 if count is None else count)  # type: ignore[no-any-return]


def _reverse(value: Any) -> Any:
    if not isinstance(value, str):
        return DEFAULT_FILTERS["reverse"](listed(value))
    current().scan(value, 2)
    return value[::-1]


@pass_context
def _sum(context: Context, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    total = start
    for item in _items(context, iterable, attribute):
        if isinstance(item, str):  # as Python's own `sum`
            raise TypeError(f"unsupported operand type(s) for +: {describe(total)!r} and 'str'")
        total = calculate("+", total, item)
    return total


@pass_eval_context
def _tojson(context: EvalContext, value: Any, indent: Any = None) -> str:
    return str(DEFAULT_FILTERS["tojson"](context, value, indent))


def _wordcount(value: Any) -> int:
    text = soft(value)
    current().scan(text, 64)
    return sum(1 for _ in _WORD.finditer(text))


# -- the tables --------------------------------------------------------------------------------


def _ticking(items: Iterator[Any]) -> Iterator[Any]:
    budget = current()
    for item in items:
        budget.tick()
        yield item


def _striptags(value: Any) -> str:
    """Without tags, which takes the square of the length where there are many."""
    budget, text = current(), soft(value)
    budget.spend(1 + (len(text) >> 1))
    budget.spend(8 * text.count("&"))
    if (text.count("<") + 1) * len(text) > _MAX_TAGS:
        raise budget.too_long()
    budget.pieces(text, len(text) >> 1)
    return Markup(text).striptags()


_ITERATORS: Final[frozenset[type]] = frozenset({type(reversed([])), type(_ticking(iter(())))})


def _counted(result: Any) -> Any:
    if isinstance(result, str):
        return current().made(result)
    if type(result) is int:
        return check_number(result)
    return _ticking(result) if type(result) in _ITERATORS else result


def bound(function: Any) -> Callable[..., Any]:
    """A function of Jinja's with the template's context before its own arguments."""
    wants = _PassArg.from_obj(function)
    if wants is _PassArg.context:
        return function  # type: ignore[no-any-return]
    if wants is _PassArg.eval_context:
        return lambda context, *args, **named: function(context.eval_ctx, *args, **named)
    if wants is _PassArg.environment:
        return lambda context, *args, **named: function(context.environment, *args, **named)
    return lambda context, *args, **named: function(*args, **named)


def _charged(before: Before, function: Callable[..., Any]) -> Callable[..., Any]:
    run = bound(function)

    @pass_context  # so Jinja cannot run it while it compiles
    def charged(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        return _counted(run(context, before(current(), value, *args, **named), *args, **named))

    return charged


# Name → what goes before Jinja's own filter.
_BEFORE: dict[str, Before] = {
    **dict.fromkeys(("abs", "d", "default"), _same),
    **dict.fromkeys(("batch", "slice"), _parted),
    **dict.fromkeys(("filesizeformat", "float", "int"), _number),
    **dict.fromkeys(("items", "map", "reject", "rejectattr", "select", "selectattr"), _container),
    **dict.fromkeys(("last", "random", "truncate"), _end),
    "first": _first,
    "indent": _indented,
    "round": _rounded,
    "title": _titled,
    "urlencode": _encoded,
    "wordwrap": _wrapped,
}
# Name → a filter of ours.
_OURS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("count", "length"), _length),
    **dict.fromkeys(("e", "escape", "forceescape"), _escaped),
    "capitalize": lambda s: call(soft(s), "capitalize"),
    "center": lambda value, width=80: call(soft(value), "center", width),
    "dictsort": _dictsort,
    "format": _format,
    "lower": lambda s: call(soft(s), "lower"),
    "replace": _replace,
    "reverse": _reverse,
    "safe": show,
    "string": soft,
    "striptags": _striptags,
    "trim": lambda value, chars=None: call(soft(value), "strip", chars),
    "upper": lambda s: call(soft(s), "upper"),
    "wordcount": _wordcount,
}
FILTERS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _charged(before, DEFAULT_FILTERS[name]) for name, before in _BEFORE.items()},
    **{name: _charged(_same, function) for name, function in _OURS.items()},
    **{name: _ordering(name) for name in ("groupby", "max", "min", "sort", "unique")},
    "attr": _attr,
    "join": _join,
    "list": _charged(_container, lambda value: list(listed(value))),
    "sum": _sum,
    "tojson": _charged(_as_json, _tojson),
}
# Jinja's filters that are not there, and why.
EXCLUDED_FILTERS: Final[dict[str, str]] = {
    **dict.fromkeys(("urlize", "xmlattr"), "It is for HTML, and a prompt is plain text."),
    "pprint": "It shows what Python holds. Write {{ name | tojson(indent=2) }}.",
}
