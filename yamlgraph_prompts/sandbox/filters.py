"""Every filter, test and global function that a template may use, each charged before it runs.

For what they admit they give what Jinja's own give. What is not in these tables is refused.
"""

from __future__ import annotations

import pprint
import re
from collections.abc import Callable, Iterator, Sized
from sys import getsizeof
from typing import Any, Final

from jinja2.defaults import DEFAULT_FILTERS  # type: ignore[attr-defined]
from jinja2.defaults import DEFAULT_TESTS as JINJA_TESTS  # type: ignore[attr-defined]
from jinja2.filters import ignore_case, make_attrgetter, make_multi_attrgetter
from jinja2.runtime import Context
from jinja2.utils import Cycler, Joiner, Namespace, _PassArg, generate_lorem_ipsum, pass_context
from markupsafe import Markup

from yamlgraph_prompts.sandbox import operations
from yamlgraph_prompts.sandbox.budget import Budget, Refused, current
from yamlgraph_prompts.sandbox.methods import METHODS, striptags
from yamlgraph_prompts.sandbox.operations import (
    CONTAINERS,
    blanks,
    calculate,
    check_number,
    check_width,
    compare,
    describe,
    hashed,
    line_ends,
    listed,
    ordered,
    pieces,
    scan,
    show,
)
from yamlgraph_prompts.sandbox.views import (
    MappingView,
    ObjectView,
    SequenceView,
    SetView,
    View,
    measure,
    own,
)

_MAX_INDENT = 100
_MAX_DIGITS = 1_000
_MAX_PARTS = 50
_MAX_PRINTED = 200_000
_MAX_RANGE = 100_000  # as Jinja's own sandbox has it
_MAX_WORDS = 50_000
_LONGEST_LINK = 400
_LONGEST_WORD = 1_000
_SPECIAL = "&<>'\""
_BEFORE_TITLE = "-({[<"
_SHORT = 256
_WORD = re.compile(r"\w+")

Before = Callable[..., Any]


# -- what each takes, and what it costs --------------------------------------------------------


def _text(budget: Budget, value: Any, *_: Any, **__: Any) -> str:
    if type(value) is str and len(value) < _SHORT:
        budget.tick()
        return value
    text = value if isinstance(value, str) else show(value)
    scan(budget, text, 2)
    return text


