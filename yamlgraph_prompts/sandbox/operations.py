"""Every operator that a template may use, and what each operation costs, known before it runs.

Costs follow from the sizes of the inputs; `Budget` counts them.
"""

from __future__ import annotations

import datetime as dt
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from decimal import Decimal
from typing import Any, Final

from jinja2.runtime import Undefined
from jinja2.utils import Namespace
from markupsafe import Markup

from yamlgraph_prompts.sandbox.budget import MAX_BITS, Budget, Refused, check_bits, current
from yamlgraph_prompts.sandbox.views import (
    LISTED,
    PLAIN,
    PRINTED,
    Container,
    Labelled,
    ObjectView,
    View,
    measure,
    name_of,
    own,
)

NUMBERS = (int, float, Decimal)
DATES = (dt.date, dt.time, dt.timedelta)
CONTAINERS = (list, tuple, dict, set, frozenset, *LISTED, Container)
_ESCAPED = 5  # characters that escaping makes of one
_SHORT = 512  # characters
_MAX_DIGITS = 1_000  # of precision
_MAX_EXPONENT = 5_000
_MAX_FORMAT = 1_000  # characters of a date's format
_SMALL_HASH = 2**61 - 1  # whole numbers from here on share hashes
_CONVERSION = re.compile(r"(?:\(([^()]*)\))?[#0\- +]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?(.?)", re.DOTALL)
_NUMBER = re.compile(r"\d+")
_BLANKS = "".join(map(chr, (*range(9, 14), *range(28, 33))))
_WIDE_BLANKS = "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e"
_WIDE_LINE_ENDS = "\x85\u2028\u2029"


# -- costs -------------------------------------------------------------------------------------


def scan(budget: Budget, text: str, times: int = 1) -> None:
    """Count a look at each character of a text."""
    budget.spend(1 + (len(text) * times >> (7 if text.isascii() else 3)))


def seek(budget: Budget, text: str, times: int) -> None:
    """Count a search from the left, or a copy: of `times` ns a character or less."""
    budget.spend(1 + (len(text) * times >> 7))


def describe(value: Any) -> str:
    """A value's type as its owner knows it."""
    return str(name_of(type(value.raw if isinstance(value, (View, Labelled)) else value)))


def show(value: Any) -> str:
    """What a value looks like where it is printed, as Jinja's own `str` gives it."""
    kind = type(value)
    if kind is str or kind is Markup:
        return value  # type: ignore[no-any-return]
    if kind is int and value.bit_length() > 64:
        current().spend(value.bit_length() ** 2 >> 16)  # to write it out is quadratic
        return current().made(str(value))
    if kind in PLAIN or isinstance(value, (View, Labelled, Undefined)):
        return str(value)
    if isinstance(value, CONTAINERS):
        measure(value, PRINTED)
        return current().made(str(value))
    if kind is Namespace:
        measure(value, PRINTED)
    if isinstance(value, Decimal):
        check_number(value)
    return current().made(str(value))


def attributes_of(namespace: Namespace) -> dict[str, Any]:
    return object.__getattribute__(namespace, "_Namespace__attrs")  # type: ignore[no-any-return]


def blanks(text: str) -> int:
    """How many blanks a text has, at the least one."""
    sorts = _BLANKS if text.isascii() else _BLANKS + _WIDE_BLANKS
    seek(current(), text, len(sorts) >> 1)
    return 1 + sum(map(text.count, sorts))


def line_ends(text: str) -> int:
    """How many lines a text has."""
    return 1 + sum(map(text.count, _LINE_ENDS if text.isascii() else _LINE_ENDS + _WIDE_LINE_ENDS))


def pieces(budget: Budget, text: str, count: int) -> None:
    """Count the texts that a text is taken apart into."""
    budget.elements(count)
    budget.keep(len(text) + 50 * count)


def listed(values: Any) -> Any:
    """The values as a list or tuple, whatever gives them."""
    values = own(values)
    if isinstance(values, (list, tuple)):
        return values
    budget = current()
    if isinstance(values, Sized):
        budget.elements(len(values))
        if type(values) is range:
            budget.keep(len(values) << 5)  # its numbers are made, too
        return list(values)  # type: ignore[call-overload]
    items = []
    for item in values:
        budget.tick()
        budget.keep(16)
        items.append(item)
    return items


