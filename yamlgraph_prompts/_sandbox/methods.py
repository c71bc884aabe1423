"""Every method and attribute of plain values that a template may use; all else is refused.

Each method is a row: what it costs for each character, and what is checked before it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from yamlgraph_prompts._sandbox.budget import Budget, current
from yamlgraph_prompts._sandbox.operations import (
    BLANKS,
    LINE_ENDS,
    check_spec,
    check_width,
    compare,
    count_of,
    hashed,
    listed,
)
from yamlgraph_prompts._sandbox.printing import measure
from yamlgraph_prompts._sandbox.views import own

Method = Callable[..., Any]
Check = Callable[..., None]

_END = 256  # characters


def _methods(
    names: str,
    rate: int = 0,
    wide: int = 0,
    check: Check | None = None,
    take: Callable[[Any], Any] = own,
) -> dict[str, Method]:
    """Rows of Python's own methods of these names.

    `rate` and `wide` are those of `Budget.scan`. `check` gets the owner and the arguments, which
    `take` makes the template's own.
    """

    def row(name: str) -> Method:
        def method(budget: Budget, owner: Any, *args: Any, **named: Any) -> Any:
            owner = own(owner)
            args = tuple(map(take, args))
            if rate:
                budget.scan(owner, rate, wide)
            else:
                budget.tick()
            if check is not None:
                check(budget, owner, *args, **named)
            result = getattr(owner, name)(*args, **named)
            return budget.made(result) if isinstance(result, str) else result

        return method

    return {name: row(name) for name in names.split()}


# -- what is checked before a method of a text runs --------------------------------------------


def _affixes(budget: Budget, _text: str, affixes: Any, *_: Any) -> None:
    parts = affixes if isinstance(affixes, tuple) else (affixes,)
    budget.spend(len(parts) + sum(len(part) for part in parts if isinstance(part, str)) // 512)


def _stripped(budget: Budget, text: str, chars: Any = None) -> None:
    """A long text of nothing but what is stripped takes long; any other ends near its ends."""
    rate = 8 if chars is None else 28 + (len(chars) >> 2)
    ends = text[:_END], text[-_END:]
    budget.spend(rate * sum(map(len, ends)) >> 7)
    if not all(end.strip(chars) for end in ends):
        budget.spend(rate * len(text) >> 7)


def _from_right(budget: Budget, text: str, sought: Any, *_: Any) -> None:
    """A search from the right may take the product of the lengths."""
    if isinstance(sought, str):
        budget.spend(len(text) * len(sought) >> 7)


def _parts(budget: Budget, text: str, sep: Any) -> None:
    _from_right(budget, text, sep)
    budget.pieces(text, 3)


def _split(budget: Budget, text: str, sep: Any = None, maxsplit: int = -1) -> None:
    count = 1 + (count_of(text, BLANKS) if sep is None else text.count(sep) if sep else 0)
    budget.pieces(text, count if maxsplit < 0 else min(count, maxsplit + 1))


def _rsplit(budget: Budget, text: str, sep: Any = None, maxsplit: int = -1) -> None:
    _split(budget, text, sep, maxsplit)
    _from_right(budget, text, sep)


def lines(budget: Budget, text: str, *_: Any, **__: Any) -> None:
    """Count the lines that a text is about to be taken apart into."""
    budget.pieces(text, 1 + count_of(text, LINE_ENDS))


def _replaced(budget: Budget, text: str, old: Any, new: Any, count: Any = -1) -> None:
    times = text.count(old) if old else len(text) + 1
    if isinstance(count, int) and count >= 0:
        times = min(times, count)
    budget.room(len(text) + times * max(0, len(new) - len(old)))
    budget.spend(times >> 3)


def _joined(budget: Budget, separator: str, parts: Any) -> None:
    budget.spend(len(parts) >> 2)
    length = sum(len(part) for part in parts if isinstance(part, str))
    budget.room(len(separator) * len(parts) + length)


def _tabs(budget: Budget, text: str, tabsize: Any = 8) -> None:
    check_width(budget, text, tabsize)
    budget.room(len(text) + text.count("\t") * (tabsize if isinstance(tabsize, int) else 0))


# -- what is checked before a method of a container runs ---------------------------------------


def _sought(budget: Budget, owner: Any, value: Any, *_: Any) -> None:
    compare("in", value, owner)


def _combined(budget: Budget, *sets: Any) -> None:
    for items in sets:
        hashed(budget, items, len(items))


def _copied(budget: Budget, owner: Any) -> None:
    budget.elements(len(owner))


def _get(budget: Budget, owner: Any, key: Any, default: Any = None) -> Any:
    budget.tick()
    measure(key)
    return owner.get(own(key), default)


# -- the tables --------------------------------------------------------------------------------

_DATE = {
    **_methods("ctime isocalendar isoformat isoweekday replace toordinal weekday"),
    **_methods("strftime", check=check_spec),
}
_TIME = {
    **_methods("dst isoformat replace tzname utcoffset"),
    **_methods("strftime", check=check_spec),
}
_SEQUENCE = _methods("count index", check=_sought)

# Kind → the methods of its values that templates may call.
METHODS: Final[Mapping[str, Mapping[str, Method]]] = {
    "text": {
        **_methods("capitalize casefold isalnum isalpha isascii isdecimal isdigit", 64),
        **_methods("isidentifier islower isnumeric isprintable isspace istitle isupper", 64),
        **_methods("swapcase title", 64),
        **_methods("lower upper", 1, 32),  # a letter may become several
        **_methods("count find index", 9),
        **_methods("partition", 9, check=_parts),
        **_methods("rfind rindex", 1, check=_from_right),
        **_methods("rpartition", 1, check=_parts),
        **_methods("startswith endswith removeprefix removesuffix", check=_affixes),
        **_methods("center ljust rjust zfill", check=check_width),
        **_methods("strip lstrip rstrip", check=_stripped),
        **_methods("expandtabs", 1, 16, check=_tabs),
        **_methods("join", check=_joined, take=listed),
        **_methods("replace", 12, check=_replaced),
        **_methods("split", 9, check=_split),
        **_methods("rsplit", 8, check=_rsplit),
        **_methods("splitlines", 9, check=lines),
    },
    "list": {**_SEQUENCE, **_methods("copy", check=_copied)},
    "tuple": _SEQUENCE,
    "mapping": {"get": _get, **_methods("copy items keys values", check=_copied)},
    "set": {
        **_methods("copy", check=_copied),
        **_methods("difference intersection isdisjoint", check=_combined, take=listed),
        **_methods("issubset issuperset symmetric_difference", check=_combined, take=listed),
        **_methods("union", check=_combined, take=listed),
    },
    "int": _methods("as_integer_ratio bit_count bit_length conjugate is_integer"),
    "float": _methods("as_integer_ratio conjugate hex is_integer"),
    "decimal": _methods(
        "adjusted copy_abs is_finite is_infinite is_nan is_signed is_zero normalize quantize "
        "to_integral_value"
    ),
    "date": _DATE,
    "datetime": {**_DATE, **_TIME, **_methods("astimezone date time timestamp timetz")},
    "time": _TIME,
    "timedelta": _methods("total_seconds"),
    "range": {},
}
# Kind → the attributes of its values that templates may read.
FIELDS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(names.split())
    for kind, names in {
        "int": "denominator imag numerator real",
        "float": "imag real",
        "date": "day month year",
        "datetime": "day fold hour microsecond minute month second year",
        "time": "fold hour microsecond minute second",
        "timedelta": "days microseconds seconds",
        "range": "start step stop",
    }.items()
}


def call(text: str, name: str, *args: Any) -> Any:
    """What a text's method of this name gives, charged."""
    return METHODS["text"][name](current(), text, *args)
