"""Every method and attribute of plain values that a template may use; all else is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from sys import maxunicode
from typing import Any, Final

from markupsafe import Markup

from yamlgraph_prompts.sandbox.budget import Budget, Refused, current
from yamlgraph_prompts.sandbox.operations import (
    blanks,
    check_spec,
    check_width,
    compare,
    hashed,
    line_ends,
    listed,
    pieces,
    scan,
    seek,
    show,
    whole_of,
)
from yamlgraph_prompts.sandbox.views import View, measure, own

Method = Callable[..., Any]

_ESCAPED = 5  # characters that escaping makes of one
_CHUNK = 16_384  # characters
_MAX_STRIPPED = 1_000  # characters
_SLOW = 1_000_000  # steps of an algorithm that is quadratic

# -- methods of texts --------------------------------------------------------------------------


def _native(text: str, name: str) -> Callable[..., Any]:
    return getattr(Markup if isinstance(text, Markup) else str, name)  # type: ignore[no-any-return]


def _escapable(text: str, value: Any) -> Any:
    """What `Markup` would escape: it makes a text of anything."""
    return show(value) if isinstance(text, Markup) and not isinstance(value, str) else value


def _each(name: str, *, is_slow: bool = True) -> Method:
    """A method that looks at each character; slow ones take some 50 ns for it."""

    def method(budget: Budget, text: str, *args: Any, **named: Any) -> Any:
        if is_slow:
            budget.spend(1 + (len(text) >> 1))
        elif text.isascii():
            scan(budget, text)
        else:
            budget.spend(1 + (len(text) >> 2))  # a letter may become several
        result = _native(text, name)(text, *args, **named)
        return budget.made(result) if isinstance(result, str) else result

    return method


def _search(name: str) -> Method:
    """A search from the left: linear in CPython, whatever is sought."""

    def method(budget: Budget, text: str, *args: Any, **named: Any) -> Any:
        seek(budget, text, 9)
        result = _native(text, name)(text, *args, **named)
        if isinstance(result, tuple):
            budget.keep(len(text) * 4)
        return result

    return method


def _affix(name: str) -> Method:
    def method(budget: Budget, text: str, affix: Any, *args: Any) -> Any:
        affix = own(affix)
        parts = affix if isinstance(affix, tuple) else (affix,)
        budget.spend(len(parts) + sum(len(part) for part in parts if isinstance(part, str)) // 512)
        result = _native(text, name)(text, affix, *args)
        return budget.made(result) if isinstance(result, str) else result

    return method


def _pad(name: str) -> Method:
    def method(budget: Budget, text: str, width: Any, *args: Any) -> Any:
        check_width(budget, width)
        args = tuple(_escapable(text, arg) for arg in args)
        return budget.made(_native(text, name)(text, width, *args))

    return method


def _strip(name: str) -> Method:
    """Strips in chunks, since a long text of nothing else holds the lock for long."""

    def method(budget: Budget, text: str, chars: Any = None) -> Any:
        if chars is not None and not isinstance(chars, str):
            raise TypeError(f"{name} arg must be None or str")
        if chars is not None and len(chars) > _MAX_STRIPPED:
            raise Refused("It strips too many different characters.")
        start, end = 0, len(text)
        each = 1 if chars is None else 1 + (len(chars) >> 3)
        while name != "rstrip" and start < end:
            chunk = str(text[start : start + _CHUNK])
            budget.spend(1 + (each * len(chunk) >> 3))
            rest = len(chunk.lstrip(chars))
            start += len(chunk) - rest
            if rest:
                break
        while name != "lstrip" and start < end:
            chunk = str(text[max(start, end - _CHUNK) : end])
            budget.spend(1 + (each * len(chunk) >> 3))
            rest = len(chunk.rstrip(chars))
            end -= len(chunk) - rest
            if rest:
                break
        return budget.made(text[start:end])

    return method


def _rfind(budget: Budget, text: str, sought: Any, *bounds: Any) -> int:
    """`str.rfind`, which may be quadratic, by a search of the reversed text, which is not."""
    if not isinstance(sought, str) or len(text) * len(sought) < _SLOW:
        scan(budget, text)
        return text.rfind(sought, *bounds)
    start, stop, _step = slice(*(bounds if len(bounds) == 2 else (*bounds, None))).indices(
        len(text)
    )
    seek(budget, text, 8)
    found = str(text)[start:stop][::-1].find(str(sought)[::-1])
    return found if found < 0 else stop - found - len(sought)


def _rindex(budget: Budget, text: str, sought: Any, *bounds: Any) -> int:
    found = _rfind(budget, text, sought, *bounds)
    if found < 0:
        raise ValueError("substring not found")
    return found


def _rpartition(budget: Budget, text: str, separator: Any) -> Any:
    found = _rfind(budget, text, separator)
    budget.keep(len(text) * 4)
    kind = type(text) if isinstance(text, Markup) else str
    if not separator:
        raise ValueError("empty separator")
    if found < 0:
        return kind(""), kind(""), text
    return text[:found], kind(separator), text[found + len(separator) :]


def _split(budget: Budget, text: str, sep: Any = None, maxsplit: int = -1) -> Any:
    seek(budget, text, 9)
    count = blanks(text) if sep is None else text.count(sep) + 1 if sep else 1
    pieces(budget, text, count if maxsplit < 0 else min(count, maxsplit + 1))
    return _native(text, "split")(text, sep, maxsplit)


def _rsplit(budget: Budget, text: str, sep: Any = None, maxsplit: int = -1) -> Any:
    if sep is None or maxsplit < 0 or len(text) * len(sep) < _SLOW:
        if sep is not None and maxsplit < 0 and len(text) * len(sep) >= _SLOW:
            raise budget.too_long()
        seek(budget, text, 8)
        pieces(budget, text, blanks(text) if sep is None else text.count(sep) + 1 if sep else 1)
        return _native(text, "rsplit")(text, sep, maxsplit)
    reverse = _split(budget, text[::-1], sep[::-1], maxsplit)
    return [piece[::-1] for piece in reversed(reverse)]


def _splitlines(budget: Budget, text: str, keepends: Any = False) -> Any:
    seek(budget, text, 9)
    pieces(budget, text, line_ends(text))
    return _native(text, "splitlines")(text, keepends)


def _replace(budget: Budget, text: str, old: Any, new: Any, count: Any = -1) -> Any:
    seek(budget, text, 12)
    new = _escapable(text, new)
    times = text.count(old) if old else len(text) + 1
    if isinstance(count, int) and count >= 0:
        times = min(times, count)
    growth = _ESCAPED if isinstance(text, Markup) else 1
    budget.room(len(text) + times * max(0, growth * len(new) - len(old)))
    budget.spend(times >> 3)
    return budget.made(_native(text, "replace")(text, old, new, count))


def _join(budget: Budget, separator: str, parts: Any) -> Any:
    parts = listed(parts)
    if isinstance(separator, Markup):
        parts = [_escapable(separator, part) for part in parts]
    length = len(separator) * len(parts) + sum(len(part) for part in parts if isinstance(part, str))
    budget.spend(len(parts) >> 2)
    budget.room(length * (_ESCAPED if isinstance(separator, Markup) else 1))
    return budget.made(_native(separator, "join")(separator, parts))


def _expandtabs(budget: Budget, text: str, tabsize: Any = 8) -> Any:
    check_width(budget, tabsize)
    scan(budget, text)
    budget.room(len(text) + text.count("\t") * (tabsize if isinstance(tabsize, int) else 0))
    return budget.made(_native(text, "expandtabs")(text, tabsize))


def _translate(budget: Budget, text: str, table: Any) -> Any:
    table = own(table)
    if isinstance(table, (list, tuple, str)):
        values: Any = table
    elif isinstance(table, dict):
        # Other keys may share the hashes of letters, and each letter is looked up.
        table = {
            key: table[key] for key in table if isinstance(key, int) and 0 <= key <= maxunicode
        }
        values = table.values()
    else:
        raise TypeError("translate() needs a mapping")
    budget.spend(len(values) >> 2)
    widest = max((len(value) for value in values if isinstance(value, str)), default=1)
    budget.room(len(text) * widest)
    budget.spend(len(text))
    return budget.made(_native(text, "translate")(text, table))


def striptags(text: str) -> Markup:
    """A text without its tags, which takes the square of its length where there are many."""
    budget = current()
    count = blanks(text)
    pieces(budget, text, count)
    budget.spend(2 * count)
    if (text.count("<") + 1) * len(text) > 50 * _SLOW:
        raise budget.too_long()
    seek(budget, text, 8)
    stripped = Markup(text).striptags()
    budget.made(stripped)
    return Markup(stripped)


def _all(make: Callable[[str], Method], names: str) -> dict[str, Method]:
    return {name: make(name) for name in names.split()}


_TEXT: dict[str, Method] = {
    **_all(_each, "capitalize casefold swapcase title isalnum isalpha isascii isdecimal isdigit"),
    **_all(_each, "isidentifier islower isnumeric isprintable isspace istitle isupper"),
    **_all(partial(_each, is_slow=False), "lower upper"),
    **_all(_search, "count find index partition"),
    **_all(_affix, "startswith endswith removeprefix removesuffix"),
    **_all(_pad, "center ljust rjust zfill"),
    **_all(_strip, "strip lstrip rstrip"),
    "expandtabs": _expandtabs,
    "join": _join,
    "replace": _replace,
    "rfind": _rfind,
    "rindex": _rindex,
    "rpartition": _rpartition,
    "rsplit": _rsplit,
    "split": _split,
    "splitlines": _splitlines,
    "translate": _translate,
}


# -- methods of containers ---------------------------------------------------------------------


def _quick(name: str) -> Method:
    """A method of a number or a date: its cost does not depend on what it is given."""

    def method(budget: Budget, owner: Any, *args: Any, **named: Any) -> Any:
        budget.tick()
        return getattr(owner, name)(*args, **named)

    return method


def _sought(name: str) -> Method:
    def method(budget: Budget, owner: Any, value: Any, *bounds: Any) -> Any:
        compare("in", value, owner)
        owner = own(owner)
        if type(owner) is range:
            value = whole_of(value)
            if value is None:
                value = owner.start - owner.step  # a number that is not in it
        return getattr(owner, name)(value, *bounds)

    return method


def _get(budget: Budget, owner: Any, key: Any, default: Any = None) -> Any:
    budget.tick()
    measure(key)
    return owner.get(own(key), default)


def _copied(name: str) -> Method:
    def method(budget: Budget, owner: Any) -> Any:
        if not isinstance(owner, View):
            budget.elements(len(owner))
        return getattr(own(owner), name)()

    return method


def _combined(name: str) -> Method:
    def method(budget: Budget, owner: Any, *others: Any) -> Any:
        given = [listed(other) for other in others]
        for items in (owner, *given):
            hashed(budget, items, len(items))
        return getattr(own(owner), name)(*given)

    return method


def _strftime(budget: Budget, owner: Any, layout: str) -> str:
    check_spec(budget, owner, layout)
    return budget.made(owner.strftime(layout))


_SEQUENCE = _all(_sought, "count index")
_DATE: dict[str, Method] = {
    **_all(_quick, "ctime isocalendar isoformat isoweekday replace toordinal weekday"),
    "strftime": _strftime,
}
_TIME: dict[str, Method] = {
    **_all(_quick, "dst isoformat replace tzname utcoffset"),
    "strftime": _strftime,
}
_COMBINED = "difference intersection isdisjoint issubset issuperset symmetric_difference union"
_DECIMAL = (
    "adjusted copy_abs is_finite is_infinite is_nan is_signed is_zero normalize quantize "
    "to_integral_value"
)

# Kind → the methods of its values that templates may call.
METHODS: Final[Mapping[str, Mapping[str, Method]]] = {
    "text": _TEXT,
    "markup": {
        **_TEXT,
        "striptags": lambda budget, text: str(striptags(text)),
        "unescape": _each("unescape"),
    },
    "list": {**_SEQUENCE, "copy": _copied("copy")},
    "tuple": _SEQUENCE,
    "mapping": {"get": _get, **_all(_copied, "copy items keys values")},
    "set": {"copy": _copied("copy"), **_all(_combined, _COMBINED)},
    "int": _all(_quick, "as_integer_ratio bit_count bit_length conjugate is_integer"),
    "float": _all(_quick, "as_integer_ratio conjugate hex is_integer"),
    "decimal": _all(_quick, _DECIMAL),
    "date": _DATE,
    "datetime": {**_DATE, **_TIME, **_all(_quick, "astimezone date time timestamp timetz")},
    "time": _TIME,
    "timedelta": _all(_quick, "total_seconds"),
    "range": _SEQUENCE,
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