def whole_of(value: Any) -> int | None:
    """The whole number that a value equals. Python seeks anything else in a range step by step."""
    if not isinstance(value, NUMBERS) or not -(2**63) < value < 2**63:
        return None
    return int(value) if value == int(value) else None


def hashed(budget: Budget, keys: Iterable[Any], count: int) -> None:
    """Count what looking up these keys in a dictionary or a set takes."""
    budget.elements(4 * count)
    for key in keys:
        if isinstance(key, (str, float)) or key is None:
            continue
        if not isinstance(key, int) or abs(key) >= _SMALL_HASH:
            measure(key)
            budget.spend(count * count >> 3)  # all of them may share one hash
            return


def ordered(budget: Budget, keys: Iterable[Any], count: int) -> None:
    """Count what putting these keys in order takes."""
    length, factor = 0, 1
    for key in keys:
        if isinstance(key, str):
            length += len(key)
        elif type(key) not in PLAIN:
            length += measure(key)
            factor = 8
    each = 1 + (length // max(1, count) >> 8)
    budget.spend(factor * each * count * count.bit_length() >> 1)
    budget.elements(2 * count)


def check_number(number: Any) -> Any:
    """Refuse a number that would take long to calculate with or to print; count its size."""
    if isinstance(number, int):
        check_bits(number)
        if number.bit_length() > 64:
            current().keep(number.bit_length() >> 3)
    elif (
        isinstance(number, Decimal)
        and number.is_finite()
        and abs(number.adjusted()) > _MAX_EXPONENT
    ):
        raise Refused("It makes a number that is too large.")
    return number


def check_width(budget: Budget, width: Any) -> None:
    if isinstance(width, int):
        budget.room(abs(width))


# -- operators ---------------------------------------------------------------------------------

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
}
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gteq": operator.ge,
    "lt": operator.lt,
    "lteq": operator.le,
    "in": lambda item, container: item in container,
    "notin": lambda item, container: item not in container,
}


def calculate(sign: str, left: Any, right: Any) -> Any:
    """``left sign right``, where the table of operators has it."""
    budget = current()
    budget.tick()
    left, right = own(left), own(right)
    if isinstance(left, NUMBERS) and isinstance(right, NUMBERS):
        if isinstance(left, int) and isinstance(right, int):
            _check_integers(sign, left, right)
        return check_number(_OPERATORS[sign](left, right))
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return _OPERATORS[sign](left, right)  # its own refusal
    if isinstance(left, str):
        if sign == "%":
            return _printf(budget, left, right)
        if sign == "+" and isinstance(right, str):
            markup = isinstance(left, Markup) or isinstance(right, Markup)
            budget.room((_ESCAPED if markup else 1) * (len(left) + len(right)))
            return budget.made(left + right)
    if sign == "*":
        times, value = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(times, int) and isinstance(value, (str, list, tuple)):
            return _repeated(budget, value, max(0, times))
    if sign == "+" and type(left) is type(right) and isinstance(left, (list, tuple)):
        budget.elements(len(left) + len(right))
        return left + right
    if sign == "-" and isinstance(left, (set, frozenset)) and isinstance(right, (set, frozenset)):
        hashed(budget, left, len(left))
        return left - right
    if isinstance(left, (*DATES, *NUMBERS)) and isinstance(right, (*DATES, *NUMBERS)):
        return _OPERATORS[sign](left, right)
    raise TypeError(
        f"unsupported operand type(s) for {sign}: {describe(left)!r} and {describe(right)!r}"
    )


def _check_integers(sign: str, left: int, right: int) -> None:
    if sign == "**" and right > 0 and left.bit_length() * min(right, 2**32) > MAX_BITS + right:
        raise Refused("It makes a number that is too large.")
    if sign == "*":
        check_bits(left, right)


def _repeated(budget: Budget, value: Any, times: int) -> Any:
    if isinstance(value, str):
        budget.room(len(value) * times)
        return budget.made(value * times)
    budget.elements(len(value) * times)
    return value * times


def _comparison(sign: str) -> Callable[[Any, Any], Any]:
    compares = _COMPARISONS[sign]

    def comparison(left: Any, right: Any) -> Any:
        kinds = type(left), type(right)
        if kinds == (str, str):
            if len(right) < _SHORT:
                return compares(left, right)
        elif kinds[0] in PLAIN and kinds[1] in PLAIN:
            return compares(left, right)
        return compare(sign, left, right)

    return comparison


