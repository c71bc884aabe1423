"""What the app's values look like when they are printed, and how long that is, known before.

Texts, numbers and dates of the app's own classes become plain ones.

The app's own `str` of an object runs once in a prompt; no other code of the app's runs.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2.utils import Namespace, missing

from yamlgraph_prompts._sandbox.budget import Refused, current

PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, type(None)})
SEQUENCES: Final = (list, tuple, deque)
SETS: Final = (set, frozenset)
LISTED: Final[tuple[type, ...]] = (type({}.keys()), type({}.values()), type({}.items()))
PRINTED: Final = 12  # steps that printing one element of a container takes
_MAX_DEPTH = 100  # of lists in lists
# Past a metaclass, whose own code would run
mro_of = type.__dict__["__mro__"].__get__
dict_of = type.__dict__["__dict__"].__get__
name_of = type.__dict__["__name__"].__get__
attribute_of = object.__getattribute__


class View:
    """One of the app's objects. Two views of one object are equal; every view is true."""

    __slots__ = ("raw",)

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def item(self, name: str) -> Any:
        """The object's data of this name, as a view; `missing` where there is none."""
        return missing

    def __str__(self) -> str:
        return printed(self.raw, str)

    def __repr__(self) -> str:
        return printed(self.raw, repr)

    def __format__(self, spec: str) -> str:
        if spec:
            raise TypeError("unsupported format string passed to an object")
        return printed(self.raw, format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, View) and self.raw is other.raw

    def __hash__(self) -> int:
        return id(self.raw)


def once(raw: Any, what: Any, make: Callable[[Any], Any]) -> Any:
    """``make(raw)``, made once for each object of a prompt."""
    known, key = current().known, (id(raw), what)
    if key not in known:
        known[key] = raw, make(raw)
    return known[key][1]


def printed(raw: Any, how: Callable[[Any], str]) -> str:
    """What the app's own `str` (`repr`, `format`) of an object gives; it runs once in a prompt."""

    def make(raw: Any) -> str:
        measure(raw, PRINTED)
        return current().made(str.__str__(how(raw)))

    return once(raw, how, make)  # type: ignore[no-any-return]


def measure(value: Any, each: int = 1) -> int:
    """Refuse a container whose text would be too long, without making the text; its length.

    `each` is what one element costs, in steps: printing one takes longer than comparing it.
    """
    budget = current()
    length = count = total = 0
    todo = [iter((value,))]
    while todo:
        for item in todo[-1]:
            count += 1
            kind = type(item)
            if kind is str:
                length += len(item) + 2
                continue
            length += 4
            if kind is int:
                if item.bit_length() > 64:
                    length += item.bit_length() // 3
                    count += item.bit_length() ** 2 >> 16  # to write it out is quadratic
                continue
            parts = _parts(item)
            if parts is not None:
                if len(todo) > _MAX_DEPTH:
                    raise Refused(f"It nests lists more than {_MAX_DEPTH} deep.")
                todo.append(iter(parts))
                break
        else:
            todo.pop()
        if length > budget.limits.characters:
            raise budget.too_long()
        if count > 512:
            budget.spend(count)
            total += count
            count = 0
    budget.spend(each * (total + count) + (length >> 9))
    return length


def _parts(item: Any) -> Iterable[Any] | None:
    if issubclass(type(item), View):  # `isinstance` would ask an app's object for its `__class__`
        item = item.raw
    elif type(item) is Namespace:
        item = attribute_of(item, "_Namespace__attrs")
    if type(item) in PLAIN:
        return None
    mro = mro_of(type(item))
    if dict in mro:
        return (part for pair in dict.items(item) for part in pair)
    for base in (*SEQUENCES, *SETS, *LISTED):
        if base in mro:
            return base.__iter__(item)  # type: ignore[attr-defined,no-any-return]
    return None


# -- texts and numbers of the app's own classes ------------------------------------------------


class Labelled:
    """A plain value whose own class prints it in its own way, such as ``class A(str, Enum)``."""

    raw: Any

    def __str__(self) -> str:
        return printed(self.raw, str)

    def __repr__(self) -> str:
        return printed(self.raw, repr)


class LabelledText(Labelled, str):
    """A text whose class has a `str` of its own."""

    def __format__(self, spec: str) -> str:
        return str.__format__(str(self), spec)


class LabelledInt(Labelled, int):
    """A whole number whose class has a `str` of its own."""


class LabelledFloat(Labelled, float):
    """A number whose class has a `str` of its own."""


def _labelled(plain_of: Callable[[Any], Any], kind: type) -> Callable[[Any], Any]:
    def make(raw: Any) -> Any:
        plain = plain_of(raw)
        if enum.Enum not in mro_of(type(raw)) and printed(raw, str) == str(plain):
            return plain
        labelled: Any = kind(plain)
        labelled.raw = raw
        return labelled

    def view(raw: Any) -> Any:
        current().tick()
        return once(raw, kind, make)

    return view


def _plain_text(raw: str) -> str:
    return current().made(str.__str__(raw))


# -- dates -------------------------------------------------------------------------------------

_PARTS: Final[dict[Any, tuple[str, ...]]] = {
    dt.date: ("year", "month", "day"),
    dt.datetime: ("year", "month", "day", "hour", "minute", "second", "microsecond"),
    dt.time: ("hour", "minute", "second", "microsecond"),
    dt.timedelta: ("days", "seconds", "microseconds"),
}


def _dated(kind: Any) -> Callable[[Any], Any]:
    def view(raw: Any) -> Any:
        parts = [getattr(kind, name).__get__(raw) for name in _PARTS[kind]]
        if kind in (dt.date, dt.timedelta):
            return kind(*parts)
        return kind(*parts, _zone(kind, raw), fold=kind.fold.__get__(raw))

    return view


_timedelta: Final = _dated(dt.timedelta)


def _zone(kind: Any, raw: Any) -> Any:
    """A zone of Python's own: one of the app's is read once, not for each method."""
    zone = kind.tzinfo.__get__(raw)
    if zone is None or type(zone) is ZoneInfo or zone is dt.UTC:
        return zone
    offset, name = kind.utcoffset(raw), kind.tzname(raw)
    if type(zone) is dt.timezone and type(offset) is dt.timedelta and type(name) is str:
        return zone
    if offset is None:
        return None
    return dt.timezone(_timedelta(offset), "UTC" if name is None else str.__str__(name))


# Type → what makes a plain value of its instances, and of those of what derives from it.
SCALARS: Final[dict[type, Callable[[Any], Any]]] = {
    str: _labelled(_plain_text, LabelledText),
    int: _labelled(int.__pos__, LabelledInt),
    float: _labelled(float.__pos__, LabelledFloat),
    Decimal: Decimal,
    **{kind: _dated(kind) for kind in _PARTS},
}