def _text_only(budget: Budget, value: Any, *_: Any, **__: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed, not {describe(value)!r}")
    return _text(budget, value)


def _letters(budget: Budget, value: Any, *_: Any, **__: Any) -> str:
    text = _text(budget, value)
    budget.spend(0 if text.isascii() else len(text) >> 2)  # a letter may become several
    return text


def _same(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    budget.tick()
    return value


def _container(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    """A container of the template's own; what walks it is charged for each element."""
    value = own(value)
    if isinstance(value, Sized) and not isinstance(value, str):
        budget.elements(len(value))
    return value


def _mapped(budget: Budget, value: Any, *_: Any, attribute: Any = None, **__: Any) -> Any:
    _check_path(attribute)
    return _container(budget, value)


def _selected(budget: Budget, value: Any, attribute: Any = None, *_: Any, **__: Any) -> Any:
    _check_path(attribute)
    return _container(budget, value)


def _check_path(path: Any) -> None:
    """Refuse a path, such as ``"user.city,name"``, that takes long to follow for each item."""
    if isinstance(path, str) and path.count(".") + path.count(",") > _MAX_PARTS:
        raise Refused(f"The path of an attribute has more than {_MAX_PARTS} parts.")


def _end(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    return own(value) if isinstance(value, (MappingView, SetView)) else value


def _first(budget: Budget, value: Any) -> Any:
    """Its first item alone: to walk over a list of the app's looks at all its items."""
    if isinstance(value, SequenceView) and len(value):
        return (value[0],)
    return _end(budget, value)


def _escape(budget: Budget, value: Any) -> Any:
    text = _text(budget, value)
    budget.room(len(text) + 4 * sum(map(text.count, _SPECIAL)))
    return text


def _center(budget: Budget, value: Any, width: Any = 80) -> str:
    check_width(budget, width)
    return _text(budget, value)


def _indent(
    budget: Budget, value: Any, width: Any = 4, first: Any = False, blank: Any = False
) -> str:
    text = _text_only(budget, value)
    each = len(width) if isinstance(width, str) else width
    if isinstance(each, int):
        pieces(budget, text, line_ends(text))
        budget.room(len(text) + line_ends(text) * max(0, each))
    return text


def _replace(budget: Budget, value: Any, old: Any, new: Any, count: Any = None) -> Any:
    text, old, new = (part if isinstance(part, str) else show(part) for part in (value, old, new))
    METHODS["text"]["replace"](
        budget, str(text), str(old), str(new), -1 if count is None else count
    )
    return text


def _wordwrap(
    budget: Budget,
    value: Any,
    width: Any = 79,
    break_long_words: Any = True,
    wrapstring: Any = None,
    break_on_hyphens: Any = True,
) -> str:
    text = _text_only(budget, value)
    joint = len(wrapstring) if isinstance(wrapstring, str) else 1
    narrow = max(1, width) if isinstance(width, int) else 1
    budget.room(len(text) + joint * (len(text) // narrow + line_ends(text)))
    budget.spend(len(text) << 1)
    _bounded_words(
        budget, text.translate(dict.fromkeys(range(9, 14), " ")).split(" "), _LONGEST_WORD
    )
    return text


def _urlize(budget: Budget, value: Any, *args: Any, **named: Any) -> str:
    text = _text(budget, value)
    count = blanks(text)
    for extra in (*args, *named.values()):
        if isinstance(extra, str):
            budget.room(len(extra) * 5 * count)
        elif extra is not None:
            budget.elements(len(listed(extra)) * count if isinstance(extra, CONTAINERS) else 1)
    pieces(budget, text, 2 * count)
    _bounded_words(budget, text.split(), _LONGEST_LINK)
    budget.spend(len(text))
    return text


def _bounded_words(budget: Budget, words: list[str], longest: int) -> None:
    """Refuse words that an expression takes too long for; the time is the square of the length."""
    if max(map(len, words), default=0) > longest:
        raise Refused(f"It has a word of more than {longest} characters.")
    budget.spend(sum(len(word) ** 2 for word in words) >> 4)


def _slow_text(budget: Budget, value: Any) -> str:
    text = _text(budget, value)
    budget.spend(1 + (len(text) >> 1))
    return text


def _title(budget: Budget, value: Any) -> str:
    text = _slow_text(budget, value)
    pieces(budget, text, 2 * (blanks(text) + sum(map(text.count, _BEFORE_TITLE))))
    return text


def _slices(budget: Budget, value: Any, count: Any, fill_with: Any = None) -> Any:
    if isinstance(count, int):
        budget.elements(max(0, count))
        budget.keep(100 * max(0, count))
    return _container(budget, value)


def _round(budget: Budget, value: Any, precision: Any = 0, method: Any = "common") -> Any:
    if isinstance(precision, int) and abs(precision) > _MAX_DIGITS:
        raise Refused("It rounds to too many digits.")
    return check_number(value)


def _number(budget: Budget, value: Any, *_: Any, **__: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_DIGITS * 4:
        raise Refused("It makes a number of a text that is too long.")
    return check_number(value)


def _tojson(budget: Budget, value: Any, indent: Any = None) -> Any:
    if isinstance(indent, str):
        indent = len(indent)
    if indent is not None and (not isinstance(indent, int) or indent > _MAX_INDENT):
        raise Refused(f"The filter 'tojson' indents by at most {_MAX_INDENT}.")
    length = measure(value)
    budget.spend(length >> 1)
    budget.room(length * (1 + max(0, indent or 0)))
    return _built(value, json=True)


def _pprint(budget: Budget, value: Any) -> Any:
    length = measure(value)
    if length > _MAX_PRINTED:
        raise Refused("The filter 'pprint' is for short values.")
    budget.spend(length)
    return _built(value)


def _built(value: Any, *, json: bool = False) -> Any:
    """A value without views of containers, at any depth; measured before."""
    value = own(value)
    if isinstance(value, dict):
        return {_built(key, json=json): _built(item, json=json) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return (
            type(value)([_built(item, json=json) for item in value])
            if type(value) in (list, tuple)
            else value
        )
    if json and isinstance(value, View):
        raise TypeError(f"Object of type {describe(value)} is not JSON serializable")
    return value


def _encoded(budget: Budget, value: Any) -> Any:
    length = measure(value) if isinstance(value, CONTAINERS) else len(show(value))
    budget.spend(1 + (length >> 1))
    budget.room(12 * length)
    return _built(value)


def _attributes(budget: Budget, value: Any, autospace: Any = True) -> Any:
    length = measure(value)
    budget.spend(1 + (length >> 2))
    budget.room(5 * length)
    return own(value)


# -- filters that put things in order ----------------------------------------------------------


def _by_keys(context: Context, name: str, value: Any, *args: Any, **named: Any) -> Any:
    """The items of a filter that compares them, after charging what the comparisons take."""
    budget, items = current(), listed(value)
    attribute, case_sensitive = _KEYED[name](*args, **named)
    _check_path(attribute)
    postprocess = None if case_sensitive else ignore_case
    make = make_multi_attrgetter if name == "sort" else make_attrgetter
    key = make(context.environment, attribute, postprocess=postprocess)
    keys = [key(item) for item in items]
    budget.keep(300 + sum(map(getsizeof, keys)) + 150 * len(keys))
    (hashed if name == "unique" else ordered)(budget, keys, len(keys))
    return items


_KEYED: dict[str, Callable[..., tuple[Any, Any]]] = {
    "sort": lambda reverse=False, case_sensitive=False, attribute=None: (attribute, case_sensitive),
    "unique": lambda case_sensitive=False, attribute=None: (attribute, case_sensitive),
    "min": lambda case_sensitive=False, attribute=None: (attribute, case_sensitive),
    "max": lambda case_sensitive=False, attribute=None: (attribute, case_sensitive),
    "groupby": lambda attribute, default=None, case_sensitive=False: (attribute, case_sensitive),
}


def _keyed(name: str) -> Callable[..., Any]:
    function = DEFAULT_FILTERS[name]

    @pass_context
    def keyed(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        items = _by_keys(context, name, value, *args, **named)
        result = function(context.environment, items, *args, **named)
        return _ticking(result) if type(result) in _ITERATORS else result

    return keyed


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
def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> Any:
    if attribute is not None:
        value = FILTERS["map"](context, value, attribute=attribute)
    budget, items = current(), listed(value)
    separator = d if isinstance(d, str) else show(d)
    budget.spend(len(items) >> 2)
    if {str}.issuperset(map(type, items)):
        parts = list(items)
        length = sum(map(len, parts)) + len(separator) * len(parts)
    else:
        parts, length = [], 0
        for item in items:
            parts.append(show(item))
            length += len(parts[-1]) + len(separator)
            budget.room(length)
    budget.room(length * (5 if context.eval_ctx.autoescape else 1))
    return budget.made(DEFAULT_FILTERS["join"](context.eval_ctx, parts, separator))


@pass_context
def _sum(context: Context, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None:
        iterable = FILTERS["map"](context, iterable, attribute=attribute)
    total = start
    for item in listed(iterable):
        if isinstance(item, str):  # as Python's own `sum`
            raise TypeError(f"unsupported operand type(s) for +: {describe(total)!r} and 'str'")
        total = calculate("+", total, item)
    return total


@pass_context
def _attr(context: Context, obj: Any, name: Any) -> Any:
    return context.environment.attribute(obj, name)  # type: ignore[attr-defined]


def _cased(name: str) -> Callable[..., Any]:
    """A filter that a method of texts does; quick for short ones."""
    method = getattr(str, name)
    charged = _charged(_slow_text if name == "capitalize" else _letters, DEFAULT_FILTERS[name])

    @pass_context
    def cased(context: Context, s: Any) -> Any:
        return method(s) if type(s) is str and len(s) < _SHORT else charged(context, s)

    return cased


def _length(value: Any) -> int:
    if isinstance(value, View) and not isinstance(value, CONTAINERS):
        raise TypeError(f"object of type {describe(value)!r} has no len()")
    return len(value)


def _format(value: Any, *args: Any, **named: Any) -> str:
    if args and named:
        raise TypeError("can't handle positional and keyword arguments at the same time")
    return operations.printf(value, named or args)


def _wordcount(value: Any) -> int:
    budget = current()
    text = _text(budget, value)
    budget.spend(len(text) >> 2)
    return sum(1 for _ in _WORD.finditer(text))


def _trim(value: Any, chars: Any = None) -> Any:
    text = value if isinstance(value, str) else show(value)
    return METHODS["text"]["strip"](current(), text, chars)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else show(value)


def _safe(value: Any) -> Markup:
    return Markup(value if isinstance(value, str) else show(value))


def _pretty(value: Any) -> str:
    return pprint.pformat(value)


def _reverse(value: Any) -> Any:
    if isinstance(value, str):
        scan(current(), value)
        return current().made(value[::-1])
    return DEFAULT_FILTERS["reverse"](listed(value))


def _ticking(items: Iterator[Any]) -> Iterator[Any]:
    budget = current()
    for item in items:
        budget.tick()
        yield item


# Name → what its first argument becomes, once the work is charged.
_BEFORE: dict[str, Before] = {
    **dict.fromkeys(("capitalize", "lower", "upper"), _letters),
    **dict.fromkeys(("abs", "d", "default"), _same),
    **dict.fromkeys(("items", "reject", "select"), _container),
    **dict.fromkeys(("rejectattr", "selectattr"), _selected),
    **dict.fromkeys(("last", "random", "truncate"), _end),
    **dict.fromkeys(("e", "escape", "forceescape"), _escape),
    **dict.fromkeys(("batch", "slice"), _slices),
    "center": _center,
    "first": _first,
    "indent": _indent,
    "map": _mapped,
    "filesizeformat": _number,
    "float": _number,
    "int": _number,
    "replace": _replace,
    "round": _round,
    "title": _title,
    "tojson": _tojson,
    "urlencode": _encoded,
    "urlize": _urlize,
    "wordwrap": _wordwrap,
    "xmlattr": _attributes,
}


_ITERATORS: Final[frozenset[type]] = frozenset({type(reversed([])), type(_ticking(iter(())))})


def _bound(function: Any) -> Callable[..., Any]:
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
    run = _bound(function)

    @pass_context  # so Jinja cannot run it while it compiles
    def charged(context: Context, value: Any, *args: Any, **named: Any) -> Any:
        budget = current()
        if args or named:
            result = run(context, before(budget, value, *args, **named), *args, **named)
        else:
            result = run(context, before(budget, value))
        if isinstance(result, str):
            return budget.made(result)
        if type(result) is int:
            return check_number(result)
        return _ticking(result) if type(result) in _ITERATORS else result

    return charged


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _charged(before, DEFAULT_FILTERS[name]) for name, before in _BEFORE.items()},
    **{name: _keyed(name) for name in _KEYED},
    **{name: _cased(name) for name in ("capitalize", "lower", "upper")},
    "attr": _attr,
    "count": _charged(_same, _length),
    "dictsort": _charged(_same, _dictsort),
    "format": _charged(_same, _format),
    "join": _join,
    "length": _charged(_same, _length),
    "list": _charged(_container, lambda value: list(listed(value))),
    "pprint": _charged(_pprint, _pretty),
    "reverse": _charged(_same, _reverse),
    "safe": _charged(_same, _safe),
    "string": _charged(_same, _string),
    "striptags": _charged(_text, lambda value: str(striptags(value))),
    "sum": _sum,
    "trim": _charged(_same, _trim),
    "wordcount": _charged(_same, _wordcount),
}
# Jinja's filters that are not there, and why.
EXCLUDED_FILTERS: Final[dict[str, str]] = {}


# -- tests -------------------------------------------------------------------------------------

DEFAULT_TESTS: Final[dict[str, Any]] = JINJA_TESTS
_COMPARING = {
    **dict.fromkeys(("==", "eq", "equalto"), "eq"),
    **dict.fromkeys(("!=", "ne"), "ne"),
    **dict.fromkeys((">", "gt", "greaterthan"), "gt"),
    **dict.fromkeys((">=", "ge"), "gteq"),
    **dict.fromkeys(("<", "lt", "lessthan"), "lt"),
    **dict.fromkeys(("<=", "le"), "lteq"),
    "in": "in",
}


def _comparing(sign: str) -> Callable[..., Any]:
    @pass_context
    def test(context: Context, value: Any, other: Any) -> Any:
        return compare(sign, value, other)

    return test


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    run = _bound(function)

    @pass_context
    def test(context: Context, value: Any, *args: Any) -> Any:
        current().tick()
        return run(context, value, *args)

    return test


def _numeric(name: str) -> Callable[..., Any]:
    @pass_context
    def test(context: Context, value: Any, *args: Any) -> Any:
        if isinstance(value, str):  # `%` would format it
            raise TypeError("not all arguments converted during string formatting")
        divisor = args[0] if name == "divisibleby" else 2
        return calculate("%", value, divisor) == (name == "odd")

    return test


def _case(name: str) -> Callable[..., Any]:
    @pass_context
    def test(context: Context, value: Any) -> Any:
        return DEFAULT_TESTS[name](_text(current(), value))

    return test


def _sameas(value: Any, other: Any) -> bool:
    return value is other or (
        isinstance(value, View) and isinstance(other, View) and value.raw is other.raw
    )


def _iterable(value: Any) -> bool:
    return (
        isinstance(value, CONTAINERS)
        or not isinstance(value, View)
        or (isinstance(value, ObjectView) and value.shape.is_model)
    )


_PLAIN_TESTS = (
    "boolean callable defined escaped false filter float integer iterable mapping none number "
    "sameas sequence string test true undefined"
).split()
TESTS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _comparing(sign) for name, sign in _COMPARING.items()},
    **{name: _plain(DEFAULT_TESTS[name]) for name in _PLAIN_TESTS},
    **{name: _numeric(name) for name in ("divisibleby", "even", "odd")},
    **{name: _case(name) for name in ("lower", "upper")},
    "iterable": _plain(lambda value: _iterable(value) and DEFAULT_TESTS["iterable"](value)),
    "sameas": _plain(_sameas),
}


# -- global functions --------------------------------------------------------------------------


class Function:
    """A global function. It has no attributes that a template can read."""

    __slots__ = ("name", "run")

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self.name = name
        self.run = run

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        budget = current()
        budget.keep(256)
        return self.run(*args, **named)

    def __repr__(self) -> str:
        return f"<function {self.name!r}>"


def _range(*bounds: Any) -> range:
    numbers = range(*bounds)
    if len(numbers) > _MAX_RANGE:
        raise Refused(f"A range has at most {_MAX_RANGE:,} numbers.")
    return numbers


def _dict(*pairs: Any, **named: Any) -> dict[Any, Any]:
    given = []
    for pair in pairs:
        mapping = own(pair)
        items = mapping if isinstance(mapping, dict) else [listed(item) for item in listed(mapping)]
        hashed(
            current(),
            mapping if isinstance(mapping, dict) else [i[0] for i in items if i],
            len(items),
        )
        given.append(items)
    current().elements(4 * len(named))
    return dict(*given, **named)


def _lipsum(n: Any = 5, html: Any = True, min: Any = 20, max: Any = 100) -> Any:  # noqa: A002
    if not all(isinstance(number, int) and number >= 0 for number in (n, min, max)):
        raise Refused("A size is negative, or no whole number.")
    if n * max > _MAX_WORDS:
        raise current().too_long()
    current().spend(8 * n * max)
    return current().made(generate_lorem_ipsum(n, html, min, max))


GLOBALS: Final[dict[str, Function]] = {
    "cycler": Function("cycler", Cycler),
    "dict": Function("dict", _dict),
    "joiner": Function("joiner", Joiner),
    "lipsum": Function("lipsum", _lipsum),
    "namespace": Function("namespace", lambda *args, **named: Namespace(_dict(*args, **named))),
    "range": Function("range", _range),
}