def compare(sign: str, left: Any, right: Any) -> Any:
    """``left sign right`` for a comparison, or ``in``."""
    budget = current()
    budget.tick()
    for side in (left, right):
        if isinstance(side, str):
            budget.spend(len(side) >> 9)
        elif type(side) not in PLAIN and isinstance(side, CONTAINERS):
            measure(side)
    if sign in ("in", "notin"):
        right = list(right) if isinstance(right, ObjectView) else own(right)
        if type(right) is range:
            left = whole_of(left)
            if left is None:
                return sign == "notin"
        if isinstance(right, str):
            seek(budget, right, 8)
        elif isinstance(right, (list, tuple)) and isinstance(left, str):
            budget.spend(len(right) * (1 + (len(left) >> 9)))
        elif isinstance(right, View) and not isinstance(right, CONTAINERS):
            raise TypeError(f"argument of type {describe(right)!r} is not iterable")
        left = own(left) if isinstance(right, (dict, set, frozenset)) else left
    try:
        return _COMPARISONS[sign](left, right)
    except TypeError:
        if sign in ("eq", "ne") or isinstance(left, Undefined) or isinstance(right, Undefined):
            raise
        shown = {"lt": "<", "lteq": "<=", "gt": ">", "gteq": ">="}.get(sign)
        if shown is None:
            raise
        raise TypeError(
            f"{shown!r} not supported between instances of "
            f"{describe(left)!r} and {describe(right)!r}"
        ) from None


# Each comparison as compiled templates call it: quick where the cost is known to be small.
COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    sign: _comparison(sign) for sign in _COMPARISONS
}


# -- formats -----------------------------------------------------------------------------------


def _size(digits: str) -> int:
    """A size that is written in a format: leading noughts do not make it small."""
    return int(digits.lstrip("0")[:9] or 0)


def _conversions(text: str) -> Iterator[tuple[str | None, str, str | None, str]]:
    """The ``%`` conversions of a text: key, width, precision, type."""
    position = text.find("%")
    while position >= 0:
        found = _CONVERSION.match(text, position + 1)
        if found is None or found[4] == "(":
            raise ValueError("incomplete format key")
        yield found[1], found[2], found[3], found[4]
        position = text.find("%", found.end())


def _printf(budget: Budget, text: str, values: Any) -> str:
    """``text % values``, refused before it is made if it would be too long."""
    scan(budget, text)
    given = iter(values if isinstance(values, tuple) else (values,))
    length = len(text)
    for key, width, precision, kind in _conversions(text):
        budget.tick()
        for size in (width, precision):
            if size:
                number = next(given, 0) if size == "*" else _size(size)
                if (
                    size is precision
                    and isinstance(number, int)
                    and number > _MAX_DIGITS
                    and kind != "s"
                ):
                    raise Refused("It prints too many digits.")
                if isinstance(number, int):
                    length += abs(number)
        if kind == "%":
            continue
        value = values[key] if key is not None and isinstance(values, Mapping) else next(given, "")
        if isinstance(value, (int, Decimal)):
            check_number(value)
            length += 5_000 if isinstance(value, Decimal) or value.bit_length() > 64 else 330
        else:
            length += len(show(value)) * (
                10 if kind in "ra" else _ESCAPED if isinstance(text, Markup) else 1
            )
        budget.room(length)
    return budget.made(text % values)


def printf(text: Any, values: Any) -> str:
    """What the filter `format` does."""
    return _printf(current(), text if isinstance(text, str) else show(text), values)


def check_spec(budget: Budget, value: Any, spec: str) -> None:
    """Refuse a format spec, such as ``>10.3f``, that makes too much of a value."""
    if isinstance(value, DATES):
        if len(spec) > _MAX_FORMAT:
            raise Refused("A date's format is too long.")
        return
    for number in _NUMBER.findall(spec):
        budget.room(_size(number))
    precision = _NUMBER.match(spec.rpartition(".")[2]) if "." in spec else None
    if precision and not isinstance(value, str) and _size(precision[0]) > _MAX_DIGITS:
        raise Refused("It prints too many digits.")
    check_number(value)
