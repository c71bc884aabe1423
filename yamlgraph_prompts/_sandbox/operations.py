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

from yamlgraph_prompts._sandbox.budget import MAX_BITS, Budget, Refused, check_bits, current
from yamlgraph_prompts._sandbox.printing import (
    LISTED,
    PLAIN,
    PRINTED,
    Labelled,
    View,
    measure,
    name_of,
)
from yamlgraph_prompts._sandbox.views import Container, ObjectView, own

NUMBERS = (int, float, Decimal)
DATES = (dt.date, dt.time, dt.timedelta)
CONTAINERS = (Container, list, tuple, dict, set, frozenset, *LISTED)
SIZED = (*CONTAINERS, str, range)
BLANKS: Final = "".join(char for char in map(chr, range(0x3001)) if char.isspace())
LINE_ENDS: Final = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_SHORT = 512  # characters
MAX_DIGITS = 1_000  # of precision
_MAX_EXPONENT = 5_000
_MAX_FORMAT = 1_000  # characters of a date's format
_SMALL_HASH = 2**61 - 1  # whole numbers from here on share hashes
_CONVERSION = re.compile(r"(?:\(([^()]*)\))?[#0\- +]*(\*|\d*)(?:\.(\*|\d*))?[hlL]?(.?)", re.DOTALL)
_NUMBER = re.compile(r"\d+")


# -- costs -------------------------------------------------------------------------------------


def describe(value: Any) -> str:
    """A value's type as its owner knows it."""
    return str(name_of(type(value.raw if isinstance(value, (View, Labelled)) else value)))


def show(value: Any) -> str:
    """What a value looks like where it is printed, as Jinja's own `str` gives it."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is int and value.bit_length() > 64:
        current().spend(value.bit_length() ** 2 >> 16)  # to write it out is quadratic
    elif kind in PLAIN or isinstance(value, (View, Labelled, Undefined)):
        return str(value)
    elif isinstance(value, CONTAINERS) or kind is Namespace:
        measure(value, PRINTED)
    elif isinstance(value, Decimal):
        check_number(value)
    return current().made(str(value))


def soft(value: Any) -> str:
    """A text as it is, anything else as it is printed: Jinja's `soft_str`."""
    return value if isinstance(value, str) else show(value)


def attributes_of(namespace: Namespace) -> dict[str, Any]:
    return object.__getattribute__(namespace, "_Namespace__attrs")  # type: ignore[no-any-return]


def count_of(text: str, characters: str) -> int:
    """How often any of these characters is in a text."""
    current().scan(text, 7)
    return sum(text.count(character) for character in characters)


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
        bits = number.bit_length()
        if bits > 64:
            check_bits(bits)
            current().keep(bits >> 3)
    elif (
        isinstance(number, Decimal)
        and number.is_finite()
        and abs(number.adjusted()) > _MAX_EXPONENT
    ):
        raise Refused("It makes a number that is too large.")
    return number


def check_width(budget: Budget, _text: Any, width: Any, *_: Any) -> None:
    """Refuse to pad a text to a width that is too large."""
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
    if sign == "%" and isinstance(left, str):
        return printf(left, right)
    if sign == "*":
        times, value = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(times, int) and isinstance(value, (str, list, tuple)):
            return _repeated(budget, value, max(0, times))
    if sign == "+" and isinstance(left, str) and isinstance(right, str):
        budget.room(len(left) + len(right))
        return budget.made(left + right)
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
        check_bits(left.bit_length() + right.bit_length())


def _repeated(budget: Budget, value: Any, times: int) -> Any:
    if isinstance(value, str):
        budget.room(len(value) * times)
        return budget.made(value * times)
    budget.elements(len(value) * times)
    return value * times


# -- comparisons -------------------------------------------------------------------------------

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
_ORDERS: Final = {"lt": "<", "lteq": "<=", "gt": ">", "gteq": ">="}


def compare(sign: str, left: Any, right: Any) -> Any:
    """``left sign right`` for a comparison, or ``in``."""
    is_plain = type(left) in PLAIN and type(right) in PLAIN
    if is_plain and (type(right) is not str or len(right) < _SHORT):
        return _COMPARISONS[sign](left, right)
    budget = current()
    budget.tick()
    for side in (left, right):
        if isinstance(side, str):
            budget.spend(len(side) >> 9)
        elif isinstance(side, CONTAINERS):
            measure(side)
    if sign in ("in", "notin"):
        left, right = _sought(budget, left, right)
    try:
        return _COMPARISONS[sign](left, right)
    except TypeError:
        if sign not in _ORDERS or isinstance(left, Undefined) or isinstance(right, Undefined):
            raise
        raise TypeError(
            f"{_ORDERS[sign]!r} not supported between instances of "
            f"{describe(left)!r} and {describe(right)!r}"
        ) from None


def _sought(budget: Budget, item: Any, container: Any) -> tuple[Any, Any]:
    """Both sides of ``in``, after charging the search."""
    container = list(container) if isinstance(container, ObjectView) else own(container)
    if isinstance(container, View):
        raise TypeError(f"argument of type {describe(container)!r} is not iterable")
    if isinstance(container, str):
        budget.scan(container, 8)
    elif isinstance(container, (list, tuple)) and isinstance(item, str):
        budget.spend(len(container) * (1 + (len(item) >> 9)))
    elif type(container) is range:
        # Python looks for anything but a plain whole number step by step.
        is_near = isinstance(item, NUMBERS) and -(2**63) < item < 2**63
        return (int(item), container) if is_near and item == int(item) else (None, ())
    return own(item) if isinstance(container, (dict, set, frozenset)) else item, container


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


def printf(text: Any, values: Any) -> str:
    """``text % values``, refused before it is made if it would be too long."""
    budget, text = current(), soft(text)
    budget.scan(text, 1, 16)
    given = iter(values if isinstance(values, tuple) else (values,))
    length = len(text)
    for key, width, precision, kind in _conversions(text):
        budget.tick()
        written = (width, precision or "")
        sizes = [next(given, 0) if size == "*" else _size(size) for size in written]
        if kind != "s" and isinstance(sizes[1], int) and sizes[1] > MAX_DIGITS:
            raise Refused("It prints too many digits.")
        length += sum(abs(size) for size in sizes if isinstance(size, int))
        if kind != "%":
            by_name = key is not None and isinstance(values, Mapping)
            length += _printed_length(values[key] if by_name else next(given, ""), kind)
        budget.room(length)
    return budget.made(text % values)


def _printed_length(value: Any, kind: str) -> int:
    """How long a value can become by one conversion, but for its width."""
    if isinstance(value, (int, Decimal)):
        check_number(value)
        return 5_000 if isinstance(value, Decimal) or value.bit_length() > 64 else 330
    return len(show(value)) * (10 if kind in "ra" else 1)


def check_spec(budget: Budget, value: Any, spec: str) -> None:
    """Refuse a format spec, such as ``>10.3f``, that makes too much of a value."""
    if isinstance(value, DATES):
        if len(spec) > _MAX_FORMAT:
            raise Refused("A date's format is too long.")
        return
    for number in _NUMBER.findall(spec):
        budget.room(_size(number))
    precision = _NUMBER.match(spec.rpartition(".")[2]) if "." in spec else None
    if precision and not isinstance(value, str) and _size(precision[0]) > MAX_DIGITS:
        raise Refused("It prints too many digits.")
    check_number(value)
